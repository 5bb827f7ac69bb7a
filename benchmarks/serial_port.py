"""Runs an unmodified Linux program whose serial port is a simulated UART line, in virtual time.

The bytes pass through a pty. The program gets serial_port.c preloaded, which tells this process
what a pty does not carry: rate and parity, DTR and RTS, each wait and each sleep. So the clock
advances when the program waits, and exactly as far.
"""

from __future__ import annotations

import os
import pty
import struct
import tty
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from benchmarks import preload
from stm32sim.wires.clock import NS_PER_US, Clock
from stm32sim.wires.uart import EVEN, ODD, Format, Line

_SOURCE = Path(__file__).with_suffix(".c")
_REQUEST = struct.Struct("=cBBBxxxxQQ")  # struct request in serial_port.c
_PARITY = {ord("N"): None, ord("E"): EVEN, ord("O"): ODD}
_DTR, _RTS = 0x002, 0x004  # TIOCM_DTR, TIOCM_RTS
Lines = Callable[[bool, bool], None]


class SerialPort:
    """A computer's serial port on a simulated line; a Receiver. `lines` is told the new levels of
    DTR and RTS: True if they are asserted, which is a low voltage."""

    def __init__(self, line: Line, lines: Lines = lambda dtr, rts: None) -> None:
        self.clock: Clock = line.clock
        self.format: Format | None = Format(9600, None)
        self.since = 0
        self.received = 0  # bytes, since the beginning
        self._line = line
        self._lines = lines
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        self._slave = slave  # open, so that the pty stays without the program
        line.to_host.receiver = self

    def close(self) -> None:
        self.format = None
        self._line.to_host.receiver = None
        os.close(self._slave)
        os.close(self.master)

    # --- as a Receiver: what a computer does with errors is that of its settings: it ignores them

    def measure(self, bits: list[int], rate: float, began: int) -> None:
        pass  # closed

    def receive(self, byte: int, faulty: bool) -> None:
        self.take(bytes([byte]))

    def ready_to_take(self) -> int:
        return 0

    def take(self, data: bytes) -> None:
        self.received += len(data)
        os.write(self.master, data)

    # --- requests of the program ---

    def write(self, data: bytes) -> None:
        assert self.format is not None
        self.clock.advance(preload.OVERHEAD)
        self._line.to_target.send(data, self.format)

    def answer(
        self, what: bytes, parity: int, bits: int, stop: int, amount: int, taken: int
    ) -> int:
        wire, clock = self._line.to_target, self.clock
        if what == b"w":
            data = b""
            while len(data) < amount:
                data += os.read(self.master, amount - len(data))
            self.write(data)
        elif what == b"r":
            limit = clock.now + amount * NS_PER_US
            return int(clock.advance_until(lambda: self.received > taken, limit))
        elif what == b"f":
            return self.received
        elif what == b"s":
            clock.advance(amount * NS_PER_US)
        elif what == b"d":
            clock.advance_to(wire.free_at)
        elif what == b"m":
            self._lines(bool(amount & _DTR), bool(amount & _RTS))
        else:
            clock.advance_to(wire.free_at)
            self.format = Format(amount, _PARITY[parity], bits, stop)
            self.since = clock.now
        return 0


def run(folder: Path, command: Sequence[str | Path], port: SerialPort) -> preload.Finished:
    """Run a program until it ends. The library for it is compiled in `folder`, if need be. Raises
    NotAvailable."""

    def answer(request: bytes, requests: BinaryIO) -> bytes:
        return preload.RESULT.pack(port.answer(*_REQUEST.unpack(request)))

    library = preload.build(folder, _SOURCE)
    return preload.run(library, command, _REQUEST.size, answer, {"SIMULATED_TTY": port.path})
