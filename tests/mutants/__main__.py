"""Makes small changes to the device code, one at a time, and checks whether a test notices.

    python -m tests.mutants --sample 200 --seed 1 --jobs 2
    python -m tests.mutants --only store-3fa9c1d2,target      these mutants, or whole modules
    python -m tests.mutants --tests tests/firmware            use only these tests

The tests are run once in a copy of the project, to record which of them reach which statements.
Then each mutant is run with the tests that reach it, the fast ones first, until one fails. All of
them take up to 20 minutes for one survivor; --most-seconds 100 stops earlier, and the survivors
that it finds can be tried by name without it. An interrupted run continues where it stopped, if
code and tests are the same.

survivors.toml lists mutants that need not be noticed, each with its reason: "equivalent" ones
behave as before; "accepted" ones do not, and count as survivors. Exit status 1 if more than 5 % of
those not equivalent survive.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import json
import math
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.mutants.crew import Crew, Progress
from tests.mutants.operators import Mutant, mutants_of
from tests.mutants.recording import OWN, Digests, Recording, recorded
from tests.mutants.survivors import ACCEPTED, EQUIVALENT, listed

MOST_SURVIVORS = 0.05
KILLED, SURVIVED = "killed", "survived"
MODULES = (
    "stm32_rom/commands",
    "stm32_rom/target",
    "stm32_rom/uart",
    "stm32_updater/admission",
    "stm32_updater/decide",
    "stm32_updater/flasher",
    "stm32_updater/flow",
    "stm32_updater/image",
    "stm32_updater/proof",
    "stm32_updater/record",
    "stm32_updater/signature",
    "stm32_updater/store",
    "stm32_updater/updater",
)


@dataclass(frozen=True)
class Project:
    """What is mutated, and where results are kept."""

    root: Path
    modules: Sequence[str]  # paths in it
    survivors: Path

    @property
    def place(self) -> Path:
        return self.root / "build" / "mutants"

    def mutants(self) -> list[Mutant]:
        sources = [(module, (self.root / module).read_text()) for module in self.modules]
        return [mutant for source in sources for mutant in mutants_of(*source)]


OURS = Project(
    Path(__file__).parents[2],
    [f"firmware/{name}.py" for name in MODULES],
    Path(__file__).with_name("survivors.toml"),
)


def chosen(mutants: Sequence[Mutant], only: Sequence[str], sample: int, seed: int) -> list[Mutant]:
    """By name, or a sample in a random order; 0 is all of them."""
    if only:
        found = [m for m in mutants if m.id in only or Path(m.module).stem in only]
        missing = set(only) - {m.id for m in found} - {Path(m.module).stem for m in found}
        if missing:
            raise SystemExit(f"error: no such mutant: {', '.join(sorted(missing))}")
        return found
    size = min(sample or len(mutants), len(mutants))
    return random.Random(seed).sample(mutants, size)


class Results:
    """The result of each mutant, kept in a file for the next run. A mutant stays killed while the
    file with the killing test is the same; a surviving result is valid only for the same tests."""

    def __init__(
        self, path: Path, digests: Digests, tests: Sequence[str], most_seconds: float
    ) -> None:
        self._path = path
        self._digests = digests
        self._tests = [*tests, most_seconds]
        lines = path.read_text().splitlines() if path.exists() else []
        every: list[dict[str, Any]] = [*map(json.loads, lines)]
        self.found = {result["id"]: result for result in every if self._holds(result)}
        self.killed_by = {result["id"]: result["by"] for result in every if result["by"]}

    def _depends_on(self, by: str | None) -> list[Any]:
        if by is not None:
            return [self._digests.code, self._digests.of(by)]
        return [self._digests.code, self._digests.tests, self._tests]

    def _holds(self, result: dict[str, Any]) -> bool:
        try:
            return bool(result["depends_on"] == self._depends_on(result["by"]))
        except KeyError:
            return False  # that test no longer exists

    def forget(self, mutants: Sequence[Mutant]) -> None:
        """Mark mutants to be tried again."""
        for mutant in mutants:
            self.found.pop(mutant.id, None)

    def add(self, mutant: Mutant, by: str | None, how: str) -> dict[str, Any]:
        result = _result(mutant, KILLED if by else SURVIVED, by, how)
        result["depends_on"] = self._depends_on(by)
        self.found[mutant.id] = result
        with self._path.open("a") as file:
            file.write(json.dumps(result) + "\n")
        return result

    def of(self, mutant: Mutant, otherwise: str) -> dict[str, Any]:
        """The result of a mutant that was tried, or one with the status `otherwise`."""
        return self.found.get(mutant.id) or _result(mutant, otherwise)


def _result(mutant: Mutant, status: str, by: str | None = None, how: str = "") -> dict[str, Any]:
    return {
        "id": mutant.id,
        "module": Path(mutant.module).stem,
        "function": mutant.function,
        "line": mutant.line,
        "old": mutant.old,
        "new": mutant.new,
        "status": status,
        "by": by,
        "how": how,
    }


def run(
    crew: Crew,
    root: Path,
    mutants: Sequence[Mutant],
    recording: Recording,
    results: Results,
    most_seconds: float,
    console: Console,
) -> None:
    """Try each mutant that has no result yet."""
    todo = [mutant for mutant in mutants if mutant.id not in results.found]
    killers: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for result in results.found.values():
        killers[result["module"], result["function"]][result["by"]] += 1

    def request(mutant: Mutant) -> dict[str, Any]:
        near = killers[Path(mutant.module).stem, mutant.function].copy()
        near[results.killed_by.get(mutant.id, "")] += len(mutants)
        source = mutant.applied((root / mutant.module).read_text())
        tests = recording.tests_for(mutant, near, most_seconds)
        return {"modules": {mutant.module: source}, "tests": tests}

    progress = Progress(console, len(todo), "mutants")
    counts: Counter[str] = Counter()
    requests = [functools.partial(request, mutant) for mutant in todo]
    for number, (answer,) in crew.map(requests):
        mutant = todo[number]
        result = results.add(mutant, **answer)
        counts[result["status"]] += 1
        if result["status"] == KILLED:
            killers[result["module"], result["function"]][answer["by"]] += 1
        else:
            tell_survivor(result, console)
        progress.told(sum(counts.values()), f", {counts[SURVIVED]} survived")


def tell_survivor(result: dict[str, Any], console: Console) -> None:
    where = f"{result['module']}.py:{result['line']} {result['function']}"
    for line in (
        f"survived: {where}",
        f"    - {result['old']}",
        f"    + {result['new']}",
        f"    make mutants ONLY={result['id']}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def table(results: Sequence[dict[str, Any]], mutants: Sequence[Mutant]) -> Table:
    columns = ("module", "mutants", "sample", KILLED, SURVIVED, ACCEPTED, EQUIVALENT, "killed %")
    shown = Table(*columns)
    for column in shown.columns[1:]:
        column.justify = "right"
    every = Counter(Path(mutant.module).stem for mutant in mutants)
    for name in (*every, "all"):
        of = [result for result in results if name in ("all", result["module"])]
        counts = Counter(result["status"] for result in of)
        numbers = [every[name] if name != "all" else len(mutants), len(of)]
        numbers += [counts[status] for status in (KILLED, SURVIVED, ACCEPTED, EQUIVALENT)]
        part = f"{100 * (1 - surviving(of)):.1f}"
        shown.add_row(name, *map(str, numbers), part, end_section=name == list(every)[-1])
    return shown


def surviving(results: Sequence[dict[str, Any]]) -> float:
    """The surviving share of the mutants that are not equivalent."""
    counts = Counter(result["status"] for result in results)
    total = len(results) - counts[EQUIVALENT]
    return (counts[SURVIVED] + counts[ACCEPTED]) / total if total else 0.0


def main(arguments: Sequence[str] | None = None, project: Project = OURS) -> int:
    parser = argparse.ArgumentParser(
        prog="mutants", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sample", type=int, default=200, help="number of mutants; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--only", default="", help="names of mutants or modules, separated by commas"
    )
    parser.add_argument(
        "--most-seconds",
        type=float,
        default=math.inf,
        help="of tests for one mutant; one that they do not notice counts as a survivor",
    )
    parser.add_argument("--tests", nargs="+", default=["tests"])
    given = parser.parse_args(arguments)
    console = Console(width=120)
    mutants = project.mutants()
    only = given.only.split(",") if given.only else []
    sample = chosen(mutants, only, given.sample, given.seed)
    entries = listed(project.survivors)
    kinds = {m.id: entry.kind for m in sample for entry in entries if entry.covers(m)}
    tried = sample if only else [m for m in sample if m.id not in kinds]

    project.place.mkdir(parents=True, exist_ok=True)
    lock = (project.place / "lock").open("w")  # closed, and so released, with this process
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"error: another run uses {project.place}; wait for its end") from None
    digests = Digests(project.root)
    results = Results(project.place / "results.jsonl", digests, given.tests, given.most_seconds)
    if only:
        results.forget(tried)
    began = time.monotonic()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    crew = Crew(project.root, project.place, given.jobs, [*given.tests, f"--ignore={OWN}"])
    try:
        recording = recorded(crew, digests, project.modules, project.place, console)
        for test in recording.failed:
            console.print(f"left out, it fails without a mutant: {test}", markup=False)
        run(crew, project.root, tried, recording, results, given.most_seconds, console)
    except KeyboardInterrupt:
        console.print("stopped; the same command continues here")
        return 2
    finally:
        crew.close()
        signal.signal(signal.SIGTERM, before)
    found = [results.of(m, kinds.get(m.id, "")) for m in sample]
    minutes = (time.monotonic() - began) / 60
    report = {"seed": given.seed, "sample": len(sample), "minutes": round(minutes, 1)}
    report.update(surviving=round(surviving(found), 4), mutants=found)
    project.place.with_suffix(".json").write_text(json.dumps(report, indent=1))
    for result in found:
        if result["status"] == SURVIVED and not only:
            tell_survivor(result, console)
        elif result["status"] == KILLED and only:
            console.print(f"{result['id']}: {result['how']}: {result['by']}", markup=False)
    console.print(table(found, mutants))
    console.print(f"{minutes:.0f} minutes with {given.jobs} jobs", highlight=False)
    stale = [entry for entry in entries if not any(map(entry.covers, mutants))]
    for entry in stale:
        what = f"{entry.module} {entry.function}: {entry.old}"
        console.print(f"{project.survivors.name}: there is no such mutant: {what}", markup=False)
    return 1 if surviving(found) > MOST_SURVIVORS or stale else 0


if __name__ == "__main__":
    sys.exit(main())
