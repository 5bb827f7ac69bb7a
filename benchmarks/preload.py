"""Runs an unmodified Linux program that asks this process instead of the kernel, in virtual time.

A library that is preloaded into the program sends it each request, and waits for the answer.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stm32sim.wires.clock import NS_PER_US

OVERHEAD = 40 * NS_PER_US
"""Time of one read() or write() beside the wires: the system call, the driver, its interrupt, and
the program up to its next call. An assumption: fast for a small Linux computer."""

RESULT = struct.Struct("=q")  # how an answer begins
SOCKET = "SIMULATION"  # the environment variable with its number
_HEADER = Path(__file__).with_suffix(".h")
# The request, and where the rest of it is read from, to the answer.
Answer = Callable[[bytes, BinaryIO], bytes]


class NotAvailable(Exception):
    """A program that is needed cannot be had here."""


@dataclass(frozen=True)
class Finished:
    """A program that has ended: its exit status, and what it printed."""

    status: int
    output: str


def build(folder: Path, source: Path) -> Path:
    """Compile a library, if it is not there yet. Raises NotAvailable."""
    library = folder / f"{source.stem}.so"
    changed = max(path.stat().st_mtime for path in (source, _HEADER))
    if library.exists() and library.stat().st_mtime > changed:
        return library
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f"{source.stem}.{os.getpid()}.so"  # other processes may do the same
    command = ["cc", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC"]
    try:
        made = subprocess.run([*command, "-o", new, source], capture_output=True, text=True)
    except FileNotFoundError:
        raise NotAvailable("there is no C compiler `cc`: install one") from None
    if made.returncode:
        raise NotAvailable(f"cc cannot compile {source.name}: {made.stderr.strip()}")
    return new.rename(library)


def run(
    library: Path,
    command: Sequence[str | Path],
    size: int,
    answer: Answer,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run a program until it ends. `size`: bytes of a request."""
    ours, theirs = socket.socketpair()
    with ours, ours.makefile("rb") as requests:
        with theirs:
            number = theirs.fileno()
            preloaded = {"LD_PRELOAD": str(library.resolve()), SOCKET: str(number)}
            process = subprocess.Popen(
                command,
                env={**os.environ, **preloaded, **(environment or {})},
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        try:
            while request := requests.read(size):
                ours.sendall(answer(request, requests))
        except BaseException:  # also a Ctrl-C: the program would wait for its answer
            process.kill()
            raise
        finally:
            output, _ = process.communicate()
    return Finished(process.returncode, output)
