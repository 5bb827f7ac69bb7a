"""Cuts in real MicroPython, and a PC that connects with mpremote during an update."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from stm32sim.cuts import Campaign, explore, rig
from stm32sim.cuts.in_micropython import CALL, CUTS, Rig, events_of
from stm32sim.cuts.rig import FRAME, HOST_FLASH, TARGET_FLASH
from stm32up.errors import UpdateFailed
from stm32up.events import Event
from stm32up.host import calls
from stm32up.host.transport import connected
from tests.power_cuts import micropython_rig, seeded_bugs
from tests.power_cuts.micropython_rig import in_micropython
from tests.power_cuts.scenarios import SCENARIOS

APPLICATION = 0x2A  # its I2C address


def test_an_update_does_the_same_in_micropython_as_in_cpython():
    """So the results of hundreds of thousands of cuts there are valid here."""
    for name in ("update", "roll-back"):
        with in_micropython(name) as scenario:
            here = events_of(scenario, Rig)
        there = events_of(SCENARIOS[name], rig.Rig)
        assert _comparable(place for place in here if place != CALL) == _comparable(there)


def _comparable(places: Iterable[str]) -> list[str]:
    """Operations in the host's flash that follow each other count once: the times in the log
    differ, so a line may be longer by a digit and fill one more block."""
    found: list[str] = []
    for place, together in itertools.groupby(places):
        found += [place] if place == HOST_FLASH else together
    return found


def test_an_update_in_micropython_survives_a_cut_anywhere():
    cuts = micropython_rig.sample("update", 1)
    cases = [micropython_rig.replay("update", [cut]) for cut in cuts]
    bad = [case for case in cases if case.verdict.violations]
    told = [f"python -m tests.power_cuts.replay {case.id}: {case.verdict}" for case in bad]
    assert not bad, "\n".join(told)
    assert len(cases) > 12 and {case.place for case in cases} == set(CUTS)


def test_a_seeded_bug_shows_at_the_same_cut_in_micropython():
    bug = next(bug for bug in seeded_bugs.BUGS if bug.name == "the intent is not recorded")
    writes = {**dict.fromkeys(rig.PLACES, 0), TARGET_FLASH: 1}
    with seeded_bugs.planted(bug):
        campaign = Campaign(writes, only=(rig.BOTH, rig.TARGET), stop_at_violation=True)
        cases = explore(SCENARIOS["update"], campaign)
        there = next(case for case in cases if case.verdict.violations)
        cuts = [rig.Cut.parse(cut) for cut in there.cuts]
        here = micropython_rig.replay("update", cuts, counted_by=rig.Rig)
    assert here.place == there.place
    assert here.verdict.violations == there.verdict.violations


INSTANTS = {
    "a page is being erased": (
        "update",
        lambda r, place: place == TARGET_FLASH and r.operation == "erase",
    ),
    "a block is being written": (
        "update",
        lambda r, place: place == TARGET_FLASH and r.operation == "program" and r.count > 1000,
    ),
    "the image becomes the candidate": (
        "update",
        lambda r, place: place == HOST_FLASH and r.call[0] == "fs_rename",
    ),
    "a record is being written": (
        "update",
        lambda r, place: place == HOST_FLASH and "/state." in r.file,
    ),
    "a record is open": (
        "update",
        lambda r, place: place == CALL and r.call[0] == "fs_write" and "/state." in r.file,
    ),
    "the application is asked": (
        "update",
        lambda r, place: place == FRAME and r.call[2] == APPLICATION and r.count > 1000,
    ),
    "the application stays silent": (
        "roll-back",
        lambda r, place: place == CALL and r.call == ("sleep_us", 50_000),
    ),
}


@pytest.mark.parametrize("instant", INSTANTS)
def test_a_laptop_that_connects_by_mpremote_is_a_power_cut(instant):
    name, is_now = INSTANTS[instant]
    with in_micropython(name) as scenario:
        bench = scenario.build()
        judge = scenario.judge(bench)
        pushed = images(bench)
        counter = Rig(bench)
        wait = counter.connect_when(lambda place: is_now(counter, place))
        bench.updater()
        wait()
        began = bench.clock.now
        events: list[Event] = []
        with connected(counter.board.host.url) as connection:
            assert images(bench) <= pushed  # no finaliser has committed a part of one
            try:
                result = calls.run(connection, events.append)
            except UpdateFailed as error:
                result = error.result
        assert {event["event"] for event in events} & {"installing", "resuming"}
        verdict = judge.verdict(bench, 1, bench.clock.now - began, result)
        assert verdict.violations == []
        assert result["status"] == ("rolled-back" if name == "roll-back" else "installed")


def images(bench):
    """The contents of the images on the host."""
    return {
        bench.read_file(f"{folder}/{name}")
        for folder in ("/updater", "/updater/inbox")
        for name, _, _ in bench.files.fs_list(folder)
        if name.endswith(".img")
    }
