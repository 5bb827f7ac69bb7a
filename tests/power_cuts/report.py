"""The output of `make torture`: what it prints, counts as a fault, shows as a page, and writes
into docs/power-cuts.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stm32sim.cuts.judge import Kind
from stm32sim.cuts.outcome import COLUMNS, Row, cells, sum_of
from stm32up.report.page import (
    Cell,
    Details,
    Fact,
    Lines,
    Page,
    Part,
    Section,
    Share,
    Shares,
    Table,
    Text,
)
from stm32up.say.words import took
from tests.support import between_marks

KINDS = ("single", "double", "micropython", "no-boot0", "bug")
TABLES = (
    ("One cut", ("single", "micropython")),
    ("Two cuts", ("double",)),
    ("The supply of a target without BOOT0", ("no-boot0",)),
)
INTACT, CHANGING = "first granule at rest", "first granule changing"
# Least number of cuts in a complete run: of each kind, and of both together.
AT_LEAST, TOGETHER = 100_000, 1_000_000
REPLAY = "python -m tests.power_cuts.replay"
DOCUMENT = Path(__file__).parents[2] / "docs" / "power-cuts.md"
Rows = dict[str, list[Row]]  # by kind


STOPPED = "stopped before its end; --go-on does the rest"  # a fault of a run


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


def page(report: dict[str, Any]) -> Page:
    """The page of a run, from its JSON."""
    rows = {kind: [as_row(values) for values in report.get(kind, [])] for kind in KINDS}
    cuts = sum_of([row for kind in KINDS if kind != "bug" for row in rows[kind]])
    caught = sum(bool(row.violations) for row in rows["bug"])
    wrong = report["faults"]
    facts = [
        Fact(f"{cuts.cases:,}", "cuts"),
        Fact(str(len(wrong)), "faults", "bad" if wrong else "good"),
        Fact(
            f"{caught} of {len(rows['bug'])}",
            "seeded bugs caught",
            "good" if caught == len(rows["bug"]) else "bad",
        ),
        Fact(took(cuts.slowest_ms), "slowest recovery"),
        Fact(f"{report['minutes']:.0f} min", f"with {report['jobs']} jobs"),
    ]
    sections = [Section("Faults", [_fault(text) for text in wrong])] if wrong else []
    for title, kinds in TABLES:
        found = [row for kind in kinds for row in rows[kind]]
        if found:
            table = Table(["scenario", *COLUMNS], [*map(_cells, found)], COLUMNS)
            slowest = [Share(row.scenario, row.slowest_ms, took(row.slowest_ms)) for row in found]
            sections.append(Section(title, [table, Shares("Slowest recovery", slowest, False)]))
    bugs: list[Sequence[str | int | Cell]] = [
        [row.scenario, Cell("caught", "good") if row.violations else Cell("not caught", "bad")]
        for row in rows["bug"]
    ]
    if bugs:
        sections.append(Section("Seeded bugs", [Table(["bug", "result"], bugs)]))
    sections.append(Section("Summary", [Text(line) for line in summary(rows)]))
    return Page("Power cuts at every instant", facts, sections, _share(report), "make torture")


def _fault(text: str) -> Part:
    """A fault; below it the command that replays it."""
    what, *replay = text.split("\n")
    return Details(what, [Lines([line.strip() for line in replay])] if replay else [], "bad", True)


def _cells(row: Row) -> list[str | Cell]:
    """A row; a count of violations that is not 0 stands out, unless docs/power-cuts.md states
    it."""
    scenario, *values = cells(row)
    stated = row.scenario == CHANGING
    return [scenario] + [
        Cell(value, "bad") if name in {*Kind} and value != "0" and not stated else value
        for name, value in zip(COLUMNS, values, strict=True)
    ]


def _share(report: dict[str, Any]) -> str:
    if STOPPED in report.get("faults", []):
        return "Stopped before its end"
    return "All of it" if report["share"] == 100 else f"About {report['share']} % of it"


def document(report: dict[str, Any]) -> None:
    """Write the numbers of a run into docs/power-cuts.md, between its two marks."""
    rows = {kind: [as_row(values) for values in report.get(kind, [])] for kind in KINDS}
    lines = []
    for title, kinds in TABLES:
        found = [row for kind in kinds for row in rows[kind]]
        if found:
            lines += [f"| {' | '.join((title, *COLUMNS))} |", f"|---|{'---:|' * len(COLUMNS)}"]
            lines += [f"| {' | '.join(cells(row))} |" for row in [*found, sum_of(found)]]
            lines.append("")
    lines += [f"- {line}" for line in summary(rows)]
    run = f"{report['minutes']:.0f} minutes with {report['jobs']} jobs"
    lines.append(f"- {_share(report).lower()}, in {run}")
    between_marks(DOCUMENT, "torture", lines)


def as_row(values: dict[str, Any]) -> Row:
    counters = {name: Counter(values[name]) for name in ("settled_on", "violated")}
    return Row(**{**values, **counters})
