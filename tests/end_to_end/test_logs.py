"""The log of a simulated board, from the host's flash to the page."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from stm32up.board import boards
from stm32up.host import simulation

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
    with simulation.started(f"sim:{stm32up.folder}", boards.load(stm32up.board)) as ports:
        stm32up.at(ports.url, "push", images / "app-1.1.0.img", "--stay")
        before = stm32up.at(ports.url, "logs", "pull", "--stay").result["last"]
        ends, rest, status = followed(ports.url, until="1.1.0")
        assert stm32up.at(ports.url, "status").result["confirmed"] == "1.1.0"
    end = ends[-1]
    assert (end["status"], end["version"]) == ("installed", "1.1.0")
    assert end["n"] > before and [each["n"] for each in ends].count(end["n"]) == 1
    assert (rest[-1]["event"], rest[-1]["status"], status) == ("result", "followed", 0)
    assert rest[-1]["entries"] == len(ends)


def followed(port, until):
    """(results in the log, the events after them, exit status) of `logs show --follow` that a
    Ctrl-C ends when this version is installed."""
    command = [sys.executable, "-m", "stm32up", "--port", port, "--json", "logs", "show"]
    program = subprocess.Popen(
        [*command, "--follow", "--event", "result"], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    ends = []
    for line in program.stdout:
        event = json.loads(line)
        if event["event"] == "log":
            ends.append(event["entry"])
            if event["entry"].get("version") == until:
                break
    program.send_signal(signal.SIGINT)
    rest = program.communicate(timeout=LIMIT_S)[0].splitlines()
    return ends, [json.loads(line) for line in rest], program.returncode


def test_two_boards_in_one_file_are_kept_apart(stm32up, images, tmp_path):
    log = tmp_path / "log.jsonl"
    other = type(stm32up)(tmp_path / "other", stm32up.board, stm32up._capfd)
    other.folder.mkdir()
    ids = []
    for board in (stm32up, other, stm32up):
        board("update", images / "app-1.0.0.img")
        pulled = board("logs", "pull", "-o", log).result
        assert not pulled["new_life"]
        ids.append(pulled["board"])
    assert ids[0] == ids[2] != ids[1]
    assert {entry["board"] for entry in lines(log)} == {*ids}
