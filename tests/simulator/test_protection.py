"""Readout protection, write protection, and the ways out of them, frame by frame."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stm32sim.chip.crc import crc_stm32
from stm32sim.chip.flash import PAGE, TAPS, TYPICAL, Cell
from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.chip.option_bytes import FACTORY, OPTR, WRP1AR, WRP1BR
from stm32sim.chip.quirks import FOREVER, Quirks
from stm32sim.chip.stm32 import Running
from stm32sim.in_process import Bench
from stm32sim.wires.bus import Stretched
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S
from tests.simulator.rig import (
    ACK,
    APP,
    BOOT_SEL,
    BUSY,
    FLASH,
    NACK,
    OPTIONS,
    Rig,
    data_frame,
    pages_frame,
    word,
)

LOADER, APPLICATION, CRASHED = Running.LOADER, Running.APPLICATION, Running.CRASHED
RESET, LOCKED, OFF = Running.RESET, Running.LOCKED, Running.OFF
MakeRig = Callable[..., Rig]
BLOCK = bytes(range(256))
LEVEL_0 = FACTORY[OPTR] & ~BOOT_SEL
LEVEL_1 = LEVEL_0 & ~0xFF | 0xBB
LEVEL_2 = LEVEL_0 & ~0xFF | 0xCC
PROTECT, UNPROTECT = (0x82, 0x83), (0x92, 0x93)
WRITE_PROTECT, WRITE_UNPROTECT = (0x63, 0x64), (0x73, 0x74)
UNPROTECT_TIME = TYPICAL.mass_erase + 2 * TYPICAL.option  # once for the level, once for PCROP


def optr(value: int) -> bytes:
    return value.to_bytes(4, "little")


def blank(rig: Rig) -> bool:
    return bool(rig.flash.data == b"\xff" * rig.flash.size) and not rig.flash.weak_granules()


def stored(rig: Rig) -> int:
    return rig.options.word(OPTR)


# Into level 1


@pytest.mark.parametrize("code", PROTECT)
def test_readout_protect_is_a_code_and_two_acks(make_rig: MakeRig, code: int) -> None:
    rig = make_rig(content=APP.content)
    assert rig.ask(bytes([code, code ^ 0xFF])) == ACK
    began = rig.clock.now
    assert rig.final() == ACK
    assert rig.clock.now - began >= TYPICAL.option
    assert rig.running is RESET
    rig.wait(1)
    assert rig.running is LOADER
    assert rig.chip.rdp_level == 1
    assert stored(rig) == LEVEL_1


@pytest.mark.parametrize("code", PROTECT)
def test_readout_protect_answers_busy_or_holds_scl(make_rig: MakeRig, code: int) -> None:
    rig = make_rig()
    assert rig.command(code) == ACK
    began = rig.clock.now
    assert rig.status() == (BUSY if code == 0x83 else ACK)
    assert (rig.clock.now - began > TYPICAL.option) == (code == 0x82)


@pytest.mark.parametrize("rdp", [0xBB, 0x00, 0xFF, 0xAB])
def test_any_other_byte_written_to_the_options_protects_too(make_rig: MakeRig, rdp: int) -> None:
    rig = make_rig(content=APP.content)
    assert rig.write_options(optr(LEVEL_0 & ~0xFF | rdp)) == ACK
    assert rig.chip.rdp_level == 1
    assert rig.flash.data.startswith(APP.content)


def test_nothing_is_protected_before_the_launch(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.command(0x83)
    rig.wait(30)
    assert stored(rig) == LEVEL_1
    assert rig.chip.rdp_level == 0


@pytest.mark.parametrize("code", PROTECT)
def test_the_ack_of_readout_protect_may_get_lost(make_rig: MakeRig, code: int) -> None:
    rig = make_rig(quirks=Quirks(4, option_ack="lost"))
    assert rig.command(code) == ACK
    if code == 0x83:
        assert rig.final() in (None, 0xFF)  # reset before, or while, the byte was read
    else:
        rig.bus.start(I2C_ADDRESS, reading=True)
        assert rig.bus.read(ack=False) == 0xFF  # reset while it held SCL
        rig.bus.stop()
    rig.wait(1)
    assert rig.chip.rdp_level == 1


@pytest.mark.parametrize("how", ["command", "options"])
def test_new_protection_needs_a_power_on_before_the_application_runs(
    make_rig: MakeRig, how: str
) -> None:
    rig = make_rig(content=APP.content)
    if how == "command":
        rig.protection(0x82)
    else:
        rig.write_options(optr(LEVEL_1))
    rig.chip.boot0(False)
    for _ in range(2):
        rig.reset()
        assert rig.running is CRASHED
        assert "power-on" in rig.chip.boots[-1].reason
    rig.chip.boot0(True)
    rig.reset()
    assert rig.in_step()
    rig.chip.boot0(False)
    rig.power_cycle()
    assert rig.running is APPLICATION
    rig.reset()
    assert rig.running is APPLICATION


def test_another_launch_is_no_power_on(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    rig.protection(0x82)
    rig.chip.boot0(False)
    rig.chip.launch_options()
    rig.wait(1)
    assert rig.running is CRASHED


def test_level_1_that_was_there_at_power_on_needs_no_other(make_rig: MakeRig) -> None:
    rig = make_rig(optr=LEVEL_1, content=APP.content, boot0=False)
    assert rig.running is APPLICATION
    rig.chip.launch_options()
    rig.wait(1)
    assert rig.running is APPLICATION


def test_a_launch_that_stays_at_level_0_needs_no_power_on(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    rig.chip.boot0(False)
    assert rig.write_options(optr(LEVEL_0)) == ACK
    assert rig.running is APPLICATION


def test_back_at_level_0_the_power_on_is_still_due(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    rig.protection(0x82)
    assert rig.protection(0x93) == ACK
    assert rig.write(FLASH, APP.content) == ACK
    for frame in (b"\x11\xee", word(FLASH), b"\x00\xff"):
        assert rig.ask(frame) == ACK
    assert rig.held()
    rig.chip.boot0(False)
    rig.reset()
    assert rig.running is LOADER  # EMPTY was set by the launch
    rig.chip.set_empty_flag(False)
    rig.reset()
    assert rig.running is CRASHED
    rig.power_cycle()
    assert rig.running is APPLICATION


# At level 1

REFUSED = [0x11, 0x21, 0x31, 0x32, 0x44, 0x45, 0x63, 0x64, 0x73, 0x74, 0x82, 0x83]


@pytest.mark.parametrize("code", REFUSED)
def test_level_1_refuses_at_the_command_code(make_rig: MakeRig, code: int) -> None:
    rig = make_rig(optr=LEVEL_1, content=BLOCK)
    assert rig.command(code) == NACK
    assert rig.in_step()
    rig.wait(100)
    assert rig.flash.data.startswith(BLOCK) and stored(rig) == LEVEL_1
    assert rig.starts == 1


def identify(rig: Rig) -> None:
    assert rig.command(0x00) == ACK
    assert rig.receive(20)[:2] == b"\x12\x12"
    assert rig.status() == ACK
    assert rig.command(0x02) == ACK
    assert rig.receive(3) == b"\x01\x04\x60"
    assert rig.status() == ACK
    assert rig.in_step()


def test_level_1_still_tells_what_the_loader_is(make_rig: MakeRig) -> None:
    identify(make_rig(optr=LEVEL_1, content=BLOCK))


def ask_checksum(rig: Rig) -> None:
    assert rig.command(0xA1) == ACK
    assert rig.ask(word(FLASH)) == ACK
    assert rig.ask(word(256)) == ACK


def test_the_checksum_command_is_there_at_level_1_but_flash_is_a_bus_error(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(optr=LEVEL_1, content=BLOCK)
    ask_checksum(rig)
    assert rig.held(30_000)
    rig.reset()
    assert rig.in_step()


def test_the_checksum_may_be_computed_at_level_1(make_rig: MakeRig) -> None:
    rig = make_rig(quirks=Quirks(4, checksum_when_protected=True), optr=LEVEL_1, content=BLOCK)
    ask_checksum(rig)
    assert rig.final() == ACK
    assert rig.receive(5)[:4] == crc_stm32(BLOCK).to_bytes(4, "big")
    rig.flash.cells[31] = Cell.TORN
    ask_checksum(rig)
    assert rig.held(30_000)


def test_level_1_leaves_the_debug_port_open(make_rig: MakeRig) -> None:
    assert make_rig(optr=LEVEL_1).chip.debug_port_open


# Out of level 1


@pytest.mark.parametrize("level", [LEVEL_0, LEVEL_1])
@pytest.mark.parametrize("code", UNPROTECT)
def test_readout_unprotect_erases_all_and_resets(make_rig: MakeRig, code: int, level: int) -> None:
    rig = make_rig(optr=level, content=BLOCK * 512, boot0=True)
    assert rig.ask(bytes([code, code ^ 0xFF])) == ACK
    began = rig.clock.now
    assert rig.final() == ACK
    assert UNPROTECT_TIME <= rig.clock.now - began < UNPROTECT_TIME + 2 * NS_PER_MS
    assert blank(rig)
    assert rig.running is RESET
    rig.chip.boot0(False)
    rig.reset()
    assert rig.running is LOADER  # EMPTY was set by the launch
    assert rig.chip.rdp_level == 0
    assert stored(rig) == LEVEL_0
    assert rig.write(FLASH, BLOCK) == ACK
    assert rig.read(FLASH, 256) == BLOCK


def test_all_other_options_keep_their_values(make_rig: MakeRig) -> None:
    rig = make_rig(optr=LEVEL_1 & ~(1 << 8), protected=(2, 5))
    rig.options.store(WRP1BR, 63 << 16 | 60)
    rig.power_cycle()
    assert rig.protection(0x93) == ACK
    assert stored(rig) == LEVEL_0 & ~(1 << 8)
    assert rig.options.word(WRP1AR) == 5 << 16 | 2
    assert rig.options.word(WRP1BR) == 63 << 16 | 60
    assert rig.flash.write_protected == {2, 3, 4, 5, 60, 61, 62, 63}


def test_at_level_1_write_protected_pages_are_erased_too(make_rig: MakeRig) -> None:
    rig = make_rig(optr=LEVEL_1, protected=(0, 3), content=BLOCK * 512)
    assert rig.protection(0x93) == ACK
    assert blank(rig)


@pytest.mark.parametrize("ack", ["late", "early", "never"])
def test_at_level_0_a_write_protected_page_makes_it_fail(make_rig: MakeRig, ack: str) -> None:
    rig = make_rig(quirks=Quirks(4, unprotect_ack=ack), protected=(9, 9), content=BLOCK)
    assert rig.command(0x93) == ACK
    if ack != "never":
        assert rig.final() == (NACK if ack == "late" else ACK)
    rig.wait(100)
    assert rig.starts == 1
    assert rig.in_step()
    assert rig.flash.data.startswith(BLOCK)


def test_options_that_were_rewritten_first_do_not_make_a_refused_erase_good(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(quirks=Quirks(4, erases_first=False), protected=(9, 9), content=BLOCK)
    assert rig.protection(0x93) == NACK
    assert rig.starts == 1
    assert rig.flash.data.startswith(BLOCK)


def test_where_errors_are_cleared_a_refused_erase_still_ends_it(make_rig: MakeRig) -> None:
    for erases_first in (True, False):
        quirks = Quirks(4, clears_errors=True, erases_first=erases_first)
        rig = make_rig(quirks=quirks, protected=(9, 9), content=BLOCK)
        assert rig.protection(0x93) == NACK
        assert rig.flash.option_operations == (0 if erases_first else 1)
        assert rig.starts == 1


def test_where_errors_are_cleared_it_succeeds_after_one(make_rig: MakeRig) -> None:
    rig = make_rig(quirks=Quirks(4, clears_errors=True), content=BLOCK)
    rig.write(FLASH, bytes([7]) * 8)
    assert rig.protection(0x93) == ACK
    assert blank(rig)


def test_after_an_earlier_error_it_fails(make_rig: MakeRig) -> None:
    rig = make_rig(content=BLOCK)
    rig.write(FLASH, bytes([7]) * 8)
    assert rig.protection(0x93) == NACK
    assert rig.starts == 1
    rig.reset()
    assert rig.protection(0x93) == ACK
    assert blank(rig)


def test_it_heals_torn_and_weak_flash(make_rig: MakeRig) -> None:
    rig = make_rig(optr=LEVEL_1, content=BLOCK)
    rig.flash.cells[0] = Cell.TORN
    rig.flash.cells[3] = Cell.WEAK_PROGRAMMED
    assert rig.protection(0x93) == ACK
    assert blank(rig)


def test_the_late_ack_that_nobody_fetches_leaves_the_launch_undone(make_rig: MakeRig) -> None:
    rig = make_rig(optr=LEVEL_1, content=BLOCK)
    assert rig.command(0x93) == ACK
    rig.wait(2_000)
    assert rig.starts == 2  # it gave up, and reset itself
    assert blank(rig) and stored(rig) == LEVEL_0
    assert rig.command(0x11) == NACK
    rig.power_cycle()
    assert rig.read(FLASH, 4) == b"\xff" * 4


def test_the_early_ack_comes_before_anything_begins(make_rig: MakeRig) -> None:
    rig = make_rig(quirks=Quirks(4, unprotect_ack="early"), optr=LEVEL_1, content=BLOCK)
    assert rig.command(0x93) == ACK
    rig.wait(100)
    assert rig.flash.busy is False
    assert rig.status() == ACK
    assert rig.flash.data.startswith(BLOCK)
    assert rig.status() == BUSY
    while (status := rig.status()) == BUSY:
        rig.wait(0.2)
    assert status is None  # it resets without another word
    rig.wait(1)
    assert rig.chip.rdp_level == 0 and blank(rig)
    assert rig.in_step()


def test_without_the_early_ack_being_fetched_nothing_happens(make_rig: MakeRig) -> None:
    rig = make_rig(quirks=Quirks(4, unprotect_ack="early"), optr=LEVEL_1, content=BLOCK)
    assert rig.command(0x93) == ACK
    assert rig.resets_itself()
    rig.power_cycle()
    assert rig.flash.data.startswith(BLOCK) and rig.chip.rdp_level == 1


@pytest.mark.parametrize("code", UNPROTECT)
def test_the_second_ack_may_never_come(make_rig: MakeRig, code: int) -> None:
    rig = make_rig(quirks=Quirks(4, unprotect_ack="never"), optr=LEVEL_1, content=BLOCK)
    assert rig.command(code) == ACK
    rig.wait(UNPROTECT_TIME / NS_PER_MS - 1)
    assert rig.starts == 1
    rig.wait(2)
    assert rig.starts == 2 and rig.in_step()
    assert rig.chip.rdp_level == 0 and blank(rig)


def test_only_the_no_stretch_command_answers_busy(make_rig: MakeRig) -> None:
    rig = make_rig(optr=LEVEL_1)
    rig.command(0x93)
    began = rig.clock.now
    assert rig.status() == BUSY
    assert rig.clock.now - began < NS_PER_MS
    for quirks, code in ((Quirks(4), 0x92), (Quirks(4, unprotect_answer="stretch"), 0x93)):
        rig = make_rig(quirks=quirks, optr=LEVEL_1)
        rig.command(code)
        began = rig.clock.now
        assert rig.status() == ACK
        assert rig.clock.now - began >= UNPROTECT_TIME


@pytest.mark.parametrize("code", UNPROTECT)
@pytest.mark.parametrize("ack", ["late", "early", "never"])
def test_nobody_may_be_at_the_address_meanwhile(make_rig: MakeRig, ack: str, code: int) -> None:
    quirks = Quirks(4, unprotect_answer="nack", unprotect_ack=ack)
    rig = make_rig(quirks=quirks, optr=LEVEL_1, content=BLOCK)
    assert rig.command(code) == ACK
    if ack == "early":
        assert rig.status() == ACK
    began = rig.clock.now
    while rig.clock.now - began < UNPROTECT_TIME - NS_PER_MS:
        assert rig.status() is None
        assert rig.send(b"\x01\xfe") == -1
        rig.wait(0.5)
    rig.wait(2)
    if ack == "late":
        assert rig.status() == ACK
        rig.wait(1)
    assert rig.chip.rdp_level == 0 and blank(rig)
    assert rig.in_step()


@pytest.mark.parametrize("code", UNPROTECT)
def test_it_may_take_40_s_and_end_well_if_it_is_left_alone(make_rig: MakeRig, code: int) -> None:
    quirks = Quirks(4, unprotect_delay=40 * NS_PER_S)
    rig = make_rig(quirks=quirks, optr=LEVEL_1, content=BLOCK)
    assert rig.command(code) == ACK
    began = rig.clock.now
    while (status := rig.status()) == BUSY:
        rig.wait(100)
    assert status == ACK
    assert rig.clock.now - began >= 40 * NS_PER_S + UNPROTECT_TIME
    rig.wait(1)
    assert rig.chip.rdp_level == 0 and blank(rig)


@pytest.mark.parametrize("seconds", [1, 20, 39])
@pytest.mark.parametrize("how", ["reset", "power", "system_reset"])
def test_a_reset_while_it_is_busy_for_40_s_bricks_the_chip(
    make_rig: MakeRig, how: str, seconds: int
) -> None:
    quirks = Quirks(4, unprotect_delay=40 * NS_PER_S)
    rig = make_rig(quirks=quirks, optr=LEVEL_1, content=BLOCK)
    rig.command(0x93)
    rig.wait(seconds * 1_000)
    assert rig.status() == BUSY
    {"reset": rig.reset, "power": rig.power_cycle, "system_reset": rig.chip.system_reset}[how]()
    rig.wait(1)
    assert rig.chip.bricked and rig.running is LOCKED
    assert not rig.chip.attach_debugger()
    assert rig.send(b"\x01\xfe") == -1


@pytest.mark.parametrize("answer", ["busy", "nack", "stretch"])
def test_it_may_never_end(make_rig: MakeRig, answer: str) -> None:
    quirks = Quirks(4, unprotect_delay=FOREVER, unprotect_answer=answer)
    rig = make_rig(quirks=quirks, optr=LEVEL_1, content=BLOCK)
    rig.command(0x93)
    rig.wait(365 * 24 * 3600 * 1_000)
    if answer == "stretch":
        assert rig.held(1_000_000)
    else:
        assert rig.status() == (BUSY if answer == "busy" else None)
    assert rig.starts == 1
    rig.power_cycle()
    assert rig.chip.bricked


# Cuts


def cut_readout_unprotect(rig: Rig, what: str, point: int) -> None:
    """Lose power at a point of Readout Unprotect, and come back."""

    def tap(operation: str, at: int) -> None:
        if (operation, at) == (what, point):
            rig.chip.power(False)

    rig.flash.tap = tap
    rig.command(0x93)
    rig.wait(100)
    assert rig.running is OFF
    rig.flash.tap = None
    rig.chip.power(True)
    rig.wait(1)


@pytest.mark.parametrize("point", range(TAPS["erase"]))
@pytest.mark.parametrize("level", [LEVEL_0, LEVEL_1])
def test_a_cut_while_flash_is_erased_can_be_made_good(
    make_rig: MakeRig, point: int, level: int
) -> None:
    rig = make_rig(optr=level, content=BLOCK * 512)
    cut_readout_unprotect(rig, "erase", point)
    assert not rig.chip.bricked
    assert stored(rig) == level
    assert len(rig.flash.weak_granules()) == rig.flash.size // 8
    assert rig.running is LOADER
    assert rig.protection(0x93) == ACK
    assert rig.chip.rdp_level == 0 and blank(rig)


@pytest.mark.parametrize("point", range(TAPS["option"]))
def test_a_cut_while_options_are_rewritten_cannot(make_rig: MakeRig, point: int) -> None:
    rig = make_rig(optr=LEVEL_1, content=BLOCK)
    cut_readout_unprotect(rig, "option", point)
    assert rig.chip.bricked == (point > 0)
    assert rig.running is (LOCKED if point else LOADER)
    assert blank(rig)


@pytest.mark.parametrize("point", range(TAPS["erase"]))
def test_options_may_be_rewritten_before_flash_is_erased(make_rig: MakeRig, point: int) -> None:
    rig = make_rig(quirks=Quirks(4, erases_first=False), optr=LEVEL_1, content=BLOCK)
    cut_readout_unprotect(rig, "erase", point)
    assert not rig.chip.bricked
    assert rig.chip.rdp_level == 0
    assert rig.flash.weak_granules()


@pytest.mark.parametrize("point", range(TAPS["option"]))
def test_options_that_are_rewritten_first_are_torn_first(make_rig: MakeRig, point: int) -> None:
    rig = make_rig(quirks=Quirks(4, erases_first=False), optr=LEVEL_1, content=BLOCK)
    cut_readout_unprotect(rig, "option", point)
    assert rig.chip.bricked == (point > 0)
    assert rig.flash.data.startswith(BLOCK)


def test_options_first_ends_like_erase_first(make_rig: MakeRig) -> None:
    rig = make_rig(quirks=Quirks(4, erases_first=False), optr=LEVEL_1, content=BLOCK)
    assert rig.protection(0x93) == ACK
    assert rig.chip.rdp_level == 0 and blank(rig)


# Level 2


def test_level_2_is_for_ever(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    assert rig.write_options(optr(LEVEL_2)) == ACK
    rig.power_cycle()
    assert rig.running is APPLICATION
    assert rig.chip.rdp_level == 2
    assert not rig.chip.debug_port_open
    assert not rig.chip.attach_debugger()
    assert not rig.chip.bricked
    rig.chip.set_empty_flag(True)
    rig.reset()
    assert rig.running is APPLICATION


def test_new_level_2_needs_a_power_on_too(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    rig.write_options(optr(LEVEL_2))
    assert rig.running is CRASHED
    rig.reset()
    assert rig.running is CRASHED


@pytest.mark.parametrize("code", [*REFUSED, *UNPROTECT, 0xA1])
def test_a_loader_that_is_jumped_to_at_level_2_only_tells_what_it_is(
    make_rig: MakeRig, code: int
) -> None:
    rig = make_rig(optr=LEVEL_2, content=APP.content)
    rig.chip.enter_system_memory()
    rig.wait(1)
    assert rig.running is LOADER
    assert rig.command(code) == NACK
    rig.wait(100)
    identify(rig)
    assert stored(rig) == LEVEL_2


def test_hardware_refuses_to_rewrite_options_at_level_2(make_rig: MakeRig) -> None:
    rig = make_rig(optr=LEVEL_2, content=APP.content)
    before = bytes(rig.options.data)
    assert not rig.chip.start_options({OPTR: LEVEL_0})
    rig.wait(100)
    assert rig.options.data == before


# Write protection


@pytest.mark.parametrize("code", WRITE_PROTECT)
def test_write_protect_takes_a_length_and_pairs_of_pages(make_rig: MakeRig, code: int) -> None:
    rig = make_rig(content=BLOCK * 512)
    assert rig.ask(bytes([code, code ^ 0xFF])) == ACK
    assert rig.ask(b"\x03\xfc") == ACK
    assert rig.send(b"\x01\x02\x3e\x3f\x02") == 5
    began = rig.clock.now
    assert rig.status() == (BUSY if code == 0x64 else ACK)
    assert (rig.clock.now - began > TYPICAL.option) == (code == 0x63)
    if code == 0x64:
        assert rig.final() == ACK
    assert rig.running is RESET
    rig.wait(1)
    assert rig.flash.write_protected == {1, 2, 62, 63}
    assert rig.chip.rdp_level == 0
    assert rig.in_step()


def test_one_pair_is_area_a_and_leaves_area_b(make_rig: MakeRig) -> None:
    rig = make_rig()
    assert rig.write_protect(1, 2, 10, 12) == ACK
    assert rig.flash.write_protected == {1, 2, 10, 11, 12}
    assert rig.write_protect(5, 5) == ACK
    assert rig.flash.write_protected == {5, 10, 11, 12}
    assert rig.write_protect(6, 6, 63, 0) == ACK
    assert rig.flash.write_protected == {6}


@pytest.mark.parametrize("sectors", [(3,), (63, 0), (2, 1), (63, 0, 63)])
def test_what_makes_no_area_protects_nothing_and_is_acked(
    make_rig: MakeRig, sectors: tuple[int, ...]
) -> None:
    rig = make_rig()
    assert rig.write_protect(*sectors) == ACK
    assert rig.flash.write_protected == set()
    assert rig.starts == 2


def test_pages_are_six_bits_and_what_follows_two_pairs_is_not_looked_at(rig: Rig) -> None:
    assert rig.write_protect(0x41, 0x82, 63, 0, 1, 63) == ACK
    assert rig.flash.write_protected == {1, 2}
    assert rig.options.word(WRP1AR) == 2 << 16 | 1
    assert rig.options.word(WRP1BR) == 0x3F


@pytest.mark.parametrize("code", WRITE_PROTECT)
@pytest.mark.parametrize("frames", [(b"\x01\xff",), (b"\x01\xfe", b"\x01\x02\x00")])
def test_write_protect_with_a_wrong_checksum_does_nothing(
    rig: Rig, frames: tuple[bytes, ...], code: int
) -> None:
    before = bytes(rig.options.data)
    assert rig.command(code) == ACK
    assert [rig.ask(frame) for frame in frames] == [ACK] * (len(frames) - 1) + [NACK]
    rig.wait(100)
    assert rig.options.data == before
    assert rig.starts == 1 and rig.in_step()


@pytest.mark.parametrize("code", WRITE_PROTECT)
def test_write_protect_may_take_one_frame(make_rig: MakeRig, code: int) -> None:
    quirks = Quirks(4, write_protect_in_one_frame=True)
    rig = make_rig(quirks=quirks)
    assert rig.command(code) == ACK
    rig.send(data_frame(b"\x01\x02"))
    assert rig.ended() == ACK
    assert rig.flash.write_protected == {1, 2}
    rig = make_rig(quirks=quirks)
    rig.command(code)
    rig.send(b"\x01\x01\x02\x03")
    assert rig.ended() == NACK
    assert rig.flash.write_protected == set() and rig.in_step()


def test_each_form_is_out_of_step_with_the_other(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.command(0x63)
    rig.bus.stretch_limit = 50 * NS_PER_MS
    with pytest.raises(Stretched):
        rig.send(data_frame(b"\x01\x02"))
        rig.status()
    rig.bus.abandon()
    rig.wait(2_000)
    assert rig.starts == 2
    assert rig.flash.write_protected == set()
    rig = make_rig(quirks=Quirks(4, write_protect_in_one_frame=True))
    rig.command(0x63)
    rig.send(b"\x01\xfe")
    assert rig.held()
    rig.wait(2_000)
    assert rig.starts == 2


@pytest.mark.parametrize("code", WRITE_UNPROTECT)
def test_write_unprotect_is_a_code_and_two_acks(make_rig: MakeRig, code: int) -> None:
    rig = make_rig(protected=(1, 2), content=BLOCK)
    rig.options.store(WRP1BR, 63 << 16 | 60)
    rig.power_cycle()
    assert len(rig.flash.write_protected) == 6
    assert rig.ask(bytes([code, code ^ 0xFF])) == ACK
    began = rig.clock.now
    assert rig.status() == (BUSY if code == 0x74 else ACK)
    assert (rig.clock.now - began > TYPICAL.option) == (code == 0x73)
    if code == 0x74:
        assert rig.final() == ACK
    assert rig.running is RESET
    rig.wait(1)
    assert rig.flash.write_protected == set()
    assert rig.options.word(WRP1AR) == rig.options.word(WRP1BR) == FACTORY[WRP1AR]
    assert rig.flash.data.startswith(BLOCK)
    assert rig.mass_erase() == ACK


# Frames of commands that program the option page twice.
TWICE = {
    "write protect, two areas": (b"\x64\x9b", b"\x03\xfc", b"\x01\x02\x3e\x3f\x02"),
    "write unprotect": (b"\x74\x8b",),
    "readout unprotect": (b"\x93\x6c",),
}


@pytest.mark.parametrize("frames", TWICE.values(), ids=TWICE)
def test_some_commands_program_the_option_page_twice(
    make_rig: MakeRig, frames: tuple[bytes, ...]
) -> None:
    rig = make_rig()
    seen: list[tuple[int, str]] = []
    rig.flash.tap = lambda what, at: seen.append((at, what)) if what == "option" else None
    for frame in frames[:-1]:
        assert rig.ask(frame) == ACK
    rig.send(frames[-1])
    if len(frames) == 1:
        assert rig.status() == ACK
    began = rig.clock.now
    assert rig.final() == ACK
    assert seen == [(point, "option") for point in range(TAPS["option"])] * 2
    assert rig.clock.now - began >= 2 * TYPICAL.option


@pytest.mark.parametrize("frames", TWICE.values(), ids=TWICE)
@pytest.mark.parametrize("point", [1, 8, 15])
def test_a_cut_in_the_second_of_two_programmings_bricks_the_chip_too(
    make_rig: MakeRig, frames: tuple[bytes, ...], point: int
) -> None:
    rig = make_rig()
    begun = 0

    def tap(what: str, at: int) -> None:
        nonlocal begun
        begun += (what, at) == ("option", 0)
        if (what, at, begun) == ("option", point, 2):
            rig.chip.power(False)

    rig.flash.tap = tap
    for frame in frames[:-1]:
        assert rig.ask(frame) == ACK
    rig.send(frames[-1])
    if len(frames) == 1:
        assert rig.status() == ACK
    rig.wait(100)
    assert rig.running is OFF and rig.chip.bricked


def test_one_area_is_programmed_once(rig: Rig) -> None:
    assert rig.write_protect(1, 2) == ACK
    assert rig.flash.option_operations == 1


@pytest.mark.parametrize("code", WRITE_PROTECT)
def test_write_protect_begins_with_its_last_byte_and_not_with_its_stop(
    rig: Rig, code: int
) -> None:
    assert rig.command(code) == ACK
    assert rig.ask(b"\x01\xfe") == ACK
    rig.send(b"\x01\x02", stop=False)
    before = rig.flash.option_operations
    assert rig.bus.write(0x03)
    assert rig.flash.option_operations == before + 1
    rig.wait(10)
    rig.chip.power(False)
    assert rig.chip.bricked


@pytest.mark.parametrize("code", [0x64, 0x74, 0x83])
@pytest.mark.parametrize("point", range(1, TAPS["option"]))
def test_a_cut_in_any_protection_command_bricks_the_chip(
    make_rig: MakeRig, code: int, point: int
) -> None:
    rig = make_rig(content=APP.content)
    rig.flash.tap = lambda what, at: rig.chip.power(False) if at == point else None
    assert rig.command(code) == ACK
    if code == 0x64:
        rig.ask(b"\x01\xfe")
        rig.send(b"\x01\x02\x03")
    rig.wait(50)
    assert rig.running is OFF
    rig.chip.power(True)
    rig.wait(1)
    assert rig.chip.bricked and rig.running is LOCKED


@pytest.mark.parametrize("code", [0x63, 0x64, 0x73, 0x74, 0x82, 0x83])
@pytest.mark.parametrize("ack", ["before", "early", "lost"])
def test_every_protection_command_may_ack_in_every_way(
    make_rig: MakeRig, ack: str, code: int
) -> None:
    rig = make_rig(quirks=Quirks(4, option_ack=ack, stretches_anyway=True))
    assert rig.command(code) == ACK
    if code in WRITE_PROTECT:
        rig.ask(b"\x01\xfe")
        rig.send(b"\x01\x02\x03")
    began = rig.clock.now
    answer = rig.receive(1)
    took = rig.clock.now - began
    assert answer == (b"\xff" if ack == "lost" else b"\x79")
    programmings = 2 if code in WRITE_UNPROTECT else 1
    assert (took > programmings * TYPICAL.option) == (ack != "early")
    rig.wait(100)
    assert rig.starts == 2


def test_writes_and_erases_of_protected_pages_are_acked_and_left_alone(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(content=BLOCK * 512)
    assert rig.write_protect(0, 0) == ACK
    assert rig.erase(0) == ACK
    rig.reset()
    assert rig.write(FLASH, bytes(8)) == ACK
    rig.reset()
    assert rig.mass_erase() == NACK
    assert rig.flash.data == BLOCK * 512
    rig.reset()
    assert rig.erase(1) == ACK
    assert rig.flash.data[PAGE : 2 * PAGE] == b"\xff" * PAGE


def test_readout_protection_keeps_write_protection(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    rig.write_protect(0, 1)
    assert rig.protection(0x82) == ACK
    assert rig.flash.write_protected == {0, 1}
    assert rig.chip.rdp_level == 1


@pytest.mark.parametrize("quirks", [Quirks(3), Quirks(2)])
def test_the_launch_is_there_in_every_version(make_rig: MakeRig, quirks: Quirks) -> None:
    """Over I2C: V11.2 omits it only over USART."""
    rig = make_rig(quirks=quirks, content=APP.content)
    assert rig.write_options(optr(FACTORY[OPTR])) == ACK
    assert rig.running is APPLICATION


def test_v11_3_options_written_too_soon_after_an_erase_are_not_written(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(version=3, content=BLOCK)
    rig.command(0x45)
    rig.ask(b"\x00\x00\x00")
    rig.send(pages_frame([0]))
    assert rig.status() == ACK and rig.flash.busy
    before = bytes(rig.options.data)
    rig.command(0x32)
    rig.ask(word(OPTIONS))
    rig.send(data_frame(optr(FACTORY[OPTR])))
    assert rig.final() == ACK
    rig.wait(1)
    assert rig.options.data == before
    assert rig.starts == 2


QUIRKS_IN_WORDS = ("ecc_error", "checksum", "option_ack", "unprotect_ack", "unprotect_answer")


@pytest.mark.parametrize("name", QUIRKS_IN_WORDS)
def test_a_quirk_that_does_not_exist_is_no_quirk(name: str) -> None:
    with pytest.raises(ValueError, match="no such quirk: 'soon'; there are"):
        Quirks(4, **{name: "soon"})  # type: ignore[arg-type]


def test_a_bench_may_begin_with_other_options() -> None:
    bench = Bench(options={OPTR: LEVEL_1, WRP1AR: 2 << 16 | 1})
    assert bench.target.rdp_level == 1
    assert bench.target.flash.write_protected == {1, 2}
