"""A part of `make torture`: cuts in every scenario, double cuts, seeded bugs, replay."""

from __future__ import annotations

import pytest

from stm32sim.cuts import rig
from stm32sim.cuts.campaign import Campaign, explore
from stm32sim.cuts.judge import Judge, Kind, Verdict, Violation
from stm32sim.cuts.outcome import COLUMNS, Row, cells, table
from stm32sim.cuts.rig import BYTE, FRAME, HOST_FLASH, TARGET_FLASH
from stm32sim.in_process import Bench
from tests.power_cuts import seeded_bugs
from tests.power_cuts.scenarios import SCENARIOS
from tests.power_cuts.torture import FOR_BUGS, SINGLE

SLICE = {BYTE: 2503, FRAME: 97, TARGET_FLASH: 113, HOST_FLASH: 4}
# Over UART a case costs four times as much, and only the link differs.
OVER_UART = {BYTE: 9001, FRAME: 401, TARGET_FLASH: 401, HOST_FLASH: 9}
NO_UPDATE = ("damaged-push", "covers-preserved", "downgrade-refused")
BIG = {BYTE: 120011, FRAME: 3001, TARGET_FLASH: 60013, HOST_FLASH: 19}


def every_case_is_fine(cases: list[rig.Case]) -> None:
    bad = [case for case in cases if case.verdict.violations]
    told = [f"python -m tests.power_cuts.replay {case.id}: {case.verdict}" for case in bad[:5]]
    assert not bad, "\n".join([f"{len(bad)} of {len(cases)} cases", *told])


LONG = ("uart-full-size", "uart-erase-all")  # for `make torture`


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in LONG])
def test_an_update_survives_a_cut_anywhere(name: str) -> None:
    every = BIG if name == "full-size" else OVER_UART if "uart" in name else SLICE
    campaign = Campaign(every, only=SINGLE[name].only)
    cases = explore(SCENARIOS[name], campaign)
    assert (
        len(cases) >= (2 if "long-outage" in name else 6)
        or name.removeprefix("uart-") in NO_UPDATE
    )
    every_case_is_fine(cases)


@pytest.mark.parametrize("name", ["tiny", "update"])
def test_a_second_cut_during_the_recovery_is_survived_as_well(name: str) -> None:
    every = {BYTE: 2503, FRAME: 131, TARGET_FLASH: 131, HOST_FLASH: 7}
    second = {BYTE: 1499, FRAME: 97, TARGET_FLASH: 97, HOST_FLASH: 5}
    cases = explore(SCENARIOS[name], Campaign(every, second))
    assert sum(len(case.cuts) == 2 for case in cases) > 60
    every_case_is_fine(cases)


# They show in flash alone, at every so many points of it.
LONG_BUGS = {
    "a page in doubt is believed if it reads right": 3,
    "checkpoint before a page is written": 11,
}
QUICK_BUGS = (
    "page 0 is not erased first",
    "first granule is never written",
    *LONG_BUGS,
    "an application that is silent counts as proven",
    "digests are not compared",
    "what the signature check finds is ignored",
    "the security counter is not looked at",
    "the security counter is raised before the application has proven itself",
    "preserved regions are not looked at",
    "Go is not tried when the loader is still there",
    "log lines are not flushed",
)


POINTS = 3  # coprime to the points in an operation of flash


@pytest.mark.parametrize("name", QUICK_BUGS)
def test_a_seeded_bug_is_caught(name: str) -> None:
    bug = next(bug for bug in seeded_bugs.BUGS if bug.name == name)
    with seeded_bugs.planted(bug):
        try:
            step = LONG_BUGS.get(name, POINTS)
            elsewhere = dict.fromkeys(FOR_BUGS, 0) if name in LONG_BUGS else FOR_BUGS
            campaign = Campaign({**elsewhere, TARGET_FLASH: step}, stop_at_violation=True)
            cases = explore(SCENARIOS[bug.shows_in[0]], campaign)
        except rig.CannotBegin:
            return  # the bug shows before any cut
        assert any(case.verdict.violations for case in cases)


@pytest.mark.parametrize("bug", seeded_bugs.BUGS, ids=lambda bug: bug.name)
def test_every_seeded_bug_still_has_its_place(bug: seeded_bugs.Bug) -> None:
    with seeded_bugs.planted(bug):
        pass


def test_there_are_at_least_20_seeded_bugs() -> None:
    assert len({bug.name for bug in seeded_bugs.BUGS}) >= 20


def test_replaying_a_case_gives_its_verdict_again() -> None:
    scenario = SCENARIOS["tiny"]
    every = {BYTE: 2503, FRAME: 131, TARGET_FLASH: 113, HOST_FLASH: 13}
    cases = explore(scenario, Campaign(every, every))[::5]
    assert {cut.split("@")[0] for case in cases for cut in case.cuts} >= {"target", "host", "both"}
    for case in cases:
        again = rig.replay(scenario, [rig.Cut.parse(cut) for cut in case.cuts])
        assert (again.verdict, again.place) == (case.verdict, case.place), case.id


def test_a_case_that_cannot_be_judged_is_no_case() -> None:
    class Unjust(Judge):
        def verdict(self, *_: object) -> Verdict:
            raise ValueError

    def judge(bench: Bench) -> Judge:
        return Unjust(**vars(SCENARIOS["tiny"].judge(bench)))

    scenario = rig.Scenario("broken", SCENARIOS["tiny"].build, judge)
    with pytest.raises(RuntimeError):
        explore(scenario, Campaign({BYTE: 0, FRAME: 0, TARGET_FLASH: 0, HOST_FLASH: 9}))


def test_the_table_has_a_column_for_every_kind_of_violation() -> None:
    row = Row("all kinds")
    for times, kind in enumerate(Kind, 1):
        for _ in range(times):
            verdict = Verdict("nothing", 1, 0, [Violation(kind, "of the log, an opcode")])
            row.add(rig.Case("update", ["both@1"], BYTE, verdict))
    counted = dict(zip(COLUMNS, cells(row)[1:], strict=True))
    assert {kind: counted[kind] for kind in Kind} == {
        kind: str(times) for times, kind in enumerate(Kind, 1)
    }
    assert len(table("", []).columns) == len(COLUMNS) + 1


def test_one_update_wears_the_hosts_flash_by_few_erases() -> None:
    """128 KB: the size of host flash that a product can rely on."""
    bench = SCENARIOS["full-size"].build()
    before = bench.host_flash.erases
    result = rig.run_host(bench)
    assert result is not None and result["ok"]
    assert bench.host_flash.erases - before <= 6
