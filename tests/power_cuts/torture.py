"""Every cut at every event, and a table of the results.

    python -m tests.power_cuts.torture [--jobs N] [--share PER_CENT] [-o FILE.json] [--go-on]
                                       also writes FILE.html, a page of the same, and FILE.done,
                                       what is done so far: --go-on goes on from there
    python -m tests.power_cuts.torture --document FILE.json     its numbers, for docs/power-cuts.md

Exit status 1 if there is any violation.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from rich.console import Console

from stm32sim.cuts import first_granule, rig
from stm32sim.cuts.campaign import Campaign, explore
from stm32sim.cuts.jobs import in_processes, progress_on
from stm32sim.cuts.outcome import Row, sum_of, table
from stm32sim.cuts.rig import (
    BOTH,
    BOTH_TORN,
    BYTE,
    CTRL_C,
    FRAME,
    HOST,
    HOST_FLASH,
    HOST_TORN,
    TARGET,
    TARGET_FLASH,
)
from tests.power_cuts import micropython_rig, seeded_bugs
from tests.power_cuts.report import (
    CHANGING,
    INTACT,
    KINDS,
    STOPPED,
    Rows,
    as_row,
    document,
    faults,
    page,
    summary,
)
from tests.power_cuts.scenarios import SCENARIOS, TOO_OVER_UART

EVERY_EVENT = {BYTE: 1, FRAME: 1, TARGET_FLASH: 1, HOST_FLASH: 1}
WITHOUT_BOOT0 = "by-command"


def sampled(bytes_of: int, frames_of: int = 1, flash_of: int = 1) -> dict[str, int]:
    """Every n-th event, but all flash operations of the host."""
    return {BYTE: bytes_of, FRAME: frames_of, TARGET_FLASH: flash_of, HOST_FLASH: 1}


OFF = (HOST, BOTH, HOST_TORN, BOTH_TORN)  # the host has no power for a while


# Single cuts: which events of which scenario. The two with an entry command have no BOOT0: here
# the host is cut; `run_without_boot0` cuts the target.
SINGLE: dict[str, Campaign] = {
    "first-install": Campaign(EVERY_EVENT),
    "update": Campaign(EVERY_EVENT),
    "tiny": Campaign(EVERY_EVENT),
    "few-pages": Campaign(sampled(3)),
    "roll-back": Campaign(sampled(6)),
    "preserved-page": Campaign(sampled(3)),
    "damaged-push": Campaign(EVERY_EVENT),
    "covers-preserved": Campaign(EVERY_EVENT),
    "downgrade-refused": Campaign(EVERY_EVENT),
    "after-roll-back": Campaign(sampled(12, 2, 2)),
    "signed": Campaign(sampled(6)),
    "heartbeat": Campaign(sampled(12, 2, 2)),
    "host-forgot": Campaign(sampled(3)),
    "forgot-roll-back": Campaign(sampled(12, 2, 2)),
    "pushed-meanwhile": Campaign(sampled(6), only=OFF),
    "host-formatted": Campaign(sampled(3)),
    "checkpoints": Campaign(sampled(61, 3, 5)),
    "esp32": Campaign(sampled(3)),
    "fat": Campaign(sampled(3)),
    "loader-11.1": Campaign(sampled(12, 2, 2)),
    "loader-11.2": Campaign(sampled(12, 2, 2)),
    "loader-11.3": Campaign(sampled(3)),
    "loader-openbl": Campaign(sampled(6)),
    "loader-openbl-g0": Campaign(sampled(6)),
    "ecc-resets": Campaign(sampled(3)),
    "supply-switch": Campaign(sampled(3)),
    "full-log": Campaign(sampled(12, 2, 2)),
    "soft-i2c": Campaign(sampled(12, 2, 2)),
    "long-outage": Campaign(sampled(6), only=(TARGET,)),
    "by-command": Campaign(sampled(2), only=(HOST, HOST_TORN, CTRL_C)),
    "command-and-supply": Campaign(sampled(12, 2, 2), only=(HOST, HOST_TORN, CTRL_C)),
    "erase-all": Campaign(sampled(31, 5, 7)),
    "read-back": Campaign(sampled(3)),
    "c031": Campaign(sampled(3)),
    "c031-uart": Campaign(sampled(12, 2, 2)),
    "g0b1": Campaign(sampled(6)),
    "l476": Campaign(sampled(12, 2, 2)),
    "g474-second-bank": Campaign(sampled(61, 5, 5)),
    "full-size": Campaign({BYTE: 8009, FRAME: 163, TARGET_FLASH: 599, HOST_FLASH: 2}),
}
# Over UART: the same code above the link.
SINGLE |= {
    f"uart-{name}": Campaign(sampled(61, 7, 7), only=SINGLE[name].only) for name in TOO_OVER_UART
} | {
    "uart-update": Campaign(sampled(3)),
    "uart-first-install": Campaign(sampled(3)),
    "uart-checksum": Campaign(sampled(3)),
    "uart-esp32": Campaign(sampled(6)),
    "uart-loader-11.3": Campaign(sampled(6)),
    "uart-loader-openbl": Campaign(sampled(6)),
    "uart-full-size": Campaign({BYTE: 40009, FRAME: 997, TARGET_FLASH: 2999, HOST_FLASH: 7}),
}
# Double cuts: all pairs of points in flash operations, the target's and the host's, of the tiny
# image; a sample of the rest.
OPERATIONS = {BYTE: 0, FRAME: 0, TARGET_FLASH: 1, HOST_FLASH: 1}
_DENSEST = {BYTE: 41, FRAME: 5, TARGET_FLASH: 2, HOST_FLASH: 1}
_DENSE = {BYTE: 61, FRAME: 7, TARGET_FLASH: 3, HOST_FLASH: 1}
_MEDIUM = {BYTE: 127, FRAME: 13, TARGET_FLASH: 5, HOST_FLASH: 1}
_LONG = {BYTE: 499, FRAME: 31, TARGET_FLASH: 19, HOST_FLASH: 2}
DOUBLE: dict[str, Campaign] = {
    "first-install": Campaign(_DENSE, _DENSE),
    "update": Campaign(_DENSEST, _DENSEST),
    "few-pages": Campaign(_DENSE, _DENSE),
    "loader-11.3": Campaign(_DENSE, _DENSE),
    "esp32": Campaign({**_DENSE, HOST_FLASH: 3}, {**_DENSE, HOST_FLASH: 2}),
    "pushed-meanwhile": Campaign(_MEDIUM, _MEDIUM, only=OFF),
    "checkpoints": Campaign({**_LONG, BYTE: 1999, FRAME: 97}, {**_LONG, BYTE: 1499, FRAME: 97}),
    "full-size": Campaign(
        {BYTE: 60013, FRAME: 1999, TARGET_FLASH: 12007, HOST_FLASH: 13},
        {BYTE: 60013, FRAME: 2003, TARGET_FLASH: 12007, HOST_FLASH: 29},
    ),
    "roll-back": Campaign(_LONG, _LONG),
    "uart-update": Campaign(_MEDIUM, _MEDIUM),
    "c031": Campaign(_DENSE, _DENSE),
    "g0b1": Campaign(_DENSE, _DENSE),
    "g474-second-bank": Campaign({**_LONG, TARGET_FLASH: 61}, {**_LONG, TARGET_FLASH: 61}),
    "fat": Campaign(
        {BYTE: 0, FRAME: 0, TARGET_FLASH: 7, HOST_FLASH: 1},
        {BYTE: 0, FRAME: 0, TARGET_FLASH: 5, HOST_FLASH: 1},
    ),
    "tiny": Campaign(OPERATIONS, OPERATIONS),  # half of the time
}
# The target's own supply, without BOOT0.
NO_BOOT0 = Campaign(sampled(8), only=(TARGET, BOTH))
# Real MicroPython: the number of cuts of each kind at each place.
IN_MICROPYTHON = (
    *("first-install", "update", "tiny", "few-pages", "roll-back", "host-forgot"),
    *("esp32", "fat", "loader-11.3", "supply-switch"),
)
ROUNDS = 2
FOR_BUGS = {BYTE: 331, FRAME: 17, TARGET_FLASH: 1, HOST_FLASH: 1}


@dataclass(frozen=True)
class Task:
    """A part of the work, for one process."""

    kind: str  # of KINDS
    name: str  # of the scenario or the bug
    part: int = 0
    parts: int = 1
    share: int = 100  # per cent

    def run(self) -> list[Row]:
        if self.kind == "bug":
            return [run_bug(self.name)]
        if self.kind == "micropython":
            return [run_in_micropython(self.name, self.share)]
        if self.kind == "no-boot0":
            return run_without_boot0(self._mine(NO_BOOT0))
        wanted = 1 if self.kind == "single" else 2
        row = Row(self.name, wanted)
        campaign = (SINGLE if self.kind == "single" else DOUBLE)[self.name]
        for case in explore(SCENARIOS[self.name], self._mine(campaign)):
            if len(case.cuts) == wanted:
                row.add(case)
        return [row]

    def _mine(self, campaign: Campaign) -> Campaign:
        return replace(campaign.thinned(self.share), share=(self.part, self.parts))


def run_bug(name: str) -> Row:
    """Whether a seeded bug is caught: `cases` is the number of tried cases, `slowest` the
    place."""
    bug = next(bug for bug in seeded_bugs.BUGS if bug.name == name)
    row = Row(name)
    with seeded_bugs.planted(bug):
        for scenario in bug.shows_in:
            try:
                cases = explore(SCENARIOS[scenario], Campaign(FOR_BUGS, stop_at_violation=True))
            except rig.CannotBegin as error:
                row.violations.append((name, str(error)))
                return row
            for case in cases:
                row.add(case)
            if row.violations:
                return row
    return row


def run_in_micropython(name: str, share: int) -> Row:
    row = Row("in MicroPython", 1)
    for cut in micropython_rig.sample(name, max(1, ROUNDS * share // 100)):
        row.add(micropython_rig.replay(name, [cut]))
    return row


def run_without_boot0(campaign: Campaign) -> list[Row]:
    """Cuts of the target's supply, separated by whether its first granule was being changed."""
    scenario = SCENARIOS[WITHOUT_BOOT0]
    window = first_granule.window(scenario)
    intact, changing = Row(INTACT, 1), Row(CHANGING, 1)
    for case in explore(scenario, campaign):
        struck = rig.Cut.parse(case.cuts[0]).at
        (changing if struck in window else intact).add(case)
    return [intact, changing]


def tasks(share: int) -> Iterator[Task]:
    yield from (Task("bug", bug.name) for bug in seeded_bugs.BUGS)
    yield from (Task("micropython", name, share=share) for name in IN_MICROPYTHON)
    for kind, names, parts in (
        ("single", SINGLE, 16),
        ("no-boot0", (WITHOUT_BOOT0,), 16),
        ("double", DOUBLE, 32),
    ):
        of = parts if share == 100 else 2
        yield from (Task(kind, name, part, of, share) for name in names for part in range(of))


def run(jobs: int, share: int, console: Console, diary: Path) -> tuple[Rows, list[str], float]:
    """Run all tasks that are not in the diary; after a Ctrl-C return the results so far. Also
    return what could not be done, and the minutes that it took, with those of the diary."""
    began = time.monotonic()
    undone: list[str] = []
    rows: dict[str, dict[str, Row]] = {kind: {} for kind in KINDS}

    def add(task: Task, done: list[Row]) -> None:
        found = rows[task.kind]
        for row in done:
            found.setdefault(row.scenario, Row(row.scenario, row.cuts)).merge(row)

    written = [*written_in(diary)]
    minutes_before = written[-1][2] if written else 0.0
    earlier = {task: known for task, known, _ in written}
    for task, known in earlier.items():
        add(task, known)

    def minutes() -> float:
        return round(minutes_before + (time.monotonic() - began) / 60, 2)

    todo = [task for task in tasks(share) if task not in earlier]
    try:
        with progress_on(console, len(todo)) as advance, diary.open("a") as out:
            for task, done in in_processes(Task.run, todo, jobs):
                if isinstance(done, Exception):  # an error of the rig must not lose an hour's work
                    undone.append(f"DIED: {task.kind} {task.name}, part {task.part}: {done!r}")
                else:
                    add(task, done)
                    line = [astuple(task), [*map(vars, done)], minutes()]
                    print(json.dumps(line), file=out, flush=True)
                sums = (sum_of(list(rows[kind].values())).cases for kind in ("single", "double"))
                advance("{} single cuts, {} double cuts".format(*sums))
    except KeyboardInterrupt:
        undone.append(STOPPED)
    return {kind: list(found.values()) for kind, found in rows.items()}, undone, minutes()


def written_in(diary: Path) -> Iterator[tuple[Task, list[Row], float]]:
    """The finished tasks of an earlier run, which must have been one of the same code: the task,
    its results, the minutes since the beginning."""
    for line in diary.read_text().splitlines() if diary.exists() else ():
        task, rows, minutes = json.loads(line)
        yield Task(*task), [as_row(values) for values in rows], minutes


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--share", type=int, default=100, help="per cent of the cuts to try")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/torture.json"))
    parser.add_argument("--go-on", action="store_true", help="do the rest of an earlier run")
    parser.add_argument(
        "--document", type=Path, metavar="FILE.json", help="only write the document"
    )
    given = parser.parse_args(arguments)
    if given.document is not None:
        document(json.loads(given.document.read_text()))
        return 0
    for bug in seeded_bugs.BUGS:
        with seeded_bugs.planted(bug):
            pass  # a bug whose place is missing is reported now, not after an hour
    console = Console(width=120)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    diary = given.output.with_suffix(".done")
    if not given.go_on:
        diary.unlink(missing_ok=True)
    rows, undone, minutes = run(given.jobs, given.share, console, diary)
    wrong = faults(rows, given.share) + undone
    report = {
        **{kind: [vars(row) for row in found] for kind, found in rows.items()},
        "totals": {kind: sum_of(rows[kind]).cases for kind in KINDS if kind != "bug"},
        "summary": summary(rows),
        "faults": wrong,
        "share": given.share,
        "minutes": round(minutes, 1),
        "jobs": given.jobs,
    }
    given.output.write_text(json.dumps(report, indent=1))
    page(report).write(given.output.with_suffix(".html"))
    console.print(table("Single cuts", [*rows["single"], *rows["micropython"]]))
    console.print(table("Double cuts", rows["double"]))
    console.print(table("Without BOOT0: the target's own supply is cut", rows["no-boot0"]))
    for line in (*summary(rows), f"{minutes:.0f} minutes with {given.jobs} jobs", *wrong):
        console.print(line, markup=False, soft_wrap=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
