"""What a user sees of every verb is as in texts/. To accept a change, look at the difference after

python -m tests.golden.golden
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import verbs
from tests.golden import golden
from tests.golden.cases import CASES


@pytest.fixture(scope="module")
def files() -> Iterator[Path]:
    with golden.folder() as path:
        yield path


@pytest.mark.parametrize("verb", CASES)
def test_the_user_sees_what_the_file_says(verb, files):
    assert golden.text(verb, files) == golden.file_of(verb).read_text(encoding="utf-8")


def test_every_verb_has_help_a_success_and_three_failures():
    assert {*CASES} == {*verbs()}
    for verb in CASES:
        text = golden.file_of(verb).read_text(encoding="utf-8")
        cases = text.split("$ stm32up ")[1:]
        ends = [case.rpartition("[exit status ")[2][0] for case in cases]
        assert cases[0].startswith(f"{verb} -h") and ends[0] == "0"
        assert "0" in ends[1:], verb
        assert sum(end != "0" for end in ends) >= 3, verb


def test_no_file_is_left_of_a_verb_that_is_gone():
    assert {path.name for path in golden.TEXTS.glob("*.txt")} == {
        golden.file_of(verb).name for verb in CASES
    }


def test_no_line_of_a_terminal_is_wider_than_the_terminal():
    """Without the data of --json, and a script, which are not wrapped."""
    for verb in {*CASES} - {"completion"}:
        for part in golden.file_of(verb).read_text(encoding="utf-8").split("--- ")[1:]:
            where, _, shown = part.partition("\n")
            lines = shown.split("\n$ stm32up ")[0].splitlines()
            widest = max(len(line) for line in lines if not line.startswith("{"))
            assert widest <= 80 or not where.startswith("80 plain"), (verb, shown)
