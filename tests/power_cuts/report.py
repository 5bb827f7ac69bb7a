"""The output of `make torture`: what it prints, counts as a fault, and writes into
docs/power-cuts.md."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from stm32sim.cuts.outcome import COLUMNS, Row, cells, sum_of
from tests.support import between_marks

KINDS = ("single", "double", "micropython", "no-boot0", "bug")
INTACT, CHANGING = "first granule at rest", "first granule changing"
# Least number of cuts in a complete run: of each kind, and of both together.
AT_LEAST, TOGETHER = 100_000, 1_000_000
REPLAY = "python -m tests.power_cuts.replay"
DOCUMENT = Path(__file__).parents[2] / "docs" / "power-cuts.md"
Rows = dict[str, list[Row]]  # by kind


def faults(rows: Rows, share: int) -> list[str]:
    """All faults, each with the command that replays it."""
    found = [f"NOT CAUGHT: {row.scenario}" for row in rows["bug"] if not row.violations]
    changing = [row for row in rows["no-boot0"] if row.scenario == CHANGING]
    for kind in ("single", "double", "micropython", "no-boot0"):
        for row in rows[kind]:
            if row not in changing:
                found += row.told(REPLAY)
    for row in changing:
        unstated = set(row.violated) - {"unrecovered"}
        if unstated or (share == 100 and not row.violated):
            found.append(
                f"{row.scenario}: {dict(row.violated)} is not what docs/power-cuts.md states"
            )
    single, double = (sum_of(rows[kind]).cases for kind in ("single", "double"))
    for what, cases, least in (
        ("single", single, AT_LEAST),
        ("double", double, AT_LEAST),
        ("single and double", single + double, TOGETHER),
    ):
        if share == 100 and cases < least:
            found.append(f"only {cases} {what} cuts, not {least}")
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
    """Write the numbers of a run into docs/power-cuts.md, between its two marks."""
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
