"""The emulated application: real machine code on simulated wires."""

import random
import struct
from pathlib import Path

import bincopy
import pytest

from stm32sim.chip.cortex_m import (
    FLASH,
    SRAM,
    SYSTEM_MEMORY,
    emulated,
)
from stm32sim.chip.families import G071
from stm32sim.chip.option_bytes import FACTORY, OPTR
from stm32sim.chip.registers import NotModelled
from stm32sim.chip.stm32 import Running
from stm32sim.wires.bus import Stretched
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from tests.simulator.emulated import ADDRESS, Bench, jumping, program, storing
from tests.simulator.rig import ACK, Rig, word

APP_FOLDER = Path(__file__).parents[2] / "boards" / "nucleo_g071rb_app"
FLASH_SIZE, SRAM_SIZE = G071.largest, G071.ram
VERSIONS = ["1.0.0", "1.1.0"]
IDENTITY, VERSION, ENTER_LOADER = 0x00, 0x01, 0x10
FLASH_ACR, EMPTY = 0x4002_2000, 1 << 16
ENTERED = ["empty", "reset"]


def image_version(text: str) -> bytes:
    major, minor, revision = (int(part) for part in text.split("."))
    return struct.pack("<BBHI", major, minor, revision, 0)


def application(version: str = "1.0.0") -> bytes:
    return bytes(bincopy.BinFile(str(APP_FOLDER / f"app-{version}.hex")).as_binary())


def whole_flash(content: bytes) -> bytes:
    return content.ljust(FLASH_SIZE, b"\xff")


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
        bench.bus.stretch_limit = NS_PER_US // 2  # but it takes the time of its instructions
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
        for _ in range(300):  # traffic does not lose ticks
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


def test_the_order_sets_the_empty_flag_and_requests_a_reset_once(bench: Bench) -> None:
    bench.write(ENTER_LOADER, *b"BOOT")
    bench.clock.advance(NS_PER_MS)
    assert bench.happened == ENTERED
    assert bench.app.peripherals.read(FLASH_ACR) & EMPTY
    assert not bench.present(ADDRESS)
    assert not bench.app.led
    assert bench.app.fault is None
    bench.clock.advance(NS_PER_S)
    assert bench.happened == ENTERED


@pytest.mark.parametrize("version", VERSIONS)
def test_it_clears_the_empty_flag_before_anything_else(version: str) -> None:
    bench = Bench(whole_flash(application(version)), empty_flag=True)
    assert bench.happened == ["not empty"]
    assert bench.app.peripherals.read(FLASH_ACR) == 0x0004_0600
    assert bench.read(IDENTITY, 4) == b"G071"
    bench.write(ENTER_LOADER, *b"BOOT")
    bench.clock.advance(NS_PER_MS)
    assert bench.happened == ["not empty", *ENTERED]


def test_the_order_is_obeyed_after_the_stop_and_not_before(bench: Bench) -> None:
    assert bench.bus.start(ADDRESS, reading=False)
    for byte in (ENTER_LOADER, *b"BOOT"):
        assert bench.bus.write(byte)
    bench.clock.advance(NS_PER_MS)
    assert not bench.happened
    bench.bus.stop()
    bench.clock.advance(NS_PER_MS)
    assert bench.happened == ENTERED


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


# Misuse


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


def test_ram_holds_what_was_there_before() -> None:
    # ldr r0, =SRAM + 0x100; ldr r1, [r0]; bx r1
    flash = program(
        0x4801, 0x6801, 0x4708, 0xBF00, *struct.unpack("<2H", struct.pack("<I", SRAM + 0x100))
    )
    ram = bytes(0x100) + struct.pack("<I", SYSTEM_MEMORY + 1)
    assert Bench(flash, ram=ram).happened == ["system memory"]


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


def test_a_program_may_jump_into_the_loader() -> None:
    bench = Bench(jumping(SYSTEM_MEMORY + 0x101))
    assert bench.happened == ["system memory"]
    assert bench.app.fault is None


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_a_change_of_the_empty_flag_is_reported(before: bool, after: bool) -> None:
    bench = Bench(storing(FLASH_ACR, 0x0004_0600 | EMPTY * after), empty_flag=before)
    assert bench.happened == ([] if before == after else ["empty" if after else "not empty"])
    assert bench.app.fault is None


def test_a_peripheral_without_its_clock_reads_0_and_ignores_writes() -> None:
    timingr, apbenr1, i2c1en = 0x4000_5410, 0x4002_103C, 1 << 21
    peripherals = Bench(program(0xE7FE)).app.peripherals
    peripherals.write(timingr, 0x123)
    peripherals.write(apbenr1, i2c1en)
    peripherals.read(apbenr1)
    assert peripherals.read(timingr) == 0
    peripherals.write(timingr, 0x123)
    assert peripherals.read(timingr) == 0x123
    peripherals.write(apbenr1, 0)
    assert peripherals.read(timingr) == 0


def test_a_peripheral_must_not_be_accessed_right_after_its_clock_was_enabled() -> None:
    moder, iopenr, both = 0x5000_0000, 0x4002_1034, 3
    peripherals = Bench(program(0xE7FE)).app.peripherals
    peripherals.write(iopenr, both)
    with pytest.raises(NotModelled, match="0x50000000"):
        peripherals.read(moder)
    peripherals.write(iopenr, both)  # they are on by now
    assert peripherals.read(moder) == 0xEBFF_FFFF


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
        assert bench.happened in ([], ["reset"], ENTERED, ["empty"])


# In the whole chip, whose option bytes ignore BOOT0


def whole_chip(version: int, content: bytes) -> Rig:
    rig = Rig(version=version, content=content, optr=FACTORY[OPTR], boot0=False, powered=False)
    rig.chip.applications = emulated
    rig.power_cycle()
    return rig


def order_into_loader(rig: Rig) -> None:
    assert rig.running is Running.APPLICATION
    assert rig.bus.start(ADDRESS, reading=False)
    for byte in (ENTER_LOADER, *b"BOOT"):
        assert rig.bus.write(byte)
    rig.bus.stop()
    rig.wait(1)


def application_answers(rig: Rig) -> bool:
    acked = rig.bus.start(ADDRESS, reading=False)
    rig.bus.stop()
    return acked


def let_the_loader_reset_the_chip(rig: Rig) -> None:
    rig.wait(50)  # V11.3 has not waited for its erase
    assert rig.send(b"\x31") == 1  # the complement never comes
    rig.wait(1_100)


@pytest.mark.parametrize("version", [3, 4])
def test_the_order_starts_the_loader(version: int) -> None:
    rig = whole_chip(version, application())
    order_into_loader(rig)
    assert rig.in_step()
    assert rig.starts == 1
    assert not application_answers(rig)


@pytest.mark.parametrize("erased", [False, True], ids=["intact", "page 0 erased"])
def test_system_resets_lead_to_the_loader_again(erased: bool) -> None:
    rig = whole_chip(4, application())
    order_into_loader(rig)
    if erased:
        assert rig.erase(0) == ACK
    let_the_loader_reset_the_chip(rig)
    assert rig.starts == 2
    assert rig.in_step()
    rig.reset()
    assert rig.starts == 3
    assert rig.in_step()


@pytest.mark.parametrize("erased", [False, True], ids=["intact", "page 0 erased"])
def test_v11_3_is_lost_at_a_system_reset(erased: bool) -> None:
    rig = whole_chip(3, application())
    order_into_loader(rig)
    if erased:
        assert rig.erase(0) == ACK
    let_the_loader_reset_the_chip(rig)
    assert not rig.in_step()
    assert application_answers(rig) != erased
    rig.power_cycle()
    assert rig.in_step() == erased


@pytest.mark.parametrize("installed", [True, False], ids=["after the order", "on a blank chip"])
def test_an_application_started_by_go_is_what_a_reset_leads_to_again(installed: bool) -> None:
    rig = whole_chip(4, application() if installed else b"")
    if installed:
        order_into_loader(rig)
    else:
        rig.flash.load(application("1.1.0"))
    in_loader = rig.chip.empty_flag
    assert in_loader
    assert rig.command(0x21) == ACK
    assert rig.ask(word(FLASH)) == ACK
    for _ in range(2):
        rig.wait(1)
        assert rig.running is Running.APPLICATION
        assert not rig.chip.empty_flag
        assert application_answers(rig)
        rig.reset()
    assert rig.starts == 1
