"""Runs an update once, counts its events, and repeats it with the power cut at each of them.

An event is a byte or the end of a frame on the bus, one of several points inside a flash operation
of the target, or an operation on the host's own flash. Instead of replaying an update up to its
n-th event, the process forks there: the child cuts, recovers, is judged and ends; the parent goes
on to event n + 1.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S
from tests.power_cuts.oracle import Judge, Verdict

BYTE, FRAME, TARGET_FLASH, HOST_FLASH = "bus byte", "bus frame", "target flash", "host flash"
PLACES = (BYTE, FRAME, TARGET_FLASH, HOST_FLASH)

# Who loses power (or is reset) at an event.
TARGET, RESET, HOST, BOTH, HOST_TORN, BOTH_TORN, CTRL_C = (
    "target",
    "reset",  # the target's NRST is pulled low for a moment
    "host",
    "both",
    "host-torn",  # the host's flash operation is half done
    "both-torn",
    "ctrl-c",  # a laptop connects: KeyboardInterrupt, then a soft reset
)
TARGET_ALONE = (TARGET, RESET)  # the host goes on
CUTS = {
    BYTE: (TARGET, HOST, BOTH, CTRL_C),
    FRAME: (TARGET, HOST, BOTH, CTRL_C),
    TARGET_FLASH: (TARGET, RESET, HOST, BOTH, CTRL_C),
    HOST_FLASH: (TARGET, HOST, BOTH, HOST_TORN, BOTH_TORN),
}
# How long the supply is away: less than a flash operation, longer than one, and longer than the
# loader's own timeout.
OUTAGES = (2 * NS_PER_MS, 60 * NS_PER_MS, 1500 * NS_PER_MS)
LONG_OUTAGES = (15 * NS_PER_S, 45 * NS_PER_S, 110 * NS_PER_S)  # the host tries again and again
# How long the host takes until its program runs: less than a flash operation of the target, about
# as long as one, longer.
STARTS = (1 * NS_PER_MS, 15 * NS_PER_MS, 100 * NS_PER_MS)
AGAIN, LATEST = 10_000 * NS_PER_MS, 60_000 * NS_PER_MS  # after a failure: as firmware/main.py
# Of an operation on the host's flash, what happens before it is torn.
FRACTIONS = (0.0, 0.1, 0.5, 0.99)
MAX_BOOTS = 6


@dataclass(frozen=True)
class Cut:
    """A cut at the n-th event (from 1) of the run it strikes; a second one after one that left the
    host alone counts on from that."""

    what: str
    at: int

    def __str__(self) -> str:
        return f"{self.what}@{self.at}"

    @classmethod
    def parse(cls, text: str) -> Cut:
        what, _, at = text.partition("@")
        return cls(what, int(at))


@dataclass
class Case:
    """One judged run: the cuts it took, and what came of it."""

    scenario: str
    cuts: list[str]
    place: str  # what kind of event the last cut struck
    verdict: Verdict

    @property
    def id(self) -> str:
        return "/".join([self.scenario, *self.cuts])


@dataclass
class Scenario:
    """How a world is made, and what is right for it in the end."""

    name: str
    build: Callable[[], Bench]
    judge: Callable[[Bench], Judge]
    restart: Callable[[Bench], None] = lambda bench: None  # what else happens while power is away
    outages: tuple[int, int, int] = OUTAGES


class Rig:
    """Counts the events of one bench and hands each to `on_event(number, place)`.

    `history`: a name, and the cuts so far; it says in which way the next one tears. `since`: the
    instant at which the supply came back; `start`: how long a host takes then."""

    outages = OUTAGES

    def __init__(self, bench: Bench, name: str = "") -> None:
        self.bench = bench
        self.count = 0
        self.history = [name]
        self.since = bench.clock.now
        self.start = STARTS[-1]
        self._trace = bench.trace.tap
        bench.world.bus.tap = self._bus
        self.on_event = None
        bench.target.flash.tap = self._target_flash
        bench.host_flash.tap = self._host_flash

    @property
    def on_event(self) -> Callable[[int, str], None] | None:
        return self._on_event

    @on_event.setter
    def on_event(self, on_event: Callable[[int, str], None] | None) -> None:
        """While nobody asks for events bytes may pass together, uncounted."""
        self._on_event = on_event
        bench = self.bench
        bench.world.bus.stream_tap = bench.trace.stream_tap if on_event is None else None

    def _bus(self, what: str, value: int) -> None:
        self._trace(what, value)
        if what in ("write", "read"):
            self._happened(BYTE)
        elif what == "stop":
            self._happened(FRAME)

    def _target_flash(self, what: str, point: int) -> None:
        self._happened(TARGET_FLASH)

    def _host_flash(self, what: str, block: int) -> None:
        if what != "sync":
            self._happened(HOST_FLASH)

    def _happened(self, place: str) -> None:
        self.count += 1
        if self._on_event is not None:
            self._on_event(self.count, place)

    def go_on(self, on_event: Callable[[int, str], None], anew: bool = True) -> None:
        """Watch again, counting from 1 or from where it was."""
        if anew:
            self.count = 0
        self.on_event = on_event

    def cut(self, cut: Cut) -> None:
        """Do it, here and now. Ends the host's run by an exception unless only the target is
        cut."""
        self.on_event = None
        bench, what = self.bench, cut.what
        self.history.append(str(cut))
        bench.target.flash.randomness.seed("/".join(self.history))
        outage = self.outages[cut.at % 3]
        self.start = STARTS[cut.at // 9 % 3]
        self.since = bench.clock.now
        if what in (TARGET, BOTH, BOTH_TORN):
            self.since += outage
            bench.target.power(False)
            bench.clock.after(outage, lambda: bench.target.power(True))
        if what == RESET:
            bench.target.nrst(False)
            bench.clock.after(NS_PER_MS, lambda: bench.target.nrst(True))
        if what in (HOST_TORN, BOTH_TORN):
            bench.host_flash.tear(FRACTIONS[cut.at % 4])
        if what == CTRL_C:
            raise KeyboardInterrupt
        if what not in TARGET_ALONE:
            raise HostPowerLost

    def is_over(self, cut: Cut, scenario: Scenario) -> None:
        """The host was off as well, for a time of its own."""
        bench = self.bench
        bench.world.power_loss()
        bench.clock.advance(self.outages[cut.at // 3 % 3])
        self.since = max(self.since, bench.clock.now)
        if len(self.history) == 2:  # what else happens meanwhile, happens once
            scenario.restart(bench)


Tell = Callable[[dict[str, Any]], None]


class CannotBegin(Exception):
    """A scenario's world did not come up: the device code is broken before any cut."""


def run_host(bench: Bench, *tell: Tell) -> dict[str, Any] | None:
    """Let the host do its work; the result, or None if it was cut short."""
    event: dict[str, Any] = {}
    try:
        for event in bench.updater().events():
            for listener in tell:
                listener(event)
        return event
    except HostPowerLost:
        return None
    except KeyboardInterrupt:
        bench.world.soft_reset()
        return None


def settle(
    rig: Rig, judge: Judge, result: dict[str, Any] | None = None, tell: Tell = lambda event: None
) -> Verdict:
    """Boot the host again and again, as a product does, until nothing is left to do. `result`: of
    the run before, if it had one."""
    bench = rig.bench
    results = []
    again = AGAIN
    for boots in range(1, MAX_BOOTS + 1):
        if result is not None and not _is_done(result):
            bench.clock.advance(again)
            again = min(2 * again, LATEST)
        else:
            bench.clock.advance(rig.start)
        bench.boot()
        result = run_host(bench, judge.heard, tell)
        took = bench.clock.now - rig.since
        results.append(result)
        if result is not None and _is_done(result):
            bench.clock.advance(2 * max(rig.outages))  # a target that is off just now comes back
            return judge.verdict(bench, boots, took, results)
    return judge.unsettled(bench, results)


def _is_done(result: dict[str, Any]) -> bool:
    return bool(result["ok"]) or result["status"] == "rolled-back"


@dataclass(frozen=True)
class Campaign:
    """What is tried of a scenario.

    `every`: of the events of each place every n-th is cut (0: none), in every way of `CUTS` that
    `only` allows. `second`: the same for a second cut, during the boot that recovers from the
    first, but each event in one of these ways only, in turn: a pair of events is one case for each
    way of its first. `share`: (k, of) leaves all but the k-th of every `of` first events to
    others."""

    every: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PLACES, 1))
    second: dict[str, int] | None = None
    only: tuple[str, ...] = (*TARGET_ALONE, HOST, BOTH, HOST_TORN, BOTH_TORN, CTRL_C)
    share: tuple[int, int] = (0, 1)
    stop_at_violation: bool = False


def explore(scenario: Scenario, campaign: Campaign) -> list[Case]:
    """Judge every case of the campaign."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "cases")
        results.touch()
        bench = scenario.build()
        rig = Rig(bench, scenario.name)
        rig.outages = scenario.outages
        explorer = Explorer(scenario, campaign, rig, scenario.judge(bench), results)
        gc.collect()
        gc.freeze()  # children share what is here instead of copying it page by page
        try:
            explorer.run([], campaign.every)
        finally:
            gc.unfreeze()
        return list(_read(results))


def replay(
    scenario: Scenario,
    cuts: list[Cut],
    tell: Tell = lambda event: None,
    counted_by: type[Rig] = Rig,
) -> Case:
    """One case again, without forking."""
    bench = scenario.build()
    rig = counted_by(bench, scenario.name.rpartition("/")[2])  # tears alike in both Pythons
    rig.outages = scenario.outages
    judge = scenario.judge(bench)
    to_come = list(cuts)
    place = "never reached"

    def strike(number: int, where: str) -> None:
        nonlocal place
        if to_come and number == to_come[0].at:
            place = where
            cut = to_come.pop(0)
            tell({"event": "cut", "cut": str(cut), "place": place})
            rig.cut(cut)
            rig.go_on(strike)

    rig.on_event = strike
    while True:
        left = len(to_come)
        result = run_host(bench, judge.heard, tell)
        rig.on_event = None
        if result is None and cuts[-len(to_come) - 1].what != CTRL_C:
            rig.is_over(cuts[-len(to_come) - 1], scenario)
        if not to_come or left == len(to_come):
            break
        bench.clock.advance(rig.start)
        bench.boot()
        rig.go_on(strike, anew=cuts[-len(to_come) - 1].what not in TARGET_ALONE)
    if to_come:
        place = "never reached"
    told = [str(cut) for cut in cuts]
    return Case(scenario.name, told, place, settle(rig, judge, result, tell))


_FINE, _DIED, _VIOLATION = 0, 1, 3  # exit statuses of a child


@dataclass
class Explorer:
    """Forks its way through a campaign."""

    scenario: Scenario
    campaign: Campaign
    rig: Rig
    judge: Judge
    results: Path

    def run(self, before: list[Cut], every: dict[str, int]) -> None:
        """One run of the host. At each chosen event, and for each cut there, a child takes over:
        it cuts, and never returns from here. A child that has cut the target alone goes on with
        the run, whose recovery has begun, and takes its second cuts there."""
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
            if cuts and ways:  # a second cut: at each event another way, in turn
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

        rig.go_on(at_event, anew=not before or before[-1].what not in TARGET_ALONE)
        status = _DIED
        try:
            result = run_host(rig.bench, self.judge.heard)
            rig.on_event = None
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
        """Fork and, in the parent, wait for the child's end."""
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
        """After the last cut: the double cuts below it, then its own end; the exit status."""
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
        with self.results.open("a") as file:
            file.write(json.dumps(asdict(case)) + "\n")
        return _VIOLATION if case.verdict.violations else _FINE


def _read(results: Path) -> Iterator[Case]:
    for line in results.read_text().splitlines():
        fields = json.loads(line)
        yield Case(**{**fields, "verdict": Verdict(**fields["verdict"])})
