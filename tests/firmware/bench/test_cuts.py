"""Power loss at any instant of provision and unprotect: the state of host and target.

The host may lose power anywhere; after the next run the target is as required. The target is
unchanged, as required, or permanently locked; the last only if its own supply failed while it
programmed its option bytes, which no host can prevent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from stm32sim.chip.option_bytes import OPTR
from stm32sim.chip.stm32 import DISCHARGE
from stm32sim.cuts.rig import (
    BOTH,
    BYTE,
    CTRL_C,
    CUTS,
    FRAME,
    HOST,
    HOST_FLASH,
    HOST_TORN,
    OUTAGES,
    TARGET,
    TARGET_FLASH,
    Cut,
    Rig,
)
from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S
from tests.firmware.bench.verbs import NOTE, PROTECTED, SMALL, WANTED_OPTR, quirks, run

pytestmark = pytest.mark.slow

EVERY = {BYTE: 191, FRAME: 13, TARGET_FLASH: 3, HOST_FLASH: 1}


def factory(how: dict[str, Any]) -> Bench:
    return Bench(provisioned=False, quirks=quirks(4, **how), settings=SMALL)


def protected(how: dict[str, Any]) -> Bench:
    bench = Bench(options=PROTECTED, quirks=quirks(4, **how), settings=SMALL)
    bench.target.flash.load(bytes(range(256)) * 16)
    return bench


MAKERS: dict[str, Callable[[dict[str, Any]], Bench]] = {
    "Provision": factory,
    "Unprotect": protected,
}


@dataclass
class World:
    """One verb on one board, with a planned cut."""

    verb: str
    how: dict[str, Any] = field(default_factory=dict)
    places: list[str] = field(default_factory=list)  # of every event
    programming: bool = False  # option bytes, at the instant of the cut
    what: str = ""  # the target's flash did last

    def __post_init__(self) -> None:
        self.bench = MAKERS[self.verb](self.how)
        self.rig = Rig(self.bench)
        count = self.bench.target.flash.tap
        assert count is not None

        def tap(what: str, point: int) -> None:
            self.what = what
            count(what, point)

        self.bench.target.flash.tap = tap
        self.rig.on_event = lambda number, place: self.places.append(place)

    def run(self, **how: bool) -> dict[str, Any] | None:
        """The verb; None if the host was cut."""
        try:
            return run(self.bench, self.verb, **how)
        except HostPowerLost:
            return None
        except KeyboardInterrupt:
            self.bench.world.soft_reset()
            return None

    def cut_at(self, cut: Cut) -> dict[str, Any] | None:
        def strike(number: int, place: str) -> None:
            if number == cut.at:
                self.programming = self.bench.target.flash.busy and self.what == "option"
                self.rig.cut(cut)

        self.rig.on_event = strike
        result = self.run()
        self.rig.on_event = None
        return result

    def again(self, cut: Cut) -> dict[str, Any] | None:
        """After the outage the host restarts and the user repeats the command."""
        bench = self.bench
        if cut.what != CTRL_C:
            bench.world.power_loss()
        bench.clock.advance(max(OUTAGES) + NS_PER_MS)
        bench.boot()
        return self.run()

    def after_power_on(self) -> dict[str, Any] | None:
        """As the tool advises if the target may be busy: the user waits, switches it off and on,
        and gives --power-cycled."""
        self.bench.clock.advance(60 * NS_PER_S)
        self.bench.target.power(False)
        self.bench.clock.advance(NS_PER_S)
        self.bench.target.power(True)
        self.bench.clock.advance(NS_PER_MS)
        return self.run(power_cycled=True)


def events_of(verb: str, how: dict[str, Any], every: dict[str, int]) -> list[tuple[int, str]]:
    """(number, place) of the events of an uncut run to cut at."""
    world = World(verb, how)
    result = world.run()
    assert result is not None and result["ok"]
    seen = dict.fromkeys(every, 0)
    chosen = []
    for number, place in enumerate(world.places, 1):
        if world.verb == "Unprotect" and number > 3000:
            break  # it only checks for blank flash
        seen[place] += 1
        if seen[place] % every[place] == 0:
            chosen.append((number, place))
    return chosen


HOW: dict[str, list[dict[str, Any]]] = {
    "Provision": [{"option_ack": ack} for ack in ("before", "lost")],
    "Unprotect": [
        {"unprotect_ack": "late"},
        {"unprotect_ack": "early", "erases_first": False},
        {"unprotect_ack": "never", "unprotect_answer": "nack"},
    ],
}
CASES = [(verb, how) for verb, hows in HOW.items() for how in hows]


def is_done(world: World) -> None:
    bench = world.bench
    assert bench.target.option_bytes.word(OPTR) == WANTED_OPTR
    assert not bench.exists(NOTE)
    bench.target.power(False)
    bench.clock.advance(DISCHARGE)
    bench.target.power(True)  # and now it uses them
    assert bench.target.options.optr == WANTED_OPTR


@pytest.mark.parametrize("what", [HOST, HOST_TORN, CTRL_C])
@pytest.mark.parametrize(("verb", "how"), CASES)
def test_a_host_that_is_cut_anywhere_never_harms_the_target(verb, how, what):
    for number, place in events_of(verb, how, EVERY):
        if what not in CUTS[place]:
            continue
        cut = Cut(what, number)
        world = World(verb, how)
        world.cut_at(cut)
        result = world.again(cut)
        case = f"{verb} {how} {cut} ({place}): {result}"
        assert not world.bench.target.bricked, case
        assert result is not None and result["ok"], case
        is_done(world)


@pytest.mark.parametrize("what", [TARGET, BOTH])
@pytest.mark.parametrize(("verb", "how"), CASES)
def test_a_target_that_is_cut_is_as_it_was_or_as_it_should_be_or_locked(verb, how, what):
    """It is locked only if the cut was during the programming of its option bytes."""
    outcomes = set()
    for number, place in events_of(verb, how, EVERY):
        cut = Cut(what, number)
        world = World(verb, how)
        before = world.bench.target.option_bytes.word(OPTR)
        world.cut_at(cut)
        world.bench.clock.advance(2 * NS_PER_S)
        case = f"{verb} {how} {cut} ({place})"
        locked = world.bench.target.bricked
        if not locked:
            assert world.bench.target.option_bytes.word(OPTR) in (before, WANTED_OPTR), case
        result = world.again(cut)
        if result is not None and result.get("error") == "not-finished":
            result = world.after_power_on()
        if locked:
            assert world.programming, case
            outcomes.add("locked")
            assert result is not None and "locked permanently" in result["next_step"], case
            assert world.bench.exists(NOTE), case
            continue
        outcomes.add("sound")
        assert result is not None and result["ok"], f"{case}: {result}"
        is_done(world)
    assert outcomes == {"sound", "locked"}


def test_a_chip_that_is_busy_for_ages_is_at_risk_only_within_a_status_read():
    """A remaining risk: the loader waits 1 s for an unfinished read of the host, then resets
    itself. A chip within ST's times is never asked while it is busy."""
    how = {"unprotect_delay": 40 * NS_PER_S}
    risky = 0
    # Every third byte: some of them are in a status read of a busy chip.
    for number, place in events_of("Unprotect", how, {**EVERY, BYTE: 3})[10:250]:
        cut = Cut(HOST, number)
        world = World("Unprotect", how)
        world.cut_at(cut)
        result = world.again(cut)
        case = f"{cut} ({place}): {result}"
        if world.bench.target.bricked:
            assert place == BYTE and world.programming, case
            risky += 1
        else:
            assert result is not None and result["ok"], case
    assert risky


def test_a_silent_application_is_taken_for_what_it_is_after_a_minute():
    """The host was cut before the command arrived, and the target runs something unknown."""
    world = World("Unprotect")
    bench = world.bench
    bench.files.fs_mkdir("/updater")
    bench.write_file(NOTE, b'{"what": "unprotect", "stage": "sending", "chip": "STM32G071RB"}')
    bench.target.power(False)
    bench.clock.advance(DISCHARGE)
    bench.target.power(True)
    bench.clock.advance(NS_PER_S)
    began = bench.clock.now
    result = world.run()
    assert result is not None and result["ok"]
    assert bench.clock.now - began > 60 * NS_PER_S
    is_done(world)
