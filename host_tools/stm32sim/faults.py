"""Faults between host and target: one at a chosen transaction or byte, or random noise.

On the bus both replace the target and pass everything on, except for the fault: a `FaultyTarget`
at one transaction (counted from 0, at the loader's address), `Noise` at bytes that a seed selects.
On the UART line `FaultyLine` and `LineNoise` do the same with single bytes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from stm32sim.chip.loader_steps import BUSY
from stm32sim.chip.stm32 import Stm32
from stm32sim.wires.bus import Bus
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S
from stm32sim.wires.uart import Line


@dataclass(frozen=True)
class Fault:
    """`kind` is one of KINDS; `at` is the affected transaction; `byte` is the index of the byte
    that is flipped, not acknowledged or not sent any more, if the transaction is long enough. On a
    line, `kind` is one of LINE_KINDS, and `at` is the affected byte."""

    kind: str
    at: int
    byte: int = 0


KINDS = (
    "address not acknowledged",  # noise in the address: the target never sees the transaction
    "answer lost",  # the target answers, the host sees nothing
    "bit flipped to the target",  # in a byte of what the host sends
    "bit flipped to the host",  # in a byte of what the target answers
    "byte not acknowledged",  # from the host: the target misses it
    "refused",  # NACK instead of ACK after this frame, which ends the command [V GOOGLE-RS]
    "loader is deaf",  # another interface came first; until the next reset by NRST or the supply
    "always busy",  # from here on every status read gives BUSY, until the target is reset
    "loader resets itself",
    "supply fails in an answer",  # for 2 ms: the rest of the answer reads as ones
    "clock held for 100 ms",
    "data held low",  # SDA is shorted to ground from here on
    "clock held low",  # SCL is shorted to ground from here on
)


class InFront:
    """An I2CDevice in front of a target that passes everything on."""

    def __init__(self, bus: Bus, target: Stm32) -> None:
        self._bus = bus
        self._target = target
        bus.devices[bus.devices.index(target)] = self

    def repair(self) -> None:
        """Remove the fault permanently."""
        self._bus.devices[self._bus.devices.index(self)] = self._target

    @property
    def resets(self) -> int:
        """Resets of the target: a reset makes it release SDA."""
        return self._target.resets

    def start(self, address: int, reading: bool) -> bool:
        return self._target.start(address, reading)

    def write(self, byte: int) -> bool:
        return self._target.write(byte)

    def read(self) -> int:
        return self._target.read()

    def ready_to_take(self) -> int:
        return self._target.ready_to_take()

    def take(self, data: bytes) -> None:
        self._target.take(data)

    def ready_to_give(self) -> int:
        return self._target.ready_to_give()

    def give(self, count: int) -> bytes:
        return self._target.give(count)

    def acked(self, ack: bool) -> None:
        self._target.acked(ack)

    def stop(self) -> None:
        self._target.stop()

    def holding_scl(self) -> bool:
        return self._target.holding_scl()


class _Flips:
    """Which bits flip: `rate` is the share of bytes in which one does."""

    def __init__(self, rate: float, seed: int) -> None:
        if not 0 < rate < 1:
            raise ValueError(f"a rate of {rate} flipped bits per byte is not between 0 and 1")
        self.bytes = 0  # passed so far
        self.flips = 0
        self._rate = rate
        self._randomness = random.Random(seed)
        self._unharmed = self._gap()

    def _gap(self) -> int:
        """How many bytes pass before the next flip."""
        return int(math.log(1 - self._randomness.random()) / math.log(1 - self._rate))

    def _flip(self, data: bytes) -> bytes:
        self.bytes += len(data)
        if self._unharmed >= len(data):
            self._unharmed -= len(data)
            return data
        noisy = bytearray(data)
        at = self._unharmed
        while at < len(noisy):
            noisy[at] ^= 1 << self._randomness.randrange(8)
            self.flips += 1
            at += 1 + self._gap()
        self._unharmed = at - len(noisy)
        return bytes(noisy)


class Noise(_Flips, InFront):
    """Flips bits in both directions, in traffic with the loader and with the application.

    `rate` is the share of bytes in which one bit is flipped. Only `seed` determines how many bytes
    pass unchanged before the next flip, and which bit flips. Address bytes and acknowledge bits
    are unchanged. A trace of the bus shows a byte for the target as the host sent it.

    Noise(bench.world.bus, bench.target, rate=1e-4, seed=1)
    """

    def __init__(self, bus: Bus, target: Stm32, rate: float, seed: int) -> None:
        _Flips.__init__(self, rate, seed)
        InFront.__init__(self, bus, target)

    def write(self, byte: int) -> bool:
        return super().write(self._flip(bytes([byte]))[0])

    def take(self, data: bytes) -> None:
        super().take(self._flip(data))

    def read(self) -> int:
        return self._flip(bytes([super().read()]))[0]

    def give(self, count: int) -> bytes:
        return self._flip(super().give(count))


class FaultyTarget(InFront):
    """A target with one fault."""

    def __init__(self, bus: Bus, target: Stm32, fault: Fault) -> None:
        super().__init__(bus, target)
        self._fault = fault
        self._count = -1
        self._struck = False  # the current transaction has the fault
        self._held_until = 0
        self._busy_since_boot: int | None = None
        self._bytes = 0

    def repair(self) -> None:
        super().repair()
        self._bus.sda_stuck = self._bus.scl_stuck = False

    @property
    def transactions(self) -> int:
        """The number of transactions so far."""
        return self._count + 1

    def _is(self, kind: str) -> bool:
        return self._struck and self._fault.kind == kind

    def start(self, address: int, reading: bool) -> bool:
        if address == self._target.family.address:
            self._count += 1
            self._struck = self._count == self._fault.at
            self._bytes = 0
        else:
            self._struck = False
        if self._struck:
            self._strike()
        if self._is("address not acknowledged"):
            return False
        if self._is("answer lost") and reading:
            self._swallow(address)
            return False
        if self._always_busy and reading:
            return True
        return self._target.start(address, reading)

    def _strike(self) -> None:
        kind = self._fault.kind
        clock = self._bus.clock
        if kind == "loader resets itself":
            self._target.system_reset()
        elif kind == "clock held for 100 ms":
            self._held_until = clock.now + 100 * NS_PER_MS
            clock.at(self._held_until, lambda: None)
        elif kind == "data held low":
            self._bus.sda_stuck = True
        elif kind == "clock held low":
            self._bus.scl_stuck = True
        elif kind == "refused":
            self._target.refuse_next()
        elif kind == "loader is deaf":
            self._target.deafen()
        elif kind == "always busy":
            self._busy_since_boot = len(self._target.boots)

    @property
    def _always_busy(self) -> bool:
        return self._busy_since_boot == len(self._target.boots)

    def _swallow(self, address: int) -> None:
        """The target sends one byte and assumes that it was read."""
        target = self._target
        if target.start(address, True):
            self._bus.clock.advance_until(
                lambda: not target.holding_scl(), self._bus.clock.now + NS_PER_S
            )
            target.read()
            target.acked(False)
            target.stop()

    def write(self, byte: int) -> bool:
        struck = self._bytes == self._fault.byte
        self._bytes += 1
        if struck and self._is("byte not acknowledged"):
            return False
        if struck and self._is("bit flipped to the target"):
            byte ^= 0x10
        return self._target.write(byte)

    def read(self) -> int:
        if self._always_busy:
            return BUSY
        struck = self._bytes == self._fault.byte
        if struck and self._is("supply fails in an answer"):
            self._target.power(False)
            self._bus.clock.after(2 * NS_PER_MS, lambda: self._target.power(True))
        byte = self._target.read()
        if struck and self._is("bit flipped to the host"):
            byte ^= 0x10
        self._bytes += 1
        return byte

    @property
    def _at_work(self) -> bool:
        held = self._bus.clock.now < self._held_until
        return self._struck or held or self._always_busy

    def ready_to_take(self) -> int:
        return 0 if self._at_work else self._target.ready_to_take()

    def ready_to_give(self) -> int:
        return 0 if self._at_work else self._target.ready_to_give()

    def acked(self, ack: bool) -> None:
        if not self._always_busy:
            self._target.acked(ack)

    def holding_scl(self) -> bool:
        if self._bus.clock.now < self._held_until:
            return True
        return not self._always_busy and self._target.holding_scl()


LINE_KINDS = (
    "byte lost to the target",
    "byte lost to the host",
    "byte doubled to the target",
    "byte doubled to the host",
    "bit flipped to the target",  # so its parity is wrong
    "bit flipped to the host",
    "two bits flipped to the target",  # which parity does not show
    "two bits flipped to the host",
    "noise to the target",  # a byte without a stop bit before this one
    "noise to the host",
    # From here on `at` counts bytes to the target, and this happens before the byte is received.
    "refused",  # NACK instead of the next ACK, which ends the command
    "another master probes",  # the loader's I2C address
    "loader is deaf",  # it saw a third interface first
    "loader resets itself",
)


class FaultyLine:
    """A line with one fault at a byte, counted from 0 in its direction."""

    def __init__(self, line: Line, target: Stm32, fault: Fault) -> None:
        if fault.kind not in LINE_KINDS:
            raise ValueError(f"no such fault of a line: {fault.kind!r}")
        self._target = target
        self._kind = fault.kind.removesuffix(" to the target").removesuffix(" to the host")
        self._at = fault.at
        self.bytes = 0  # passed so far in that direction
        to_host = fault.kind.endswith(" to the host")
        self._wire = line.to_host if to_host else line.to_target
        self._wire.distortion = self._pass

    def repair(self) -> None:
        """Remove the fault permanently."""
        self._wire.distortion = None

    def _pass(self, byte: int) -> Sequence[tuple[int, bool]]:
        self.bytes += 1
        if self.bytes != self._at + 1:
            return [(byte, False)]
        kind, target = self._kind, self._target
        if kind == "byte lost":
            return []
        if kind == "byte doubled":
            return [(byte, False), (byte, False)]
        if kind == "bit flipped":
            return [(byte ^ 0x10, True)]
        if kind == "two bits flipped":
            return [(byte ^ 0x11, False)]
        if kind == "noise":
            return [(0x00, True), (byte, False)]
        if kind == "refused":
            target.refuse_next()
        elif kind == "another master probes":
            if target.start(target.family.address, False):
                target.stop()
        elif kind == "loader is deaf":
            target.deafen()
        else:
            target.system_reset()
        return [(byte, False)]


class LineNoise(_Flips):
    """Flips bits in both directions of a line, as Noise does on the bus.

    LineNoise(bench.world.line, rate=1e-4, seed=1)
    """

    def __init__(self, line: Line, rate: float, seed: int) -> None:
        super().__init__(rate, seed)
        self._line = line
        for wire in (line.to_target, line.to_host):
            wire.distortion = self._pass

    def repair(self) -> None:
        """Remove the noise permanently."""
        for wire in (self._line.to_target, self._line.to_host):
            wire.distortion = None

    def _pass(self, byte: int) -> Sequence[tuple[int, bool]]:
        received = self._flip(bytes([byte]))[0]
        return [(received, received != byte)]
