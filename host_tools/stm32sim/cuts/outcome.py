"""Results of many cases: sums for each scenario, and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table

from stm32sim.cuts.judge import Kind
from stm32sim.cuts.rig import Case

KEPT_VIOLATIONS = 20


@dataclass
class Row:
    """Sums over the cases of one scenario."""

    scenario: str
    cuts: int = 0  # 1 or 2
    cases: int = 0
    settled_on: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[str, str]] = field(default_factory=list)  # case, and what is wrong
    violated: Counter[str] = field(default_factory=Counter)
    wrong_doors: int = 0  # cases with at least one
    slowest_ms: int = 0
    slowest: str = ""

    def add(self, case: Case) -> None:
        verdict = case.verdict
        self.cases += 1
        self.settled_on[verdict.settled_on] += 1
        self.wrong_doors += bool(verdict.wrong_doors)
        if verdict.recovery_ms > self.slowest_ms:
            self.slowest_ms, self.slowest = verdict.recovery_ms, f"{case.id} ({case.place})"
        for violation in verdict.violations:
            self.violated[violation.kind] += 1
            if len(self.violations) < KEPT_VIOLATIONS:
                self.violations.append((case.id, violation.text))

    def merge(self, other: Row) -> None:
        self.cases += other.cases
        self.settled_on += other.settled_on
        self.violated += other.violated
        self.wrong_doors += other.wrong_doors
        self.violations = (self.violations + other.violations)[:KEPT_VIOLATIONS]
        if other.slowest_ms > self.slowest_ms:
            self.slowest_ms, self.slowest = other.slowest_ms, other.slowest

    def told(self, command: str) -> list[str]:
        """The kept violations, each with the command that replays it: `command` and the case."""
        return [f"{case}: {text}\n    {command} {case}" for case, text in self.violations]


def sum_of(rows: Sequence[Row]) -> Row:
    total = Row("all")
    for row in rows:
        total.merge(row)
    return total


COLUMNS = ("cuts", "on new", "on old", *Kind, "slowest s")


def cells(row: Row) -> list[str]:
    """A row of a table: the scenario, and the values for COLUMNS."""
    counts = [row.cases, row.settled_on["new"], row.settled_on["old"]]
    counts += [row.violated[kind] for kind in Kind]
    return [row.scenario, *map(str, counts), f"{row.slowest_ms / 1000:.1f}"]


def table(title: str, rows: Sequence[Row]) -> Table:
    shown = Table(title=title)
    shown.add_column("scenario")
    for column in COLUMNS:
        shown.add_column(column, justify="right")
    for row in [*rows, sum_of(rows)]:
        shown.add_row(*cells(row))
    return shown
