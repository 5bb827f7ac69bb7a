"""`stm32up simulate --scenario forum`: plays the case that started this project.

First one run of each lane is recorded and reported. Then the supply fails at many seeded instants
of each.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import struct
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypedDict

from stm32sim.forum import supply_failures
from stm32sim.forum.lanes import (
    LOCKED,
    RECOVERED,
    Firmware,
    Lane,
    Naive,
    Unprotect,
    UnprotectSlow,
    Update,
    payload,
    ways_back,
)
from stm32sim.forum.recording import Recording, record
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS
from stm32up import device, outputs
from stm32up.errors import Stm32upError, UsageError
from stm32up.events import Event, Report, Values, progress
from stm32up.image import images
from stm32up.report import timeline
from stm32up.say import words

CHIP = "STM32G071RB"
COUNTED = 4000  # bytes of the update that is cut many times: each recovery is simulated completely
SHOWN = 128 * 1024  # bytes of the one that is drawn
_BATCHES = 20  # of each lane, and steps of its progress bar
_SMALLEST_BATCH = 50
_CUT_OF_UPDATE = 0.45  # where the one cut of the drawn update is, as a share of its time

TITLES = {
    "naive": "naive host",
    "unprotect-slow": "stm32up unprotect, the same part",
    "unprotect": "stm32up unprotect, a part that takes its usual time",
    "update": "field package, an update",
}


class Figures(TypedDict):
    """The results of the cuts of one lane."""

    lane: str
    instants: int
    locked: int
    recovered: int
    other: dict[str, int]
    in_operation: int
    window_ms: float
    total_ms: float
    replay: str | None


class Broken(Stm32upError):
    """A run did not end as expected."""

    code = "forum"


def lanes(size: int = COUNTED) -> list[Lane]:
    """All lanes, the last one with images of `size` bytes."""
    old, new = (_firmware(size, major) for major in (1, 2))
    return [Naive(), UnprotectSlow(), Unprotect(), Update(old, new)]


def _firmware(size: int, major: int) -> Firmware:
    content = payload(size, major)
    with tempfile.TemporaryDirectory() as folder:
        raw, built = Path(folder, "app.bin"), Path(folder, "app.img")
        raw.write_bytes(content)
        images.build(raw, device.chip(CHIP), f"{major}.0.0", None, built)
        version = struct.pack("<BBHI", major, 0, 0, 0)  # MCUboot's image_version
        return Firmware(content, version, built.read_bytes())


# Single runs


def tell(report: Report, drawing: Path | None = None) -> None:
    """Record one run of each lane and report it; draw all of them. Raises Broken, UsageError."""
    rows: list[timeline.Row] = []
    for lane in lanes(SHOWN if drawing else COUNTED):
        report({"event": "lane", "lane": lane.name, "title": TITLES[lane.name]})
        recording, bench = _recorded(lane)
        for ns, what in _story(recording):
            report({"event": "told", "lane": lane.name, "ms": ns // NS_PER_MS, "what": what})
        _check_end(lane, recording)
        if lane.name == Naive.name:
            for what, answered in ways_back(bench):
                report({"event": "way-back", "what": what, "answered": answered})
                if answered:
                    raise Broken(f"the locked chip answered: {what}")
        sends, end, well = _DRAWN[lane.name]
        rows.append(timeline.Row(TITLES[lane.name], sends, recording, end, well))
    if drawing is not None:
        with outputs.written(drawing):
            drawing.write_text(timeline.draw(rows), encoding="utf-8")


# For the drawn run of each lane: what is on the bus, how it ends, and whether that is good.
_DRAWN = {
    "naive": ("the part of the case: 0x93, then BUSY for 40 s", "locked permanently", False),
    "unprotect-slow": ("0x93, then patience", "unprotected: its supply held", True),
    "unprotect": ("the same", "unprotected", True),
    "update": ("erases, writes, reads back; no 0x93", "recovered by itself, and runs", True),
}


def _recorded(lane: Lane) -> tuple[Recording, Bench]:
    if lane.name != Update.name:
        return record(lane)
    return record(lane, int(supply_failures.duration(lane) * _CUT_OF_UPDATE))


def _check_end(lane: Lane, recording: Recording) -> None:
    """Raise Broken if a run ends in another way than the report says."""
    expected = {Naive.name: LOCKED, Update.name: RECOVERED}.get(lane.name)
    if expected is not None:
        as_it_should = recording.outcome == expected
    else:
        as_it_should = bool(recording.told[-1][1]["ok"])
    if not as_it_should:
        raise Broken(f"{lane.name} ended as {recording.outcome or recording.told[-1][1]}")


def _story(recording: Recording) -> list[tuple[int, str]]:
    """What happened, in order: the host's events, long operations of the flash, the supply."""
    story: list[tuple[int, Event]] = [
        (ns, event) for ns, event in recording.told if event["event"] in _TOLD
    ]
    for span in recording.of("option"):
        story.append((span.start, {"event": "programming", "took": timeline.took(span)}))
    for span in recording.of("off"):
        name = "supply-fails" if recording.outcome else "supply-off"
        story.append((span.start, {"event": name}))
        story.append((span.end, {"event": "supply-back"}))
    if recording.outcome:
        story.append((recording.end, {"event": "outcome", "outcome": recording.outcome}))
    return sorted((ns, words.event(event)) for ns, event in story)


# Of the host's events.
_TOLD = ("naive", "loader", "sending", "seen", "hands-off", "installing", "result")


# Many cuts


def count(report: Report, seed: int, instants: int) -> list[Figures]:
    """Let the supply fail `instants` times in each lane; return the figures of each."""
    figures = []
    jobs = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")  # children fork, so they need one thread each
    with ProcessPoolExecutor(jobs, context, initializer=_leave_ctrl_c_to_us) as pool:
        for lane in lanes():
            total = supply_failures.duration(lane)
            size = max(_SMALLEST_BATCH, -(-instants // _BATCHES))
            batches = supply_failures.batches(lane, seed, instants, total, size)
            judge = functools.partial(_judge, lane, seed, total)
            cases: list[supply_failures.Case] = []
            report(progress(lane.name, 0, instants))
            try:
                for judged in pool.map(judge, batches):
                    cases += judged
                    report(progress(lane.name, len(cases), instants))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            figures.append(_figures(lane, seed, total, cases))
            report({"event": "counted", "title": TITLES[lane.name], **figures[-1]})
    return figures


def _leave_ctrl_c_to_us() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _judge(lane: Lane, seed: int, total: int, numbers: list[int]) -> list[supply_failures.Case]:
    return supply_failures.judge(lane, seed, numbers, total)


def _figures(lane: Lane, seed: int, total: int, cases: list[supply_failures.Case]) -> Figures:
    recording, _ = record(lane)
    by_outcome = Counter(case.outcome for case in cases)
    locked = by_outcome.pop(LOCKED, 0)
    recovered = by_outcome.pop(RECOVERED, 0)
    first = next((case for case in cases if case.outcome != RECOVERED), None)
    return {
        "lane": lane.name,
        "instants": len(cases),
        "locked": locked,
        "recovered": recovered,
        "other": dict(by_outcome),
        "in_operation": sum(case.in_operation for case in cases),
        "window_ms": recording.window / NS_PER_MS,
        "total_ms": total / NS_PER_MS,
        "replay": None if first is None else _replay_command(lane, seed, first.number),
    }


def _replay_command(lane: Lane, seed: int, number: int) -> str:
    return f"stm32up simulate --scenario forum --seed {seed} --only {lane.name}/{number}"


def only(report: Report, seed: int, case_id: str) -> Values:
    """Repeat one case with all events of the host. `case_id`: LANE/NUMBER. Raises UsageError."""
    name, _, number = case_id.partition("/")
    found = [lane for lane in lanes() if lane.name == name]
    if not found or not number.isdigit():
        raise UsageError(f"--only {case_id} is not LANE/NUMBER", f"Lanes: {', '.join(TITLES)}.")
    lane = found[0]
    case = supply_failures.replay(
        lane, seed, int(number), supply_failures.duration(lane), _teller(report)
    )
    return {
        "status": case.outcome,
        "lane": case.lane,
        "number": case.number,
        "ms": case.instant / NS_PER_MS,
        "in_operation": case.in_operation,
    }


def _teller(report: Report) -> Callable[[int, Event], None]:
    def told(ns: int, event: Event) -> None:
        if event["event"] != "progress":
            report({"event": "at", "ms": ns / NS_PER_MS, "what": event})

    return told


def run(report: Report, *, seed: int, instants: int, drawing: Path | None = None) -> Values:
    """Report one run of each lane, then count. Raises Broken if a result is not as expected."""
    tell(report, drawing)
    figures = count(report, seed, instants)
    for each in figures:
        allowed = each["locked"] == 0 or each["window_ms"] > 0
        if not allowed or each["other"]:
            raise Broken(
                f"{each['lane']}: {each['locked']} locked, {each['other']}", each["replay"] or ""
            )
    return {"status": "told", "seed": seed, "lanes": figures}
