"""One command on several boards at once."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from serial.tools import list_ports

from stm32up.cli import main
from stm32up.cli.context import Verb
from stm32up.errors import NoBoard
from stm32up.events import Event
from stm32up.host import ports
from tests.commands import verbs
from tests.host_tools.fake_board import FakeBoard
from tests.host_tools.test_transport import BOARDS, BRIDGES, MAYBE_BOARDS, PROBES, usb
from tests.terminal import on_a_terminal


@pytest.fixture
def two(fake: FakeBoard, tmp_path: Path) -> Iterator[list[FakeBoard]]:
    (tmp_path / "second").mkdir()
    second = FakeBoard(tmp_path / "second")
    yield [fake, second]
    second.close()


def at(boards):
    return [part for board in boards for part in ("--port", board.port)]


def test_every_board_gets_the_image_and_one_table_says_so(run, two, image):
    ran = run(*at(two), "push", image)
    assert (ran.status, ran.err) == (0, "")
    for board in two:
        assert board.file("/updater/inbox/app.img").read_bytes() == image.read_bytes()
    table = [line for line in ran.out.splitlines() if not line.startswith(" ")]
    assert [line.split()[:2] for line in table] == [[board.port, "ok"] for board in two]


def test_on_a_terminal_each_board_has_a_line_and_then_the_table_stands_alone(two, image):
    arguments = [*at(two), "push", str(image)]
    program = f"from stm32up.cli import main; main.run({arguments!r})"
    lines = on_a_terminal(80, program)
    assert max(map(len, lines)) <= 80
    table = [line for line in lines if re.match(r"socket://[0-9.:]+  ok  ", line)]
    assert [line.split()[0] for line in table] == [board.port for board in two]


def test_one_failure_fails_the_command_and_the_others_are_done(run, two, image):
    two[0].free = 100
    ran = run(*at(two), "push", image)
    assert ran.status == 1 and ran.err == f"error: 1 of 2 boards failed: {two[0].port}\n"
    assert f"{two[0].port}  FAILED" in ran.out and f"{two[1].port}  ok" in ran.out
    assert two[1].file("/updater/inbox/app.img").exists()


def test_json_lines_name_their_port_and_the_last_is_for_all(run, two):
    two[1].updater = None
    ran = run("--json", *at(two), "status")
    *lines, last = ran.events
    results = {line["port"]: line["ok"] for line in lines if line["event"] == "result"}
    assert results == {two[0].port: True, two[1].port: False}
    assert all("port" in line for line in lines) and "port" not in last
    assert (last["event"], last["ok"], last["failed"]) == ("result", False, [two[1].port])


def test_each_board_has_its_own_log_file(run, two, tmp_path):
    for number, board in enumerate(two):
        board.file("/updater").mkdir()
        board.file("/updater/log.0").write_text(json.dumps({"n": number}) + "\n")
    assert run(*at(two), "logs", "pull", "-o", tmp_path / "logs").status == 0
    content = [json.loads(path.read_text()) for path in (tmp_path / "logs").iterdir()]
    assert sorted(entry["n"] for entry in content) == [0, 1]
    shown = [json.loads(line) for line in run(*at(two), "logs", "pull").out.splitlines()[:2]]
    assert sorted((line["port"], line["n"]) for line in shown) == sorted(
        (board.port, number) for number, board in enumerate(two)
    )


def test_the_ports_may_stand_after_the_verb_and_twice_is_once(run, two):
    ran = run("status", *at(two), *at(two[:1]), "--json")
    assert ran.result == {"event": "result", "ok": True, "status": "done", "boards": 2}


SEVERAL = {"deploy", "push", "update", "run", "status", "probe", "doctor", "logs pull", "reset"}
ARGUMENTS = {"image show": ["x"], "keys new": ["x"], "boards new": ["x"], "simulate": []}


@pytest.mark.parametrize("verb", ["image show", "keys new", "simulate", "console", "provision"])
def test_a_verb_for_one_board_says_so(run, verb):
    ran = run("--port", "a", "--port", "b", *verb.split(), *ARGUMENTS.get(verb, []))
    assert ran.status == 2 and f"stm32up {verb} is not for several boards" in ran.err


def test_the_verbs_for_several_boards_are_these():
    found = set()
    for name in verbs():
        command: click.Command = main.cli
        for part in name.split():
            assert isinstance(command, click.Group)
            command = command.commands[part]
        assert isinstance(command, Verb)
        found |= {name} if command.several else set()
    assert found >= SEVERAL and "provision" not in found


def test_all_means_boards_with_their_own_usb_and_names_what_may_be_one(monkeypatch):
    known = [(f"/dev/b{n}", *ids) for n, ids in enumerate(list(BOARDS.values())[:2])]
    bridge = ("/dev/ttyUSB0", *BRIDGES["FTDI"])
    maybe = ("/dev/ttyACM8", *MAYBE_BOARDS["Arduino Uno"])
    probe = ("/dev/ttyACM9", *PROBES["ST-LINK"])
    monkeypatch.setattr(list_ports, "comports", lambda: usb(*known, bridge, maybe, probe))
    notes: list[Event] = []
    assert ports.all_boards(notes.append) == ["/dev/b0", "/dev/b1"]
    (note,) = [str(event["text"]) for event in notes]
    assert "/dev/ttyUSB0" in note and "/dev/ttyACM8" in note and "ttyACM9" not in note
    monkeypatch.setattr(list_ports, "comports", lambda: usb(bridge))
    with pytest.raises(NoBoard, match="no MicroPython board on USB"):
        ports.all_boards(notes.append)


def test_an_all_of_the_verbs_own_stays_its_own(run, two):
    ran = run("--port", two[0].port, "--json", "probe", "--all")
    assert ran.result["chip"] == "STM32G071RB" and "boards" not in ran.result
    assert run(*at(two), "--json", "probe", "--all").result["boards"] == 2


def test_a_process_that_ends_without_a_result_has_failed(run, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    ran = run("--port", "a", "--port", "b", "status", "--json")
    assert ran.status == 1 and ran.result["failed"] == ["a", "b"]


@pytest.mark.posix
def test_ctrl_c_reaches_every_board_once(two):
    """Each is updating, and goes on."""
    update = '{"event": "progress", "phase": "write", "done": 1, "total": 64}'
    for board in two:
        board.answers = [update] * 1000
    command = [sys.executable, "-m", "stm32up", *at(two), "--json", "status"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seen: set[str] = set()
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        seen |= {event["port"]} if event["event"] == "progress" else set()
        if len(seen) == 2:
            break
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    results = [json.loads(line) for line in out.splitlines()]
    left = {event["port"]: event["left"] for event in results if "left" in event}
    assert process.returncode == 130
    assert left == {board.port: "goes-on" for board in two}
    assert not any(board.was_interrupted for board in two)
