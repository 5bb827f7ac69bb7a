"""The forum case: what locks the chip, and that all its facts have sources."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from stm32sim.chip.flash import TYPICAL
from stm32sim.chip.option_bytes import OPTR
from stm32sim.chip.quirks import quirks_of
from stm32sim.chip.stm32 import Running
from stm32sim.forum import supply_failures
from stm32sim.forum.lanes import (
    LOCKED,
    PATIENCE,
    RECOVERED,
    TAKES_LONGER,
    Firmware,
    Lane,
    Naive,
    Unprotect,
    UnprotectSlow,
    Update,
    payload,
    ways_back,
)
from stm32sim.forum.recording import Recording, Span, record
from stm32sim.in_process import Bench, Event
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S
from tests.support import image, version_bytes

SEED = 7
DANGEROUS = (0x63, 0x64, 0x73, 0x74, 0x82, 0x83, 0x92, 0x93)  # AN4221 table 2


@cache
def update() -> Update:
    def firmware(seed: int, version: str) -> Firmware:
        content = payload(2100, seed)
        return Firmware(content, version_bytes(version), image(content, version))

    return Update(firmware(1, "1.0.0"), firmware(2, "1.1.0"))


@cache
def recorded(kind: type[Lane]) -> tuple[Recording, Bench]:
    return record(update() if kind is Update else kind())


def danger(kind: type[Lane]) -> Span:
    (span,) = recorded(kind)[0].of("option")
    return span


def commands(bench: Bench) -> list[int]:
    """Every frame on the bus that is a command code and its complement."""
    return [
        data[0]
        for _, reading, data in bench.trace.transactions
        if not reading and len(data) == 2 and data[0] ^ data[1] == 0xFF
    ]


# The naive host


def test_the_naive_host_locks_the_chip_for_good() -> None:
    recording, bench = record(Naive())
    assert recording.outcome == LOCKED
    assert bench.target.running is Running.LOCKED
    assert bench.target.option_bytes.torn
    assert commands(bench) == [0x02, 0x93]
    tried = ways_back(bench)
    assert len(tried) == 6
    assert not any(answered for _, answered in tried)


def test_it_polls_busy_until_somebody_pulls_the_plug() -> None:
    recording, bench = recorded(Naive)
    statuses = [data for _, reading, data in bench.trace.transactions[5:] if reading]
    assert statuses[0] == b"\x79"
    assert len(statuses) > 3000
    assert set(statuses[1:]) == {b"\x76"}
    (off,) = recording.of("off")
    span = danger(Naive)
    assert span.end == off.start < span.start + TYPICAL.option + TAKES_LONGER
    assert PATIENCE - NS_PER_S < span.end - span.start < PATIENCE


def test_the_same_host_comes_away_with_it_on_a_part_that_is_quick() -> None:
    class Quick(Naive):
        quirks = quirks_of(4)

    recording, bench = record(Quick())
    assert recording.outcome == ""
    assert not bench.target.bricked
    assert bench.target.option_bytes.word(OPTR) & 0xFF == 0xAA


def test_a_sound_chip_answers_to_what_the_locked_one_does_not() -> None:
    bench = update().build()
    assert all(answered for _, answered in ways_back(bench))
    assert any("ST-LINK" in what for what, _ in ways_back(bench))


# unprotect


def test_unprotect_waits_until_the_slow_part_is_done() -> None:
    """Its last status is missed because it is rarely polled; a power-on completes the work."""
    recording, bench = recorded(UnprotectSlow)
    results = [event for _, event in recording.told if event["event"] == "result"]
    assert results[-3]["error"] == "not-done" and results[-1]["status"] == "not-protected"
    assert recording.window == 2 * TYPICAL.option + TAKES_LONGER
    assert bench.target.rdp_level == 0
    span = danger(UnprotectSlow)
    assert [s for s in recording.of("bus") if span.start <= s.start < span.end]


def test_the_window_is_the_time_of_two_option_programmings() -> None:
    recording, bench = recorded(Unprotect)
    assert recording.told[-1][1]["status"] == "unprotected"
    assert recording.window == 2 * TYPICAL.option
    assert recording.end == supply_failures.duration(Unprotect())
    assert commands(bench).count(0x93) == 1


@pytest.mark.parametrize(
    ("offset_of", "outcome"),
    [
        (lambda span: span.start - 1, RECOVERED),
        (lambda span: span.start + 1, LOCKED),
        (lambda span: (span.start + span.end) // 2, LOCKED),
        (lambda span: span.end - 1, LOCKED),
        (lambda span: span.end + 1, RECOVERED),
    ],
)
def test_a_cut_in_the_window_locks_and_one_beside_it_does_not(offset_of, outcome: str) -> None:
    assert record(Unprotect(), offset_of(danger(Unprotect)))[0].outcome == outcome


@pytest.mark.parametrize("tenth", range(1, 10, 2))
def test_a_cut_while_flash_is_erased_is_made_good_by_running_it_again(tenth: int) -> None:
    (erase,) = recorded(Unprotect)[0].of("erase")
    at = erase.start + (erase.end - erase.start) * tenth // 10
    assert record(Unprotect(), at)[0].outcome == RECOVERED


# The field package


def test_the_field_package_never_opens_the_window() -> None:
    recording, bench = recorded(Update)
    assert recording.told[-1][1]["status"] == "installed"
    assert recording.of("erase") and recording.of("program")
    assert recording.window == 0
    assert not set(commands(bench)) & set(DANGEROUS)


# Many cuts


@pytest.mark.parametrize("kind", [Naive, UnprotectSlow, Unprotect])
def test_locked_are_those_in_the_window_and_no_others(kind: type[Lane]) -> None:
    lane, span = kind(), danger(kind)
    total = supply_failures.duration(lane)
    cases = supply_failures.judge(lane, SEED, range(40), total)
    assert len({case.instant for case in cases}) == 40
    for case in cases:
        inside = span.start < case.instant < span.end
        assert case.outcome == (LOCKED if inside else RECOVERED), case


def test_every_cut_of_an_update_is_recovered_from() -> None:
    lane = update()
    cases = supply_failures.judge(lane, SEED, range(60), supply_failures.duration(lane))
    assert {case.outcome for case in cases} == {RECOVERED}, cases
    assert {case.in_operation for case in cases} == {True, False}


def test_an_instant_is_the_same_however_many_there_are() -> None:
    lane = Unprotect()
    total = 11 * NS_PER_S
    for count in (10, 55):
        batches = supply_failures.batches(lane, SEED, count, total, 10)
        assert sorted(number for batch in batches for number in batch) == list(range(count))
    instants = [supply_failures.instant_of(lane, SEED, number, total) for number in range(2000)]
    assert instants != [supply_failures.instant_of(lane, SEED + 1, n, total) for n in range(2000)]
    tenths = [sum(at * 10 // total == tenth for at in instants) for tenth in range(10)]
    assert min(tenths) > 150 and max(tenths) < 250


def test_a_replay_ends_as_its_case_did() -> None:
    lane = update()
    total = supply_failures.duration(lane)
    for case in supply_failures.judge(lane, SEED, range(12), total):
        told: list[tuple[int, Event]] = []
        again = supply_failures.replay(
            lane, SEED, case.number, total, lambda *each, to=told: to.append(each)
        )
        assert again == case
        assert told[-1][1] == {"event": "outcome", "outcome": case.outcome}


def test_a_host_that_does_not_recover_is_counted_as_such() -> None:
    class Forgetful(Unprotect):
        """Nothing is done after the supply has failed."""

        def again(self, bench: Bench) -> bool:
            return False

    lane = Forgetful()
    cases = supply_failures.judge(lane, SEED, range(5), supply_failures.duration(lane))
    assert {case.outcome.partition(":")[0] for case in cases} <= {"stuck", LOCKED}


def test_a_host_whose_supply_failed_writes_no_more() -> None:
    class Writer(Unprotect):
        """Its file is closed, and so written, while the stack unwinds."""

        def work(self, bench: Bench) -> Iterator[Event]:
            handle = bench.files.fs_open("/late", "w")
            try:
                bench.world.call("sleep_us", 100_000)
                yield {"event": "never"}
            finally:
                with pytest.raises(OSError):
                    bench.files.fs_write(handle, b"x" * 8192)

        def again(self, bench: Bench) -> bool:
            return not bench.exists("/late") or bench.read_file("/late") == b""

    assert record(Writer(), 50 * NS_PER_MS)[0].outcome == RECOVERED
