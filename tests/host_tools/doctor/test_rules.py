"""Relations between the rules, and the page that lists them."""

from __future__ import annotations

import re
from pathlib import Path

from stm32up.doctor import examine, rules_state
from stm32up.doctor.diagnosis import Severity
from tests.host_tools.doctor.worlds import SCENARIOS


def test_only_what_is_beyond_help_is_said_to_be():
    assert {rule.code for rule in examine.RULES if rule.severity is Severity.BEYOND_HELP} == {
        "locked-suspected",
        "option-bytes-torn",
    }


def test_every_rule_has_a_world_in_which_it_is_right():
    codes = {rule.code for rule in examine.RULES}
    assert len(codes) == len(examine.RULES)
    shown = {code for code, _, _ in SCENARIOS.values()}
    assert codes - shown == {"controller-impatient", "another-family"}  # tested on their own


def test_every_group_and_code_that_a_rule_waits_for_exists():
    names = {rule.code for rule in examine.RULES} | {rule.group for rule in examine.RULES}
    for rule in examine.RULES:
        assert set(rule.unless) <= names, rule.code


def test_the_page_about_the_doctor_says_what_the_doctor_says():
    page = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.*?) \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    expected = [(rule.code, rule.what, rule.cause, rule.next_step) for rule in examine.RULES]
    assert rows == expected


def test_a_version_is_named_with_its_build_number():
    assert rules_state.version("01020300" + "07000000") == "1.2.3+7"
    assert rules_state.version("0102030000000000") == "1.2.3"
    assert rules_state.version("runs") == "runs"
