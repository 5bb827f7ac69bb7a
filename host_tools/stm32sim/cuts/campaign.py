"""Every chosen cut of a scenario: at each event the process forks.

Instead of replaying a run up to its n-th event, the process forks there: the child cuts, recovers,
is judged and ends; the parent continues to event n + 1.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
import traceback
from dataclasses import asdict, dataclass, field, replace
from typing import IO, Any

from stm32sim.cuts.judge import Judge, Kind, Verdict, Violation
from stm32sim.cuts.rig import (
    BOTH,
    BOTH_TORN,
    CTRL_C,
    CUTS,
    HOST,
    HOST_TORN,
    PLACES,
    TARGET_ALONE,
    CannotBegin,
    Case,
    Cut,
    Rig,
    Scenario,
    run_host,
    settle,
)


@dataclass(frozen=True)
class Campaign:
    """The cuts to try in a scenario.

    `every`: every n-th event of each place is cut (0: none), with every kind of `CUTS` that `only`
    allows. `second`: the same for a second cut, during the boot that recovers from the first, but
    with only one kind per event, in turn: a pair of events is one case for each kind of its first
    cut. `share`: (k, of) takes only the k-th of every `of` first events; other processes take the
    rest."""

    every: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PLACES, 1))
    second: dict[str, int] | None = None
    only: tuple[str, ...] = (*TARGET_ALONE, HOST, BOTH, HOST_TORN, BOTH_TORN, CTRL_C)
    share: tuple[int, int] = (0, 1)
    stop_at_violation: bool = False

    def thinned(self, share: int) -> Campaign:
        """About `share` per cent of this campaign."""
        factor = max(1, round(100 / share))
        if self.second is not None:
            factor = round(factor**0.5)
        every, second = (
            every and {place: n * factor for place, n in every.items()}
            for every in (self.every, self.second)
        )
        return replace(self, every=every or {}, second=second)


def explore(scenario: Scenario, campaign: Campaign) -> list[Case]:
    """Judge every case of the campaign."""
    with tempfile.TemporaryFile(buffering=0) as results:
        bench = scenario.build()
        rig = Rig(bench, scenario.name)
        rig.outages = scenario.outages
        explorer = Explorer(scenario, campaign, rig, scenario.judge(bench), results)
        collects = gc.isenabled()
        gc.disable()  # it would write to all objects, so that each child copies their memory
        try:
            explorer.run([], campaign.every)
        finally:
            if collects:
                gc.enable()
        results.seek(0)
        return [_case(line) for line in results.read().splitlines()]


_FINE, _DIED, _VIOLATION = 0, 1, 3  # exit statuses of a child


@dataclass
class Explorer:
    """Runs a campaign by forking."""

    scenario: Scenario
    campaign: Campaign
    rig: Rig
    judge: Judge
    results: IO[bytes]  # shared by all children

    def run(self, before: list[Cut], every: dict[str, int]) -> None:
        """Run the host once. For each cut at each chosen event a child is forked, which cuts and
        never returns from here. A child that cut only the target continues the run, which is its
        recovery, and makes its second cuts there."""
        rig, cuts = self.rig, list(before)
        place = ""
        seen = dict.fromkeys(PLACES, before[0].at if before else 0)
        chosen = 0

        def at_event(number: int, where: str) -> None:
            nonlocal every, seen, chosen, place
            seen[where] += 1
            if not every[where] or seen[where] % every[where]:
                return
            chosen += 1
            k, of = self.campaign.share if not cuts else (0, 1)
            if chosen % of != k:
                return
            ways = [what for what in CUTS[where] if what in self.campaign.only]
            if cuts and ways:  # a second cut: at each event another kind, in turn
                ways = [ways[chosen % len(ways)]]
            for what in ways:
                if not self._in_child():
                    continue
                place = where
                cuts.append(Cut(what, number))
                rig.cut(cuts[-1])
                if self.campaign.second and len(cuts) == 1:
                    every, seen, chosen = self.campaign.second, dict.fromkeys(PLACES, number), 0
                    rig.go_on(at_event)
                return

        rig.go_on(at_event, from_one=not before or before[-1].what not in TARGET_ALONE)
        status = _DIED
        try:
            result = run_host(rig.bench, self.judge.heard)
            rig.on_event = None
            if result is None and not (before or place):
                raise CannotBegin("the host went down before the first cut")
            if place:
                status = self._recover(cuts, place, result)
        except BaseException:
            if not place:
                raise
            traceback.print_exc()
        finally:
            if place:
                os._exit(status)

    def _in_child(self) -> bool:
        """Fork; the parent waits for the end of the child."""
        self.rig.bench.prepare_boot()
        pid = os.fork()
        if not pid:
            return True
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code not in (_FINE, _VIOLATION):
            raise RuntimeError(f"a case died with status {code}; its traceback is above")
        if code == _VIOLATION and self.campaign.stop_at_violation:
            self.rig.on_event = None
        return False

    def _recover(self, cuts: list[Cut], place: str, result: dict[str, Any] | None) -> int:
        """After the last cut: the second cuts, then the judgement; return the exit status."""
        rig = self.rig
        if result is None and cuts[-1].what != CTRL_C:
            rig.is_over(cuts[-1], self.scenario)
        if self.campaign.second and len(cuts) == 1 and self._in_child():
            rig.bench.clock.advance(rig.start)
            rig.bench.boot()
            try:
                self.run(cuts, self.campaign.second)
            except BaseException:
                traceback.print_exc()
                return _DIED
            return _FINE
        verdict = settle(rig, self.judge, result)
        case = Case(self.scenario.name, [str(cut) for cut in cuts], place, verdict)
        self.results.write(json.dumps(asdict(case)).encode() + b"\n")
        return _VIOLATION if case.verdict.violations else _FINE


def _case(line: bytes) -> Case:
    fields = json.loads(line)
    verdict = Verdict(**fields["verdict"])
    verdict.violations = [
        Violation(Kind(told["kind"]), told["text"]) for told in fields["verdict"]["violations"]
    ]
    return Case(**{**fields, "verdict": verdict})
