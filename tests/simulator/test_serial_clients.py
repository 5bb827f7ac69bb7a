"""stm32flash and stm32loader, unmodified, flash the simulated target over a pty, and are refused
what a real loader refuses."""

from __future__ import annotations

import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import serial_port, stm32flash
from benchmarks.preload import Finished
from stm32sim.chip.crc import crc_stm32
from stm32sim.chip.flash import PAGE
from stm32sim.chip.quirks import quirks_of
from stm32sim.chip.stm32 import Running
from stm32sim.wires.clock import NS_PER_S
from stm32sim.wires.uart import EVEN, Format, frame_time
from tests.simulator.rig import APP
from tests.simulator.uart_rig import UartRig

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="preloads a library for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]
PROGRAM = stm32flash.found()
needs_stm32flash = pytest.mark.skipif(
    PROGRAM is None, reason="stm32flash is not installed (nor in build/)"
)
BEFORE = random.Random(1).randbytes(128 * 1024)
IMAGE = random.Random(2).randbytes(2 * PAGE)
Client = Callable[..., Finished]


def run(rig: UartRig, lines: serial_port.Lines, *command: str | Path) -> Finished:
    """Run a program on a rig; the path of the port is its last argument."""
    port = serial_port.SerialPort(rig.line, lines)
    try:
        return serial_port.run(stm32flash.BUILD, [*command, port.path], port)
    finally:
        port.close()


def flash_with(rig: UartRig, *arguments: str | Path, rate: int = 115_200) -> Finished:
    """stm32flash. It leaves DTR and RTS alone: the loader runs already."""
    assert PROGRAM is not None
    return run(rig, lambda dtr, rts: None, PROGRAM, "-b", str(rate), *arguments)


def loader_with(rig: UartRig, *arguments: str | Path, rate: int = 115_200) -> Finished:
    """stm32loader, which resets by DTR and chooses the loader by RTS."""

    def drive(dtr: bool, rts: bool) -> None:
        rig.chip.boot0(not rts)
        rig.chip.nrst(not dtr)

    program = [sys.executable, "-m", "stm32loader", "-n", "-b", str(rate)]
    return run(rig, drive, *program, *arguments, "-p")


@pytest.fixture
def rig() -> Iterator[UartRig]:
    """A loader that has seen nothing yet, and flash that is full."""
    yield UartRig(synchronised=False, content=BEFORE)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.bin"
    path.write_bytes(IMAGE)
    return path


# stm32flash


@needs_stm32flash
@pytest.mark.parametrize("rate", [9_600, 115_200, 460_800, 921_600])
def test_stm32flash_writes_and_verifies_and_erases_only_those_pages(
    rig: UartRig, image: Path, rate: int
) -> None:
    began = rig.clock.now
    done = flash_with(rig, "-w", image, "-v", rate=rate)
    assert done.status == 0, done.output
    assert bytes(rig.flash.data) == IMAGE + BEFORE[len(IMAGE) :]
    took = rig.clock.now - began
    least = 2 * len(IMAGE) * frame_time(Format(rate, EVEN))
    assert least < took < 1.5 * least + NS_PER_S / 2


@needs_stm32flash
def test_stm32flash_finds_the_version_and_the_product(rig: UartRig) -> None:
    told = flash_with(rig)
    assert told.status == 0, told.output
    assert re.search(r"Version +: 0x31", told.output)
    assert re.search(r"Device ID +: 0x0460", told.output)


@needs_stm32flash
def test_stm32flash_finds_a_loader_that_is_synchronised_already(rig: UartRig, image: Path) -> None:
    assert flash_with(rig).status == 0
    done = flash_with(rig, "-w", image, "-v")
    assert done.status == 0, done.output


@needs_stm32flash
def test_stm32flash_reads_back(rig: UartRig, tmp_path: Path) -> None:
    back = tmp_path / "back.bin"
    read = flash_with(rig, "-S", "0x08000800:4096", "-r", back)
    assert read.status == 0, read.output
    assert back.read_bytes() == BEFORE[0x800:0x1800]


@needs_stm32flash
def test_stm32flash_starts_the_application(rig: UartRig, tmp_path: Path) -> None:
    (tmp_path / "app.bin").write_bytes(APP.content)
    done = flash_with(rig, "-w", tmp_path / "app.bin", "-v", "-g", "0x08000000")
    assert done.status == 0, done.output
    rig.wait(1)
    assert rig.running is Running.APPLICATION


@needs_stm32flash
def test_stm32flash_protects_and_unprotects(rig: UartRig) -> None:
    assert flash_with(rig, "-j").status == 0
    rig.power_cycle()
    assert rig.chip.rdp_level == 1
    assert flash_with(rig, "-k").status == 0
    rig.wait(200)  # it does not wait for the erase
    rig.power_cycle()
    assert rig.chip.rdp_level == 0
    assert bytes(rig.flash.data) == b"\xff" * len(BEFORE)


@needs_stm32flash
def test_stm32flash_gets_the_checksum_where_get_lists_it() -> None:
    quirks = replace(quirks_of(4), checksum_over_uart=True)
    rig = UartRig(synchronised=False, content=BEFORE, quirks=quirks)
    told = flash_with(rig, "-C", "-S", "0x08000800:4096")
    assert told.status == 0, told.output
    (checksum,) = re.findall(r"CRC\(.*\) = (0x\w+)", told.output)
    assert int(checksum, 16) == crc_stm32(BEFORE[0x800:0x1800])


@needs_stm32flash
def test_stm32flash_cannot_write_flash_that_is_not_erased(rig: UartRig, image: Path) -> None:
    failed = flash_with(rig, "-e", "0", "-w", image, "-v")
    assert failed.status == 1
    assert "Failed to verify" in failed.output
    assert bytes(rig.flash.data) == BEFORE


@needs_stm32flash
def test_stm32flash_without_parity_is_not_understood(rig: UartRig, image: Path) -> None:
    failed = flash_with(rig, "-m", "8n1", "-w", image)
    assert failed.status == 1
    assert bytes(rig.flash.data) == BEFORE


@needs_stm32flash
@pytest.mark.parametrize("cause", ["application", "I2C came first", "no supply"])
def test_stm32flash_is_not_answered(rig: UartRig, cause: str) -> None:
    if cause == "application":
        rig = UartRig(synchronised=False, content=APP.content, boot0=False)
    elif cause == "I2C came first":
        assert rig.in_step()
    else:
        rig.chip.power(False)
    failed = flash_with(rig)
    assert failed.status == 1
    assert "Failed to init device" in failed.output


# stm32loader


@pytest.mark.parametrize("rate", [115_200, 1_000_000])
def test_stm32loader_erases_writes_and_verifies(rig: UartRig, image: Path, rate: int) -> None:
    done = loader_with(rig, "-e", "-w", "-v", image, rate=rate)
    assert done.status == 0, done.output
    assert "Verification OK" in done.output
    assert bytes(rig.flash.data) == IMAGE + b"\xff" * (len(BEFORE) - len(IMAGE))


def test_stm32loader_resets_into_the_application(rig: UartRig, tmp_path: Path) -> None:
    (tmp_path / "app.bin").write_bytes(APP.content)
    done = loader_with(rig, "-e", "-w", "-v", tmp_path / "app.bin")
    assert done.status == 0, done.output
    rig.wait(10)
    assert rig.running is Running.APPLICATION


def test_stm32loader_unprotects_in_the_time_of_the_simulation(rig: UartRig) -> None:
    assert loader_with(rig, "-x").status == 0
    rig.power_cycle()
    assert rig.chip.rdp_level == 1
    began = rig.clock.now
    done = loader_with(rig, "-u")
    assert done.status == 0, done.output
    assert rig.clock.now - began > 20 * NS_PER_S  # it sleeps so long
    assert bytes(rig.flash.data) == b"\xff" * len(BEFORE)


def test_stm32loader_without_parity_is_not_understood(rig: UartRig, image: Path) -> None:
    failed = loader_with(rig, "-P", "none", "-w", image)
    assert failed.status != 0
    assert bytes(rig.flash.data) == BEFORE


def test_stm32loader_is_told_of_a_probe_by_nothing_but_silence(rig: UartRig, image: Path) -> None:
    """Another master on the I2C bus addresses the loader after each reset."""
    resets = rig.chip.resets

    def probe() -> None:
        nonlocal resets
        if rig.chip.resets != resets and rig.running is Running.LOADER:
            resets = rig.chip.resets
            rig.send(b"")
        rig.clock.after(NS_PER_S // 100, probe)

    probe()
    failed = loader_with(rig, "-w", image)
    assert failed.status == 1
    assert "Can't init into bootloader" in failed.output
