"""The emulated application: real machine code on simulated wires."""

import random
import struct
from pathlib import Path

import bincopy
import pytest

from stm32sim.bus import Bus, Stretched
from stm32sim.clock import NS_PER_MS, NS_PER_S, NS_PER_US, Clock
from stm32sim.cortex_m import FLASH, FLASH_SIZE, SRAM, SRAM_SIZE, EmulatedApplication

APP_FOLDER = Path(__file__).parents[2] / "boards" / "nucleo_g071rb_app"
VERSIONS = ["1.0.0", "1.1.0"]
ADDRESS = 0x2A
IDENTITY, VERSION, UPTIME, ENTER_LOADER = 0x00, 0x01, 0x02, 0x10


def image_version(text: str) -> bytes:
    major, minor, revision = (int(part) for part in text.split("."))
    return struct.pack("<BBHI", major, minor, revision, 0)


def application(version: str = "1.0.0") -> bytes:
    return bytes(bincopy.BinFile(str(APP_FOLDER / f"app-{version}.hex")).as_binary())


def whole_flash(content: bytes) -> bytes:
    return content.ljust(FLASH_SIZE, b"\xff")


def program(*halfwords: int) -> bytes:
    """Flash with code right behind the stack pointer and the reset vector."""
    code = struct.pack(f"<{len(halfwords)}H", *halfwords)
    return whole_flash(struct.pack("<II", SRAM + 0x1000, FLASH + 9) + code)


def storing(address: int, value: int) -> bytes:
    """Flash with a program that stores one word and then idles."""
    # ldr r0, =address; ldr r1, =value; str r1, [r0]; b .
    words = struct.unpack("<4H", struct.pack("<II", address, value))
    return program(0x4801, 0x4902, 0x6001, 0xE7FE, *words)


class Bench:
    """A clock, a bus, one emulated STM32 on it, and a controller."""

    def __init__(self, flash: bytes, hertz: int = 400_000) -> None:
        self.clock = Clock()
        self.bus = Bus(self.clock)
        self.bus.set_frequency(hertz)
        self.happened: list[str] = []
        self.app = EmulatedApplication(
            self.clock,
            flash,
            on_enter_system_memory=lambda: self.happened.append("system memory"),
            on_reset=lambda: self.happened.append("reset"),
        )
        self.bus.devices.append(self.app)
        self.clock.advance(NS_PER_MS)

    def present(self, address: int) -> bool:
        acked = self.bus.start(address, reading=False)
        self.bus.stop()
        return acked

    def write(self, *data: int) -> None:
        assert self.bus.start(ADDRESS, reading=False)
        for byte in data:
            assert self.bus.write(byte)
        self.bus.stop()

    def read(self, register: int, count: int, *, stop: bool = False) -> bytes:
        assert self.bus.start(ADDRESS, reading=False)
        assert self.bus.write(register)
        if stop:
            self.bus.stop()
        assert self.bus.start(ADDRESS, reading=True)
        data = bytes(self.bus.read(ack=left > 1) for left in range(count, 0, -1))
        self.bus.stop()
        return data

    def uptime(self) -> int:
        return int.from_bytes(self.read(UPTIME, 4), "little")


@pytest.fixture
def bench() -> Bench:
    return Bench(whole_flash(application()))


# The committed images


@pytest.mark.parametrize("version", VERSIONS)
def test_a_committed_image_begins_with_a_sound_vector_table(version: str) -> None:
    image = bincopy.BinFile(str(APP_FOLDER / f"app-{version}.hex"))
    assert image.minimum_address == FLASH
    vectors = struct.unpack_from("<48I", image.as_binary())
    assert vectors[0] == SRAM + SRAM_SIZE
    assert all(vector & 1 for vector in vectors[1:])
    assert all(FLASH + 48 * 4 <= vector < image.maximum_address for vector in vectors[1:])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_committed_image_contains_the_version_it_is_named_after(version: str) -> None:
    assert application(version)[48 * 4 :].startswith(b"G071" + image_version(version))


def test_the_committed_images_differ_in_nothing_but_the_version() -> None:
    first, second = (application(version) for version in VERSIONS)
    assert first.replace(image_version("1.0.0"), image_version("1.1.0"), 1) == second


# On the bus


def test_it_acknowledges_its_own_address_only(bench: Bench) -> None:
    assert [address for address in range(0x80) if bench.present(address)] == [ADDRESS]


@pytest.mark.parametrize("hertz", [10_000, 100_000, 400_000])
@pytest.mark.parametrize("stop", [False, True], ids=["repeated START", "STOP"])
@pytest.mark.parametrize("version", VERSIONS)
def test_it_answers_the_version_it_was_built_as(version: str, stop: bool, hertz: int) -> None:
    bench = Bench(whole_flash(application(version)), hertz)
    assert bench.read(VERSION, 8, stop=stop) == image_version(version)


def test_it_answers_its_identity(bench: Bench) -> None:
    assert bench.read(IDENTITY, 4) == b"G071"


def test_what_does_not_exist_reads_ff(bench: Bench) -> None:
    assert bench.read(IDENTITY, 7) == b"G071\xff\xff\xff"
    assert bench.read(VERSION, 300) == image_version("1.0.0") + b"\xff" * 292
    assert bench.read(0x77, 3) == b"\xff" * 3
    assert bench.read(ENTER_LOADER, 2) == b"\xff" * 2


def test_every_read_begins_at_the_first_byte(bench: Bench) -> None:
    assert bench.read(IDENTITY, 1) == b"G"
    assert bench.bus.start(ADDRESS, reading=True)
    assert bench.bus.read(ack=False) == ord("G")
    bench.bus.stop()


def test_it_stretches_the_clock_for_a_few_microseconds_at_most(bench: Bench) -> None:
    bench.bus.stretch_limit = 15 * NS_PER_US
    assert bench.read(VERSION, 8) == image_version("1.0.0")
    with pytest.raises(Stretched):
        bench.bus.stretch_limit = NS_PER_US // 2  # it does take the time of its instructions
        bench.read(VERSION, 8)


# Time


def test_the_led_blinks_at_2_hz(bench: Bench) -> None:
    changes = []
    lit = bench.app.led
    for millisecond in range(1, 2000):
        bench.clock.advance_to(millisecond * NS_PER_MS + NS_PER_MS // 2)
        if bench.app.led != lit:
            lit = bench.app.led
            changes.append(millisecond)
    assert changes == [250, 500, 750, 1000, 1250, 1500, 1750]
    assert bench.app.led_toggles == len(changes)


def test_the_uptime_is_the_time_since_the_start(bench: Bench) -> None:
    start_up = 50 * NS_PER_US  # until SysTick is started
    for _ in range(3):
        before = bench.clock.now - start_up
        assert before // NS_PER_MS <= bench.uptime() <= bench.clock.now // NS_PER_MS
        bench.clock.advance(NS_PER_S)
        for _ in range(300):  # nor does traffic cost it any ticks
            bench.read(IDENTITY, 4)


def test_the_same_calls_take_the_same_time_to_the_nanosecond() -> None:
    instants = []
    for _ in range(2):
        bench = Bench(whole_flash(application()))
        for register in range(8):
            bench.read(register, 5, stop=bool(register % 2))
            instants.append(bench.clock.now)
    assert instants[:8] == instants[8:]


# The order to enter the loader


def test_the_order_enters_the_loader_once(bench: Bench) -> None:
    bench.write(ENTER_LOADER, *b"BOOT")
    bench.clock.advance(NS_PER_MS)
    assert bench.happened == ["system memory"]
    assert not bench.present(ADDRESS)
    assert not bench.app.led
    assert bench.app.fault is None
    bench.clock.advance(NS_PER_S)
    assert bench.happened == ["system memory"]


def test_the_loader_finds_the_chip_as_after_a_reset(bench: Bench) -> None:
    fresh = Bench(program(0xE7FE)).app.peripherals
    bench.write(ENTER_LOADER, *b"BOOT")
    bench.clock.advance(NS_PER_MS)
    left = bench.app.peripherals
    for register in (0x00, 0x04, 0x08, 0x0C, 0x14, 0x20, 0x24):
        assert left.gpioa.read(register) == fresh.gpioa.read(register)
        assert left.gpiob.read(register) == fresh.gpiob.read(register)
    for register in (0x00, 0x08, 0x10, 0x18):
        assert left.i2c.read(register) == fresh.i2c.read(register)
    for register in (0x00, 0x08, 0x24, 0x2C, 0x30, 0x34, 0x38, 0x3C, 0x40, 0x54):
        assert left.rcc.read(register) == fresh.rcc.read(register)
    for register in (0x10, 0x14, 0x18):
        assert left.systick.read(register) == 0
    assert left.read(0xE000_ED08) == 0  # VTOR
    left.write(0x4002_1040, 1)  # SYSCFGEN, to look at CFGR1
    assert left.read(0x4001_0000) == 1  # MEM_MODE: system memory


def test_the_order_is_obeyed_after_the_stop_and_not_before(bench: Bench) -> None:
    assert bench.bus.start(ADDRESS, reading=False)
    for byte in (ENTER_LOADER, *b"BOOT"):
        assert bench.bus.write(byte)
    bench.clock.advance(NS_PER_MS)
    assert not bench.happened
    bench.bus.stop()
    bench.clock.advance(NS_PER_MS)
    assert bench.happened == ["system memory"]


@pytest.mark.parametrize(
    "frame",
    [
        b"\x10",
        b"\x10BOO",
        b"\x10BOOTS",
        b"\x10boot",
        b"\x10BOOU",
        b"\x10\x10BOOT",
        b"\x11BOOT",
        b"BOOT",
        b"\x10BOO\x10BOOT",
    ],
)
def test_anything_but_the_order_is_ignored(bench: Bench, frame: bytes) -> None:
    bench.write(*frame)
    bench.clock.advance(NS_PER_MS)
    assert not bench.happened
    assert bench.read(IDENTITY, 4) == b"G071"


def test_an_order_in_two_frames_is_ignored(bench: Bench) -> None:
    bench.write(ENTER_LOADER, *b"BO")
    bench.write(*b"OT")
    bench.write(ENTER_LOADER, *b"BO")
    bench.write(IDENTITY, *b"..OT")
    bench.clock.advance(NS_PER_MS)
    assert not bench.happened


def test_an_order_disturbed_on_the_wires_is_ignored(bench: Bench) -> None:
    assert bench.bus.start(ADDRESS, reading=False)
    for byte in (ENTER_LOADER, *b"BOOT"):
        assert bench.bus.write(byte)
    bench.app.bus_error()
    bench.bus.stop()
    bench.clock.advance(NS_PER_MS)
    assert not bench.happened
    assert bench.read(IDENTITY, 4) == b"G071"


# Rough treatment


def test_it_survives_garbage(bench: Bench) -> None:
    chance = random.Random(1)
    for _ in range(40):
        bench.write(*chance.randbytes(chance.randrange(20)))
    bench.write(*bytes(300))
    assert not bench.happened
    assert bench.app.fault is None
    assert bench.read(VERSION, 8) == image_version("1.0.0")


@pytest.mark.parametrize("reading", [False, True])
def test_it_answers_again_after_a_frame_that_was_never_finished(
    bench: Bench, reading: bool
) -> None:
    assert bench.bus.start(ADDRESS, reading)
    if reading:
        bench.bus.read(ack=True)
    else:
        bench.bus.write(IDENTITY)
    bench.bus.abandon()
    for _ in range(9):
        bench.bus.pulse_scl()
    assert bench.read(IDENTITY, 4) == b"G071"


def test_it_lets_a_frame_go_that_stands_still_for_a_second(bench: Bench) -> None:
    assert bench.bus.start(ADDRESS, reading=False)
    bench.clock.advance(NS_PER_S * 11 // 10)
    assert not bench.bus.write(IDENTITY)  # it has left the frame, and waits for a START
    bench.bus.stop()
    assert bench.read(IDENTITY, 4) == b"G071"


def test_nothing_happens_after_a_halt(bench: Bench) -> None:
    bench.write(ENTER_LOADER, *b"BOOT")
    bench.app.halt()
    bench.clock.advance(NS_PER_S)
    assert not bench.happened
    assert not bench.app.led
    assert not bench.present(ADDRESS)


# Other contents of flash


def test_blank_flash_faults() -> None:
    bench = Bench(whole_flash(b""))
    assert bench.app.fault is not None
    assert not bench.present(ADDRESS)


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_fault(seed: int) -> None:
    chance = random.Random(seed)
    bench = Bench(application()[:8] + chance.randbytes(FLASH_SIZE - 8))
    bench.clock.advance(NS_PER_S)
    assert bench.app.fault is not None
    assert "\n" not in bench.app.fault
    assert not bench.present(ADDRESS)


@pytest.mark.parametrize(
    ("flash", "reason"),
    [
        (whole_flash(struct.pack("<II", SRAM, FLASH + 8)), "Thumb"),
        (whole_flash(struct.pack("<II", SRAM, 0x6000_0001)), "instruction fetch at 0x60000000"),
        (program(0xBE00), "BKPT"),
        (program(0xDE00), "undefined instruction"),
        (program(0xDF00), "SVC"),
        (program(0xBF30, 0xE7FE), "WFI"),
        (storing(FLASH + 0x1000, 0), "write at 0x08001000"),
        (storing(0x4000_0000, 0), "write at 0x40000000"),  # TIM2
        (storing(0x4002_2008, 0), "FLASH register 0x08"),  # KEYR
        (storing(0x4002_1000, 1 << 24), "HSI16"),  # PLLON
        (storing(0xE000_E100, 1), "0xE000E100"),  # NVIC
        (storing(0xE000_E010, 3), "SysTick interrupt"),
    ],
)
def test_what_the_chip_cannot_do_or_the_model_does_not_know_faults(
    flash: bytes, reason: str
) -> None:
    bench = Bench(flash)
    assert bench.app.fault is not None
    assert reason in bench.app.fault
    assert not bench.happened


def test_a_program_may_request_a_reset() -> None:
    bench = Bench(storing(0xE000_ED0C, 0x05FA_0004))
    assert bench.happened == ["reset"]
    assert bench.app.fault is None


def test_a_peripheral_without_its_clock_reads_0_and_ignores_writes() -> None:
    timingr, apbenr1, i2c1en = 0x4000_5410, 0x4002_103C, 1 << 21
    peripherals = Bench(program(0xE7FE)).app.peripherals
    peripherals.write(timingr, 0x123)
    peripherals.write(apbenr1, i2c1en)
    assert peripherals.read(timingr) == 0
    peripherals.write(timingr, 0x123)
    assert peripherals.read(timingr) == 0x123
    peripherals.write(apbenr1, 0)
    assert peripherals.read(timingr) == 0


@pytest.mark.parametrize(
    "code",
    [(0xE7FE,), (0x3001, 0xE7FD)],  # b . / adds r0, #1; b back
    ids=["idle loop", "counting loop"],
)
def test_time_goes_by_for_a_program_that_never_ends(code: tuple[int, ...]) -> None:
    bench = Bench(program(*code))
    bench.clock.advance(5 * NS_PER_S)
    assert bench.app.fault is None
    assert not bench.present(ADDRESS)


def test_a_torn_image_ends_in_one_of_the_known_ways() -> None:
    image = application()
    for offset in range(48 * 4, len(image) - 3, 16):
        torn = image[:offset] + b"\xff\xff\xff\xff" + image[offset + 4 :]
        bench = Bench(whole_flash(torn))
        bench.bus.stretch_limit = 25 * NS_PER_MS
        try:
            bench.read(VERSION, 8)
            bench.write(ENTER_LOADER, *b"BOOT")
        except (AssertionError, Stretched):
            bench.app.halt()
        bench.clock.advance(20 * NS_PER_MS)
        assert bench.happened in ([], ["reset"], ["system memory"])
