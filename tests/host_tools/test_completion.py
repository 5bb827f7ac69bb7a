"""A shell completes verbs, options, boards, ports and files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete
from serial.tools import list_ports

from stm32up.board import boards
from stm32up.cli import completion, main

PORTS = ("/dev/ttyACM0", "/dev/ttyUSB3")


@pytest.fixture
def complete(monkeypatch):
    """What is offered after these words: value and kind of each."""
    monkeypatch.setattr(list_ports, "comports", lambda: [Port(name) for name in PORTS])

    def complete(*words: str) -> list[tuple[str, str]]:
        *before, begun = words
        asked = ShellComplete(main.cli, completion.arguments(), "stm32up", completion.VARIABLE)
        return [(item.value, item.type) for item in asked.get_completions(before, begun)]

    return complete


class Port(str):
    """A port as pyserial lists it."""

    device = property(str)
    description = "a board"


def plain(*values: str) -> list[tuple[str, str]]:
    return [(value, "plain") for value in values]


def test_verbs_and_the_verbs_of_a_group(complete):
    assert complete("sta") == plain("status")
    assert complete("image", "ver") == plain("verify")


def test_options_of_a_verb_and_those_of_every_verb(complete):
    assert complete("update", "--for") == plain("--force")
    assert complete("update", "--bo") == plain("--board")


def test_boards_by_name_and_by_path(complete):
    assert complete("--board", "") == plain(*boards.names())
    assert complete("status", "--board", "pico_nucleo_g071rb_") == plain("pico_nucleo_g071rb_uart")
    assert complete("--board", "./mi") == [("./mi", "file")]


def test_ports_that_are_there_and_the_simulated_one(complete):
    assert complete("--port", "") == plain("auto", "sim", *PORTS)
    assert complete("status", "--port", "/dev/ttyU") == plain("/dev/ttyUSB3")


@pytest.mark.parametrize(
    "words",
    [
        ("update", "ap"),
        ("image", "build", "ap"),
        ("image", "build", "-o", "ap"),
        ("push", "--key", "ap"),
        ("deploy", "--key", "ap"),
        ("keys", "public", "ap"),
    ],
    ids=" ".join,
)
def test_files(complete, words):
    assert complete(*words) == [("ap", "file")]


def test_shells_of_the_verb_itself(complete):
    assert complete("completion", "") == plain("bash", "zsh", "fish")


def test_a_mistake_in_the_settings_does_not_end_it(complete, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stm32up.toml").write_text("nonsense")
    assert complete("sta") == plain("status")


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_script_asks_this_command(run, shell):
    script = run("completion", shell).out
    assert f"{completion.VARIABLE}={shell}_complete" in script
    assert run("--json", "completion", shell).result["lines"] == script.splitlines()


def test_another_shell_is_refused_by_name(run):
    ran = run("completion", "tcsh")
    assert ran.status == 2 and "'tcsh' is not one of 'bash', 'zsh', 'fish'" in ran.err


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_command_answers_each_shell(shell):
    asked = {
        completion.VARIABLE: f"{shell}_complete",
        "COMP_WORDS": "stm32up image ver",
        "COMP_CWORD": "2" if shell != "fish" else "ver",
    }
    command = [sys.executable, "-m", "stm32up"]
    ran = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True)
    assert "verify" in ran.stdout and ran.stderr == ""


@pytest.mark.skipif(shutil.which("bash") is None, reason="asks bash")
def test_bash_accepts_its_script(run):
    script = run("completion", "bash").out + "\ncomplete -p stm32up"
    ran = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True)
    assert "-F _stm32up_completion stm32up" in ran.stdout and ran.stderr == ""
