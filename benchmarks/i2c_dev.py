"""Runs an unmodified Linux program whose /dev/i2c-N is a simulated bus, in virtual time.

The program gets i2c_dev.c preloaded, which hands each transaction and each sleep to this process.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from benchmarks import preload
from stm32sim.wires.bus import Bus
from stm32sim.wires.clock import NS_PER_S, NS_PER_US
from stm32sim.wires.controller import Controller

_EPOCH = 1_600_000_000  # what time() says when the world begins
_REQUEST = struct.Struct("=cBxxI")  # struct request in i2c_dev.c


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
        self.clock.advance(preload.OVERHEAD)
        return self._adapter.write(address, frame)

    def read(self, address: int, length: int) -> bytes:
        """Raises OSError."""
        self.clock.advance(preload.OVERHEAD)
        return self._adapter.read(address, length)

    def sleep(self, us: int) -> None:
        self.clock.advance(us * NS_PER_US)

    def time(self) -> int:
        """Seconds since 1970."""
        return _EPOCH + self.clock.now // NS_PER_S


def build(folder: Path) -> Path:
    """Compile the library, if it is not there yet. Raises NotAvailable."""
    return preload.build(folder, Path(__file__).with_suffix(".c"))


def run(library: Path, command: Sequence[str | Path], computer: Computer) -> preload.Finished:
    """Run a program until it ends."""

    def answer(request: bytes, requests: BinaryIO) -> bytes:
        what, address, amount = _REQUEST.unpack(request)
        frame = requests.read(amount) if what == b"w" else b""
        return _answer(computer, what, address, amount, frame)

    return preload.run(library, command, _REQUEST.size, answer)


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
    return preload.RESULT.pack(result) + data
