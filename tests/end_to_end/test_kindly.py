"""A command on a board whose program updates its target, in real MicroPython."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stm32up import device
from stm32up.board import boards
from stm32up.events import Event
from stm32up.host import session
from stm32up.say.output import JsonOutput
from tests.end_to_end.conftest import Commands
from tests.simulator.host.client import Client


@pytest.fixture
def stm32up(board_in: Callable[[str], Commands]) -> Commands:
    return board_in("pushed")


@pytest.fixture
def url(stm32up: Commands) -> Iterator[str]:
    """The port of a board that has started, with main.py, to install full.img."""
    board = boards.load(stm32up.board)
    with session.simulated(f"sim:{stm32up.folder}", board, lambda event: None) as ports:
        yield ports.url


def log(stm32up: Commands, url: str) -> list[str]:
    pulled = stm32up.at(url, "logs", "pull").events
    return [event["entry"]["event"] for event in pulled if event["event"] == "log"]


def in_an_answer(text: bytes) -> bytes:
    digits = [digit for byte in text for digit in (byte >> 6, byte >> 3 & 7, byte & 7)]
    return bytes(0xF8 | digit for digit in digits)


def wait_until_it_writes(url: str) -> None:
    """Ask as the desktop does, byte by byte, until the answer is about writing."""
    with Client(int(url.rpartition(":")[2])) as terminal:
        terminal.send(b"\x14")
        terminal.until(in_an_answer(b'"write"'))


def names(events: list[dict[str, Any]]) -> set[str]:
    return {event["event"] for event in events}


def test_an_update_that_runs_is_shown_and_not_interrupted(stm32up: Commands, url: str) -> None:
    ran = stm32up.at(url, "status")
    assert ran.status == 0 and ran.errors == []
    progress = [event for event in ran.events if event["event"] == "progress"]
    assert progress and progress[-1]["total"] == 64
    (ended,) = [event for event in ran.events if event["event"] == "ended"]
    assert (ended["ok"], ended["status"], ended["version"]) == (True, "installed", "1.1.0")
    assert ran.result["confirmed"] == "1.1.0" and ran.result["left"] == "started"
    told = log(stm32up, url)
    assert told.count("installing") == 1 and "resuming" not in told and told[-1] == "result"


def test_a_program_that_is_asked_late_tells_how_the_last_run_ended(
    stm32up: Commands, url: str
) -> None:
    wait_until_it_writes(url)
    stm32up.at(url, "status", "--interrupt", "--stay")
    with Client(int(url.rpartition(":")[2])) as terminal:
        terminal.send(
            b"from stm32_updater import Updater; import time; "
            b"done = Updater.from_board('/board.json', answers=True).run(); "
            b"from stm32_updater.answers import answer; print('re', 'ady')\r"
        )
        terminal.until(b"re ady")
        terminal.send(b"while not answer(): time.sleep_ms(50)\r\r\x14")
        terminal.until(in_an_answer(b'"result"'))


def test_a_log_is_pulled_when_the_update_has_ended(stm32up: Commands, url: str) -> None:
    assert log(stm32up, url)[-1] == "result"


def test_interrupt_interrupts_and_the_program_goes_on_afterwards(
    stm32up: Commands, url: str
) -> None:
    wait_until_it_writes(url)
    ran = stm32up.at(url, "status", "--interrupt")
    assert ran.result["phase"] == "installing" and ran.result["left"] == "started"
    assert "progress" not in names(ran.events)
    assert stm32up.at(url, "status").result["confirmed"] == "1.1.0"
    assert "resuming" in log(stm32up, url)


def test_ctrl_c_while_an_update_is_shown_leaves_it_alone(
    stm32up: Commands, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def report(
        self: JsonOutput, event: Event, real: Callable[..., None] = JsonOutput.report
    ) -> None:
        if event["event"] == "progress":
            raise KeyboardInterrupt
        real(self, event)

    with monkeypatch.context() as patch:
        patch.setattr(JsonOutput, "report", report)
        ran = stm32up.at(url, "status")
    assert (ran.status, ran.result["error"]) == (130, "interrupted")
    assert ran.result["left"] == "goes-on"
    assert stm32up.at(url, "status").result["confirmed"] == "1.1.0"
    assert "resuming" not in log(stm32up, url)


def test_an_update_whose_command_was_killed_is_waited_for(
    stm32up: Commands, url: str, images: Path
) -> None:
    stm32up.at(url, "status", "--stay")
    arguments = ["--port", url, "--json", "update", str(images / "full.img"), "--force"]
    with subprocess.Popen(
        [sys.executable, "-m", "stm32up", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"write"' in line:
                break
        process.kill()
    ran = stm32up.at(url, "status")
    assert "progress" in names(ran.events) and "resuming" not in log(stm32up, url)
    (note,) = [event["text"] for event in ran.events if event["event"] == "note"]
    assert "an earlier stm32up still works" in note


def test_stay_leaves_the_program_stopped(stm32up: Commands, url: str) -> None:
    assert stm32up.at(url, "status", "--stay").result["left"] == "stopped"
    ran = stm32up.at(url, "logs", "pull")
    assert ran.result["left"] == "as-before" and names(ran.events) == {"log", "result"}
    with Client(int(url.rpartition(":")[2])) as terminal:
        terminal.send(b"\r")
        terminal.until(b">>> ")


def test_a_program_at_work_says_at_once_that_no_update_runs(stm32up: Commands, url: str) -> None:
    stm32up.at(url, "status")
    ran = stm32up.at(url, "status")
    assert names(ran.events) == {"result"}, json.dumps(ran.events)
    assert ran.result["left"] == "started"


def test_a_program_that_says_nothing_is_interrupted_and_named(stm32up: Commands, url: str) -> None:
    stm32up.at(url, "status", "--stay")
    silent = device.main_program().replace(b"answer()", b"pass").replace(b", answers=True", b"")
    board = boards.load(stm32up.board)
    with session.opened(url, board, lambda event: None) as connection:
        connection.replace_file("/main.py", silent)
    ran = stm32up.at(url, "status")
    (note,) = [event["text"] for event in ran.events if event["event"] == "note"]
    assert "does not say whether it updates" in note and ran.result["left"] == "started"


def test_devices_shows_a_simulated_board_that_does_not_run_yet(
    board_in: Callable[[str], Commands],
) -> None:
    board = board_in("deployed")
    (device,) = board("devices").result["devices"]
    assert device["port"] == f"sim:{board.folder}" and device["platform"] == "rp2"
    assert device["updater"] and device["phase"] == "unknown"
