"""What flash refuses, and the state after an interrupted operation."""

from __future__ import annotations

import pytest

from stm32sim.chip.flash import (
    GRANULE,
    PAGE,
    SLOWEST,
    TAPS,
    TYPICAL,
    WEAK,
    Cell,
    EccError,
    Flash,
    FlashTimes,
)
from stm32sim.wires.clock import NS_PER_MS, NS_PER_US, Clock

SIZE = 8 * PAGE
DATA = b"\x11\x22\x33\x44\x55\x66\x77\x88"
OTHER = b"\xa5" * GRANULE
ZEROS = bytes(GRANULE)
ONES = b"\xff" * GRANULE
POINTS = range(4)  # where in an operation power is cut
SEEDS = range(25)


def new_flash(content: bytes = b"", *, seed: int = 0, times: FlashTimes = TYPICAL) -> Flash:
    flash = Flash(Clock(), SIZE, times)
    flash.randomness.seed(seed)
    if content:
        flash.load(content)
    return flash


@pytest.fixture
def flash() -> Flash:
    return new_flash()


def finish(flash: Flash) -> None:
    flash.clock.advance(100 * NS_PER_MS)
    assert not flash.busy


def program(flash: Flash, offset: int, data: bytes) -> bool:
    began = flash.start_program(offset, data)
    finish(flash)
    return began


def erase(flash: Flash, page: int) -> bool:
    began = flash.start_page_erase(page)
    finish(flash)
    return began


def cut(flash: Flash, operation: str, point: int) -> None:
    """Interrupt a started operation at one of its POINTS."""
    takes = {"program": flash.times.program, "page": flash.times.page_erase}
    flash.clock.advance(takes.get(operation, flash.times.mass_erase) * point // 4)
    flash.interrupt()
    finish(flash)


def states(flash: Flash, page: int) -> set[int]:
    first = page * PAGE // GRANULE
    return set(flash.cells[first : first + PAGE // GRANULE])


# What works


def test_factory_flash_is_blank_and_sound(flash: Flash) -> None:
    assert flash.read(0, SIZE) == b"\xff" * SIZE
    assert flash.weak_granules() == []
    assert flash.pages == 8


@pytest.mark.parametrize("times", [TYPICAL, SLOWEST])
def test_operations_take_their_time_and_happen_at_its_end(times: FlashTimes) -> None:
    flash = new_flash(times=times)
    flash.load(DATA, PAGE)
    for start, takes in (
        (lambda: flash.start_program(0, DATA), times.program),
        (lambda: flash.start_page_erase(0), times.page_erase),
        (flash.start_mass_erase, times.mass_erase),
    ):
        before = bytes(flash.data)
        assert start()
        flash.clock.advance(takes - 1)
        assert (flash.busy, flash.data == before) == (True, True)
        flash.clock.advance(1)
        assert (flash.busy, flash.data == before) == (False, False)


def test_the_typical_times_are_those_of_the_data_sheet() -> None:
    assert (TYPICAL.program, TYPICAL.page_erase) == (85 * NS_PER_US, 22 * NS_PER_MS)
    assert SLOWEST.mass_erase == 40_100 * NS_PER_US


def test_erasing_a_page_leaves_all_others_alone() -> None:
    flash = new_flash(bytes(range(256)) * (SIZE // 256))
    assert erase(flash, 3)
    assert flash.data[3 * PAGE : 4 * PAGE] == b"\xff" * PAGE
    assert flash.data[: 3 * PAGE] == bytes(range(256)) * (3 * PAGE // 256)
    assert flash.data[4 * PAGE :] == bytes(range(256)) * (4 * PAGE // 256)
    assert flash.erase_counts == [0, 0, 0, 1, 0, 0, 0, 0]


def test_a_mass_erase_blanks_everything() -> None:
    flash = new_flash(DATA * (SIZE // GRANULE))
    assert flash.start_mass_erase()
    finish(flash)
    assert flash.data == b"\xff" * SIZE
    assert flash.erase_counts == [1] * 8


# Silent and lasting refusals


def refusals() -> dict[str, object]:
    return {
        "over something": lambda flash: flash.start_program(0, OTHER),
        "over itself": lambda flash: flash.start_program(0, DATA),
        "ones over something": lambda flash: flash.start_program(0, ONES),
        "unaligned by 4": lambda flash: flash.start_program(12, DATA),
        "unaligned by 1": lambda flash: flash.start_program(9, DATA),
        "half a granule": lambda flash: flash.start_program(8, DATA[:4]),
        "two granules": lambda flash: flash.start_program(8, DATA * 2),
        "beyond the end": lambda flash: flash.start_program(SIZE, DATA),
        "before the start": lambda flash: flash.start_program(-8, DATA),
        "protected program": lambda flash: flash.start_program(2 * PAGE, DATA),
        "zeros over loaded ones": lambda flash: flash.start_program(GRANULE, ZEROS),
        "protected zeros": lambda flash: flash.start_program(2 * PAGE, ZEROS),
        "protected erase": lambda flash: flash.start_page_erase(2),
        "mass erase with a protected page": lambda flash: flash.start_mass_erase(),
        "absent page": lambda flash: flash.start_page_erase(8),
        "page -1": lambda flash: flash.start_page_erase(-1),
    }


@pytest.mark.parametrize("what", refusals())
def test_after_a_refusal_everything_is_refused_until_a_reset(what: str) -> None:
    flash = new_flash(DATA + ONES)
    flash.write_protected = {2}
    before = bytes(flash.data)
    assert not refusals()[what](flash)  # type: ignore[operator]
    assert not flash.busy
    assert not program(flash, 64, DATA)
    assert not erase(flash, 5)
    flash.write_protected = set()
    assert not flash.start_mass_erase()
    assert flash.data == before
    flash.interrupt()
    assert program(flash, 64, DATA)
    assert erase(flash, 5)


@pytest.mark.parametrize("second", ["program", "erase", "mass erase"])
def test_an_operation_begun_while_another_runs_is_an_error_and_the_first_goes_on(
    flash: Flash, second: str
) -> None:
    assert flash.start_program(0, DATA)
    begin = {
        "program": lambda: flash.start_program(8, DATA),
        "erase": lambda: flash.start_page_erase(1),
        "mass erase": flash.start_mass_erase,
    }
    assert not begin[second]()
    finish(flash)
    assert flash.read(0, 16) == DATA + ONES
    assert not program(flash, 16, DATA)


def test_a_granule_programmed_with_ones_counts_as_programmed(flash: Flash) -> None:
    assert program(flash, 0, ONES)
    assert not program(flash, 0, DATA)


@pytest.mark.parametrize("content", [b"", DATA, ZEROS], ids=["erased", "data", "zeros"])
def test_zeros_may_be_programmed_over_anything_but_ones(content: bytes) -> None:
    flash = new_flash(content)
    assert program(flash, 0, ZEROS)
    assert program(flash, 0, ZEROS)
    assert flash.read(0, GRANULE) == ZEROS
    assert flash.weak_granules() == []
    assert not program(flash, 0, DATA)


def test_zeros_fail_over_a_granule_that_was_programmed_with_ones(flash: Flash) -> None:
    assert program(flash, 0, ONES)
    assert not program(flash, 0, ZEROS)
    assert flash.read(0, GRANULE) == ONES


@pytest.mark.parametrize("operation", ["page", "mass"])
def test_an_erase_makes_zeros_possible_again(flash: Flash, operation: str) -> None:
    assert program(flash, 0, ONES)
    assert flash.start_page_erase(0) if operation == "page" else flash.start_mass_erase()
    finish(flash)
    assert program(flash, 0, ZEROS)


@pytest.mark.parametrize("point", POINTS)
def test_zeros_fail_where_the_programming_of_ones_was_cut_unless_it_never_began(
    point: int,
) -> None:
    outcomes = set()
    for seed in SEEDS:
        flash = new_flash(seed=seed)
        flash.start_program(0, ONES)
        cut(flash, "program", point)
        never_began = flash.cells[0] == Cell.WEAK_ERASED
        assert program(flash, 0, ZEROS) is never_began
        outcomes.add(flash.cells[0])
    assert len(outcomes) > 1


@pytest.mark.parametrize("point", POINTS)
def test_zeros_fail_over_ones_whose_erase_was_cut_unless_they_are_erased(point: int) -> None:
    began = []
    for seed in SEEDS:
        flash = new_flash(ONES, seed=seed)
        flash.start_page_erase(0)
        cut(flash, "page", point)
        erased = flash.cells[0] == Cell.WEAK_ERASED
        began.append(program(flash, 0, ZEROS))
        assert began[-1] is erased
    assert not all(began)
    assert any(began) is (point > 0)


def test_zeros_fail_over_ones_that_a_power_on_broke(flash: Flash) -> None:
    flash.load(ONES)
    flash.cells[0] = Cell.WEAK_PROGRAMMED
    while flash.cells[0] == Cell.WEAK_PROGRAMMED:
        flash.power_on()
    assert not program(flash, 0, ZEROS)


def test_zeros_may_follow_data_that_took_the_place_of_ones(flash: Flash) -> None:
    for content in (ONES, DATA):
        assert erase(flash, 0) and program(flash, 0, content)
    assert program(flash, 0, ZEROS)
    flash.load(ONES, PAGE)
    flash.load(DATA, PAGE)
    assert program(flash, PAGE, ZEROS)


# Cuts


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_cut_program_leaves_one_doubtful_granule(point: int, seed: int) -> None:
    flash = new_flash(seed=seed)
    flash.start_program(64, DATA)
    cut(flash, "program", point)
    assert flash.weak_granules() == [64]
    if flash.cells[8] in (Cell.TORN, Cell.WRONG):
        held = flash.data[64:72]
        if flash.cells[8] == Cell.WRONG:
            assert flash.read(64, GRANULE) == held
        else:
            with pytest.raises(EccError):
                flash.read(64, 1)
        assert all(is_ & new == new for is_, new in zip(held, DATA, strict=True))
    elif flash.cells[8] == Cell.WEAK_PROGRAMMED:
        assert flash.read(64, GRANULE) == DATA
    else:
        assert flash.read(64, GRANULE) == ONES


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_cut_page_erase_leaves_the_whole_page_doubtful_and_nothing_else(
    point: int, seed: int
) -> None:
    flash = new_flash(DATA * (SIZE // GRANULE), seed=seed)
    flash.start_page_erase(2)
    cut(flash, "page", point)
    assert flash.weak_granules() == list(range(2 * PAGE, 3 * PAGE, GRANULE))
    assert flash.erase_counts[2] == 0
    for index in range(2 * PAGE // GRANULE, 3 * PAGE // GRANULE):
        held = bytes(flash.data[index * GRANULE : (index + 1) * GRANULE])
        expected = {Cell.WEAK_ERASED: ONES, Cell.WEAK_PROGRAMMED: DATA}
        assert held == expected.get(Cell(flash.cells[index]), held)
        assert all(is_ & old == old for is_, old in zip(held, DATA, strict=True))


@pytest.mark.parametrize("point", POINTS)
def test_a_cut_mass_erase_leaves_every_page_doubtful(point: int) -> None:
    flash = new_flash(DATA * (SIZE // GRANULE))
    flash.start_mass_erase()
    cut(flash, "mass", point)
    assert len(flash.weak_granules()) == SIZE // GRANULE


def test_cuts_leave_everything_that_is_possible() -> None:
    programmed, erased = set(), set()
    for seed in range(60):
        for point in POINTS:
            flash = new_flash(DATA * (SIZE // GRANULE), seed=seed)
            flash.start_page_erase(0)
            cut(flash, "page", point)
            erased |= states(flash, 0)
            flash = new_flash(seed=seed)
            flash.start_program(0, DATA)
            cut(flash, "program", point)
            programmed.add(flash.cells[0])
    assert programmed == erased == set(WEAK)


def test_a_cut_may_leave_what_reads_wrong_without_a_fault() -> None:
    """More wrong bits than two may look to the ECC like one or none."""
    wrong = faults = 0
    for seed in range(400):
        flash = new_flash(seed=seed)
        flash.start_program(0, DATA)
        cut(flash, "program", 2)
        try:
            wrong += flash.read(0, GRANULE) not in (DATA, ONES)
        except EccError:
            faults += 1
    assert 0 < wrong < faults


@pytest.mark.parametrize(("state", "content"), [(3, ONES), (4, DATA)])
def test_a_power_on_breaks_some_of_the_marginal_granules_and_no_other(
    state: int, content: bytes
) -> None:
    flash = new_flash(DATA * (SIZE // GRANULE))
    flash.data[:PAGE] = content * (PAGE // GRANULE)
    flash.cells[: PAGE // GRANULE] = bytes([state]) * (PAGE // GRANULE)
    before = PAGE // GRANULE
    for _ in range(3):
        while flash.cells.count(state, 0, PAGE // GRANULE) == before:
            flash.power_on()
        held = [flash.data[at : at + GRANULE] == content for at in range(0, PAGE, GRANULE)]
        right = flash.cells.count(state, 0, PAGE // GRANULE)
        assert 0 < right < before
        assert right <= held.count(True) <= right + 1  # noise may be nought
        before = right
    assert states(flash, 0) == {state, Cell.TORN, Cell.WRONG}
    assert flash.cells[: PAGE // GRANULE].count(Cell.WRONG) < PAGE // GRANULE // 2
    assert states(flash, 1) == {Cell.PROGRAMMED}
    assert len(flash.weak_granules()) == PAGE // GRANULE


def test_a_page_of_marginal_granules_may_read_right_after_a_power_on() -> None:
    kept = 0
    for seed in range(40):
        flash = new_flash(DATA * (SIZE // GRANULE))
        flash.randomness.seed(seed)
        flash.cells[: PAGE // GRANULE] = bytes([Cell.WEAK_PROGRAMMED]) * (PAGE // GRANULE)
        flash.power_on()
        kept += flash.cells.count(Cell.WEAK_PROGRAMMED) == PAGE // GRANULE
    assert 8 < kept < 32


def test_a_granule_that_a_power_on_broke_stays_broken_until_it_is_erased() -> None:
    flash = new_flash(DATA)
    flash.cells[0] = Cell.WEAK_PROGRAMMED
    while flash.cells[0] == Cell.WEAK_PROGRAMMED:
        flash.power_on()
    broken = (flash.cells[0], bytes(flash.data))
    for _ in range(20):
        flash.power_on()
    assert (flash.cells[0], bytes(flash.data)) == broken
    assert erase(flash, 0)
    assert flash.read(0, GRANULE) == ONES


def test_what_a_power_on_breaks_is_the_same_for_the_same_seed() -> None:
    made = []
    for _ in range(2):
        flash = new_flash(DATA * 64, seed=9)
        flash.cells[:64] = bytes([Cell.WEAK_PROGRAMMED]) * 64
        flash.power_on()
        made.append((bytes(flash.data), bytes(flash.cells)))
    assert made[0] == made[1]


@pytest.mark.parametrize("operation", ["page", "mass", "program"])
@pytest.mark.parametrize("point", POINTS)
def test_a_later_complete_erase_heals(operation: str, point: int) -> None:
    flash = new_flash(DATA * 4)
    {
        "page": lambda: flash.start_page_erase(0),
        "mass": flash.start_mass_erase,
        "program": lambda: flash.start_program(64, DATA),
    }[operation]()
    cut(flash, operation, point)
    assert erase(flash, 0)
    assert states(flash, 0) == {Cell.ERASED}
    assert program(flash, 64, OTHER)
    assert flash.cells[8] == Cell.PROGRAMMED


@pytest.mark.parametrize("seed", SEEDS)
def test_an_erase_cut_again_heals_nothing(seed: int) -> None:
    flash = new_flash(DATA * 4, seed=seed)
    for point in (1, 3):
        flash.start_page_erase(0)
        cut(flash, "page", point)
    assert len(flash.weak_granules(0, PAGE)) == PAGE // GRANULE


def test_what_is_programmed_on_weak_cells_stays_weak() -> None:
    flash = new_flash()
    flash.start_page_erase(0)
    cut(flash, "page", 3)
    assert flash.cells[0] == Cell.WEAK_ERASED
    assert program(flash, 0, DATA)
    assert flash.cells[0] == Cell.WEAK_PROGRAMMED
    assert 0 in flash.weak_granules()


@pytest.mark.parametrize("state", [Cell.TORN, Cell.WRONG, Cell.WEAK_PROGRAMMED])
def test_zeros_over_a_doubtful_granule_do_not_make_it_sound(flash: Flash, state: Cell) -> None:
    flash.load(DATA)
    flash.cells[0] = state
    assert program(flash, 0, ZEROS)
    assert flash.cells[0] == Cell.WEAK_PROGRAMMED


@pytest.mark.parametrize("state", [Cell.TORN, Cell.WRONG, Cell.WEAK_PROGRAMMED, Cell.PROGRAMMED])
@pytest.mark.parametrize("point", POINTS)
def test_zeros_cut_over_something_never_leave_it_blank_or_better(state: Cell, point: int) -> None:
    for seed in SEEDS:
        flash = new_flash(DATA, seed=seed)
        flash.cells[0] = state
        flash.start_program(0, ZEROS)
        cut(flash, "program", point)
        held = bytes(flash.data[:GRANULE])
        assert flash.cells[0] in (Cell.TORN, Cell.WRONG, Cell.WEAK_PROGRAMMED)
        if state in (Cell.TORN, Cell.WRONG) and held != ZEROS:
            assert flash.cells[0] in (Cell.TORN, Cell.WRONG)
        assert all(is_ & old == is_ for is_, old in zip(held, DATA, strict=True))


def test_an_interrupt_with_nothing_under_way_leaves_all_as_it_is(flash: Flash) -> None:
    program(flash, 0, DATA)
    flash.interrupt()
    finish(flash)
    assert flash.weak_granules() == []


def test_the_tap_is_called_at_all_points_of_an_operation(flash: Flash) -> None:
    seen: list[tuple[str, int, int]] = []
    flash.tap = lambda what, point: seen.append((what, point, flash.clock.now))
    flash.start_program(0, DATA)
    flash.clock.advance(TYPICAL.program)
    points = TAPS["program"]
    assert seen == [
        ("program", point, TYPICAL.program * point // points) for point in range(points)
    ]


@pytest.mark.parametrize("point", POINTS)
def test_power_cut_from_the_tap_ends_the_operation(flash: Flash, point: int) -> None:
    def tap(what: str, at: int) -> None:
        if at == point:
            flash.interrupt()

    flash.tap = tap
    flash.start_page_erase(0)
    finish(flash)
    assert flash.erase_counts[0] == 0
    assert len(flash.weak_granules(0, PAGE)) == PAGE // GRANULE


# Reading


def test_a_read_that_touches_a_torn_granule_fails_whatever_else_it_reads(flash: Flash) -> None:
    flash.cells[2] = Cell.TORN
    assert flash.read(0, 16) == b"\xff" * 16
    for offset, length in ((0, 17), (16, 1), (23, 1), (23, 8), (0, SIZE)):
        with pytest.raises(EccError):
            flash.read(offset, length)
    assert flash.read(24, 8) == ONES
    assert [flash.sound_length(*span) for span in ((0, 99), (15, 99), (16, 9), (23, 1))] == [
        16,
        1,
        0,
        0,
    ]
    assert flash.sound_length(24, 99) == 99


def test_doubtful_granules_are_counted_up_to_the_last_byte_asked_for(flash: Flash) -> None:
    flash.cells[3] = Cell.WEAK_PROGRAMMED
    assert flash.weak_granules(0, 24) == []
    assert flash.weak_granules(0, 25) == [24]
