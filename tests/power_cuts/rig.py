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

from stm32sim.bench import Bench
from stm32sim.clock import NS_PER_MS
from stm32sim.host.seam import HostPowerLost
from tests.power_cuts.oracle import Judge, Verdict

BYTE, FRAME, TARGET_FLASH, HOST_FLASH = "bus byte", "bus frame", "target flash", "host flash"
PLACES = (BYTE, FRAME, TARGET_FLASH, HOST_FLASH)

# Who loses power (or is reset) at an event.
TARGET, HOST, BOTH, HOST_TORN, BOTH_TORN, CTRL_C = (
    "target",
    "host",
    "both",
    "host-torn",  # the host's flash operation is half done
    "both-torn",
    "ctrl-c",  # a laptop connects: KeyboardInterrupt, then a soft reset
)
CUTS = {
    BYTE: (TARGET, HOST, BOTH, CTRL_C),
    FRAME: (TARGET, HOST, BOTH, CTRL_C),
    TARGET_FLASH: (TARGET, HOST, BOTH, CTRL_C),
    HOST_FLASH: (TARGET, HOST, BOTH, HOST_TORN, BOTH_TORN),
}
# How long the supply is away: less than a flash operation, longer than one, and longer than the
# loader's own timeout.
OUTAGES = (2 * NS_PER_MS, 60 * NS_PER_MS, 1500 * NS_PER_MS)
MAX_BOOTS = 6
BETWEEN_BOOTS = 100 * NS_PER_MS


@dataclass(frozen=True)
class Cut:
    """A cut at the n-th event (from 1) of the run it strikes."""

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


class Rig:
    """Counts the events of one bench and hands each to `on_event(number, place)`."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.count = 0
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

    def cut(self, cut: Cut) -> None:
        """Do it, here and now. Ends the host's run by an exception unless only the target is
        cut."""
        self.on_event = None
        bench, what = self.bench, cut.what
        bench.target.flash.randomness.seed(str(cut))  # every cut tears in its own way
        outage = OUTAGES[cut.at % len(OUTAGES)]
        if what in (TARGET, BOTH, BOTH_TORN):
            bench.target.power(False)
            bench.clock.after(outage, lambda: bench.target.power(True))
        if what in (HOST_TORN, BOTH_TORN):
            bench.host_flash.tear()
        if what == CTRL_C:
            raise KeyboardInterrupt
        if what != TARGET:
            raise HostPowerLost

    def outage(self, cut: Cut) -> int:
        return OUTAGES[cut.at % len(OUTAGES)]


Tell = Callable[[dict[str, Any]], None]


class CannotBegin(Exception):
    """A scenario's world did not come up: the device code is broken before any cut."""


def run_host(bench: Bench, tell: Tell | None = None) -> dict[str, Any] | None:
    """Let the host do its work; the result, or None if it was cut short."""
    event: dict[str, Any] = {}
    try:
        for event in bench.updater().events():
            if tell is not None:
                tell(event)
        return event
    except HostPowerLost:
        return None
    except KeyboardInterrupt:
        bench.world.soft_reset()
        return None


def settle(bench: Bench, judge: Judge, tell: Tell | None = None) -> Verdict:
    """Boot the host again and again, as a product does, until nothing is left to do."""
    began = bench.clock.now
    results = []
    for boots in range(1, MAX_BOOTS + 1):
        bench.clock.advance(BETWEEN_BOOTS)
        bench.boot()
        result = run_host(bench, tell)
        took = bench.clock.now - began
        results.append(result)
        if result is None:
            continue  # a second cut, made by the caller
        if result["ok"] or result["status"] == "rolled-back":
            bench.clock.advance(max(OUTAGES))  # a target that is off just now comes back
            return judge.verdict(bench, boots, took, results)
    return judge.unsettled(bench, results)


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
    only: tuple[str, ...] = (TARGET, HOST, BOTH, HOST_TORN, BOTH_TORN, CTRL_C)
    share: tuple[int, int] = (0, 1)
    stop_at_violation: bool = False


def explore(scenario: Scenario, campaign: Campaign) -> list[Case]:
    """Judge every case of the campaign."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "cases")
        results.touch()
        bench = scenario.build()
        explorer = Explorer(scenario, campaign, Rig(bench), scenario.judge(bench), results)
        gc.collect()
        gc.freeze()  # children share what is here instead of copying it page by page
        try:
            explorer.run([], campaign.every, 0)
        finally:
            gc.unfreeze()
        return list(_read(results))


def replay(
    scenario: Scenario, cuts: list[Cut], tell: Tell | None = None, counted_by: type[Rig] = Rig
) -> Case:
    """One case again, without forking."""
    bench = scenario.build()
    rig = counted_by(bench)
    judge = scenario.judge(bench)
    place = ""
    for cut in cuts:
        struck: list[str] = []

        def strike(number: int, where: str, cut: Cut = cut, struck: list[str] = struck) -> None:
            if number == cut.at:
                struck.append(where)
                rig.cut(cut)

        if cut is not cuts[0]:
            bench.clock.advance(BETWEEN_BOOTS)
            bench.boot()
        rig.count = 0
        rig.on_event = strike
        result = run_host(bench, tell)
        rig.on_event = None
        _after(scenario, rig, cut, result)
        if tell is not None:
            tell({"event": "cut", "cut": str(cut), "place": "".join(struck) or "never reached"})
        place = struck[0] if struck else "never reached"
    return Case(scenario.name, [str(cut) for cut in cuts], place, settle(bench, judge, tell))


def _after(scenario: Scenario, rig: Rig, cut: Cut, result: dict[str, Any] | None) -> None:
    """Time goes by until the supply is back."""
    bench = rig.bench
    if result is None and cut.what != CTRL_C:
        bench.world.power_loss()
        bench.clock.advance(rig.outage(cut))
        scenario.restart(bench)


_FINE, _DIED, _VIOLATION = 0, 1, 3  # exit statuses of a child


@dataclass
class Explorer:
    """Forks its way through a campaign."""

    scenario: Scenario
    campaign: Campaign
    rig: Rig
    judge: Judge
    results: Path

    def run(self, before: list[str], every: dict[str, int], offset: int) -> None:
        """One run of the host. At each chosen event, and for each cut there, a child takes over:
        it cuts, and never returns from here."""
        rig = self.rig
        mine: list[tuple[Cut, str]] = []
        seen = dict.fromkeys(PLACES, offset)
        chosen = 0

        def at_event(number: int, place: str) -> None:
            nonlocal chosen
            seen[place] += 1
            if not every[place] or seen[place] % every[place]:
                return
            chosen += 1
            k, of = self.campaign.share if not before else (0, 1)
            if chosen % of != k:
                return
            ways = [what for what in CUTS[place] if what in self.campaign.only]
            if before and ways:  # a second cut: at each event another way, in turn
                ways = [ways[chosen % len(ways)]]
            for what in ways:
                if not self._in_child():
                    continue
                mine.append((Cut(what, number), place))
                rig.cut(mine[0][0])
                return

        rig.count = 0
        rig.on_event = at_event
        status = _DIED
        try:
            result = run_host(rig.bench)
            rig.on_event = None
            if mine:
                status = self._recover(before, *mine[0], result)
        except BaseException:
            if not mine:
                raise
            traceback.print_exc()
        finally:
            if mine:
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

    def _recover(
        self, before: list[str], cut: Cut, place: str, result: dict[str, Any] | None
    ) -> int:
        """After the cut: the double cuts below it, then its own end; the exit status."""
        bench = self.rig.bench
        _after(self.scenario, self.rig, cut, result)
        cuts = [*before, str(cut)]
        if self.campaign.second and not before and self._in_child():
            bench.clock.advance(BETWEEN_BOOTS)
            bench.boot()
            try:
                self.run(cuts, self.campaign.second, cut.at)
            except BaseException:
                traceback.print_exc()
                return _DIED
            return _FINE
        case = Case(self.scenario.name, cuts, place, settle(bench, self.judge))
        with self.results.open("a") as file:
            file.write(json.dumps(asdict(case)) + "\n")
        return _VIOLATION if case.verdict.violations else _FINE


def _read(results: Path) -> Iterator[Case]:
    for line in results.read_text().splitlines():
        fields = json.loads(line)
        yield Case(**{**fields, "verdict": Verdict(**fields["verdict"])})
