"""Records each transaction on the bus, for -v and --trace.

A wrapper around machine.I2C is defined on the host, in its RAM, before code of the updater runs
there. It keeps what it sees, and prints it when the updater calls `feed`: that is between the
transactions of a command, so their times stay right. Without a Tracer nothing is sent or wrapped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from stm32up import plain_json
from stm32up.errors import DeviceError, NoBoard
from stm32up.events import Report

if TYPE_CHECKING:
    from stm32up.host.transport import Connection

_EVENT = "i2c"
_MARK = "i2c: "
_MOST = 8  # transactions while a status is polled, before they are printed
_COMMAND = 2  # bytes of a frame that begins a command
# May run several times in one connection.
_WRAP = f"""
import json, time
from binascii import hexlify
try: _i2c_seen
except NameError:
 _i2c_seen = []
 _i2c_last = [time.ticks_us()]
 _i2c_feed = feed
 class _I2C:
  def __init__(self, bus): self.bus = bus
  def __getattr__(self, name): return getattr(self.bus, name)
  def _did(self, began, address, reading, data, count, error):
   took = time.ticks_diff(time.ticks_us(), began)
   since = time.ticks_diff(began, _i2c_last[0])
   _i2c_last[0] = began
   _i2c_seen.append((since, took, address, reading, bytes(data), count, error))
  def writeto(self, address, frame, *more):
   if len(frame) == {_COMMAND}: _i2c_flush()
   began = time.ticks_us()
   try: count = self.bus.writeto(address, frame, *more)
   except OSError as e:
    self._did(began, address, False, frame, 0, e.errno)
    raise
   self._did(began, address, False, frame, count, None)
   return count
  def readfrom_into(self, address, buffer, *more):
   began = time.ticks_us()
   try: self.bus.readfrom_into(address, buffer, *more)
   except OSError as e:
    self._did(began, address, True, b'', 0, e.errno)
    raise
   self._did(began, address, True, buffer, len(buffer), None)
 class _MakeI2C:
  def __init__(self, make): self.make = make
  def __call__(self, *a, **k): return _I2C(self.make(*a, **k))
 def _i2c_flush():
  while _i2c_seen:
   seen = list(_i2c_seen.pop(0))
   seen[4] = hexlify(seen[4]).decode()
   print({_MARK!r} + json.dumps(seen))
 def feed():
  if len(_i2c_seen) >= {_MOST}: _i2c_flush()
  _i2c_feed()
def _i2c_wrap():
 try: from stm32_rom import pins
 except ImportError: return
 for n in ('I2C', 'SoftI2C'):
  make = getattr(pins, n, None)
  if make and not isinstance(make, _MakeI2C): setattr(pins, n, _MakeI2C(make))
_i2c_wrap()
"""
_FLUSH = "_i2c_flush()"


class Transaction(NamedTuple):
    """One transaction, START to STOP. Times in us; `at` is since the first one began."""

    at: int
    us: int
    address: int
    read: bool
    data: bytes  # as sent or received; empty if a read failed
    acked: int  # bytes that were acknowledged or received
    errno: int | None  # of the exception, if it failed


class Tracer:
    """Collects transactions, and reports each as an event if there is a `report`."""

    def __init__(self, report: Report | None = None) -> None:
        self._report = report
        self.transactions: list[Transaction] = []

    def took(self, line: str) -> bool:
        """Whether the line is a transaction."""
        if not line.startswith(_MARK):
            return False
        try:
            since, us, address, read, data, acked, errno = plain_json.parse(
                line.removeprefix(_MARK)
            )
            before = self.transactions[-1].at if self.transactions else -int(since)
            made = Transaction(
                before + int(since),
                max(0, int(us)),
                int(address) & 0x7F,
                bool(read),
                bytes.fromhex(data),
                int(acked),
                None if errno is None else int(errno),
            )
        except (ValueError, TypeError):
            return False  # it is shown as what the board printed
        self.transactions.append(made)
        if self._report is not None:
            self._report({"event": _EVENT, **made._asdict(), "data": made.data.hex(" ")})
        return True


def run(
    connection: Connection, code: str, on_line: Callable[[str], None], silence_s: float
) -> None:
    """Run code that uses the bus, and record it if the connection has a tracer. `on_line` gets
    the lines that it prints."""
    tracer = connection.tracer
    if tracer is None:
        connection.exec(code, on_line, silence_s=silence_s)
        return

    def on_other_line(line: str) -> None:
        if not tracer.took(line):
            on_line(line)

    connection.exec(_WRAP)
    try:
        connection.exec(code, on_other_line, silence_s=silence_s)
    finally:
        with contextlib.suppress(NoBoard, DeviceError):  # the first error says more
            connection.exec(_FLUSH, on_other_line)
