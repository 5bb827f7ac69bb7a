"""Every cut, everywhere, and the table of what came of it.

    python -m tests.power_cuts.torture [--jobs N] [--share PER_CENT] [-o FILE.json]
    python -m tests.power_cuts.torture --document FILE.json     its numbers, for docs/power-cuts.md

Exit status 1 if anything is not as it must be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tests.power_cuts import first_granule, micropython_rig, rig, seeded_bugs
from tests.power_cuts.report import (
    CHANGING,
    INTACT,
    KINDS,
    Row,
    Rows,
    document,
    faults,
    sum_of,
    summary,
    table,
)
from tests.power_cuts.rig import (
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
from tests.power_cuts.scenarios import SCENARIOS

EVERY_EVENT = {BYTE: 1, FRAME: 1, TARGET_FLASH: 1, HOST_FLASH: 1}
A_LINE_EVERY_S = 60


def sampled(bytes_of: int, frames_of: int = 1, flash_of: int = 1) -> dict[str, int]:
    """Every n-th event, but all of the host's flash operations."""
    return {BYTE: bytes_of, FRAME: frames_of, TARGET_FLASH: flash_of, HOST_FLASH: 1}


OFF = (HOST, BOTH, HOST_TORN, BOTH_TORN)  # the host is without power for a while


# Single cuts: which events of which scenario. The two by command have no BOOT0: here their host is
# cut, the target in `first_granule`.
SINGLE: dict[str, rig.Campaign] = {
    "first-install": rig.Campaign(EVERY_EVENT),
    "update": rig.Campaign(sampled(3)),
    "tiny": rig.Campaign(EVERY_EVENT),
    "few-pages": rig.Campaign(sampled(12)),
    "roll-back": rig.Campaign(sampled(24, 4, 4)),
    "preserved-page": rig.Campaign(sampled(12, 2)),
    "damaged-push": rig.Campaign(EVERY_EVENT),
    "covers-preserved": rig.Campaign(EVERY_EVENT),
    "downgrade-refused": rig.Campaign(EVERY_EVENT),
    "after-roll-back": rig.Campaign(sampled(48, 8, 8)),
    "signed": rig.Campaign(sampled(24, 4, 4)),
    "heartbeat": rig.Campaign(sampled(48, 8, 8)),
    "host-forgot": rig.Campaign(sampled(12, 2)),
    "forgot-roll-back": rig.Campaign(sampled(48, 8, 8)),
    "pushed-meanwhile": rig.Campaign(sampled(24, 4, 4), only=OFF),
    "host-formatted": rig.Campaign(sampled(12, 2)),
    "checkpoints": rig.Campaign(sampled(311, 13, 29)),
    "esp32": rig.Campaign(sampled(12)),
    "fat": rig.Campaign(sampled(12)),
    "loader-11.1": rig.Campaign(sampled(48, 8, 8)),
    "loader-11.2": rig.Campaign(sampled(48, 8, 8)),
    "loader-11.3": rig.Campaign(sampled(12)),
    "loader-openbl": rig.Campaign(sampled(24, 4)),
    "loader-openbl-g0": rig.Campaign(sampled(24, 4)),
    "ecc-resets": rig.Campaign(sampled(12, 2)),
    "supply-switch": rig.Campaign(sampled(12, 2)),
    "full-log": rig.Campaign(sampled(48, 8, 8)),
    "soft-i2c": rig.Campaign(sampled(48, 8, 8)),
    "long-outage": rig.Campaign(sampled(24, 4, 2), only=(TARGET,)),
    "by-command": rig.Campaign(sampled(8), only=(HOST, HOST_TORN, CTRL_C)),
    "command-and-supply": rig.Campaign(sampled(48, 8, 8), only=(HOST, HOST_TORN, CTRL_C)),
    "full-size": rig.Campaign({BYTE: 40009, FRAME: 809, TARGET_FLASH: 2999, HOST_FLASH: 9}),
}
# Double cuts: all pairs of flash operations, the target's and the host's, of the tiny image (3 is
# coprime to the points in an operation: each is cut, at changing points); a sample of the rest.
OPERATIONS = {BYTE: 0, FRAME: 0, TARGET_FLASH: 3, HOST_FLASH: 1}
_DENSE = (
    {BYTE: 599, FRAME: 47, TARGET_FLASH: 19, HOST_FLASH: 2},
    {BYTE: 397, FRAME: 29, TARGET_FLASH: 11, HOST_FLASH: 3},
)
DOUBLE: dict[str, rig.Campaign] = {
    "tiny": rig.Campaign(OPERATIONS, OPERATIONS),
    "first-install": rig.Campaign(*_DENSE),
    "update": rig.Campaign(*_DENSE),
    "pushed-meanwhile": rig.Campaign(
        {BYTE: 999, FRAME: 83, TARGET_FLASH: 29, HOST_FLASH: 2},
        {BYTE: 999, FRAME: 83, TARGET_FLASH: 29, HOST_FLASH: 1},
        only=OFF,
    ),
    "checkpoints": rig.Campaign(
        {BYTE: 4999, FRAME: 401, TARGET_FLASH: 499, HOST_FLASH: 5},
        {BYTE: 2999, FRAME: 211, TARGET_FLASH: 199, HOST_FLASH: 5},
    ),
    "full-size": rig.Campaign(
        {BYTE: 60013, FRAME: 2003, TARGET_FLASH: 6007, HOST_FLASH: 29},
        {BYTE: 120011, FRAME: 4001, TARGET_FLASH: 12007, HOST_FLASH: 59},
    ),
    "roll-back": rig.Campaign(
        {BYTE: 2999, FRAME: 131, TARGET_FLASH: 113, HOST_FLASH: 7},
        {BYTE: 1499, FRAME: 67, TARGET_FLASH: 53, HOST_FLASH: 5},
    ),
    "fat": rig.Campaign(
        {BYTE: 0, FRAME: 0, TARGET_FLASH: 29, HOST_FLASH: 1},
        {BYTE: 0, FRAME: 0, TARGET_FLASH: 31, HOST_FLASH: 1},
    ),
}
# Real MicroPython: every way to cut each place, so many times.
IN_MICROPYTHON = (
    *("first-install", "update", "tiny", "few-pages", "roll-back", "host-forgot"),
    *("esp32", "fat", "loader-11.3", "supply-switch"),
)
ROUNDS = 2
FOR_BUGS = {BYTE: 331, FRAME: 17, TARGET_FLASH: 1, HOST_FLASH: 1}


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
            return run_without_boot0(self._mine(first_granule.CAMPAIGN))
        wanted = 1 if self.kind == "single" else 2
        row = Row(self.name, wanted)
        campaign = (SINGLE if self.kind == "single" else DOUBLE)[self.name]
        for case in rig.explore(SCENARIOS[self.name], self._mine(campaign)):
            if len(case.cuts) == wanted:
                row.add(case)
        return [row]

    def _mine(self, campaign: rig.Campaign) -> rig.Campaign:
        return replace(thinned(campaign, self.share), share=(self.part, self.parts))


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


def run_in_micropython(name: str, share: int) -> Row:
    row = Row("in MicroPython", 1)
    for cut in micropython_rig.sample(name, max(1, ROUNDS * share // 100)):
        row.add(micropython_rig.replay(name, [cut]))
    return row


def run_without_boot0(campaign: rig.Campaign) -> list[Row]:
    """Cuts of the target's supply, by whether its first granule was being changed."""
    scenario = SCENARIOS[first_granule.SCENARIO]
    window = first_granule.window(scenario)
    intact, changing = Row(INTACT, 1), Row(CHANGING, 1)
    for case in rig.explore(scenario, campaign):
        struck = rig.Cut.parse(case.cuts[0]).at
        (changing if struck in window else intact).add(case)
    return [intact, changing]


def tasks(share: int) -> Iterator[Task]:
    yield from (Task("bug", bug.name) for bug in seeded_bugs.BUGS)
    yield from (Task("micropython", name, share=share) for name in IN_MICROPYTHON)
    parts = range(16 if share == 100 else 2)
    for kind, names in (
        ("single", SINGLE),
        ("double", DOUBLE),
        ("no-boot0", (first_granule.SCENARIO,)),
    ):
        yield from (Task(kind, name, part, len(parts), share) for name in names for part in parts)


def run(jobs: int, share: int, console: Console) -> tuple[Rows, list[str]]:
    """All of it; after a Ctrl-C what has been done until then. And what could not be done."""
    undone: list[str] = []
    rows: dict[str, dict[str, Row]] = {kind: {} for kind in KINDS}
    todo = list(tasks(share))
    context = multiprocessing.get_context("fork")
    with (
        progress_on(console, len(todo)) as advance,
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_uninterrupted) as pool,
    ):
        futures = {pool.submit(Task.run, task): task for task in todo}
        try:
            for future in as_completed(futures):
                task = futures[future]
                found = rows[task.kind]
                try:
                    done = future.result()
                except Exception as error:  # of the rig itself: an hour's work is not lost for it
                    undone.append(f"DIED: {task.kind} {task.name}, part {task.part}: {error!r}")
                    done = []
                for row in done:
                    found.setdefault(row.scenario, Row(row.scenario, row.cuts)).merge(row)
                sums = (sum_of(list(rows[kind].values())).cases for kind in ("single", "double"))
                advance("{} single cuts, {} double cuts".format(*sums))
        except KeyboardInterrupt:
            undone.append("stopped before its end")
            pool.shutdown(wait=False, cancel_futures=True)
    return {kind: list(found.values()) for kind, found in rows.items()}, undone


def _uninterrupted() -> None:
    """A Ctrl-C is for the parent; here it would be one more cut."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def progress_on(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """Yields what is called with a description after each of `total` tasks: a bar on a terminal,
    a line every minute elsewhere."""
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("cutting the power", total=total)
            yield lambda text: progress.update(bar, advance=1, description=text)
        return
    began = told = time.monotonic()
    done = 0

    def advance(text: str) -> None:
        nonlocal done, told
        done += 1
        now = time.monotonic()
        if now - told >= A_LINE_EVERY_S:
            told = now
            rest = (now - began) / done * (total - done) / 60
            print(f"{text}; {100 * done // total} % of the tasks, {rest:.0f} min left", flush=True)

    yield advance


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--share", type=int, default=100, help="per cent of the cuts to try")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/torture.json"))
    parser.add_argument("--document", type=Path, metavar="FILE.json", help="cut nothing")
    given = parser.parse_args(arguments)
    if given.document is not None:
        document(json.loads(given.document.read_text()))
        return 0
    for bug in seeded_bugs.BUGS:
        with seeded_bugs.planted(bug):
            pass  # whoever has lost its place says so now and not in an hour
    console = Console(width=120)
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows, undone = run(given.jobs, given.share, console)
    minutes = (time.monotonic() - began) / 60
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
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(report, indent=1))
    console.print(table("Single cuts", [*rows["single"], *rows["micropython"]]))
    console.print(table("Double cuts", rows["double"]))
    console.print(table("Without BOOT0: the target's own supply is cut", rows["no-boot0"]))
    for line in (*summary(rows), f"{minutes:.0f} minutes with {given.jobs} jobs", *wrong):
        console.print(line, markup=False, soft_wrap=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
