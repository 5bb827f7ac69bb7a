"""Every cut, everywhere, and the table of what came of it.

    python -m tests.power_cuts.torture [--jobs N] [--share PER_CENT] [-o FILE.json]

Exit status 1 if anything is not as it must be.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.power_cuts import rig, seeded_bugs
from tests.power_cuts.rig import BYTE, CTRL_C, FRAME, HOST, HOST_FLASH, HOST_TORN, TARGET_FLASH
from tests.power_cuts.scenarios import SCENARIOS

EVERY_EVENT = {BYTE: 1, FRAME: 1, TARGET_FLASH: 1, HOST_FLASH: 1}
KEPT_VIOLATIONS = 20


def sampled(bytes_of: int, frames_of: int = 1, flash_of: int = 1) -> dict[str, int]:
    """Every n-th event, but all of the host's flash operations."""
    return {BYTE: bytes_of, FRAME: frames_of, TARGET_FLASH: flash_of, HOST_FLASH: 1}


# Single cuts: which events of which scenario. `by-command` has no BOOT0, so that a target that
# loses its supply while page 0 is being erased cannot come back: only its host is cut.
SINGLE: dict[str, rig.Campaign] = {
    "first-install": rig.Campaign(EVERY_EVENT),
    "update": rig.Campaign(sampled(2)),
    "tiny": rig.Campaign(EVERY_EVENT),
    "few-pages": rig.Campaign(sampled(6)),
    "roll-back": rig.Campaign(sampled(24, 4, 4)),
    "preserved-page": rig.Campaign(sampled(8, 2)),
    "damaged-push": rig.Campaign(EVERY_EVENT),
    "covers-preserved": rig.Campaign(EVERY_EVENT),
    "host-forgot": rig.Campaign(sampled(8, 2)),
    "host-formatted": rig.Campaign(sampled(6, 2)),
    "checkpoints": rig.Campaign(sampled(311, 13, 29)),
    "esp32": rig.Campaign(sampled(5)),
    "fat": rig.Campaign(sampled(8)),
    "loader-11.1": rig.Campaign(sampled(12, 2)),
    "loader-11.2": rig.Campaign(sampled(12, 2)),
    "loader-11.3": rig.Campaign(sampled(5)),
    "ecc-resets": rig.Campaign(sampled(12, 2)),
    "supply-switch": rig.Campaign(sampled(12, 2)),
    "by-command": rig.Campaign(sampled(8), only=(HOST, HOST_TORN, CTRL_C)),
    "full-size": rig.Campaign({BYTE: 20011, FRAME: 401, TARGET_FLASH: 1499, HOST_FLASH: 5}),
}
# Double cuts: all pairs of flash operations, the target's and the host's, of the tiny image (7 is
# coprime to the points in an operation: each is cut, at changing points); a sample of the rest.
OPERATIONS = {BYTE: 0, FRAME: 0, TARGET_FLASH: 7, HOST_FLASH: 1}
DOUBLE: dict[str, rig.Campaign] = {
    "tiny": rig.Campaign(OPERATIONS, OPERATIONS),
    "first-install": rig.Campaign(
        {BYTE: 499, FRAME: 41, TARGET_FLASH: 29, HOST_FLASH: 2},
        {BYTE: 997, FRAME: 61, TARGET_FLASH: 37, HOST_FLASH: 7},
    ),
    "update": rig.Campaign(
        {BYTE: 499, FRAME: 41, TARGET_FLASH: 29, HOST_FLASH: 2},
        {BYTE: 997, FRAME: 61, TARGET_FLASH: 37, HOST_FLASH: 7},
    ),
    "roll-back": rig.Campaign(
        {BYTE: 2999, FRAME: 131, TARGET_FLASH: 113, HOST_FLASH: 7},
        {BYTE: 2999, FRAME: 131, TARGET_FLASH: 113, HOST_FLASH: 11},
    ),
    "fat": rig.Campaign(
        {BYTE: 0, FRAME: 0, TARGET_FLASH: 29, HOST_FLASH: 1},
        {BYTE: 0, FRAME: 0, TARGET_FLASH: 97, HOST_FLASH: 3},
    ),
}
FOR_BUGS = {BYTE: 331, FRAME: 17, TARGET_FLASH: 1, HOST_FLASH: 1}


@dataclass
class Row:
    """Sums over the cases of one scenario."""

    scenario: str
    cuts: int = 0  # 1 or 2
    cases: int = 0
    settled_on: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    violated: Counter[str] = field(default_factory=Counter)
    slowest_ms: int = 0
    slowest: str = ""

    def add(self, case: rig.Case) -> None:
        verdict = case.verdict
        self.cases += 1
        self.settled_on[verdict.settled_on] += 1
        if verdict.recovery_ms > self.slowest_ms:
            self.slowest_ms, self.slowest = verdict.recovery_ms, f"{case.id} ({case.place})"
        for violation in verdict.violations:
            self.violated[kind_of(violation)] += 1
            if len(self.violations) < KEPT_VIOLATIONS:
                self.violations.append(f"{case.id}: {violation}")

    def merge(self, other: Row) -> None:
        self.cases += other.cases
        self.settled_on += other.settled_on
        self.violated += other.violated
        self.violations = (self.violations + other.violations)[:KEPT_VIOLATIONS]
        if other.slowest_ms > self.slowest_ms:
            self.slowest_ms, self.slowest = other.slowest_ms, other.slowest


def kind_of(violation: str) -> str:
    """Which column of the table a violation belongs to."""
    for text, kind in (
        ("partial application", "partial"),
        ("marginal", "marginal"),
        ("opcode", "opcodes"),
        ("option bytes", "opcodes"),
        ("preserved", "preserved"),
        ("log", "log"),
    ):
        if text in violation:
            return kind
    return "unrecovered"


def thinned(campaign: rig.Campaign, share: int) -> rig.Campaign:
    """About `share` per cent of a campaign."""
    factor = max(1, round(100 / share))
    every = {place: n * factor for place, n in campaign.every.items()}
    second = campaign.second
    if second is not None:
        every = {place: n * round(factor**0.5) for place, n in campaign.every.items()}
        second = {place: n * round(factor**0.5) for place, n in second.items()}
    return rig.Campaign(every, second, campaign.only)


@dataclass(frozen=True)
class Task:
    """A part of the work, for one process."""

    kind: str  # "single", "double", "bug"
    name: str  # of the scenario or the bug
    part: int = 0
    parts: int = 1
    share: int = 100  # per cent

    def run(self) -> Row:
        if self.kind == "bug":
            return run_bug(self.name)
        campaign = thinned((SINGLE if self.kind == "single" else DOUBLE)[self.name], self.share)
        mine = rig.Campaign(
            campaign.every, campaign.second, campaign.only, share=(self.part, self.parts)
        )
        wanted = 1 if self.kind == "single" else 2
        row = Row(self.name, wanted)
        for case in rig.explore(SCENARIOS[self.name], mine):
            if len(case.cuts) == wanted:
                row.add(case)
        return row


def run_bug(name: str) -> Row:
    """Whether a seeded bug is caught: `cases` tells how many it took, `slowest` where."""
    bug = next(bug for bug in seeded_bugs.BUGS if bug.name == name)
    row = Row(name)
    with seeded_bugs.planted(bug):
        for scenario in bug.shows_in:
            try:
                cases = rig.explore(
                    SCENARIOS[scenario], rig.Campaign(FOR_BUGS, stop_at_violation=True)
                )
            except rig.CannotBegin as error:
                row.violations.append(str(error))
                return row
            for case in cases:
                row.add(case)
            if row.violations:
                return row
    return row


def tasks(share: int) -> Iterator[Task]:
    for name in SINGLE:
        parts = 16 if share == 100 else 2
        yield from (Task("single", name, part, parts, share) for part in range(parts))
    for name in DOUBLE:
        parts = 16 if share == 100 else 2
        yield from (Task("double", name, part, parts, share) for part in range(parts))
    yield from (Task("bug", bug.name) for bug in seeded_bugs.BUGS)


def run(jobs: int, share: int, console: Console) -> dict[str, list[Row]]:
    """All of it; the rows by kind."""
    rows: dict[str, dict[str, Row]] = {"single": {}, "double": {}, "bug": {}}
    todo = list(tasks(share))
    context = multiprocessing.get_context("fork")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
    )
    with (
        Progress(*columns, console=console) as progress,
        ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=None) as pool,
    ):
        bar = progress.add_task("cutting the power", total=len(todo))
        futures = {pool.submit(Task.run, task): task for task in todo}
        for future in as_completed(futures):
            task, row = futures[future], future.result()
            kept = rows[task.kind].setdefault(task.name, Row(task.name, row.cuts))
            kept.merge(row)
            done = sum(len(row.settled_on) and row.cases for row in rows["single"].values())
            progress.update(bar, advance=1, description=f"{done} single cuts")
    return {kind: list(found.values()) for kind, found in rows.items()}


def table(title: str, rows: Sequence[Row]) -> Table:
    shown = Table(title=title)
    columns = ("cuts", "on new", "on old", "unrecovered", "partial", "marginal", "opcodes")
    shown.add_column("scenario")
    for column in (*columns, "preserved", "log", "slowest s"):
        shown.add_column(column, justify="right")
    total = Row("all")
    for row in [*rows, total]:
        if row is not total:
            total.merge(row)
        shown.add_row(
            row.scenario,
            str(row.cases),
            str(row.settled_on["new"]),
            str(row.settled_on["old"]),
            *(
                str(row.violated[kind])
                for kind in (
                    "unrecovered",
                    "partial",
                    "marginal",
                    "opcodes",
                    "preserved",
                    "log",
                )
            ),
            f"{row.slowest_ms / 1000:.1f}",
        )
    return shown


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--share", type=int, default=100, help="per cent of the cuts to try")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/torture.json"))
    given = parser.parse_args(arguments)
    console = Console(width=120)
    began = time.monotonic()
    rows = run(given.jobs, given.share, console)
    minutes = (time.monotonic() - began) / 60
    console.print(table("Single cuts", rows["single"]))
    console.print(table("Double cuts", rows["double"]))
    caught = [row for row in rows["bug"] if row.violations]
    missed = [row.scenario for row in rows["bug"] if not row.violations]
    console.print(f"seeded bugs caught: {len(caught)} of {len(rows['bug'])}")
    for name in missed:
        console.print(f"  NOT CAUGHT: {name}")
    cuts = [*rows["single"], *rows["double"]]
    for row in cuts:
        for violation in row.violations:
            console.print(f"  {violation}\n    python -m tests.power_cuts.replay {_id(violation)}")
    slowest = max(cuts, key=lambda row: row.slowest_ms)
    console.print(f"slowest recovery: {slowest.slowest_ms} ms, {slowest.slowest}")
    console.print(f"{minutes:.0f} minutes with {given.jobs} jobs")
    report: dict[str, Any] = {kind: [vars(row) for row in found] for kind, found in rows.items()}
    report["minutes"] = round(minutes, 1)
    report["jobs"] = given.jobs
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(report, indent=1))
    return 1 if missed or any(row.violations for row in cuts) else 0


def _id(violation: str) -> str:
    return violation.partition(":")[0]


if __name__ == "__main__":
    sys.exit(main())
