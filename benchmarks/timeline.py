"""What a host did from instant to instant, what the target's flash did meanwhile, and how an
interval of that adds up.

All of it is seen from outside: calls of the host, frames on the bus by their command code, and
operations of the simulated flash. Nothing is known of the program on the host.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stm32sim.chip.flash import TAPS, Flash
from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.wires.clock import NS_PER_US

# Where time goes. Each instant counts once: while the flash of the target works, whatever the host
# does is hidden behind that; only the rest is the host's.
BUS, PROGRAMMING, ERASE, VERIFY, WAITING, PYTHON, HOST_FLASH = KINDS = (
    "bus",  # frames of commands and data: the driver and the transfer
    "programming",  # the target programs
    "erase",  # the target erases
    "verify",  # Read Memory and Get Checksum, from code to answer: comparing and verifying
    "waiting",  # the host sleeps, and neither of the above goes on
    "python",  # the host computes: bytecodes, imports, hashing
    "host flash",  # files on the host: littlefs and its flash
)
READ_MEMORY, GET_CHECKSUM = 0x11, 0xA1  # AN4221 table 2
_OF_FLASH = {"program": PROGRAMMING, "erase": ERASE}
_NEAR = 1 * NS_PER_US  # double words that are programmed one after the other are one operation


@dataclass
class Span:
    """From `start` to `end`, ns."""

    what: str
    start: int
    end: int


class Timeline:
    """Records one host and the flash of its target from now on.

    `now`: up to when the host is recorded, ns. `checksums`: how many the host asked for. `read`:
    bytes that it read from memory."""

    def __init__(self, flash: Flash) -> None:
        self._clock = flash.clock
        self.now = flash.clock.now
        self.host: list[Span] = []
        self.flash: list[Span] = []
        self.checksums = self.read = 0
        self._started = 0  # of the operation under way
        self._command = 0  # code of the command under way; 0 after the last frame of a reading one
        self._count_is_due = False  # Read Memory: the next frame of two bytes is no command
        flash.tap = self._on_flash

    def spent(self, what: str, took: int) -> None:
        """The host did this for `took` ns, after what was recorded last."""
        if what in (BUS, WAITING) and self._command in (READ_MEMORY, GET_CHECKSUM):
            what = VERIFY
        self.host.append(Span(what, self.now, self.now + took))
        self.now += took

    def sends(self, address: int, frame: bytes) -> None:
        """The host begins to send a frame. Over UART `address` is the loader's too."""
        if address != I2C_ADDRESS:
            return
        if len(frame) == 2 and frame[0] ^ frame[1] == 0xFF and not self._count_is_due:
            self._command = frame[0]
            self.checksums += self._command == GET_CHECKSUM
        self._count_is_due = self._command == READ_MEMORY and len(frame) == 5

    def received(self, address: int, length: int) -> None:
        """The host has received `length` bytes. More than a status ends a command that reads."""
        if address == I2C_ADDRESS and length > 1:
            self.read += length * (self._command == READ_MEMORY)
            self._command = 0

    def _on_flash(self, what: str, point: int) -> None:
        """The points of an operation have equal distances from each other and from its end."""
        now, spans = self._clock.now, self.flash
        if point:
            gone = now - self._started
            spans[-1].end = self._started + gone * TAPS[what] // point
            return
        self._started = now
        if not spans or spans[-1].what != what or now - spans[-1].end > _NEAR:
            spans.append(Span(what, now, now))

    def split(self, start: int, end: int) -> dict[str, int]:
        """How [start, end) adds up: ns of each of KINDS."""
        total = dict.fromkeys(KINDS, 0)
        operations = list(_clipped(self.flash, start, end))
        for span in _clipped(self.host, start, end):
            left = span.end - span.start
            while operations and operations[0].end <= span.start:
                del operations[0]
            for operation in operations:
                if operation.start >= span.end:
                    break
                hidden = min(span.end, operation.end) - max(span.start, operation.start)
                total[_OF_FLASH[operation.what]] += hidden
                left -= hidden
            total[span.what] += left
        return total


def _clipped(spans: Iterable[Span], start: int, end: int) -> Iterable[Span]:
    for span in spans:
        if span.start < end and span.end > start:
            yield Span(span.what, max(span.start, start), min(span.end, end))
