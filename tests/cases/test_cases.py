"""Every case of `python -m tests.cases` has the right outcome; the command reports a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from stm32up.host import raw_repl
from tests.cases import __main__ as command
from tests.cases.all import GROUPS
from tests.cases.case import Case, Wrong, expect

# Each of these cases is also a test of tests/end_to_end/test_interrupted_programs.py, and slow.
ELSEWHERE = ("programs",)


@pytest.mark.parametrize(
    ("group", "case"),
    [
        pytest.param(group, case, id=f"{group}: {case.name}")
        for group, cases in GROUPS.items()
        if group not in ELSEWHERE
        for case in cases
    ],
)
def test_a_case_comes_out_right(
    group: str, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The command gives up earlier on a program that does not end, which runs all that time.
    monkeypatch.setattr(raw_repl, "ENTER_S", 4.0)
    try:
        assert case.run(tmp_path)
    except Wrong as wrong:
        wrong.add_note(f'python -m tests.cases "{group}: {case.name}"')
        raise


def test_each_case_has_a_name_of_its_own() -> None:
    names = [(group, case.name) for group, cases in GROUPS.items() for case in cases]
    assert len(set(names)) == len(names)


def test_a_wrong_outcome_and_an_exception_are_failures(monkeypatch, capsys) -> None:
    def breaks() -> str:
        raise KeyError("lost")

    cases = [
        Case("right", "a", lambda: expect(True, "as it should be")),
        Case("wrong", "b", lambda: expect(False, "something\nelse")),
        Case("broken", "c", breaks),
    ]
    monkeypatch.setattr(command, "GROUPS", {"some": cases})
    assert command.main([]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "PASS | some: right | a | as it should be",
        "FAIL | some: wrong | b | something else",
        "FAIL | some: broken | c | KeyError: 'lost'",
        "3 cases, 2 failed",
    ]
    assert command.main(["some: right"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 cases, 0 failed"
    del cases[1:]
    assert command.main(["some"]) == 0
    with pytest.raises(SystemExit):
        command.main(["some: gone"])
    assert "no case and no group some: gone" in capsys.readouterr().err
