"""`--port sim`: a simulated board for the length of a command, or for as long as one likes.

The board is a process of its own, `python -m stm32sim.board`. It prints one line, {"port":
"socket://..."}, when it is ready, and ends when its standard input is closed; so it cannot outlive
us. Python's -P keeps a json.py or time.py of the current folder out of it.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from stm32up.board import Board
from stm32up.deploy import board_json
from stm32up.errors import NoBoard, UsageError

PORT = "sim"
START_S = 60.0
END_S = 10.0
_USAGE = 2  # exit status of a board that cannot be as the options want it


def wanted(port: str) -> bool:
    """Whether this port is a simulated board: "sim", or "sim:DIR"."""
    return port == PORT or port.startswith(f"{PORT}:")


@contextlib.contextmanager
def started(
    port: str, board: Board, options: Iterable[str] = (), command: Iterable[str] | None = None
) -> Iterator[str]:
    """Starts the board and yields the URL of its port. Raises NoBoard if it does not come up.

    "sim:DIR" keeps the state of host and target in DIR; "sim" forgets it. `options` are
    "name=value", for the simulation. `command` replaces the program, for tests.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stm32up-")))
        state = Path(port.removeprefix(f"{PORT}:")) if port != PORT else folder / "state"
        try:
            state.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NoBoard(f"cannot keep a simulated board in {state}: {error.strerror}") from None
        description = folder / "board.json"
        description.write_bytes(board_json(board))
        arguments = ["--state", str(state), "--board", str(description)]
        for option in options:
            arguments += ["--option", option]
        program = list(command or (sys.executable, "-P", "-m", "stm32sim.board"))
        log = stack.enter_context((folder / "log").open("w+b"))
        yield stack.enter_context(_running([*program, *arguments], log))


@contextlib.contextmanager
def _running(command: list[str], log: IO[bytes]) -> Iterator[str]:
    """The process, from its first line until the end of the block."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,  # a Ctrl-C is for us; the process ends when we close its input
    )
    try:
        yield _port_of(process, log)
    finally:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port_of(process: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    assert process.stdout is not None
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read(stream: IO[bytes]) -> None:
        for line in stream:  # to the end, so that the process never blocks on a full pipe
            lines.put(line)
        lines.put(b"")

    threading.Thread(target=read, args=(process.stdout,), daemon=True).start()
    try:
        line = lines.get(timeout=START_S)
    except queue.Empty:
        raise NoBoard(f"the simulated board did not start within {START_S:.0f} s") from None
    try:
        return str(json.loads(line)["port"])
    except (ValueError, KeyError, TypeError):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)  # it said nothing, so it is about to end
        process.kill()
        process.wait()
        log.seek(0)
        said = (line + log.read()).decode(errors="replace").strip().splitlines()
        reason = said[-1] if said else f"exit status {process.returncode}"
        if process.returncode == _USAGE:
            raise UsageError(f"the simulated board cannot be so: {reason}") from None
        raise NoBoard(f"the simulated board did not start: {reason}") from None
