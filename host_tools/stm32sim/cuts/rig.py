"""Counts the events of a host's run, cuts the power at one of them, and boots until the work is
done.

An event is a byte or the end of a frame on the bus or the UART line, one of several points inside
a flash operation of the target, or an operation on the host's own flash. `explore` does that at
all events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stm32sim.cuts.judge import ENDED, Judge, Verdict
from stm32sim.host.seam import HostPowerLost, HostReset
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S

BYTE, FRAME, TARGET_FLASH, HOST_FLASH = "bus byte", "bus frame", "target flash", "host flash"
PLACES = (BYTE, FRAME, TARGET_FLASH, HOST_FLASH)

# What loses power (or is reset) at an event.
TARGET, RESET, HOST, BOTH, HOST_TORN, BOTH_TORN, CTRL_C = (
    "target",
    "reset",  # the target's NRST is pulled low for a moment
    "host",
    "both",
    "host-torn",  # the host's flash operation is half done
    "both-torn",
    "ctrl-c",  # a PC connects: KeyboardInterrupt, then a soft reset
)
TARGET_ALONE = (TARGET, RESET)  # the host continues
CUTS = {
    BYTE: (TARGET, HOST, BOTH, CTRL_C),
    FRAME: (TARGET, HOST, BOTH, CTRL_C),
    TARGET_FLASH: (TARGET, RESET, HOST, BOTH, CTRL_C),
    HOST_FLASH: (TARGET, HOST, BOTH, HOST_TORN, BOTH_TORN),
}
# Durations of an outage: less than a flash operation, longer than one, and longer than the
# loader's own timeout.
OUTAGES = (2 * NS_PER_MS, 60 * NS_PER_MS, 1500 * NS_PER_MS)
LONG_OUTAGES = (15 * NS_PER_S, 45 * NS_PER_S, 110 * NS_PER_S)  # the host repeats its attempts
# Times until the host's program runs: less than a flash operation of the target, about as long,
# and longer.
STARTS = (1 * NS_PER_MS, 15 * NS_PER_MS, 100 * NS_PER_MS)
AGAIN, LATEST = 10_000 * NS_PER_MS, 60_000 * NS_PER_MS  # after a failure, as in firmware/main.py
# The shares of an operation on the host's flash that are done before it is torn.
FRACTIONS = (0.0, 0.1, 0.5, 0.99)
MAX_BOOTS = 6


@dataclass(frozen=True)
class Cut:
    """A cut at the n-th event (from 1) of its run. After a cut of the target alone, a second cut
    counts on from there."""

    what: str
    at: int

    def __str__(self) -> str:
        return f"{self.what}@{self.at}"

    @classmethod
    def parse(cls, text: str) -> Cut:
        """Parse the output of `str`. Raises ValueError."""
        what, _, at = text.partition("@")
        if what not in {way for ways in CUTS.values() for way in ways} or not at.isdecimal():
            raise ValueError(f"{text!r} is not a cut; write CUT@N, such as {BOTH}@1411")
        return cls(what, int(at))


@dataclass
class Case:
    """One judged run: its cuts and the verdict."""

    scenario: str
    cuts: list[str]
    place: str  # the kind of event of the last cut
    verdict: Verdict

    @property
    def id(self) -> str:
        return "/".join([self.scenario, *self.cuts])


@dataclass
class Scenario:
    """How to make a world, and how to judge it in the end."""

    name: str
    build: Callable[[], Bench]
    judge: Callable[[Bench], Judge]
    restart: Callable[[Bench], None] = lambda bench: None  # what else happens during an outage
    outages: tuple[int, int, int] = OUTAGES


class Rig:
    """Counts the events of one bench and hands each to `on_event(number, place)`.

    `history`: a name and the cuts so far; it determines how the next one tears. `since`: the
    instant at which the supply returned; `start`: how long the host then takes."""

    outages = OUTAGES

    def __init__(self, bench: Bench, name: str = "") -> None:
        self.bench = bench
        self.count = 0
        self.history = [name]
        self.since = bench.clock.now
        self.start = STARTS[-1]
        self._trace = bench.trace.tap
        self.on_event = None
        bench.target.flash.tap = self._target_flash
        bench.host_flash.tap = self._host_flash

    @property
    def on_event(self) -> Callable[[int, str], None] | None:
        return self._on_event

    @on_event.setter
    def on_event(self, on_event: Callable[[int, str], None] | None) -> None:
        """Without `on_event`, bytes may be transferred together and are not counted."""
        self._on_event = on_event
        bench = self.bench
        watched = on_event is not None
        for wires in (bench.world.bus, bench.world.line):
            wires.tap = self._wires if watched else bench.trace.tap
            wires.stream_tap = None if watched else bench.trace.stream_tap

    def stop_counting(self) -> None:
        """After the last cut: flash operations have no points inside any more, which is faster.
        Before it they need them: a second cut may come in an operation that began before."""
        self.on_event = None
        self.bench.target.flash.tap = None
        self.bench.host_flash.tap = None

    def _wires(self, what: str, value: int) -> None:
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

    def go_on(self, on_event: Callable[[int, str], None], from_one: bool = True) -> None:
        """Watch again, counting from 1 or from the current count."""
        if from_one:
            self.count = 0
        self.on_event = on_event

    def cut(self, cut: Cut) -> None:
        """Make the cut now. Ends the host's run with an exception unless only the target is
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
        """The outage is over; a host that was also off starts after its own time."""
        bench = self.bench
        bench.world.power_loss()
        bench.clock.advance(self.outages[cut.at // 3 % 3])
        self.since = max(self.since, bench.clock.now)
        if len(self.history) == 2:  # the other event happens only once
            scenario.restart(bench)


Tell = Callable[[dict[str, Any]], None]


class CannotBegin(Exception):
    """A scenario fails without any cut: its world did not start, or its host stopped."""


def run_host(bench: Bench, *tell: Tell) -> dict[str, Any] | None:
    """Run the host; return the result, or None if it was interrupted."""
    event: dict[str, Any] = {}
    try:
        for event in bench.work():
            for listener in tell:
                listener(event)
        return event
    except (HostPowerLost, HostReset):
        return None
    except KeyboardInterrupt:
        bench.world.soft_reset()
        return None


def settle(
    rig: Rig, judge: Judge, result: dict[str, Any] | None = None, tell: Tell = lambda event: None
) -> Verdict:
    """Boot the host repeatedly, as a product does, until nothing is left to do. `result`: of the
    previous run, if any."""
    rig.stop_counting()
    bench = rig.bench
    results = [result]
    again = AGAIN
    while len(results) <= MAX_BOOTS and not (result and result["status"] == ENDED):
        if result is not None and not is_done(result):
            bench.clock.advance(again)
            again = min(2 * again, LATEST)
        else:
            bench.clock.advance(rig.start)
        bench.boot()
        result = run_host(bench, judge.heard, tell)
        took = bench.clock.now - rig.since
        results.append(result)
        if result is not None and is_done(result):
            bench.clock.advance(2 * max(rig.outages))  # a target that is off starts again
            return judge.verdict(bench, len(results) - 1, took, result)
    return judge.unsettled(bench, len(results) - 1, result)


def is_done(result: dict[str, Any]) -> bool:
    """Whether nothing is left to do."""
    return bool(result["ok"]) or result["status"] == "rolled-back"


NEVER_REACHED = "never reached"  # the place of a case whose last cut did not come


def replay(
    scenario: Scenario,
    cuts: list[Cut],
    tell: Tell = lambda event: None,
    counted_by: type[Rig] = Rig,
) -> Case:
    """Repeat one case without forking."""
    bench = scenario.build()
    rig = counted_by(bench, scenario.name.rpartition("/")[2])  # tears the same way in both Pythons
    rig.outages = scenario.outages
    judge = scenario.judge(bench)
    to_come = list(cuts)
    place = NEVER_REACHED

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
        if left == len(cuts) and left == len(to_come) and result is None:
            raise CannotBegin("the host stopped before the first cut")
        last = cuts[len(cuts) - len(to_come) - 1]
        if result is None and last.what != CTRL_C:
            rig.is_over(last, scenario)
        if not to_come or left == len(to_come):
            break
        bench.clock.advance(rig.start)
        bench.boot()
        rig.go_on(strike, from_one=last.what not in TARGET_ALONE)
    if to_come:
        place = NEVER_REACHED
    told = [str(cut) for cut in cuts]
    return Case(scenario.name, told, place, settle(rig, judge, result, tell))
