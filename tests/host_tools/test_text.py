"""Text from a board is shown safely: without control codes, and invalid events are errors."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from stm32up.cli import main
from stm32up.errors import DeviceError, Stm32upError
from stm32up.events import from_board
from stm32up.image import images
from stm32up.say import output, tables
from stm32up.text import clean
from tests.host_tools.fake_board import INSTALLED

EVIL = {
    "colour": "\x1b[31mred",
    "title of the window": "\x1b]0;owned\x07",
    "C1": "\x9b2J\x9d0;x\x9c",
    "bell, backspace, return": "\x07\b\rerror",
    "delete": "a\x7fb",
    "right to left": "\u202egnp.exe\u2066\u200f",
    "invisible": "\u200b\ufeff\u2028\u00ad\U000e0041",
    "lone surrogate": "\ud800",
    "markup": "[red]x[/red][/]",
}


def is_safe(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.fixture(params=list(EVIL.values()), ids=list(EVIL))
def evil(request):
    return request.param


def test_what_does_not_print_is_shown_as_its_number():
    assert clean("\x1b[31mé漢\u202e") == "<1B>[31mé漢<202E>"
    assert clean("a\nb\x1b", keep="\n") == "a\nb<1B>"


@pytest.mark.parametrize("json_option", [(), ("--json",)], ids=["people", "programs"])
def test_no_event_or_result_brings_control_characters_to_the_terminal(
    run, fake, image, evil, json_option
):
    fake.updater.status = lambda: {
        "phase": evil,
        "confirmed": evil,
        "failed": evil,
        "inbox": [evil],
        evil: {evil: [evil]},
    }
    fake.updater.probe = lambda: {"chip": evil, "application": evil, "option_bytes": {evil: evil}}
    fake.updater.events_to_come = [
        {"event": "installing", "version": evil, "bytes": evil},
        {"event": evil, evil: evil},
        {"event": "refused", "message": f"{evil}\ninstalled 9.9.9"},
        {"event": "progress", "phase": evil, "done": 1, "total": 2},
        evil,
        {"event": "result", "ok": False, "error": evil, "message": evil, "next_step": evil},
    ]
    for verb in (["status"], ["probe"], ["update", image]):
        ran = run(*json_option, "--port", fake.port, *verb)
        assert is_safe(ran.out) and is_safe(ran.err)
        assert "an internal error of stm32up" not in ran.err
        assert "\ninstalled 9.9.9" not in ran.out
        if json_option:
            assert all(is_safe(str(event)) for event in ran.events)


def test_what_a_board_reports_is_as_the_schema_says_or_refused(run, fake, image):
    for key in ("status", "phase", "confirmed", "installed", "pages_in_doubt", "port"):
        for value in (5.5, True, ["x"], {"x": 1}):
            fake.updater.status = lambda key=key, value=value: {"phase": "idle", key: value}
            ran = run("--json", "--port", fake.port, "status")
            assert ran.status == 1 and ran.result["error"] == "device", (key, value, ran)
    for event in (
        {"event": "installing", "version": None},
        {"event": "written", "bytes": "many"},
        {"event": "checked", "key": 5},
        {"event": "result", "ok": True, "bytes": "many"},
    ):
        fake.updater.events_to_come = [event]
        ran = run("--json", "--port", fake.port, "update", image)
        assert ran.status == 1 and "wrong type" in ran.result["message"]


@pytest.mark.slow
def test_nor_does_an_exception_a_foreign_line_a_log_or_a_file(
    run, fake, evil, tmp_path, monkeypatch
):
    fake.updater.error = ValueError(evil)
    fake.before_exec = lambda code: fake.output.write(evil.encode("utf-8", "replace") + b"\r\n")
    fake.file("/updater").mkdir()
    entry = json.dumps({"n": 1, "what": evil, evil: 2}, ensure_ascii=False)
    fake.file("/updater/log.0").write_bytes(entry.encode("utf-8", "replace") + b"\n")
    for trace in ("", "1"):
        monkeypatch.setenv(main.TRACE, trace) if trace else None
        for verb in (["status"], ["logs", "pull"], ["logs", "pull", "-o", tmp_path / "log"]):
            ran = run("--port", fake.port, *verb)
            assert is_safe(ran.out) and is_safe(ran.err)
    assert is_safe((tmp_path / "log").read_text())


def test_a_traceback_of_our_own_is_clean_too(run, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("\x1b[31m")

    monkeypatch.setenv(main.TRACE, "1")
    monkeypatch.setattr(images, "show", broken)
    ran = run("image", "show", "x")
    assert "RuntimeError" in ran.err and "Traceback" in ran.err and is_safe(ran.err)


def test_every_error_is_clean(evil):
    error = Stm32upError(evil, evil)
    assert is_safe(str(error)) and is_safe(error.message) and is_safe(str(error.args))


def test_a_bar_shows_a_strange_phase_as_it_is(monkeypatch, evil):
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=80, markup=False)
    monkeypatch.setattr(output, "Console", lambda **options: console)
    people = output.HumanOutput()
    people.report({"event": "progress", "phase": evil, "done": 1, "total": 2})
    people.close()
    for forbidden in ("\x1b[31m", "\x1b]", "\x07", "\x9b", "\u202e", "\x7f", "\u200b"):
        assert forbidden not in drawn.getvalue()


NONSENSE = {
    "no done": {"event": "progress", "phase": "write", "total": 2},
    "no phase": {"event": "progress", "done": 1, "total": 2},
    "done is text": {"event": "progress", "phase": "write", "done": "1", "total": 2},
    "done is true": {"event": "progress", "phase": "write", "done": True, "total": 2},
    "phase is a list": {"event": "progress", "phase": [], "done": 1, "total": 2},
    "more than all": {"event": "progress", "phase": "write", "done": 3, "total": 2},
    "less than nothing": {"event": "progress", "phase": "write", "done": -3, "total": 2},
    "huge": {"event": "progress", "phase": "write", "done": 1, "total": 10**40},
    "not a number": {"event": "progress", "phase": "write", "done": float("nan"), "total": 2},
    "endless": {"event": "written", "bytes": float("inf")},
    "a huge number elsewhere": {"event": "written", "bytes": 10**30},
    "ms is text": {"event": "seen", "ms": "x", "what": "busy"},
    "deep": {"event": "loader", "x": json.loads("[" * 50 + "]" * 50)},
    "an event of stm32up's own": {"event": "counted", "title": "x"},
    "a plan": {"event": "plan"},
}


@pytest.mark.parametrize("event", NONSENSE.values(), ids=NONSENSE.keys())
@pytest.mark.parametrize("json_option", [(), ("--json",)], ids=["people", "programs"])
def test_an_event_that_makes_no_sense_ends_in_one_clear_error(
    run, fake, image, event, json_option
):
    fake.updater.events_to_come = [event, INSTALLED]
    ran = run(*json_option, "--port", fake.port, "update", image)
    assert ran.status == 1 and ran.err.count("\n") == 1
    assert ran.err.startswith("error: the updater on the board reported an event that ")
    assert "stm32up deploy" in ran.err and "mistake" not in ran.err


@pytest.mark.parametrize("result", [[1], "x", None, 5, {"inbox": 5}, {"failed": {}}])
def test_a_status_that_makes_no_sense_ends_in_one_clear_error(run, fake, result):
    fake.updater.status = lambda: result
    ran = run("--port", fake.port, "status")
    assert ran.status == 1 and ran.err.count("\n") == 1
    assert "mistake" not in ran.err and "Traceback" not in ran.err


@pytest.mark.parametrize("odd", [None, "x", -1, 1.5, [], [1], {"a": 1}, True, 10**15])
def test_option_bytes_of_any_kind_can_be_shown(odd):
    names = (*tables._MEANINGS, "OPTR", "NEW")
    assert tables.probe({"option_bytes": dict.fromkeys(names, odd)})


def test_a_line_without_end_ends_in_one_clear_error(run, fake, image):
    fake.updater.events_to_come = [{"event": "output", "text": "x" * 200_000}, INSTALLED]
    ran = run("--port", fake.port, "update", image)
    assert ran.status == 1 and "a line of more than" in ran.err
    assert ran.err.count("\n") == 1 and len(ran.err) < 400


def test_unknown_events_and_unknown_keys_pass():
    event = {"event": "brand-new", "x": 1.5, "y": [None, {"z": True}]}
    assert from_board(json.dumps(event)) == event


@pytest.mark.parametrize("line", ['{"event": "x"', '{"event": "x", "n": NaN}', "{" * 100_000])
def test_broken_json_is_an_error_and_other_text_is_output(line):
    with pytest.raises(DeviceError, match="is not JSON"):
        from_board(line)
    assert from_board("hello") == {"event": "output", "text": "hello"}
