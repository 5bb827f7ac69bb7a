"""The I2C wires: what controllers do to them, bit times on the clock, and who sits on them.

Bytes pass one by one. A device that is not ready holds SCL, and the clock runs on until it lets go or
the controller loses its patience.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from stm32sim.clock import NS_PER_S, Clock

NOT_DRIVEN = 0xFF  # what a controller reads when nobody pulls SDA low


class I2CDevice(Protocol):
    """One target on the bus. Every call happens at the clock's present instant.

    The bus calls `start`, then `write` or (`read`, `acked`) for every byte, then `stop`. Before each of
    these it waits until `holding_scl()` is False.
    """

    def start(self, address: int, reading: bool) -> bool:
        """A START and a 7-bit address came by; True if it is ours (we pull the ACK)."""
        ...

    def write(self, byte: int) -> bool:
        """The controller sent a byte to us; True to ACK it."""
        ...

    def read(self) -> int:
        """The controller clocks a byte out of us (NOT_DRIVEN if we have nothing to say)."""
        ...

    def acked(self, ack: bool) -> None:
        """The controller answered the byte it read with ACK (wants more) or NACK (the last one)."""
        ...

    def stop(self) -> None:
        """A STOP came by. Told to every device, addressed or not."""
        ...

    def holding_scl(self) -> bool:
        """Whether we stretch the clock just now."""
        ...


class Stretched(Exception):
    """SCL stayed low longer than the controller waits."""


class BusStuck(Exception):
    """SDA or SCL is low although nobody is in a transaction: no START can be made."""


class Bus:
    """One I2C bus. Controllers drive it with start, write, read, stop; or give up with abandon.

    `tap`, if set, is called with (what, value) for everything that passes: "start" with the address
    byte (address << 1 | reading), "ack" or "nack" for it, "write" and "read" with the byte, "stop",
    "abandon". It is how wire traces are taken and how power is cut between any two bytes.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.devices: list[I2CDevice] = []
        self.tap: Callable[[str, int], None] | None = None
        self.scl_stuck = False  # shorted to ground, or held by something without power
        self.sda_stuck = False
        self.deadline: int | None = None  # instant at which the controller gives the transaction up
        self.stretch_limit: int | None = None  # ns the controller bears SCL held low in one go
        self.nack_seen = False
        self._bit = NS_PER_S // 100_000
        self._addressed: list[I2CDevice] = []
        self._reading = False
        self._hanging: list[int] = []  # bits a target still wants to clock out after abandon()

    def set_frequency(self, hertz: int) -> None:
        self._bit = NS_PER_S // hertz

    @property
    def scl_high(self) -> bool:
        return not self.scl_stuck and not any(device.holding_scl() for device in self.devices)

    @property
    def sda_high(self) -> bool:
        return not self.sda_stuck and not (self._hanging and not self._hanging[0])

    def _pass(self, what: str, value: int = 0) -> None:
        if self.tap is not None:
            self.tap(what, value)

    def _wait_for_scl(self) -> None:
        for device in self.devices:
            if device.holding_scl():
                break
        else:
            if not self.scl_stuck:
                return
        clock = self.clock
        limit = clock.now + 3600 * NS_PER_S
        if self.deadline is not None:
            limit = min(limit, self.deadline)
        if self.stretch_limit is not None:
            limit = min(limit, clock.now + self.stretch_limit)
        if not clock.advance_until(lambda: self.scl_high, limit):
            raise Stretched

    def start(self, address: int, reading: bool) -> bool:
        """START and the address byte, 10 bit times; True if a device pulled the ACK.

        Raises BusStuck if a line is low, Stretched if a device held SCL for too long."""
        if not self.scl_high or not self.sda_high:
            raise BusStuck
        self._hanging.clear()
        self._wait_for_scl()
        self._pass("start", address << 1 | reading)
        self.clock.advance(10 * self._bit)
        self._addressed = [device for device in self.devices if device.start(address, reading)]
        self._reading = reading
        acked = bool(self._addressed)
        self._pass("ack" if acked else "nack")
        return acked

    def write(self, byte: int) -> bool:
        """One byte to the addressed device, 9 bit times; True if it was ACKed."""
        self._wait_for_scl()
        self._pass("write", byte)
        self.clock.advance(9 * self._bit)
        acked = False
        for device in self._addressed:
            acked = device.write(byte) or acked
        return acked

    def read(self, ack: bool) -> int:
        """One byte from the addressed device, 9 bit times; `ack` asks for another one after it."""
        self._wait_for_scl()
        byte = NOT_DRIVEN
        for device in self._addressed:
            byte &= device.read()
        self.clock.advance(9 * self._bit)
        self._pass("read", byte)
        for device in self._addressed:
            device.acked(ack)
        return byte

    def stop(self) -> None:
        """STOP, one bit time."""
        self._wait_for_scl()
        self.clock.advance(self._bit)
        self._addressed = []
        self._reading = False
        for device in self.devices:
            device.stop()
        self._pass("stop")

    def abandon(self) -> None:
        """The controller stops in the middle, without a STOP (a timeout, a reset, a power cut).

        A device that was sending goes on pulling SDA for its next byte until somebody clocks it out."""
        self._pass("abandon")
        if self._reading and self._addressed:
            byte = NOT_DRIVEN
            for device in self._addressed:
                if not device.holding_scl():
                    byte &= device.read()
            self._hanging = [byte >> shift & 1 for shift in range(7, -1, -1)]

    def stop_by_hand(self) -> None:
        """SDA rises while SCL is high: a STOP made with pins."""
        if self.scl_high and self.sda_high:
            self._addressed = []
            self._reading = False
            for device in self.devices:
                device.stop()

    def pulse_scl(self) -> None:
        """One clock pulse by hand, for a controller that frees a bus whose SDA hangs."""
        self.clock.advance(self._bit)
        if self._hanging:
            del self._hanging[0]
            if not self._hanging:  # the ninth clock: nobody pulls the ACK, so the device sees a NACK
                for device in self._addressed:
                    device.acked(False)
