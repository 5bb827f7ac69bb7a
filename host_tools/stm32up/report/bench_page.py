"""The page of a run of `bench`: what to read in the morning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stm32up.events import Values
from stm32up.host.cycles import phase_of
from stm32up.report.figures import figures
from stm32up.report.page import (
    Cell,
    Details,
    Fact,
    Lines,
    Mark,
    Notice,
    Page,
    Part,
    Section,
    Share,
    Shares,
    Span,
    Table,
    Text,
    Timeline,
)
from stm32up.say import words
from stm32up.say.words import took

_MOST_FAILURES = 50  # with all details
_HERE = ("push", "read back", "cycle")  # measured on the desktop


def page(title: str, cycles: Sequence[dict[str, Any]], facts: Values, *, complete: bool) -> Page:
    """`facts`: "seed", "kinds", "versions", "board", "host" (its unique ID), "began", "until".
    `complete`: whether the run has come to its end."""
    said = figures(cycles)
    failures, count = said["failures"], said["cycles"]
    head = [
        Fact(str(count), "cycles"),
        Fact(str(failures), "failures", "bad" if failures else "good"),
        Fact(str(said["cuts"]), "cuts"),
        Fact(str(said["retries"]), "retries"),
    ]
    total_ms = sum(cycle["phases"].get("cycle", 0) for cycle in cycles)
    head.append(Fact(took(total_ms), "in all"))
    sections = [
        Section("Outcome", _outcome(said, complete)),
        Section("How long each phase took", _phases(said)),
        Section("Cuts", _cuts(cycles, said)),
    ]
    failed = [cycle for cycle in cycles if cycle["failure"]]
    if failed:
        sections.insert(1, Section("Failures", _failures(failed)))
    return Page(title, head, sections, _what(facts), "stm32up bench")


def _what(facts: Values) -> str:
    """On which board, when, and with which options: the line below the title."""
    host = f", host {facts['host']}" if facts["host"] else ""
    when = f"{facts['began']} to {facts['until']}; " if facts["began"] else ""
    return (
        f"{when}board {facts['board']}{host}; versions {_listed(facts['versions'])}; "
        f"seed {facts['seed']}; cut by: {_listed(facts['kinds']) or 'nothing'}"
    )


def _outcome(said: dict[str, Any], complete: bool) -> list[Part]:
    parts: list[Part] = []
    if said["failures"]:
        parts.append(
            Notice(
                f"{words.count(said['failures'], 'cycle')} of {said['cycles']} ended in a wrong "
                "state, or with an error that the next runs did not repair",
                "Read the failures below.",
            )
        )
    elif said["cycles"]:
        parts.append(
            Notice(
                "After each cycle flash, read back from the target, and the version that the "
                "application answers were right",
                tone="good",
            )
        )
    if not complete:
        parts.append(Notice("The run has not ended", "The same command continues it.", "warn"))
    if said["resets"]:
        times = words.count(said["resets"], "time")
        parts.append(
            Notice(
                f"The host went down {times} without the bench having done it",
                "Check its supply and its cable.",
                "warn",
            )
        )
    return parts


def _phases(said: dict[str, Any]) -> list[Part]:
    phases = said["phases"]
    rows: list[list[str | int | Cell]] = [
        [Cell(name), took(row["min"]), took(row["median"]), took(row["p99"])]
        for name, row in phases.items()
    ]
    shares = [
        Share(name, row["median"], took(row["median"]))
        for name, row in phases.items()
        if name not in _HERE
    ]
    return [
        Shares("The median update", shares),
        Table(["phase", "min", "median", "p99"], rows, ["min", "median", "p99"]),
        Text(
            "Times are summed over all runs of a cycle, so the minimum is close to an "
            "undisturbed update. Push, read back and cycle are measured on the computer, the "
            "others on the host."
        ),
    ]


def _cuts(cycles: Sequence[dict[str, Any]], said: dict[str, Any]) -> list[Part]:
    rows = [[Cell(kind), number] for kind, number in said["cuts_by_kind"].items()]
    runs = sorted({cycle["runs"] for cycle in cycles})
    needed = [[f"{number}", sum(cycle["runs"] == number for cycle in cycles)] for number in runs]
    return [
        Table(["cut by", "times"], rows, ["times"]),
        Table(["runs of the updater that a cycle needed", "cycles"], needed, ["cycles"]),
    ]


def _failures(failed: Sequence[dict[str, Any]]) -> list[Part]:
    """The first one is open."""
    shown: list[Part] = [_failure(cycle, not n) for n, cycle in enumerate(failed[:_MOST_FAILURES])]
    if len(failed) > _MOST_FAILURES:
        shown.append(Text(f"and {len(failed) - _MOST_FAILURES} more: see the state file"))
    return shown


def _failure(cycle: dict[str, Any], is_open: bool) -> Details:
    failure = cycle["failure"]
    heard = [words.event(event) for event in failure["events"] if event["event"] != "progress"]
    log = [
        f"{entry.get('n', '?'):>6}  {entry.get('t', '?'):>8} ms  {words.event(entry)}"
        for entry in failure["log"]
        if isinstance(entry.get("event"), str)
    ]
    return Details(
        f"Cycle {cycle['cycle']}, {cycle['version']}: {failure['message']}",
        [
            Notice(str(failure["message"]), str(failure["next_step"])),
            _timeline(cycle),
            Lines(heard, "What was seen"),
            Lines(log, "The log on the host"),
        ],
        "bad",
        is_open,
        remark=f"{words.count(cycle['runs'], 'run')}, {words.count(len(cycle['cuts']), 'cut')}",
    )


def _timeline(cycle: dict[str, Any]) -> Timeline:
    """The runs of a cycle, one after the other."""
    spans: list[Span] = []
    marks: list[Mark] = []
    began = last = 0.0
    for event in cycle["failure"]["events"]:
        now = event.get("t")
        if not isinstance(now, int | float):
            continue
        if began + now < last:
            began = last  # the next run
        at = began + now
        if event["event"] == "cut":
            marks.append(Mark(at, str(event.get("kind")), words.event(event)))
        else:
            if at > last:
                spans.append(Span(last, at, phase_of(event), words.event(event)))
            last = at
    return Timeline(f"Cycle {cycle['cycle']}", spans, marks, listed=False)


def _listed(kinds: object) -> str:
    return ", ".join(map(str, kinds)) if isinstance(kinds, list | tuple) else ""
