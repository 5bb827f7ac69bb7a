"""The cuts that a target without BOOT0 survives or not, as docs/power-cuts.md says."""

from __future__ import annotations

import pytest

from stm32sim.chip.flash import GRANULE, SLOWEST, TAPS, TYPICAL
from stm32sim.cuts import first_granule, rig
from stm32sim.cuts.campaign import Campaign, explore
from stm32sim.cuts.rig import BOTH, BYTE, FRAME, HOST, HOST_FLASH, TARGET, TARGET_FLASH
from tests.power_cuts import scenarios
from tests.power_cuts.report import DOCUMENT
from tests.power_cuts.scenarios import SCENARIOS
from tests.power_cuts.torture import WITHOUT_BOOT0

SLICE = {BYTE: 1801, FRAME: 59, TARGET_FLASH: 71, HOST_FLASH: 2}


@pytest.fixture(scope="module")
def window() -> frozenset[int]:
    return first_granule.window(SCENARIOS[WITHOUT_BOOT0])


def test_only_while_the_first_granule_changes_must_the_targets_supply_not_fail(window):
    assert len(window) > 20
    cases = explore(SCENARIOS[WITHOUT_BOOT0], Campaign(SLICE, only=(TARGET,)))
    outside = [case for case in cases if rig.Cut.parse(case.cuts[0]).at not in window]
    assert len(outside) > 10
    assert [case for case in outside if case.verdict.violations] == []


def test_a_cut_while_the_second_granule_is_written_is_recovered_from(window):
    """Granule 0 is blank then, so the chip starts its loader."""
    scenario = SCENARIOS[WITHOUT_BOOT0]
    writes = written_last(scenario, GRANULE)
    assert len(writes) >= TAPS["program"] and not writes & window
    cases = [rig.replay(scenario, [rig.Cut(what, at)]) for at in writes for what in (TARGET, BOTH)]
    assert [case.id for case in cases if case.verdict.violations] == []


def written_last(scenario: rig.Scenario, offset: int) -> set[int]:
    """The events of an uncut run at which this granule is written, after the erase of page 0."""
    bench = scenario.build()
    found: set[int] = set()

    def look(number: int, place: str) -> None:
        flash = bench.target.flash
        if flash.changing(offset) and flash.erase_counts[0] > erased:
            found.add(number)

    erased = bench.target.flash.erase_counts[0]
    rig.Rig(bench).on_event = look
    rig.run_host(bench)
    return found


def test_while_it_changes_a_cut_of_the_targets_supply_may_be_for_the_bench(window):
    scenario = SCENARIOS[WITHOUT_BOOT0]
    cases = [rig.replay(scenario, [rig.Cut(TARGET, at)]) for at in sorted(window)[::2]]
    lost = [case for case in cases if case.verdict.settled_on == "nothing"]
    assert 1 <= len(lost) <= len(cases) * 3 / 4
    assert all("hold its BOOT0 high" in case.verdict.violations[0].text for case in lost)


@pytest.mark.parametrize(("times", "milliseconds"), [(TYPICAL, 24), (SLOWEST, 42)])
def test_the_window_is_as_long_as_the_documents_say(times, milliseconds):
    scenario = scenarios._update("by-command", times=times, **scenarios.without_boot0())
    assert int(first_granule.longest_ms(scenario)) == milliseconds
    assert f"{milliseconds} ms" in DOCUMENT.read_text()


def loader_3(supply: int | None) -> rig.Scenario:
    return scenarios._update("loader-11.3", loader=3, **scenarios.without_boot0(supply))


def test_loader_3_without_boot0_needs_a_power_cycle_after_a_cut_of_the_host():
    scenario = loader_3(supply=None)
    window = first_granule.window(scenario)
    bench = scenario.build()
    judge, counter = scenario.judge(bench), rig.Rig(bench)
    halfway = (min(window) + max(window)) // 2

    def strike(number: int, place: str) -> None:
        if number == halfway:
            counter.cut(rig.Cut(HOST, number))

    counter.on_event = strike
    assert rig.run_host(bench, judge.heard) is None
    assert rig.settle(counter, judge).settled_on == "nothing"
    bench.target.power(False)
    bench.clock.advance(100_000_000)
    bench.target.power(True)
    counter.since = bench.clock.now
    assert rig.settle(counter, judge).violations == []


def test_a_supply_switch_is_that_power_cycle():
    scenario = loader_3(supply=6)
    cases = explore(scenario, Campaign(SLICE, only=(HOST, TARGET, BOTH)))
    bad = {rig.Cut.parse(case.cuts[0]).at for case in cases if case.verdict.violations}
    assert len(cases) > 25 and bad <= first_granule.window(scenario)
