"""What came of many cases: sums for each scenario, the tables, and what is not as it must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.power_cuts import rig
from tests.support import between_marks

KINDS = ("single", "double", "micropython", "no-boot0", "bug")
INTACT, CHANGING = "first granule at rest", "first granule changing"
KEPT_VIOLATIONS = 20
AT_LEAST = 100_000  # single cuts, and double cuts, of a whole run
VIOLATIONS = ("unrecovered", "partial", "marginal", "opcodes", "preserved", "log")
DOCUMENT = Path(__file__).parents[2] / "docs" / "power-cuts.md"


@dataclass
class Row:
    """Sums over the cases of one scenario."""

    scenario: str
    cuts: int = 0  # 1 or 2
    cases: int = 0
    settled_on: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    violated: Counter[str] = field(default_factory=Counter)
    wrong_doors: int = 0  # cases in which one was taken
    slowest_ms: int = 0
    slowest: str = ""

    def add(self, case: rig.Case) -> None:
        verdict = case.verdict
        self.cases += 1
        self.settled_on[verdict.settled_on] += 1
        self.wrong_doors += bool(verdict.wrong_doors)
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
        self.wrong_doors += other.wrong_doors
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


Rows = dict[str, list[Row]]  # by kind


def sum_of(rows: Sequence[Row]) -> Row:
    total = Row("all")
    for row in rows:
        total.merge(row)
    return total


COLUMNS = ("cuts", "on new", "on old", *VIOLATIONS, "slowest s")


def cells(row: Row) -> list[str]:
    """A line of a table: the scenario, and what stands under COLUMNS."""
    counts = [row.cases, row.settled_on["new"], row.settled_on["old"]]
    counts += [row.violated[kind] for kind in VIOLATIONS]
    return [row.scenario, *map(str, counts), f"{row.slowest_ms / 1000:.1f}"]


def table(title: str, rows: Sequence[Row]) -> Table:
    shown = Table(title=title)
    shown.add_column("scenario")
    for column in COLUMNS:
        shown.add_column(column, justify="right")
    for row in [*rows, sum_of(rows)]:
        shown.add_row(*cells(row))
    return shown


def faults(rows: Rows, share: int) -> list[str]:
    """What is not as it must be, each with the command that shows it."""
    found = [f"NOT CAUGHT: {row.scenario}" for row in rows["bug"] if not row.violations]
    changing = [row for row in rows["no-boot0"] if row.scenario == CHANGING]
    for kind in ("single", "double", "micropython", "no-boot0"):
        for row in rows[kind]:
            if row not in changing:
                found += [
                    f"{told}\n    python -m tests.power_cuts.replay {told.partition(':')[0]}"
                    for told in row.violations
                ]
    for row in changing:
        unstated = set(row.violated) - {"unrecovered"}
        if unstated or (share == 100 and not row.violated):
            found.append(f"{row.scenario}: {dict(row.violated)} is not what wiring.md states")
    for kind in ("single", "double"):
        cases = sum_of(rows[kind]).cases
        if share == 100 and cases < AT_LEAST:
            found.append(f"only {cases} {kind} cuts, not {AT_LEAST}")
    return found


def summary(rows: Rows) -> list[str]:
    caught = sum(bool(row.violations) for row in rows["bug"])
    cases = sum_of([*rows["single"], *rows["double"], *rows["micropython"]])
    return [
        f"the whole application entered at a wrong address, from a torn first granule, in "
        f"{cases.wrong_doors} cases of {cases.cases}",
        f"seeded bugs caught: {caught} of {len(rows['bug'])}",
        f"slowest recovery: {cases.slowest_ms / 1000:.1f} s, after {cases.slowest}",
    ]


def document(report: dict[str, Any]) -> None:
    """Put the numbers of a run into docs/power-cuts.md, between its two marks."""
    rows = {kind: [as_row(values) for values in report.get(kind, [])] for kind in KINDS}
    lines = []
    for title, kinds in (
        ("One cut", ("single", "micropython")),
        ("Two cuts", ("double",)),
        ("The supply of a target without BOOT0", ("no-boot0",)),
    ):
        found = [row for kind in kinds for row in rows[kind]]
        if found:
            lines += [f"| {' | '.join((title, *COLUMNS))} |", f"|---|{'---:|' * len(COLUMNS)}"]
            lines += [f"| {' | '.join(cells(row))} |" for row in [*found, sum_of(found)]]
            lines.append("")
    lines += [f"- {line}" for line in summary(rows)]
    run = "all of it" if report["share"] == 100 else f"about {report['share']} % of it"
    lines.append(f"- {run}, in {report['minutes']:.0f} minutes with {report['jobs']} jobs")
    between_marks(DOCUMENT, "torture", lines)


def as_row(values: dict[str, Any]) -> Row:
    counters = {name: Counter(values[name]) for name in ("settled_on", "violated")}
    return Row(**{**values, **counters})
