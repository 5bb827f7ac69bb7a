"""Option bytes written through the loader: registers, effects, and power cuts."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.flash import TAPS, TYPICAL
from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.chip.option_bytes import (
    FACTORY,
    OPTR,
    PCROP1AER,
    PCROP1ASR,
    PCROP1BER,
    PCROP1BSR,
    SECR,
    WRP1AR,
    WRP1BR,
    OptionBytes,
)
from stm32sim.chip.quirks import Quirks
from stm32sim.chip.stm32 import NotModelled, Running
from stm32sim.wires.clock import NS_PER_MS, NS_PER_US
from tests.simulator.rig import (
    ACK,
    APP,
    BOOT0,
    BOOT_SEL,
    BUSY,
    FLASH,
    NACK,
    OPTIONS,
    Rig,
    data_frame,
    word,
)

LOADER, APPLICATION, CRASHED = Running.LOADER, Running.APPLICATION, Running.CRASHED
RESET, LOCKED, OFF = Running.RESET, Running.LOCKED, Running.OFF
WRITES = (0x31, 0x32)
MakeRig = Callable[..., Rig]
PROVISIONED = FACTORY[OPTR] & ~BOOT_SEL


def optr(value: int) -> bytes:
    return value.to_bytes(4, "little")


def area(**registers: int) -> bytes:
    """The whole area as it is read, with some registers changed."""
    options = OptionBytes()
    options.store(OPTR, PROVISIONED)
    for name, value in registers.items():
        options.store(globals()[name], value)
    return bytes(options.data)


def begin(rig: Rig, data: bytes, code: int = 0x32) -> None:
    """Everything but the status that ends the command."""
    assert rig.command(code) == ACK
    assert rig.ask(word(OPTIONS)) == ACK
    rig.send(data_frame(data))


def registers(rig: Rig) -> dict[int, int]:
    return {offset: rig.options.word(offset) for offset in FACTORY}


# Which registers


def test_four_bytes_are_optr_and_its_complement_is_made_by_hardware(rig: Rig) -> None:
    before = registers(rig)
    assert rig.write_options(b"\xaa\xfe\xff\xfb") == ACK
    assert registers(rig) == {**before, OPTR: 0xFBFF_FEAA}
    data = rig.read(OPTIONS, 8)
    assert data == b"\xaa\xfe\xff\xfb\x55\x01\x00\x04"


@pytest.mark.parametrize("length", [1, 2, 3])
def test_less_than_four_bytes_are_the_protection_byte_and_zero_all_else(
    rig: Rig, length: int
) -> None:
    rig.chip._load_options = lambda: None  # type: ignore[method-assign]
    before = registers(rig)
    rig.write_options(b"\xaa\xfe\xff"[:length])
    assert registers(rig) == {**before, OPTR: 0x0000_00AA}


def test_those_zeros_are_settings_beyond_the_model(rig: Rig) -> None:
    begin(rig, b"\xaa")
    with pytest.raises(NotModelled, match="watchdog"):
        rig.final()


# The least lengths of OPENBL-G0.
REACHED = {
    PCROP1ASR: 10,
    PCROP1AER: 20,
    WRP1AR: 28,
    WRP1BR: 36,
    PCROP1BSR: 42,
    PCROP1BER: 50,
    SECR: 116,
}


@pytest.mark.parametrize("register", REACHED)
def test_a_register_is_reached_from_its_length_on(rig: Rig, register: int) -> None:
    rig.chip._load_options = lambda: None  # type: ignore[method-assign]
    data = bytes(OPTR + 4) + bytes(random.Random(1).randbytes(124))
    least = REACHED[register]
    for length, reached in ((least - 1, False), (least, True), (128, True)):
        rig.options.store(register, FACTORY[register])
        rig.write_options(data[:length])
        new = int.from_bytes(data[:length][register : register + 4], "little")
        assert rig.options.word(register) == (new if reached else FACTORY[register])
        assert not rig.options.torn


@pytest.mark.parametrize("length", range(4, 128, 4))
def test_writing_back_what_was_read_changes_nothing_whatever_its_length(
    rig: Rig, length: int
) -> None:
    before = bytes(rig.options.data)
    assert rig.write_options(before[:length]) == ACK
    assert rig.options.load() == rig.chip.options
    assert rig.options.load().optr == PROVISIONED
    assert rig.in_step()


def test_complements_that_are_sent_along_are_not_looked_at(rig: Rig) -> None:
    assert rig.write_options(area()[:4] + b"\x12\x34\x56\x78" + area()[8:]) == ACK
    assert bytes(rig.options.data) == area()


def test_slots_without_a_register_are_not_written(rig: Rig) -> None:
    data = bytearray(area())
    data[0x38:0x70] = bytes(0x38)
    data[0x78:] = bytes(8)
    assert rig.write_options(bytes(data)) == ACK
    assert bytes(rig.options.data) == area()


@pytest.mark.parametrize("code", WRITES)
@pytest.mark.parametrize("address", [OPTIONS + 1, OPTIONS + 4, OPTIONS + 8, OPTIONS + 0x7F])
def test_only_the_start_of_the_area_can_be_written(rig: Rig, address: int, code: int) -> None:
    before = bytes(rig.options.data)
    assert rig.command(code) == ACK
    assert rig.ask(word(address)) == NACK
    assert rig.options.data == before
    assert rig.in_step()


@pytest.mark.parametrize("code", WRITES)
@pytest.mark.parametrize("length", [129, 256])
def test_more_than_the_area_is_refused(rig: Rig, length: int, code: int) -> None:
    before = bytes(rig.options.data)
    assert rig.write(OPTIONS, (area() * 2)[:length], code) == NACK
    rig.wait(50)
    assert rig.options.data == before
    assert rig.starts == 1
    assert rig.in_step()


def test_a_wrong_checksum_changes_nothing(rig: Rig) -> None:
    before = bytes(rig.options.data)
    rig.command(0x31)
    rig.ask(word(OPTIONS))
    frame = data_frame(optr(FACTORY[OPTR]))
    assert rig.ask(frame[:-1] + bytes([frame[-1] ^ 1])) == NACK
    rig.wait(50)
    assert rig.options.data == before


def test_main_flash_is_left_alone(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    assert rig.write_options(optr(FACTORY[OPTR])) == ACK
    assert rig.flash.data.startswith(APP.content)
    assert sum(rig.flash.erase_counts) == 0
    assert rig.flash.weak_granules() == []


# Programming takes its time, and then the chip is reset


def test_it_takes_an_erase_and_sixteen_double_words() -> None:
    assert TYPICAL.option == 22 * NS_PER_MS + 16 * 85 * NS_PER_US


def test_busy_is_answered_while_it_is_programmed(rig: Rig) -> None:
    before = bytes(rig.options.data)
    begin(rig, optr(FACTORY[OPTR]))
    began = rig.clock.now
    while (status := rig.status()) == BUSY:
        assert rig.clock.now - began < TYPICAL.option + NS_PER_MS
        assert rig.options.data == before or not rig.flash.busy
        rig.wait(0.3)
    assert status == ACK
    assert rig.clock.now - began >= TYPICAL.option
    assert rig.options.word(OPTR) == FACTORY[OPTR]


@pytest.mark.parametrize("quirks", [Quirks(4), Quirks(4, stretches_anyway=True)])
def test_scl_is_held_while_it_is_programmed(make_rig: MakeRig, quirks: Quirks) -> None:
    rig = make_rig(quirks=quirks)
    begin(rig, optr(FACTORY[OPTR]), 0x32 if quirks.stretches_anyway else 0x31)
    began = rig.clock.now
    assert rig.status() == ACK
    assert rig.clock.now - began >= TYPICAL.option


def test_the_launch_resets_the_chip_and_options_take_effect(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    begin(rig, optr(FACTORY[OPTR]))
    rig.wait(30)
    assert (rig.running, rig.chip.options.optr) == (LOADER, PROVISIONED)
    assert rig.status() == ACK
    assert (rig.running, rig.chip.options.optr) == (RESET, FACTORY[OPTR])
    assert rig.send(b"\x01\xfe") == -1
    rig.wait(1)
    assert rig.running is APPLICATION  # BOOT0 is high, and counts no longer


def test_the_launch_samples_boot0_anew(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    rig.chip.boot0(False)
    assert rig.write_options(optr(PROVISIONED)) == ACK
    assert rig.running is APPLICATION


def test_the_launch_is_no_power_on_to_a_debugger(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    assert rig.chip.attach_debugger()
    assert rig.write_options(optr(PROVISIONED)) == ACK
    assert rig.running is APPLICATION  # BOOT0 is still forced low


def test_the_ack_may_get_lost_in_the_reset(make_rig: MakeRig) -> None:
    rig = make_rig(quirks=Quirks(4, option_ack="lost"), content=APP.content)
    begin(rig, optr(FACTORY[OPTR]))
    while (status := rig.status()) == BUSY:
        rig.wait(1)
    assert status is None
    rig.wait(1)
    assert rig.running is APPLICATION


def test_the_ack_may_come_while_it_is_still_being_programmed(make_rig: MakeRig) -> None:
    rig = make_rig(quirks=Quirks(4, option_ack="early"), content=APP.content)
    before = bytes(rig.options.data)
    begin(rig, optr(FACTORY[OPTR]))
    assert rig.status() == ACK
    assert rig.flash.busy and rig.options.data == before
    assert rig.status() == BUSY
    rig.wait(30)
    assert rig.running is APPLICATION


def test_a_reset_right_after_an_early_ack_is_fatal(make_rig: MakeRig) -> None:
    rig = make_rig(quirks=Quirks(4, option_ack="early"))
    begin(rig, optr(FACTORY[OPTR]))
    assert rig.status() == ACK
    rig.reset()
    assert rig.chip.bricked


@pytest.mark.parametrize("ack", ["before", "early"])
def test_an_ack_that_nobody_fetches_leaves_the_launch_undone(make_rig: MakeRig, ack: str) -> None:
    rig = make_rig(quirks=Quirks(4, option_ack=ack), content=APP.content)
    begin(rig, optr(FACTORY[OPTR]))
    rig.wait(990)
    assert rig.starts == 1
    rig.wait(100)
    assert rig.starts == 2  # it gave up, and reset itself
    assert rig.options.word(OPTR) == FACTORY[OPTR]
    assert rig.chip.options.optr == PROVISIONED
    rig.power_cycle()
    assert rig.running is APPLICATION


def test_after_an_earlier_error_it_is_acked_and_launched_but_not_done(rig: Rig) -> None:
    rig.write(FLASH, APP.content)
    rig.write(FLASH, bytes([7]) * 8)
    before = bytes(rig.options.data)
    assert rig.write_options(optr(FACTORY[OPTR])) == ACK
    assert rig.options.data == before
    assert rig.starts == 2
    assert rig.write_options(optr(FACTORY[OPTR])) == ACK
    assert rig.options.word(OPTR) == FACTORY[OPTR]


def test_where_errors_are_cleared_it_is_done_after_one(make_rig: MakeRig) -> None:
    rig = make_rig(quirks=Quirks(4, clears_errors=True))
    rig.write(FLASH, APP.content)
    rig.write(FLASH, bytes([7]) * 8)
    assert rig.write_options(optr(FACTORY[OPTR])) == ACK
    assert rig.options.word(OPTR) == FACTORY[OPTR]


# What it is good for


def test_writing_back_the_same_refreshes_the_empty_flag(make_rig: MakeRig) -> None:
    stranger = replace(APP, enters_loader=False)
    rig = make_rig(boot0=False, applications=known_images(stranger))
    rig.write(FLASH, APP.content)
    rig.reset()
    assert rig.running is LOADER
    assert rig.write_options(optr(PROVISIONED)) == ACK
    assert rig.running is APPLICATION


def test_after_a_mass_erase_the_launch_sets_the_empty_flag(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    rig.mass_erase()
    rig.chip.boot0(False)
    assert rig.write_options(optr(PROVISIONED)) == ACK
    assert rig.running is LOADER
    rig.reset()
    assert rig.running is LOADER


def test_nboot0_forces_the_loader_until_it_is_written_back(make_rig: MakeRig) -> None:
    rig = make_rig(boot0=False, content=APP.content)
    rig.chip.boot0(True)
    rig.reset()
    rig.chip.boot0(False)
    assert rig.write_options(optr(FACTORY[OPTR] & ~BOOT0)) == ACK
    for leave in (Rig.reset, Rig.power_cycle):
        leave(rig)
        assert rig.running is LOADER
    assert rig.write_options(optr(FACTORY[OPTR])) == ACK
    assert rig.running is APPLICATION


def test_write_protection_takes_effect_with_the_launch(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    begin(rig, area(WRP1AR=2 << 16 | 1, WRP1BR=63 << 16 | 63)[:36])
    rig.wait(30)
    assert rig.flash.write_protected == set()
    rig.status()
    assert rig.flash.write_protected == {1, 2, 63}
    rig.wait(1)
    assert rig.mass_erase() == NACK


@pytest.mark.parametrize("rdp", [0xAA, 0xBB])
def test_boot_lock_is_main_flash_for_ever(make_rig: MakeRig, rdp: int) -> None:
    rig = make_rig(content=APP.content)
    data = area(OPTR=PROVISIONED & ~0xFF | rdp, SECR=1 << 16)
    assert rig.write_options(data) == ACK
    rig.power_cycle()
    assert rig.running is APPLICATION
    assert rig.chip.debug_port_open == (rdp == 0xAA)
    assert rig.chip.attach_debugger() == (rdp == 0xAA)
    assert not rig.chip.bricked


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"OPTR": PROVISIONED & ~(1 << 16)}, "watchdog"),
        ({"OPTR": PROVISIONED & ~(1 << 22)}, "parity"),
        ({"OPTR": PROVISIONED & ~(1 << 28)}, "NRST"),
        ({"PCROP1ASR": 0}, "PCROP"),
        ({"PCROP1BER": 0x1FF}, "PCROP"),
        ({"PCROP1ASR": 0xFFFF_FF00}, "PCROP"),  # page addresses have 8 bits
        ({"PCROP1BSR": 0x100}, "PCROP"),
    ],
)
def test_what_is_beyond_the_model_says_so_when_it_is_loaded(
    make_rig: MakeRig, changes: dict[str, int], what: str
) -> None:
    rig = make_rig()
    begin(rig, area(**changes))
    rig.wait(30)
    with pytest.raises(NotModelled, match=what):
        rig.status()


# Cuts


def power_lost(rig: Rig) -> None:
    rig.chip.power(False)


def nrst(rig: Rig) -> None:
    rig.chip.nrst(False)
    rig.chip.nrst(True)


def own_reset(rig: Rig) -> None:
    rig.chip.system_reset()


CUTS = [power_lost, nrst, own_reset]


def cut_at(rig: Rig, point: int, how: Callable[[Rig], None]) -> None:
    """At the point of an option programming that is to come."""

    def tap(what: str, at: int) -> None:
        if (what, at) == ("option", point):
            how(rig)

    rig.flash.tap = tap


def assert_dead(rig: Rig) -> None:
    """Nothing answers on the bus or over SWD after any attempt."""
    for boot0 in (True, False):
        rig.chip.boot0(boot0)
        for again in (Rig.reset, Rig.power_cycle, lambda rig: rig.chip.system_reset()):
            again(rig)
            rig.wait(5)
            assert rig.running is LOCKED
            assert rig.chip.bricked
            assert not rig.chip.debug_port_open
            assert not rig.chip.attach_debugger()
            for address in range(128):
                for reading in (False, True):
                    assert not rig.bus.start(address, reading)
                    rig.bus.stop()
    rig.chip.nrst(False)  # "connect under reset"
    assert not rig.chip.attach_debugger()
    assert not rig.chip.debugger_seen


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("point", range(1, TAPS["option"]))
@pytest.mark.parametrize("data", [area()[:4], area()], ids=["OPTR", "all"])
def test_a_cut_while_options_are_programmed_bricks_the_chip(
    make_rig: MakeRig, point: int, how: Callable[[Rig], None], data: bytes
) -> None:
    rig = make_rig(content=APP.content)
    rig.flash.randomness.seed(point)
    cut_at(rig, point, how)
    begin(rig, data)
    rig.wait(50)
    assert rig.chip.bricked
    rig.chip.power(True)
    assert_dead(rig)


@pytest.mark.parametrize("seed", range(40))
def test_however_the_cells_fall_the_chip_is_bricked(make_rig: MakeRig, seed: int) -> None:
    rig = make_rig()
    rig.flash.randomness.seed(seed)
    begin(rig, area())
    rig.clock.advance(1 + TYPICAL.option * seed // 40)
    rig.chip.power(False)
    assert rig.chip.bricked
    rig.chip.power(True)
    rig.wait(1)
    assert rig.running is LOCKED


def torn_at(seed: int, values: dict[int, int]) -> OptionBytes:
    options = OptionBytes()
    options.tear(values, 0.5, random.Random(seed))
    return options


def words_torn(options: OptionBytes) -> set[int]:
    return {o for o in FACTORY if options.word(o) ^ options.word(o + 4) != 0xFFFF_FFFF}


def test_cells_fall_in_every_way() -> None:
    """Old, new, blank and mixed words all occur, and more than one of each."""
    new = dict.fromkeys(FACTORY, 0x0000_5A5A)
    before, after = OptionBytes(), OptionBytes()
    after.program(new)
    most = dict.fromkeys(("old", "new", "blank", "mixed"), 0)
    for seed in range(50):
        options = torn_at(seed, new)
        kinds = []
        for offset in FACTORY:
            slot = slice(offset, offset + 8)
            held = bytes(options.data[slot])
            known = {bytes(before.data[slot]): "old", bytes(after.data[slot]): "new"}
            kinds.append("blank" if held == b"\xff" * 8 else known.get(held, "mixed"))
        most = {kind: max(count, kinds.count(kind)) for kind, count in most.items()}
    assert min(most.values()) > 1


def test_in_thousands_of_cuts_never_are_all_words_whole_nor_is_it_always_the_same_one() -> None:
    torn = [words_torn(torn_at(seed, {OPTR: PROVISIONED})) for seed in range(5_000)]
    assert all(torn)
    assert set.union(*torn) == set(FACTORY)
    assert set.intersection(*torn) == set()


@pytest.mark.parametrize("how", CUTS)
def test_a_cut_before_the_first_cell_changes_leaves_the_old_options(
    make_rig: MakeRig, how: Callable[[Rig], None]
) -> None:
    rig = make_rig()
    before = bytes(rig.options.data)
    cut_at(rig, 0, how)
    begin(rig, area(OPTR=FACTORY[OPTR]))
    rig.wait(1)
    assert rig.options.data == before
    assert not rig.chip.bricked
    rig.chip.power(True)
    rig.wait(1)
    assert rig.in_step()


@pytest.mark.parametrize("how", CUTS)
def test_a_cut_one_instant_later_does_not(make_rig: MakeRig, how: Callable[[Rig], None]) -> None:
    rig = make_rig()
    begin(rig, area(OPTR=FACTORY[OPTR]))
    rig.clock.advance(1)
    how(rig)
    assert rig.chip.bricked


@pytest.mark.parametrize("how", CUTS)
def test_a_cut_at_its_very_end_finds_the_new_options(
    make_rig: MakeRig, how: Callable[[Rig], None]
) -> None:
    for early, bricked in ((1, True), (0, False)):
        rig = make_rig()
        cut_at(rig, 0, lambda rig: None)
        begin(rig, optr(FACTORY[OPTR]))
        began = rig.flash._operation.started  # type: ignore[union-attr]
        rig.clock.advance_to(began + TYPICAL.option - early)
        how(rig)
        assert rig.chip.bricked is bricked
    assert rig.options.word(OPTR) == FACTORY[OPTR]


def test_the_tap_is_called_at_every_point_of_a_programming(rig: Rig) -> None:
    seen: list[tuple[str, int, int]] = []
    rig.flash.tap = lambda what, point: seen.append((what, point, rig.clock.now))
    begin(rig, optr(PROVISIONED))
    rig.wait(30)
    began = seen[0][2]
    points = TAPS["option"]
    assert seen == [
        ("option", point, began + TYPICAL.option * point // points) for point in range(points)
    ]


def test_a_cut_before_the_last_byte_leaves_the_old_options_and_one_after_it_does_not(
    make_rig: MakeRig,
) -> None:
    data = area(OPTR=FACTORY[OPTR])
    frame = data_frame(data)
    for count in range(len(frame) + 1):
        rig = make_rig()
        before = bytes(rig.options.data)
        rig.command(0x31)
        rig.ask(word(OPTIONS))
        rig.send(frame[:count], stop=False)
        rig.clock.advance(1)
        rig.chip.power(False)
        assert (rig.options.data == before) is (count < len(frame))
        assert rig.chip.bricked is (count == len(frame))


def test_the_loaders_own_timeout_in_a_busy_answer_bricks_the_chip(make_rig: MakeRig) -> None:
    slow = replace(TYPICAL, page_erase=5_000 * NS_PER_MS)
    rig = make_rig(times=slow)
    begin(rig, optr(PROVISIONED))
    rig.bus.start(I2C_ADDRESS, reading=True)
    assert rig.bus.read(ack=False) == BUSY  # and then no STOP
    rig.bus.abandon()
    rig.wait(1_100)
    assert rig.chip.bricked
    assert_dead(rig)


def test_a_sound_chip_is_no_brick(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    assert (rig.chip.bricked, rig.chip.debug_port_open) == (False, True)
    rig.chip.power(False)
    assert (rig.chip.bricked, rig.chip.debug_port_open) == (False, False)
    assert not rig.chip.attach_debugger()
    rig.power_cycle()
    assert rig.running is LOADER  # that debugger did not count
    assert rig.chip.attach_debugger()
