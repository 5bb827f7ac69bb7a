"""What the chip boots, and when it samples its pins, option bytes and flash."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from stm32sim.chip import option_bytes
from stm32sim.chip.application import COMMAND_REGISTER, KnownImage, known_images
from stm32sim.chip.flash import Cell
from stm32sim.chip.option_bytes import (
    BOR_RISING_MV,
    FACTORY,
    OPTR,
    SECR,
    WRP1AR,
    WRP1BR,
    OptionBytes,
)
from stm32sim.chip.quirks import Quirks
from stm32sim.chip.stm32 import DISCHARGE, LEAST_START_UP, START_UP, NotModelled, Running, Stm32
from stm32sim.wires.clock import NS_PER_MS, NS_PER_US, Clock
from tests.simulator.rig import ACK, APP, APP_ADDRESS, BOOT0, BOOT1, BOOT_SEL, FLASH, Rig, word

LOADER, APPLICATION, CRASHED = Running.LOADER, Running.APPLICATION, Running.CRASHED
OTHER = KnownImage(b"\x77" * 64, b"\x02" * 8)
MakeRig = Callable[..., Rig]


def optr(*, boot_sel: bool = True, boot1: bool = True, boot0: bool = True, rdp: int = 0xAA) -> int:
    cleared = (not boot_sel) * BOOT_SEL | (not boot1) * BOOT1 | (not boot0) * BOOT0
    return FACTORY[OPTR] & ~cleared & ~0xFF | rdp


def go(rig: Rig) -> None:
    assert rig.command(0x21) == ACK
    assert rig.ask(word(FLASH)) == ACK


def ask_application(rig: Rig, register: int, count: int) -> bytes:
    rig.bus.start(APP_ADDRESS, reading=False)
    rig.bus.write(register)
    rig.bus.start(APP_ADDRESS, reading=True)
    answer = bytes(rig.bus.read(ack=left > 1) for left in range(count, 0, -1))
    rig.bus.stop()
    return answer


# The boot table


def expected(lock: bool, boot1: bool, pin: bool, sel: bool, boot0: bool, empty: bool) -> Running:
    """RM0490 table 9 as rows: BOOT_LOCK, nBOOT1, BOOT0 pin, nBOOT_SEL, nBOOT0; None: any."""
    rows: list[tuple[tuple[bool | None, ...], str]] = [
        ((True, None, None, None, None), "main flash"),
        ((False, None, False, False, None), "main flash unless empty"),
        ((False, True, True, False, None), "system memory"),
        ((False, False, True, False, None), "SRAM"),
        ((False, None, None, True, True), "main flash unless empty"),
        ((False, True, None, True, False), "system memory"),
        ((False, False, None, True, False), "SRAM"),
    ]
    given = (lock, boot1, pin, sel, boot0)
    (source,) = [
        source
        for row, source in rows
        if all(want in (None, is_) for want, is_ in zip(row, given, strict=True))
    ]
    if source == "system memory" or (source == "main flash unless empty" and empty):
        return LOADER
    return CRASHED if empty or source == "SRAM" else APPLICATION


@pytest.mark.parametrize("row", list(itertools.product([False, True], repeat=6)))
def test_the_boot_table(make_rig: MakeRig, row: tuple[bool, ...]) -> None:
    lock, boot1, pin, sel, boot0, empty = row
    rig = make_rig(
        optr=optr(boot_sel=sel, boot1=boot1, boot0=boot0),
        boot0=pin,
        content=b"" if empty else APP.content,
        powered=False,
    )
    rig.options.store(SECR, lock << 16)
    rig.power_cycle()
    assert rig.running is expected(*row)


def test_a_factory_part_ignores_boot0(make_rig: MakeRig) -> None:
    rig = make_rig(optr=FACTORY[OPTR], content=APP.content, boot0=True)
    assert rig.running is APPLICATION


def test_a_blank_factory_part_is_in_its_loader(make_rig: MakeRig) -> None:
    assert make_rig(optr=FACTORY[OPTR], boot0=False).running is LOADER


def test_nothing_answers_before_start_up_is_over(make_rig: MakeRig) -> None:
    rig = make_rig(powered=False, start_up=START_UP)
    rig.chip.power(True)
    rig.clock.advance(START_UP - 200 * NS_PER_US)
    assert rig.send(b"\x01\xfe") == -1
    assert rig.running is Running.RESET
    rig.clock.advance(200 * NS_PER_US)
    assert rig.running is LOADER
    assert rig.in_step()


# Pins


def test_boot0_is_looked_at_when_nrst_rises(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content, boot0=False)
    assert rig.running is APPLICATION
    rig.chip.boot0(True)
    rig.wait(10)
    assert rig.running is APPLICATION
    rig.chip.nrst(False)
    rig.chip.boot0(False)
    rig.wait(1)
    rig.chip.boot0(True)
    rig.chip.nrst(True)
    rig.chip.boot0(False)  # too late
    rig.wait(1)
    assert rig.running is LOADER
    rig.chip.nrst(False)
    rig.chip.boot0(True)
    rig.chip.boot0(False)
    rig.chip.nrst(True)
    rig.chip.boot0(True)  # too late
    rig.wait(1)
    assert rig.running is APPLICATION


def test_a_part_starts_up_more_slowly_than_its_documented_minimum() -> None:
    """By default, and within the 5 ms that hosts wait."""
    assert 5 * LEAST_START_UP < START_UP < 5 * NS_PER_MS
    clock = Clock()
    chip = Stm32(clock)
    chip.power(True)
    clock.advance(START_UP - 1)
    assert chip.running is Running.RESET
    clock.advance(1)
    assert chip.running is LOADER


def test_nothing_runs_while_nrst_is_low(rig: Rig) -> None:
    rig.chip.nrst(False)
    rig.wait(1_000)
    assert rig.running is Running.RESET
    assert rig.send(b"\x01\xfe") == -1
    rig.power_cycle()
    assert rig.running is Running.RESET
    rig.chip.nrst(True)
    rig.wait(1)
    assert rig.in_step()


def test_nothing_runs_without_supply(rig: Rig) -> None:
    rig.chip.power(False)
    rig.chip.nrst(False)
    rig.chip.nrst(True)
    rig.wait(10)
    assert rig.running is Running.OFF
    assert rig.send(b"\x01\xfe") == -1


def test_a_start_up_cut_short_starts_over(rig: Rig) -> None:
    for _ in range(5):
        rig.chip.nrst(False)
        rig.chip.nrst(True)
        rig.clock.advance(LEAST_START_UP - 1)
        assert rig.running is Running.RESET
    assert rig.starts == 1
    rig.clock.advance(1)
    assert rig.starts == 2


def test_a_debugger_forces_boot0_low_until_the_next_power_on(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    rig.chip.attach_debugger()
    for _ in range(3):
        rig.reset()
        assert rig.running is APPLICATION
    rig.power_cycle()
    assert rig.running is LOADER


# Brown-outs


def dip(rig: Rig, ns: int) -> None:
    rig.chip.power(False)
    rig.clock.advance(ns)
    rig.chip.power(True)
    rig.wait(1)


@pytest.mark.parametrize(("away", "running"), [(DISCHARGE - 1, APPLICATION), (DISCHARGE, LOADER)])
def test_a_supply_that_does_not_discharge_keeps_the_debugger_latch(
    make_rig: MakeRig, away: int, running: Running
) -> None:
    rig = make_rig(content=APP.content)
    rig.chip.attach_debugger()
    dip(rig, away)
    assert rig.running is running


@pytest.mark.parametrize(("away", "running"), [(DISCHARGE - 1, CRASHED), (DISCHARGE, LOADER)])
def test_a_supply_that_does_not_discharge_loads_no_option_bytes_and_no_empty_flag(
    make_rig: MakeRig, away: int, running: Running
) -> None:
    rig = make_rig(content=APP.content, boot0=False)
    rig.flash.start_mass_erase()
    rig.wait(50)
    dip(rig, away)
    assert rig.running is running


def test_a_brown_out_costs_what_any_loss_of_power_does(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    rig.flash.start_page_erase(0)
    rig.wait(1)
    before = bytes(rig.chip.ram)
    dip(rig, NS_PER_US)
    assert rig.chip.ram != before
    assert len(rig.flash.weak_granules()) == 256
    assert rig.starts == 2 and rig.in_step()


def test_the_first_power_on_is_none_of_these(make_rig: MakeRig) -> None:
    rig = make_rig(powered=False, boot0=False)
    rig.chip.power(True)
    rig.wait(1)
    assert rig.running is LOADER


@pytest.mark.parametrize(
    ("rdp", "boot_sel", "at_risk"),
    [(0xBB, False, True), (0xBB, True, False), (0xAA, False, False)],
)
def test_a_power_on_that_fails_to_boot_fails_until_the_next(
    make_rig: MakeRig, rdp: int, boot_sel: bool, at_risk: bool
) -> None:
    rig = make_rig(
        quirks=Quirks(4, may_fail_to_boot=True),
        optr=optr(boot_sel=boot_sel, rdp=rdp),
        content=APP.content,
        boot0=False,
    )
    failed = 0
    for _ in range(60):
        rig.power_cycle()
        before = rig.running
        rig.reset()
        assert rig.running is before
        failed += before is CRASHED
    assert (0 < failed < 30) if at_risk else not failed


@pytest.mark.parametrize("level", range(4))
def test_a_brown_out_level_above_the_supply_holds_the_chip_in_reset(
    make_rig: MakeRig, level: int
) -> None:
    for bor_en, millivolts, running in (
        (1, BOR_RISING_MV[level] - 1, Running.RESET),
        (1, BOR_RISING_MV[level], LOADER),
        (0, BOR_RISING_MV[level] - 1, LOADER),
    ):
        rig = make_rig(optr=FACTORY[OPTR] & ~(0xF << 8) | bor_en << 8 | level << 9, powered=False)
        rig.chip.supply_mv = millivolts
        rig.power_cycle()
        rig.reset()
        assert rig.running is running
        assert (rig.send(b"\x01\xfe") == 2) is (running is LOADER)


# The EMPTY flag


def test_after_the_first_programming_a_reset_leads_back_to_the_loader(make_rig: MakeRig) -> None:
    rig = make_rig(boot0=False)
    assert rig.write(FLASH, APP.content) == ACK
    rig.reset()
    assert rig.running is LOADER
    rig.chip.system_reset()
    rig.wait(1)
    assert rig.running is LOADER
    rig.power_cycle()
    assert rig.running is APPLICATION


def test_go_starts_the_application_but_does_not_clear_the_flag(make_rig: MakeRig) -> None:
    stranger = KnownImage(APP.content, APP.version, enters_loader=False)
    rig = make_rig(applications=known_images(stranger), boot0=False)
    rig.write(FLASH, APP.content)
    go(rig)
    assert rig.running is APPLICATION
    rig.reset()
    assert rig.running is LOADER


def test_an_application_that_clears_the_flag_is_what_a_reset_leads_to(make_rig: MakeRig) -> None:
    rig = make_rig(boot0=False)
    rig.write(FLASH, APP.content)
    go(rig)
    rig.reset()
    assert rig.running is APPLICATION


def test_after_an_erase_of_a_programmed_part_a_reset_runs_empty_flash(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    rig.chip.boot0(False)
    assert rig.mass_erase() == ACK
    rig.reset()
    assert rig.running is CRASHED
    assert rig.send(b"\x01\xfe") == -1
    rig.power_cycle()
    assert rig.running is LOADER


def test_the_flag_looks_at_the_first_word_only(make_rig: MakeRig) -> None:
    rig = make_rig(content=b"\xff" * 4 + APP.content, boot0=False)
    assert rig.running is LOADER
    rig = make_rig(content=b"\xff\xff\xff\x20", boot0=False)
    assert rig.running is CRASHED


def test_a_torn_first_granule_is_not_empty(make_rig: MakeRig) -> None:
    rig = make_rig(powered=False, boot0=False)
    rig.flash.cells[0] = Cell.TORN
    rig.power_cycle()
    assert rig.running is CRASHED
    rig.chip.boot0(True)
    rig.reset()
    assert rig.running is LOADER


def test_a_first_granule_that_was_programmed_with_ones_is_empty(make_rig: MakeRig) -> None:
    rig = make_rig(content=b"\xff" * 8 + APP.content[8:], boot0=False)
    assert rig.chip.empty_flag and rig.running is LOADER


def test_v11_3_clears_the_flag_so_a_reset_while_empty_is_fatal(make_rig: MakeRig) -> None:
    rig = make_rig(version=3, boot0=False)
    assert rig.in_step()
    rig.reset()
    assert rig.running is CRASHED
    rig.reset()
    assert rig.running is CRASHED
    rig.power_cycle()
    assert rig.running is LOADER


def test_v11_3_runs_the_application_after_the_first_programming(make_rig: MakeRig) -> None:
    rig = make_rig(version=3, boot0=False)
    rig.write(FLASH, APP.content)
    rig.reset()
    assert rig.running is APPLICATION


def test_v11_3_that_resets_itself_while_flash_is_empty_is_gone(make_rig: MakeRig) -> None:
    rig = make_rig(version=3, boot0=False)
    rig.send(b"\x01")
    rig.wait(1_100)
    assert rig.running is CRASHED


# Main flash


def test_what_is_no_sound_application_crashes(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content[:-1] + b"\x00", boot0=False)
    assert rig.running is CRASHED
    assert rig.send(b"\x01\xfe") == -1


@pytest.mark.parametrize("granule", [0, 1, 15])
def test_an_application_with_a_torn_granule_does_not_run_even_if_its_bytes_are_right(
    make_rig: MakeRig, granule: int
) -> None:
    rig = make_rig(content=APP.content, boot0=False)
    rig.flash.cells[granule] = Cell.TORN
    rig.reset()
    assert rig.running is CRASHED
    rig.chip.boot0(True)
    rig.reset()
    go(rig)
    rig.wait(1)
    assert rig.running is CRASHED


def test_a_torn_granule_outside_the_application_does_not_matter(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content, boot0=False)
    rig.flash.cells[16] = Cell.TORN
    rig.reset()
    assert rig.running is APPLICATION


def test_a_weak_application_runs_for_now(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content, boot0=False)
    rig.flash.cells[3] = Cell.WEAK_PROGRAMMED
    rig.reset()
    assert rig.running is APPLICATION


def test_a_weak_application_may_be_broken_by_a_power_on(make_rig: MakeRig) -> None:
    ran = []
    for seed in range(40):
        rig = make_rig(content=APP.content, boot0=False)
        rig.flash.cells[3] = Cell.WEAK_PROGRAMMED
        rig.flash.randomness.seed(seed)
        rig.power_cycle()
        ran.append(rig.running is APPLICATION)
        rig.reset()
        assert (rig.running is APPLICATION) == ran[-1]  # until the next power-on
    assert 20 < ran.count(True) < 40


def vectors(reset: int, nmi: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in (0x2000_9000, reset, nmi, nmi))


HANDLER, NOWHERE = FLASH + 0x41, 0x2000_0001
PART, ALL, NOTHING = "part", "all", "nothing"  # of the executed application
WHOLE = KnownImage(vectors(FLASH + 0xC1, HANDLER) + bytes(range(112)), b"\x03" * 8)


@pytest.mark.parametrize(
    ("torn", "content", "ran"),
    [
        ((), WHOLE.content[:-1], PART),
        ((0,), WHOLE.content[:-1], PART),  # NMI
        ((0,), WHOLE.content, ALL),  # entered at a wrong address, but complete
        ((0,), vectors(0, HANDLER + 4) + WHOLE.content[16:], ALL),
        ((), vectors(FLASH + 0xC1, HANDLER + 4) + WHOLE.content[16:], PART),
        ((0, 15), WHOLE.content, PART),
        ((0, 1), WHOLE.content[:-1], NOTHING),  # a lockup
        ((0,), vectors(HANDLER, HANDLER - 1) + WHOLE.content[16:], NOTHING),
        ((0,), vectors(HANDLER, NOWHERE) + WHOLE.content[16:], NOTHING),
        ((0,), vectors(HANDLER, 0) + WHOLE.content[16:], NOTHING),
        ((0,), vectors(HANDLER, 0xFFFF_FFFF) + WHOLE.content[16:], NOTHING),
        ((), vectors(0, HANDLER) + WHOLE.content[16:-1], NOTHING),
    ],
)
def test_a_torn_first_granule_runs_the_handler_of_its_fault(
    make_rig: MakeRig, torn: tuple[int, ...], content: bytes, ran: str
) -> None:
    rig = make_rig(content=content, applications=known_images(WHOLE), boot0=False, powered=False)
    for granule in torn:
        rig.flash.cells[granule] = Cell.TORN
    rig.power_cycle()
    assert rig.running is CRASHED
    boot = rig.chip.boots[-1]
    assert (boot.ran_partial_application, boot.by_wrong_door) == (ran == PART, ran == ALL)


def test_the_history_tells_what_ran_from_which_flash(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    rig.chip.boot0(False)
    rig.reset()
    boots = rig.chip.boots
    assert [boot.running for boot in boots] == [LOADER, APPLICATION]
    assert boots[1].flash is not None and boots[1].flash.startswith(APP.content)
    assert boots[0].instant == DISCHARGE + LEAST_START_UP


# The application


def test_the_application_answers_who_it_is(make_rig: MakeRig) -> None:
    rig = make_rig(content=OTHER.content, applications=known_images(APP, OTHER), boot0=False)
    assert ask_application(rig, 0x00, 4) == b"G071"
    assert ask_application(rig, 0x01, 8) == b"\x02" * 8
    assert ask_application(rig, 0x77, 2) == b"\xff\xff"


def test_a_mute_application_does_not_answer(make_rig: MakeRig) -> None:
    mute = KnownImage(APP.content, b"\x01" * 8, answers=False)
    rig = make_rig(content=APP.content, applications=known_images(mute), boot0=False)
    assert rig.running is APPLICATION
    assert not rig.bus.start(APP_ADDRESS, reading=True)


def command_application(rig: Rig, frame: bytes) -> None:
    rig.bus.start(APP_ADDRESS, reading=False)
    for byte in frame:
        rig.bus.write(byte)


ENTER = bytes([COMMAND_REGISTER]) + b"BOOT"


def test_the_application_enters_the_loader_when_told_and_that_takes_its_time(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(content=APP.content, boot0=False)
    command_application(rig, ENTER)
    rig.bus.stop()
    assert rig.send(b"\x01\xfe") == -1
    rig.wait(1)
    assert rig.running is LOADER
    assert rig.in_step()


def test_a_jump_into_system_memory_takes_its_time_too(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content, boot0=False)
    rig.chip.enter_system_memory()
    assert rig.send(b"\x01\xfe") == -1
    rig.wait(1)
    assert rig.in_step()


def test_the_loader_is_not_lost_before_the_application_has_run_or_power_has_been_off(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(content=APP.content, boot0=False)
    for leave in (go, Rig.power_cycle):
        command_application(rig, ENTER)
        rig.bus.stop()
        for _ in range(3):
            rig.reset()
            assert rig.running is LOADER
        leave(rig)
        rig.wait(1)
        assert rig.running is APPLICATION
        rig.reset()
        assert rig.running is APPLICATION


@pytest.mark.parametrize("frame", [ENTER[:-1], ENTER + b"\x00", b"\x10boot", ENTER[1:]])
def test_anything_but_the_exact_command_is_ignored(make_rig: MakeRig, frame: bytes) -> None:
    rig = make_rig(content=APP.content, boot0=False)
    command_application(rig, frame)
    rig.bus.stop()
    rig.wait(10)
    assert rig.running is APPLICATION


@pytest.mark.parametrize("address", [APP_ADDRESS, 0x30])
def test_a_command_without_its_stop_is_none(make_rig: MakeRig, address: int) -> None:
    rig = make_rig(content=APP.content, boot0=False)
    command_application(rig, ENTER)
    rig.bus.start(address, reading=True)
    rig.bus.stop()
    rig.wait(10)
    assert rig.running is APPLICATION


def test_v11_3_is_lost_at_the_next_reset(make_rig: MakeRig) -> None:
    rig = make_rig(version=3, content=APP.content, boot0=False)
    command_application(rig, ENTER)
    rig.bus.stop()
    rig.wait(1)
    assert rig.running is LOADER
    rig.reset()
    assert rig.running is APPLICATION


def test_a_jump_into_the_loader_counts_for_v11_3_as_a_start(make_rig: MakeRig) -> None:
    rig = make_rig(version=3, content=APP.content, boot0=False)
    rig.chip.set_empty_flag(True)
    rig.chip.enter_system_memory()
    rig.wait(1)
    assert rig.running is LOADER
    assert not rig.chip.empty_flag


# Option bytes


def test_option_bytes_take_effect_at_power_on_only(make_rig: MakeRig) -> None:
    rig = make_rig(optr=FACTORY[OPTR], content=APP.content)
    assert rig.running is APPLICATION
    rig.options.store(OPTR, optr(boot_sel=False))
    rig.reset()
    assert rig.running is APPLICATION
    rig.power_cycle()
    assert rig.running is LOADER


def test_write_protection_takes_effect_at_power_on_only(rig: Rig) -> None:
    rig.options.store(WRP1AR, 3 << 16 | 2)
    rig.reset()
    assert rig.flash.write_protected == set()
    rig.power_cycle()
    assert rig.flash.write_protected == {2, 3}
    rig.options.store(WRP1BR, 63 << 16 | 63)
    rig.power_cycle()
    assert rig.flash.write_protected == {2, 3, 63}


@pytest.mark.parametrize(
    ("area", "pages"),
    [
        (0x0000_003F, set()),
        (0x0000_0000, {0}),
        (0x003F_0000, set(range(64))),
        (0x0004_0005, set()),
    ],
)
def test_a_write_protected_area_runs_from_start_to_end_or_is_none(
    area: int, pages: set[int]
) -> None:
    options = OptionBytes()
    options.store(WRP1AR, area)
    assert options.load().protected_pages(64) == pages


@pytest.mark.parametrize("register", FACTORY)
@pytest.mark.parametrize("half", [0, 4], ids=["word", "complement"])
@pytest.mark.parametrize("how", ["power", "reset"])
def test_a_torn_option_word_locks_the_chip_at_the_next_reset(
    make_rig: MakeRig, register: int, half: int, how: str
) -> None:
    rig = make_rig(content=APP.content)
    rig.options.data[register + half + 1] ^= 0x10
    assert rig.running is LOADER
    if how == "power":
        rig.power_cycle()
    else:
        rig.reset()
    assert rig.running is Running.LOCKED
    assert rig.send(b"\x01\xfe") == -1
    for _ in range(3):
        rig.reset()
        rig.power_cycle()
    assert rig.running is Running.LOCKED


def test_erased_option_bytes_lock_the_chip() -> None:
    options = OptionBytes()
    options.data[:] = b"\xff" * 128
    loaded = options.load()
    assert not loaded.valid
    assert loaded.rdp_level == 1 and loaded.boot_lock


@pytest.mark.parametrize(("rdp", "level"), [(0xAA, 0), (0xCC, 2), (0xBB, 1), (0x00, 1), (0xFF, 1)])
def test_the_protection_level_is_a_whole_byte(rdp: int, level: int) -> None:
    options = OptionBytes()
    options.store(OPTR, optr(rdp=rdp))
    assert options.load().rdp_level == level


@pytest.mark.parametrize("empty", [False, True])
def test_level_2_never_boots_the_loader(make_rig: MakeRig, empty: bool) -> None:
    content = b"" if empty else APP.content
    rig = make_rig(optr=optr(boot_sel=False, rdp=0xCC), content=content, boot0=True)
    assert rig.running is (CRASHED if empty else APPLICATION)


def test_level_1_boots_the_loader(make_rig: MakeRig) -> None:
    assert make_rig(optr=optr(boot_sel=False, rdp=0xBB)).running is LOADER


@pytest.mark.parametrize(
    ("register", "value"),
    [
        (OPTR, FACTORY[OPTR] & ~(1 << 16)),  # IWDG_SW
        (OPTR, FACTORY[OPTR] & ~(1 << 22)),  # RAM_PARITY_CHECK
        (OPTR, FACTORY[OPTR] & ~(1 << 27)),  # NRST as GPIO
        (OPTR, FACTORY[OPTR] & ~(2 << 27)),  # NRST as input only
        (option_bytes.PCROP1ASR, 0),
        (option_bytes.PCROP1BER, 0x1FF),
    ],
)
def test_options_that_change_what_is_not_modelled_say_so(
    make_rig: MakeRig, register: int, value: int
) -> None:
    rig = make_rig(powered=False)
    rig.options.store(register, value)
    with pytest.raises(NotModelled, match="option bytes"):
        rig.power_cycle()
