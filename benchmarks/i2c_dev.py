"""Runs an unmodified Linux program whose /dev/i2c-N is a simulated bus, in virtual time.

The program gets i2c_dev.c preloaded, which hands each transaction and each sleep to this process.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stm32sim.wires.bus import Bus
from stm32sim.wires.clock import NS_PER_S, NS_PER_US
from stm32sim.wires.controller import Controller

OVERHEAD = 40 * NS_PER_US
"""Time of one read() or write() beside the bus: the system call, the driver, its interrupt, and
the program up to its next call. An assumption: fast for a small Linux computer."""

_SOURCE = Path(__file__).with_suffix(".c")
_EPOCH = 1_600_000_000  # what time() says when the world begins
_REQUEST = struct.Struct("=cBxxI")  # struct request in i2c_dev.c
_RESULT = struct.Struct("=q")


class NotAvailable(Exception):
    """A program that is needed cannot be had here."""


class Adapter(Controller):
    """A Linux I2C adapter. Errors: Linux Documentation/i2c/fault-codes.rst; a transaction may take
    1 s, as i2c-core-base.c sets where a driver sets nothing. What a driver says if a byte after
    the address gets no ACK differs; here it is the same error."""

    absent = errno.ENXIO
    timed_out = errno.ETIMEDOUT
    raises_on_data_nack = True
    wedges = False

    def __init__(self, bus: Bus, frequency: int) -> None:
        super().__init__(bus, frequency, timeout_us=1_000_000)


class Computer:
    """A Linux computer with an adapter on a simulated bus."""

    def __init__(self, bus: Bus, hertz: int) -> None:
        self.clock = bus.clock
        self._adapter = Adapter(bus, hertz)

    def write(self, address: int, frame: bytes) -> int:
        """Returns how many bytes were sent. Raises OSError."""
        self.clock.advance(OVERHEAD)
        return self._adapter.write(address, frame)

    def read(self, address: int, length: int) -> bytes:
        """Raises OSError."""
        self.clock.advance(OVERHEAD)
        return self._adapter.read(address, length)

    def sleep(self, us: int) -> None:
        self.clock.advance(us * NS_PER_US)

    def time(self) -> int:
        """Seconds since 1970."""
        return _EPOCH + self.clock.now // NS_PER_S


@dataclass(frozen=True)
class Finished:
    """A program that has ended: its exit status, and what it printed."""

    status: int
    output: str


def build(folder: Path, source: Path = _SOURCE) -> Path:
    """Compile a library, if it is not there yet. Raises NotAvailable."""
    library = folder / f"{source.stem}.so"
    if library.exists() and library.stat().st_mtime > source.stat().st_mtime:
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


def run(library: Path, command: Sequence[str | Path], computer: Computer) -> Finished:
    """Run a program until it ends."""
    ours, theirs = socket.socketpair()
    with ours, ours.makefile("rb") as requests:
        with theirs:
            number = theirs.fileno()
            preload = {"LD_PRELOAD": str(library.resolve()), "SIMULATED_I2C": str(number)}
            process = subprocess.Popen(
                command,
                env={**os.environ, **preload},
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        try:
            while request := requests.read(_REQUEST.size):
                what, address, amount = _REQUEST.unpack(request)
                frame = requests.read(amount) if what == b"w" else b""
                ours.sendall(_answer(computer, what, address, amount, frame))
        except BaseException:
            process.kill()
            raise
        finally:
            output, _ = process.communicate()
    return Finished(process.returncode, output)


def _answer(computer: Computer, what: bytes, address: int, amount: int, frame: bytes) -> bytes:
    data, result = b"", 0
    try:
        if what == b"w":
            result = computer.write(address, frame)
        elif what == b"r":
            data = computer.read(address, amount)
            result = len(data)
        elif what == b"s":
            computer.sleep(amount)
        else:
            result = computer.time()
    except OSError as error:
        result = -error.args[0]
    return _RESULT.pack(result) + data
