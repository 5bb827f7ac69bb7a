"""docs/schema.json describes what --json prints."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from jsonschema import Draft202012Validator, ValidationError

from stm32up import device, events, schema
from stm32up.events import Progress, failure, progress, result
from stm32up.say import endings, output, words

PUBLISHED = json.loads((device.PROJECT / "docs" / "schema.json").read_bytes())


def is_valid(line: Mapping[str, object] | Progress) -> bool:
    return bool(Draft202012Validator(PUBLISHED).is_valid(line))


def test_the_published_schema_is_the_one_that_is_made():
    """To write it: python -m stm32up.schema > docs/schema.json"""
    assert json.loads(schema.text()) == PUBLISHED
    Draft202012Validator.check_schema(PUBLISHED)


def test_every_event_that_has_words_is_described():
    assert {*words.EVENTS} - {"result"} <= {*events.OF_BOARDS, *schema.OWN}


def test_the_result_of_every_verb_is_described():
    assert {*endings._ENDINGS, *output._TABLES} <= {*schema.RESULTS}


def test_valid_lines_are_valid():
    assert is_valid(progress("write", 1, 2))
    assert is_valid(result({"status": "installed"}))
    assert is_valid(failure("no-board", "there is none", "Connect one."))
    assert is_valid({"event": "of a newer updater", "mood": "good"})
    assert is_valid({"event": "installing", "version": "1.0.0", "mood": "good"})


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"event": 3},
        {"event": "progress", "phase": "write", "done": 1},
        {"event": "progress", "phase": "write", "done": "1", "total": 2},
        {"event": "installing", "version": 1},
        {"event": "note"},
        {"event": "result"},
        {"event": "result", "ok": "yes"},
        {"event": "result", "ok": False, "error": "no-board", "message": "there is none"},
    ],
    ids=json.dumps,
)
def test_invalid_lines_are_invalid(line):
    assert not is_valid(line)


def test_what_this_process_prints_is_checked():
    with pytest.raises(ValidationError):
        output.JsonOutput().report({"event": "note"})
    with pytest.raises(ValidationError):
        output.JsonOutput().result("image digest", {"status": "written"})
