"""Applications tested by executing their machine code: instruction by instruction from the
simulated flash, with answers on the simulated bus."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from stm32sim.chip.application import Surroundings
from stm32sim.chip.cortex_m import EmulatedApplication, emulated
from stm32sim.chip.stm32 import Running
from stm32sim.in_process import Bench
from stm32sim.wires.bus import Bus
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S
from stm32up import device
from stm32up.image import images, inputs
from tests.support import FLASH, RAM_END, version_bytes

APPLICATION = device.PROJECT / "boards" / "nucleo_g071rb_app"
ADDRESS, VERSION, UPTIME, ENTER_LOADER = 0x2A, 0x01, 0x02, 0x10  # its README
PAGE = 2048


class Executed(Bench):
    """A bench whose target executes its flash."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[EmulatedApplication] = []

        def applications(flash: bytes, surroundings: Surroundings) -> EmulatedApplication | None:
            application = emulated(flash, surroundings)
            if application is not None:
                self.started.append(application)
            return application

        self.target.applications = applications

    def _bus(self) -> Bus:
        """The bus, without the deadlines of the host's last transaction."""
        bus = self.world.bus
        bus.deadline, bus.stretch_limit = None, 25 * NS_PER_MS
        return bus

    def read(self, register: int, count: int) -> bytes:
        bus = self._bus()
        assert bus.start(ADDRESS, reading=False) and bus.write(register)
        assert bus.start(ADDRESS, reading=True)
        data = bytes(bus.read(ack=left > 1) for left in range(count, 0, -1))
        bus.stop()
        return data

    def send(self, *frame: int) -> None:
        assert self.present()
        bus = self._bus()
        assert bus.start(ADDRESS, reading=False)
        assert all(bus.write(byte) for byte in frame)
        bus.stop()

    def present(self) -> bool:
        """Whether a device acknowledges the application's address."""
        bus = self._bus()
        acked = bus.start(ADDRESS, reading=False)
        bus.stop()
        return acked

    def assert_runs(self, version: str) -> None:
        """Whether its machine code runs: it answers its version, its time advances, and its LED
        blinks at 2 Hz."""
        assert self.target.running is Running.APPLICATION
        assert self.read(VERSION, 8) == version_bytes(version)
        before, toggles = self.read(UPTIME, 4), self.started[-1].led_toggles
        self.clock.advance(2 * NS_PER_S)
        passed = int.from_bytes(self.read(UPTIME, 4), "little") - int.from_bytes(before, "little")
        assert 1980 <= passed <= 2020  # ms
        assert self.started[-1].led_toggles - toggles == 8


@pytest.fixture
def bench(tmp_path):
    """app-1.0.0 was installed on a blank target and runs."""
    bench = Executed()
    result = bench.install(built(APPLICATION / "app-1.0.0.hex", "1.0.0", tmp_path))
    assert (result["status"], result["version"]) == ("installed", "1.0.0")
    return bench


def built(source: Path, version: str, folder: Path) -> bytes:
    """The image of an application file, as this version."""
    images.build(source, device.chip("STM32G071RB"), version, None, folder / "app.img")
    return (folder / "app.img").read_bytes()


def built_of(program: bytes, folder: Path) -> bytes:
    (folder / "app.bin").write_bytes(program)
    return built(folder / "app.bin", "2.0.0", folder)


def program(*halfwords: int, literals: tuple[int, ...] = ()) -> bytes:
    """Vectors, instructions at the reset vector, constants behind them, two pages in all."""
    vectors = struct.pack("<II", RAM_END, FLASH + 64 + 1).ljust(64, b"\0")
    code = struct.pack(f"<{len(halfwords)}H{len(literals)}I", *halfwords, *literals)
    return (vectors + code).ljust(2 * PAGE, b"\0")


UNDEFINED = 0xDE00
B_ITSELF = 0xE7FE
# RCC_IOPENR: port A on; PA5 an output, high; and no more. RM0444, as in the application's sources
LED_ON_AND_MUTE = program(
    *(0x4805, 0x2101, 0x6001, 0x6802),  # ldr r0, =IOPENR; movs r1, #1; str r1, [r0]; ldr r2, [r0]
    *(0x4804, 0x4905, 0x6001),  # ldr r0, =GPIOA; ldr r1, =MODER; str r1, [r0]
    *(0x2120, 0x6181),  # movs r1, #1 << 5; str r1, [r0, #BSRR]
    *(B_ITSELF, 0x46C0, 0x46C0),
    literals=(0x4002_1034, 0x5000_0000, 0xEBFF_F7FF),
)


def lost_on_the_way(folder: Path) -> bytes:
    """app-1.1.0 whose reset handler runs, sets up memory, and calls a missing main: the second
    half is not linked."""
    content = bytearray(
        inputs.read(APPLICATION / "app-1.1.0.hex", device.chip("STM32G071RB")).data
    )
    half = len(content) // 2
    content[half:] = b"\xff" * (len(content) - half)
    return built_of(bytes(content), folder)


BROKEN = {
    "crashes at its first instruction": lambda folder: built_of(program(UNDEFINED), folder),
    "jumps to where nothing is": lambda folder: built_of(
        program(0x4801, 0x4700, 0x46C0, 0x46C0, literals=(0x6000_0001,)), folder
    ),
    "hangs in a loop": lambda folder: built_of(program(B_ITSELF), folder),
    "lights its LED and never answers": lambda folder: built_of(LED_ON_AND_MUTE, folder),
    "is only half there": lost_on_the_way,
    "answers another version": lambda folder: built(
        APPLICATION / "app-1.1.0.hex", "2.0.0", folder
    ),
}


def test_the_installed_application_runs_from_the_flash_it_was_written_to(bench):
    stack, reset = struct.unpack("<II", bytes(bench.target.flash.data[:8]))
    assert 0x2000_0000 < stack <= RAM_END and FLASH < reset < FLASH + 128 * 1024
    bench.assert_runs("1.0.0")


def test_the_installed_application_enters_the_loader_when_told_to(bench):
    bench.send(ENTER_LOADER, *b"BOOT")
    bench.clock.advance(5 * NS_PER_MS)
    assert bench.target.running is Running.LOADER
    assert not bench.present()


def test_an_update_to_another_good_application(bench, tmp_path):
    result = bench.install(built(APPLICATION / "app-1.1.0.hex", "1.1.0", tmp_path))
    assert (result["status"], result["version"]) == ("installed", "1.1.0")
    bench.assert_runs("1.1.0")


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_application_is_rolled_back_and_not_tried_again(bench, tmp_path, kind):
    before = bytes(bench.target.flash.data)
    image = BROKEN[kind](tmp_path)
    bench.push(image)
    events = bench.run()
    names = [event["event"] for event in events]
    assert "rolling-back" in names and names.count("starting") == 3 + 1
    result = events[-1]
    assert not result["ok"] and result["status"] == "rolled-back"
    assert result["version"] == "1.0.0" and result["error"] == "application-silent"
    assert bytes(bench.target.flash.data[:PAGE]) == before[:PAGE]
    bench.assert_runs("1.0.0")

    bench.boot()  # the host forgets what it had in RAM
    if kind != "answers another version":  # a silent application may not be to blame
        assert bench.install(image)["status"] == "rolled-back"
    boots, after = len(bench.target.boots), bytes(bench.target.flash.data)
    again = bench.install(image)
    assert not again["ok"] and again["error"] == "image-failed-before"
    assert len(bench.target.boots) == boots and bytes(bench.target.flash.data) == after
    bench.assert_runs("1.0.0")
    assert bench.run()[-1]["status"] == "idle"


def test_the_mute_application_did_run(bench, tmp_path):
    """Otherwise this would be one more immediate crash."""
    before = len(bench.started)
    bench.install(built_of(LED_ON_AND_MUTE, tmp_path))
    *tries, _ = bench.started[before:]  # and then the last good one
    assert [application.led_toggles for application in tries] == [1, 1, 1]
