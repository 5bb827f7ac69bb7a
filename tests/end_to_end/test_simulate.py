"""A simulated board as users use it: mpremote, terminal programs, a closed terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stm32up.cli import main
from tests.simulator.host.client import SAFETY_NET_S, Client, mpremote, mpremote_command

BLANK = ("--sim-option", "blank-host=1")


@dataclass
class Simulation:
    """`stm32up simulate`, running."""

    process: subprocess.Popen[str]
    url: str
    pty: str
    temporary: Path  # where its temporary files would be

    def children(self) -> list[int]:
        """Its child processes, and theirs."""
        table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True)
        parents = [tuple(map(int, line.split())) for line in table.stdout.splitlines()]
        found = [self.process.pid]
        for process in found:
            found += [child for child, parent in parents if parent == process]
        return found[1:]


@pytest.fixture
def simulate(tmp_path: Path) -> Iterator[Callable[..., Simulation]]:
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Simulation:
            temporary = tmp_path / "tmp"
            temporary.mkdir(exist_ok=True)
            command = [sys.executable, "-m", "stm32up", "--json", *BLANK, "simulate"]
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, *arguments],
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "TMPDIR": str(temporary)},
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            event = json.loads(process.stdout.readline())
            return Simulation(process, event["port"], event["pty"], temporary)

        yield start


def wait_until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + SAFETY_NET_S
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("way", ["pty", "url"])
def test_mpremote_works_on_both_ports(simulate, tmp_path, way):
    port = getattr(simulate(), way)
    (tmp_path / "there.py").write_text("print('of the computer')\n")
    assert mpremote(port, "exec", "print(1 + 1)").split() == ["2"]
    mpremote(port, "fs", "cp", tmp_path / "there.py", ":there.py")
    assert "there.py" in mpremote(port, "fs", "ls")
    mpremote(port, "fs", "cp", ":there.py", tmp_path / "back.py")
    assert (tmp_path / "back.py").read_text() == (tmp_path / "there.py").read_text()
    assert "of the computer" in mpremote(port, "run", tmp_path / "there.py")
    told = mpremote(port, "mount", tmp_path, "exec", "import there, os; print(os.getcwd())")
    assert "of the computer" in told and "/remote" in told
    mpremote(port, "exec", "--no-follow", "while True: pass")
    mpremote(port, "soft-reset")
    assert mpremote(port, "exec", "print('alive')").split() == ["alive"]


class Screen:
    """A command in a terminal of its own, and what it shows."""

    def __init__(self, command: list[str]) -> None:
        self._child, self._screen = pty.fork()
        if self._child == 0:
            os.execv(command[0], command)
        self._shown = b""

    def wait_for(self, text: bytes) -> None:
        limit = time.monotonic() + SAFETY_NET_S
        while text not in self._shown:
            left = limit - time.monotonic()
            assert left > 0 and select.select([self._screen], [], [], left)[0], self._shown
            self._shown += os.read(self._screen, 4096)
        self._shown = self._shown[self._shown.index(text) + len(text) :]

    def shows_more(self, text: bytes, seconds: float) -> bool:
        """Whether `text` comes next within this time."""
        return bool(select.select([self._screen], [], [], seconds)[0]) and text in os.read(
            self._screen, 4096
        )

    def type(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def end(self) -> int:
        """The exit status."""
        status = 0

        def ended() -> bool:
            nonlocal status
            child, status = os.waitpid(self._child, os.WNOHANG)
            return child == self._child

        wait_until(ended)
        os.close(self._screen)
        return os.waitstatus_to_exitcode(status)


def test_the_repl_of_mpremote_works_on_the_pty(simulate):
    board = simulate()
    screen = Screen(mpremote_command(board.pty, "repl"))
    screen.wait_for(b"exit this shell")
    screen.type(b"\r")
    screen.wait_for(b">>> ")
    screen.type(b"6 * 7\r")
    screen.wait_for(b"42\r\n>>> ")
    screen.type(b"while True: pass\r\r")
    screen.wait_for(b"... \r\n")
    screen.type(b"\x03")
    screen.wait_for(b"KeyboardInterrupt")
    screen.wait_for(b">>> ")
    screen.type(b"\x04")
    screen.wait_for(b"MPY: soft reboot")
    screen.wait_for(b">>> ")
    screen.type(b"\x1d")
    assert screen.end() == 0
    assert mpremote(board.url, "exec", "print('alive')").split() == ["alive"]


@pytest.mark.parametrize("way", ["pty", "url"])
@pytest.mark.parametrize("leave", [b"\x1d", b"\x18"], ids=["ctrl-]", "ctrl-x"])
def test_the_console_is_the_boards_terminal_and_interrupts_nothing(simulate, way, leave):
    board = simulate()
    mpremote(board.url, "exec", "--no-follow", "import time\nwhile not time.sleep(1): n = 1")
    command = [sys.executable, "-m", "stm32up", "--port", getattr(board, way), "console"]
    screen = Screen(command)
    screen.wait_for(b"Ctrl-] or Ctrl-X leaves")
    assert not screen.shows_more(b"Interrupt", 0.5)
    screen.type(b"\x03")
    screen.wait_for(b"KeyboardInterrupt")
    screen.type(b"\x02")
    screen.wait_for(b">>> ")
    screen.type(b"6 * 7\r")
    screen.wait_for(b"42\r\n>>> ")
    screen.type(leave)
    assert screen.end() == 0
    assert mpremote(board.url, "exec", "print('alive')").split() == ["alive"]


def test_output_that_nobody_read_is_not_for_the_next_program_on_the_pty(simulate):
    board = simulate()
    mpremote(board.pty, "exec", "--no-follow", "while True: print('old')")
    opened = os.open(board.pty, os.O_RDWR | os.O_NOCTTY)
    os.write(opened, b"\r\x03\x02")
    shown = b""
    while not shown.endswith(b">>> "):
        shown += os.read(opened, 4096)
    os.close(opened)
    assert mpremote(board.pty, "exec", "print('new')").split() == ["new"]


def test_a_second_program_on_the_port_is_told_that_it_is_in_use(simulate):
    board = simulate()
    opened = os.open(board.pty, os.O_RDWR | os.O_NOCTTY)
    os.write(opened, b"\r")
    while b">>> " not in os.read(opened, 4096):
        pass
    with Client(int(board.url.rpartition(":")[2])) as second:
        second.send(b"1 // 0\r")
        second.until(f"in use by another program ({board.pty}).\r\n".encode())
    os.write(opened, b"'still ' + 'here'\r")
    shown = b""
    while b"'still here'" not in shown:
        shown += os.read(opened, 4096)
    os.close(opened)
    assert mpremote(board.url, "exec", "print('alive')").split() == ["alive"]


def test_a_second_command_on_a_folder_is_told_which_process_has_it(simulate, tmp_path, capfd):
    folder = tmp_path / "state"
    board = simulate("--dir", str(folder))
    assert main.run(["--port", f"sim:{folder}", "status"]) == 3
    told = capfd.readouterr().err
    assert f"process {board.process.pid}" in told and "simulate --dir" in told
    assert board.url in told and told.count("\n") == 1
    assert mpremote(board.url, "exec", "print('alive')").split() == ["alive"]


def test_a_killed_command_leaves_no_lock_behind(simulate, tmp_path, capfd):
    folder = tmp_path / "state"
    board = simulate("--dir", str(folder))
    board.process.kill()
    assert main.run(["--port", f"sim:{folder}", *BLANK, "logs", "pull"]) == 0


def test_sim_without_a_folder_is_an_error_that_says_what_to_write(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main.run(["--port", "sim:", "status"]) == 2
    told = capfd.readouterr().err
    assert "sim:DIR" in told and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [False, True], ids=["forgotten", "kept"])
@pytest.mark.parametrize("end", ["SIGHUP", "SIGINT", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_of_a_board_that_has_ended(simulate, tmp_path, end, kept):
    board = simulate(*(("--dir", str(tmp_path / "state")) if kept else ()))
    mpremote(board.url, "exec", "--no-follow", "while True: pass")
    children = board.children()
    assert len(children) >= 2  # the board, and Node.js
    board.process.send_signal(getattr(signal, end))
    board.process.wait(SAFETY_NET_S)
    wait_until(lambda: not any(map(is_running, children)))
    assert list(board.temporary.iterdir()) == []


def test_nothing_is_left_where_the_board_itself_is_killed(simulate):
    board = simulate()
    mpremote(board.url, "exec", "--no-follow", "while True: pass")
    children = board.children()
    os.kill(children[0], signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, children[1:])))
    assert list(board.temporary.iterdir()) == []
