"""The log of a simulated board, from the host's flash to the page."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.posix]

LIMIT_S = 120


@pytest.fixture
def stm32up(board_in):
    return board_in("deployed")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_pulls_between_updates_become_one_log_with_dates(stm32up, images, tmp_path):
    log = tmp_path / "log.jsonl"
    for version in ("1.0.0", "1.1.0"):
        assert stm32up("update", images / f"app-{version}.img").status == 0
        for new in (True, False):
            assert (stm32up("logs", "pull", "-o", log).result["new"] > 0) is new
    entries = lines(log)
    assert [entry["n"] for entry in entries] == list(range(len(entries)))
    assert len({entry["board"] for entry in entries}) == 1
    assert [entry["pulled"]["updater"] for entry in entries if "pulled" in entry] == ["0.1.0"] * 2
    today = datetime.now(UTC)
    clocks = [entry["at"] for entry in entries if entry["event"] == "run"]
    assert len(clocks) == 2 and {clock[0] for clock in clocks} <= {today.year, today.year - 1}
    page = tmp_path / "page.html"
    assert stm32up("logs", "report", log, "-o", page).result["updates"] == 2
    assert "1.0.0 \N{RIGHTWARDS ARROW} 1.1.0: installed" in page.read_text()


def test_the_log_is_followed_while_the_program_of_the_board_works(stm32up, images):
    stm32up("deploy", "--main")
    stm32up("update", images / "app-1.0.0.img")
    stm32up("push", images / "app-1.1.0.img")
    port = f"sim:{stm32up.folder}"
    command = [sys.executable, "-m", "stm32up", "--port", port, "--board", stm32up.board, "--json"]
    program = subprocess.Popen(
        [*command, "logs", "show", "--follow", "--event", "result"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    told = []
    for line in program.stdout:
        told.append(json.loads(line))
        if [event["event"] for event in told].count("log") == 2:
            break
    program.send_signal(signal.SIGINT)
    rest = program.communicate(timeout=LIMIT_S)[0].splitlines()
    ends = [event["entry"] for event in told if event["event"] == "log"]
    assert [(end["status"], end["version"]) for end in ends] == [
        ("installed", "1.0.0"),
        ("installed", "1.1.0"),
    ]
    assert ends[1]["n"] > ends[0]["n"]
    end = json.loads(rest[-1])
    assert (end["event"], end["status"], end["entries"]) == ("result", "followed", 2)
    assert program.returncode == 0
    assert stm32up("status").result["confirmed"] == "1.1.0"


def test_two_boards_in_one_file_are_kept_apart(stm32up, images, tmp_path):
    log = tmp_path / "log.jsonl"
    other = type(stm32up)(tmp_path / "other", stm32up.board, stm32up._capfd)
    other.folder.mkdir()
    boards = []
    for board in (stm32up, other, stm32up):
        board("update", images / "app-1.0.0.img")
        pulled = board("logs", "pull", "-o", log).result
        assert not pulled["new_life"]
        boards.append(pulled["board"])
    assert boards[0] == boards[2] != boards[1]
    assert {entry["board"] for entry in lines(log)} == {*boards}
