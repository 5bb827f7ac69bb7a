"""The tables of `make torture`, and its definition of a fault."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from stm32sim.cuts.jobs import progress_on
from stm32sim.cuts.judge import Kind, Verdict, Violation
from stm32sim.cuts.outcome import Row
from stm32sim.cuts.rig import Case
from stm32up.device import PROJECT
from tests.power_cuts import report
from tests.power_cuts.report import AT_LEAST, CHANGING, INTACT, KINDS, TOGETHER
from tests.support import between_marks

NEVER = Violation(Kind.UNRECOVERED, "never settled: None")
PARTIAL = Violation(Kind.PARTIAL, "a partial application ran at 5 ns")
OPTIONS = Violation(Kind.OPCODES, "option bytes changed")


def row(name: str, *violations: Violation, cases: int = 1) -> Row:
    made = Row(name, 1)
    for number in range(cases):
        verdict = Verdict("nothing" if violations else "new", 1, 1500 + number, list(violations))
        made.add(Case(name, [f"host@{number}"], "bus byte", verdict))
    return made


@pytest.fixture
def rows() -> report.Rows:
    """As they must be, but for how many there are."""
    found: report.Rows = {kind: [row(kind)] for kind in KINDS}
    found["bug"] = [row("a bug", NEVER)]
    found["no-boot0"] = [row(INTACT), row(CHANGING, NEVER)]
    return found


def test_a_run_as_it_must_be_has_no_faults(rows):
    assert report.faults(rows, share=10) == []


def test_a_whole_run_with_too_few_cuts_is_faulty(rows):
    assert len(report.faults(rows, share=100)) == 3
    for kind in ("single", "double"):
        rows[kind][0].cases = AT_LEAST
    assert len(report.faults(rows, share=100)) == 1
    rows["double"][0].cases = TOGETHER - AT_LEAST
    assert report.faults(rows, share=100) == []


@pytest.mark.parametrize("kind", ["single", "double", "micropython"])
def test_a_violation_is_told_with_its_replay(rows, kind):
    rows[kind].append(row("update", OPTIONS))
    (fault,) = report.faults(rows, share=10)
    assert fault.endswith("python -m tests.power_cuts.replay update/host@0")


def test_a_bug_that_is_not_caught_is_a_fault(rows):
    rows["bug"].append(row("another bug"))
    assert report.faults(rows, share=10) == ["NOT CAUGHT: another bug"]
    assert "seeded bugs caught: 1 of 2" in report.summary(rows)


def test_an_entry_at_a_wrong_address_is_no_fault_but_told(rows):
    one = Case("update", ["host@7"], "bus byte", Verdict("new", 1, 1500, wrong_doors=2))
    rows["single"][0].add(one)
    rows["double"][0].merge(rows["single"][0])
    assert report.faults(rows, share=10) == []
    assert any("in 2 cases of 6" in line for line in report.summary(rows))


def test_without_boot0_only_an_unrecovered_target_is_stated_and_only_in_the_window(rows):
    rows["no-boot0"] = [row(INTACT, NEVER), row(CHANGING, NEVER)]
    assert len(report.faults(rows, share=10)) == 1
    rows["no-boot0"] = [row(INTACT), row(CHANGING, PARTIAL)]
    assert len(report.faults(rows, share=10)) == 1


def test_the_numbers_of_a_run_go_between_the_marks(rows, tmp_path, monkeypatch):
    document = tmp_path / "power-cuts.md"
    document.write_text("before\n<!-- torture: begin -->\nformer\n<!-- torture: end -->\nafter\n")
    monkeypatch.setattr(report, "DOCUMENT", document)
    told = {kind: [vars(one) for one in found] for kind, found in rows.items()}
    report.document(json.loads(json.dumps({**told, "minutes": 61.4, "jobs": 2, "share": 5})))
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "former" not in text
    assert "| single | 1 | 1 | 0 |" in text and "slowest recovery: 1.5 s" in text
    report.document({**told, "minutes": 61.4, "jobs": 2, "share": 5})
    assert document.read_text() == text
    stopped = {"minutes": 61.4, "jobs": 2, "share": 100, "faults": [report.STOPPED]}
    report.document({**told, **stopped})
    assert "- stopped before its end, in 61 minutes with 2 jobs" in document.read_text()


def page_of(rows: report.Rows, faults: list[str]) -> str:
    told = {kind: [vars(one) for one in found] for kind, found in rows.items()}
    more = {"faults": faults, "minutes": 61.4, "jobs": 2, "share": 5}
    return report.page(json.loads(json.dumps({**told, **more}))).html()


def test_the_page_of_a_run_has_its_numbers(rows):
    html = page_of(rows, report.faults(rows, share=5))
    for text in ("About 5 % of it", "1 of 1", "One cut", "Two cuts", "micropython", "61 min"):
        assert text in html
    assert "<h2>Faults" not in html and 'class="bad' not in html


def test_the_page_of_a_faulty_run_shows_each_fault_with_its_replay(rows):
    rows["single"].append(row("update", OPTIONS))
    rows["bug"].append(row("another bug"))
    html = page_of(rows, report.faults(rows, share=5))
    assert "<h2>Faults" in html and "option bytes changed" in html
    assert "python -m tests.power_cuts.replay update/host@0" in html
    assert "NOT CAUGHT: another bug" in html and "not caught" in html
    assert html.count('class="bad right"') == 1  # the count of this kind of violation


@pytest.mark.parametrize("document", [report.DOCUMENT, PROJECT / "docs" / "security.md"])
def test_the_documents_have_their_marks(document, tmp_path):
    name = "torture" if document == report.DOCUMENT else "fuzz"
    copy = tmp_path / "copy.md"
    copy.write_text(document.read_text())
    between_marks(copy, name, ["numbers"])
    text = copy.read_text()
    assert text.count("numbers\n") == 1 and text.count(f"<!-- {name}: ") == 2
    with pytest.raises(ValueError):
        between_marks(copy, "other", [])


def test_without_a_terminal_there_is_a_line_every_minute(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with progress_on(Console(file=io.StringIO()), 8) as advance:
        for minutes in (0.5, 1.1, 1.5, 2.2):
            now = minutes * 60
            advance("7 cuts")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "7 cuts; 25 % of the tasks, 3 min left",
        "7 cuts; 50 % of the tasks, 2 min left",
    ]
