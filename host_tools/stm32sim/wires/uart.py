"""A UART line: two wires, each with one sender and one receiver, and byte times on the clock.

A receiver with the sender's format and rate gets bytes. With another one it samples the levels of
the wire where it expects its bits, and gets what it then sees, errors included. Bytes without any
event between them may be transferred together, which is much faster and has the same result.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from stm32sim.wires.clock import NS_PER_S, Alarm, Clock

EVEN, ODD = 0, 1
# How far rates may differ: a 9-bit word, oversampling by 16, three samples a bit [R RM0444,
# tolerance of the USART receiver]
TOLERANCE = 0.03
_SPREAD = 0.18  # of a bit: the first and the last sample, before and after its middle

Distortion = Callable[[int], Sequence[tuple[int, bool]]]


class Format(NamedTuple):
    """How a port frames bytes; `parity`: EVEN, ODD or None; `rate` in bits per second."""

    rate: float
    parity: int | None
    bits: int = 8
    stop: int = 1

    def same_frame(self, other: Format) -> bool:
        """Whether a receiver of this format understands a sender of the other one."""
        alike = (self.bits, self.parity) == (other.bits, other.parity)
        return alike and abs(other.rate / self.rate - 1) <= TOLERANCE


@functools.lru_cache(maxsize=64)
def frame_time(form: Format) -> int:
    """ns of a byte with its start, parity and stop bits."""
    count = 1 + form.bits + (form.parity is not None) + form.stop
    return round(count * NS_PER_S / form.rate)


def levels(byte: int, parity: int | None, bits: int, stop: int) -> list[int]:
    """The bits on the wire, start bit first."""
    data = [byte >> index & 1 for index in range(bits)]
    checked = [] if parity is None else [sum(data) + parity & 1]
    return [0, *data, *checked, *[1] * stop]


def decoded(sampled: Sequence[int], form: Format) -> tuple[int, bool]:
    """The byte in the samples from a start bit to the first stop bit, and whether its parity or
    its stop bit is wrong."""
    end = 1 + form.bits
    data = sampled[1:end]
    byte = sum(bit << index for index, bit in enumerate(data))
    wrong_parity = form.parity is not None and (sum(data) + form.parity & 1) != sampled[end]
    return byte, wrong_parity or not sampled[end + (form.parity is not None)]


class Receiver(Protocol):
    """One end of a wire. Every call happens at the clock's current instant, the end of a byte."""

    format: Format | None  # None: it gets levels, by `measure`
    since: int  # from this instant on; a byte that began earlier is not received

    def measure(self, bits: list[int], rate: float, began: int) -> None: ...
    def receive(self, byte: int, faulty: bool) -> None:
        """A byte; `faulty`: its parity or its stop bit was wrong."""
        ...

    def ready_to_take(self) -> int:
        """How many bytes it can accept without any other effect."""
        ...

    def take(self, data: bytes) -> None:
        """Equal to one call of `receive` per byte; now is the instant of the last one."""
        ...


class Target(Receiver, Protocol):
    """A receiver that sends too."""

    def connected(self, sends_on: Wire, hears: Wire) -> None: ...


class Line:
    """Both wires between a host and a target.

    `tap`, if set, is called with (what, value) for all traffic, as that of a Bus: "start" with 0
    or 1 (1: to the host) where a sender that was silent begins, "write" (to the target) or "read"
    with each byte at its end, "stop" where a sender falls silent. A byte is received even if the
    tap raises an exception. With a tap every byte is transferred separately, unless `stream_tap`
    is set too: it is called with ("write" or "read", bytes). Bytes without a pause between them
    are one burst, from "start" to "stop"."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._tap: Callable[[str, int], None] | None = None
        self.stream_tap: Callable[[str, bytes], None] | None = None
        self.to_target = Wire(self, "write")
        self.to_host = Wire(self, "read")

    def connect(self, target: Target) -> None:
        """Connect both wires to a target."""
        self.to_target.receiver = target
        target.connected(self.to_host, self.to_target)

    @property
    def tap(self) -> Callable[[str, int], None] | None:
        return self._tap

    @tap.setter
    def tap(self, tap: Callable[[str, int], None] | None) -> None:
        for wire in (self.to_target, self.to_host):
            wire.settle()
        self._tap = tap
        self.stream_tap = None  # a new tap gets every byte by default
        for wire in (self.to_target, self.to_host):
            wire.plan()

    def told(self, what: str, value: int = 0) -> None:
        if self._tap is not None:
            self._tap(what, value)

    @property
    def watched(self) -> bool:
        """Whether a tap needs each byte."""
        return self._tap is not None and self.stream_tap is None


class Wire:
    """One direction. `distortion`, if set, says for a byte what arrives instead: any number of
    bytes, each with whether its parity is wrong."""

    def __init__(self, line: Line, what: str) -> None:
        self._line = line
        self._what = what
        self._clock = line.clock
        self.receiver: Receiver | None = None
        self.distortion: Distortion | None = None
        self._format = Format(1, None)
        self._time = 0  # ns of a byte
        self._queue = bytearray()
        self._silent = True
        self._began = 0  # the instant of the first queued byte's start bit
        self._together = 0  # how many bytes the alarm is for
        self._alarm: Alarm | None = None
        self._sampler: _Sampler | None = None

    # --- the sender ---

    @property
    def pending(self) -> int:
        """Bytes that are not yet sent completely."""
        self.settle()
        return len(self._queue)

    @property
    def free_at(self) -> int:
        """The instant at which everything is sent."""
        return self._began + len(self._queue) * self._time

    @property
    def next_end(self) -> int:
        """The instant at which one more byte is sent."""
        self.settle()
        return self._began + self._time

    def send(self, data: bytes, form: Format) -> int:
        """Send bytes after those before; return the instant at which the last one is sent."""
        if data and not self._queue:
            if form != self._format:
                self._format, self._time = form, frame_time(form)
            self._began = self._clock.now
            self._queue += data
            self.plan()
            if self._silent:
                self._silent = False
                self._line.told("start", int(self._what == "read"))
        elif data:
            assert form == self._format, "a format changes only between bytes"
            self._queue += data
        return self.free_at

    def abort(self) -> None:
        """The sender stops: the rest of the byte that it is sending is a high level."""
        self.settle()
        self._cancel()
        if not self._queue:
            return
        form, began, end = self._format, self._began, self.next_end
        bits = levels(self._queue[0], form.parity, form.bits, form.stop)
        sent = round((self._clock.now - began) * form.rate / NS_PER_S)  # whole bits and halves
        self._queue.clear()
        self._silent = True
        if sent:
            rest = [1] * (len(bits) - sent)
            self._clock.at(end, lambda: self._levels_arrive(bits[:sent] + rest, form, began))

    def pull_low(self) -> None:
        """A pin drives the wire low, which looks like a start bit that never ends: at once a byte
        of zeros without a stop bit."""
        receiver = self.receiver
        if receiver is not None and receiver.format is None:
            receiver.measure([0] * 11, 1, self._clock.now)
        elif receiver is not None:
            receiver.receive(0, True)

    # --- transfer ---

    def plan(self) -> None:
        """Set the alarm for the next byte, or for several."""
        self._cancel()
        if self._queue:
            self._together = self._undisturbed()
            end = self._began + self._together * self._time
            self._alarm = self._clock.at(end, self._arrive)

    def _cancel(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _undisturbed(self) -> int:
        """How many bytes can be transferred together, at least 1."""
        receiver = self.receiver
        count = len(self._queue)
        if count == 1 or receiver is None or self.distortion or self._line.watched:
            return 1
        form = receiver.format
        if form is None or self._began < receiver.since or not form.same_frame(self._format):
            return 1
        return max(1, min(count, receiver.ready_to_take()))

    def settle(self) -> None:
        """Transfer what has arrived by now of several bytes that arrive together."""
        if self._together > 1 and self._queue:
            arrived = (self._clock.now - self._began) // self._time
            if 0 < arrived < self._together:
                self._together = arrived
                self._cancel()
                self._arrive()

    def _arrive(self) -> None:
        self._alarm = None
        data = bytes(self._queue[: self._together])
        del self._queue[: len(data)]
        began = self._began
        self._began += len(data) * self._time
        line = self._line
        try:
            if len(data) == 1:
                line.told(self._what, data[0])
            elif line.stream_tap is not None:
                line.stream_tap(self._what, data)
        finally:
            if not self._queue:
                self._clock.at(self._clock.now, self._falls_silent)
            self._deliver(data, began)
            if self._queue and self._alarm is None:
                self.plan()

    def _falls_silent(self) -> None:
        """After all else of the instant at which a byte ended: no other one begins there."""
        if not (self._queue or self._silent):
            self._silent = True
            self._line.told("stop")

    def _deliver(self, data: bytes, began: int) -> None:
        receiver, form = self.receiver, self._format
        if receiver is None:
            return
        if len(data) > 1:
            receiver.take(data)
        elif self.distortion is not None:
            for byte, faulty in self.distortion(data[0]):
                bits = levels(byte, form.parity, form.bits, form.stop)
                if faulty and form.parity is not None:
                    bits[1 + form.bits] ^= 1
                self._levels_arrive(bits, form, began)
        elif (
            receiver.format is not None
            and began >= receiver.since
            and receiver.format.same_frame(form)
        ):
            receiver.receive(data[0], False)
        else:
            bits = levels(data[0], form.parity, form.bits, form.stop)
            self._levels_arrive(bits, form, began)

    def _levels_arrive(self, bits: list[int], form: Format, began: int) -> None:
        receiver = self.receiver
        if receiver is None:
            return
        if receiver.format is None:
            receiver.measure(bits, form.rate, began)
        elif began < receiver.since:
            return  # it was switched on within the byte [D]
        elif receiver.format.same_frame(form):
            receiver.receive(*decoded(bits, receiver.format))
        else:
            if self._sampler is None or self._sampler.format != receiver.format:
                self._sampler = _Sampler(self, receiver, receiver.format)
            self._sampler.add(bits, form.rate, began)

    def in_flight(self) -> tuple[list[int], float, int] | None:
        """The levels of the byte that is being sent, its rate, and when it began."""
        if not self._queue:
            return None
        form = self._format
        bits = levels(self._queue[0], form.parity, form.bits, form.stop)
        return bits, form.rate, self._began

    @property
    def clock(self) -> Clock:
        return self._clock


class _Sampler:
    """A receiver that expects another frame or rate than it gets. It takes the level in the middle
    of each bit; where the samples around that differ, the wrong one [strict]."""

    def __init__(self, wire: Wire, receiver: Receiver, form: Format) -> None:
        self.format = form
        self._wire = wire
        self._receiver = receiver
        self._bit = NS_PER_S / form.rate
        self._count = 2 + form.bits + (form.parity is not None)  # with one stop bit
        self._edges: list[tuple[float, int]] = []  # instants and levels; high before
        self._free = 0.0  # from when on a start bit is looked for
        self._alarm: Alarm | None = None

    def add(self, bits: Sequence[int], rate: float, began: int) -> None:
        """A byte has been on the wire from `began` until now."""
        self._edges += self._edges_of(bits, rate, began)
        self._look()

    @staticmethod
    def _edges_of(bits: Sequence[int], rate: float, began: int) -> list[tuple[float, int]]:
        bit = NS_PER_S / rate
        return [(began + index * bit, level) for index, level in enumerate(bits)]

    def _look(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._receiver.format != self.format:
            return
        flying = self._wire.in_flight()
        edges = self._edges + ([] if flying is None else self._edges_of(*flying))
        while (start := self._start_bit(edges)) is not None:
            end = start + (self._count - 0.5 + _SPREAD) * self._bit
            if end > self._wire.clock.now:
                self._alarm = self._wire.clock.at(int(end) + 1, self._look)
                return
            middles = [start + (index + 0.5) * self._bit for index in range(self._count)]
            sampled = [self._sample(edges, middle) for middle in middles]
            self._free = middles[0] if sampled[0] else middles[-1]
            if not sampled[0]:
                self._receiver.receive(*decoded(sampled, self.format))
        while len(self._edges) > 1 and self._edges[1][0] <= self._free:
            del self._edges[0]

    def _start_bit(self, edges: list[tuple[float, int]]) -> float | None:
        before = 1
        for instant, level in edges:
            if before and not level and instant >= self._free:
                return instant
            before = level
        return None

    def _sample(self, edges: list[tuple[float, int]], middle: float) -> int:
        first, middle_one, last = (
            self._level(edges, middle + offset * self._bit) for offset in (-_SPREAD, 0, _SPREAD)
        )
        return middle_one if first == last else 1 - middle_one

    @staticmethod
    def _level(edges: list[tuple[float, int]], at: float) -> int:
        found = 1
        for instant, level in edges:
            if instant > at:
                break
            found = level
        return found
