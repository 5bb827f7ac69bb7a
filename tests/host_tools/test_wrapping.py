"""Lines fit the terminal: they wrap between words, and are not wrapped in a pipe."""

from __future__ import annotations

import io
import subprocess
from typing import Any

import pytest

from stm32up.errors import Stm32upError
from stm32up.host import bench_calls
from stm32up.say import endings, tables
from stm32up.say.output import HumanOutput
from stm32up.say.wrapping import typed, width_of, wrapped
from tests.host_tools.test_output import PROBED, STATUS
from tests.terminal import on_a_terminal

WIDTHS = (60, 80, 120)
LONG = (
    "error: the new application did not prove itself (built as 1.2.0, answers 1.1.0: was "
    "--version right?); 1.1.0 is back. Push a newer image; this one is not tried again."
)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_word_is_broken_or_lost(width):
    lines = wrapped(LONG, width)
    assert max(map(len, lines)) <= width and len(lines) > 1
    assert " ".join(lines).split() == LONG.split()


def test_what_does_not_fit_goes_on_under_its_column():
    assert wrapped("name  value  what this means to you and me", 40) == [
        "name  value  what this means to you and",
        "             me",
    ]
    assert wrapped("  - one two three four five six", 28) == [
        "  - one two three four five",
        "    six",
    ]
    assert wrapped("one two three", 8) == ["one two", "  three"]
    assert wrapped("one two three", 8, indent=0) == ["one two", "three"]


def test_a_word_that_is_longer_than_the_screen_stays_whole():
    path = "/very/" * 20
    assert wrapped(f"cannot read {path} today", 40) == ["cannot read", f"  {path}", "  today"]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_shell_takes_a_wrapped_command_as_one(width):
    command = "echo image build app-1.0.0.hex --version 1.0.0 --key demo.pem -o app-1.0.0.img"
    lines = typed(command, width)
    assert max(map(len, lines)) <= width
    ran = subprocess.run(["sh", "-c", "\n".join(lines)], capture_output=True, text=True)
    assert ran.stdout.split() == command.split()[1:]


@pytest.mark.parametrize("width", WIDTHS)
def test_tables_fit_every_screen(width):
    ignored = {**PROBED["option_bytes"], "nBOOT_SEL": 1}
    pages = [tables.probe({**PROBED, "option_bytes": ignored}), tables.status(STATUS)]
    for line in (line for page in pages for line in page):
        assert max(map(len, wrapped(line, width))) <= width


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_is_for_terminals_only(monkeypatch):
    for value, width in (("60", 60), ("0", 80), ("wide", 80), ("", 80)):
        monkeypatch.setenv("COLUMNS", value)
        assert width_of(Terminal()) == width
        assert width_of(io.StringIO()) is None


def test_events_and_errors_are_whole_in_a_pipe(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    people = HumanOutput()
    people.report({"event": "refused", "message": "long " * 40})
    people.error(Stm32upError("long " * 40))
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1 and captured.err.count("\n") == 1


PLANS: dict[str, Any] = {
    "provision": {
        "chip": "STM32G071RB",
        "wishes": {"bor": 4},
        "bor_mv": 2900,
        "supply_switch": True,
    },
    "unprotect": {"chip": "STM32G071RB", "supply_switch": True},
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("verb", PLANS)
def test_safety_warnings_are_paragraphs(verb, width):
    texts = [*bench_calls.warning(verb, PLANS[verb]), *bench_calls.GIVE_UP]
    for text in texts:
        assert text.endswith(".")
        assert max(map(len, wrapped(text, width, indent=0))) <= width
    assert "nothing may reset it: a chip that loses its supply" in " ".join(texts)


UPDATE = f"""
from stm32up.errors import Stm32upError
from stm32up.events import progress
from stm32up.say.output import HumanOutput
people = HumanOutput()
people.report(progress("push", 0, 132086))
people.report(progress("push", 132086, 132086))
people.report({{"event": "refused", "message": {LONG!r}}})
people.result("probe", {PROBED!r})
people.error(Stm32upError({LONG!r}, "Ask: stm32up doctor"))
"""


@pytest.mark.posix
@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
@pytest.mark.parametrize("width", WIDTHS)
def test_on_a_terminal_every_line_fits(width, environment):
    lines = on_a_terminal(width, UPDATE, **environment)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert {"--version", "right?);", "doctor"} <= set(words)


def test_the_layout_of_an_image_fits():
    stretch = {"address": 0x0800_0000, "length": 131072, "what": "kept"}
    for line in endings.layout({"layout": [stretch]}):
        assert max(map(len, wrapped(line, 60))) <= 60
