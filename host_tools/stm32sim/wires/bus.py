"""The I2C wires: access by controllers, bit times on the clock, and the connected devices.

Bytes are transferred one by one. A device that is not ready holds SCL, and the clock advances
until the device releases it or the controller gives up. Bytes without any event between them may
be transferred together, which is much faster and has the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from stm32sim.wires.clock import NS_PER_S, Clock

NOT_DRIVEN = 0xFF  # what a controller reads when nothing pulls SDA low
FASTEST = 1_000_000  # Hz; Fast-mode Plus, the maximum of a G0's loader [V AN2606 table 107]
_FOREVER = 3600 * NS_PER_S  # how long a controller without a limit waits for SCL


class I2CDevice(Protocol):
    """One target on the bus. Every call happens at the clock's current instant.

    The bus calls `start`, then `write` or (`read`, `acked`) for every byte, then `stop`. Before
    each of these it waits until `holding_scl()` is False. A device that can be reset may count in
    an attribute `resets`: a reset releases SDA.
    """

    def start(self, address: int, reading: bool) -> bool:
        """A START and a 7-bit address; True to ACK the address as ours."""
        ...

    def write(self, byte: int) -> bool:
        """The controller sent us a byte; True to ACK it."""
        ...

    def read(self) -> int:
        """The controller reads a byte from us (NOT_DRIVEN if we have none)."""
        ...

    def acked(self, ack: bool) -> None:
        """The controller answered our byte: ACK (more follow) or NACK (the last one)."""
        ...

    def stop(self) -> None:
        """A STOP. Called for every device, addressed or not."""
        ...

    def holding_scl(self) -> bool:
        """Whether we stretch the clock now."""
        ...


class StreamingDevice(I2CDevice, Protocol):
    """A device that knows in advance how many bytes it can accept or send without holding SCL and
    without any other effect."""

    def ready_to_take(self) -> int:
        """How many."""
        ...

    def take(self, data: bytes) -> None:
        """Equal to one call of `write` per byte; now is the instant of the last one."""
        ...

    def ready_to_give(self) -> int:
        """How many."""
        ...

    def give(self, count: int) -> bytes:
        """Equal to `count` calls of `read`, each ACKed; now is the instant of the last one."""
        ...


class FramedDevice(I2CDevice, Protocol):
    """A device that knows in advance which frame it can accept or send without holding SCL and
    without any effect before its STOP."""

    def takes_frame(self, address: int, length: int) -> bool:
        """Whether that is so for a write of `length` bytes."""
        ...

    def take_frame(self, data: bytes) -> None:
        """Equal to `start`, one call of `write` per byte, and `stop`; now is the instant of the
        last."""
        ...

    def gives_frame(self, address: int, length: int) -> bool:
        """Whether that is so for a read of `length` bytes."""
        ...

    def give_frame(self) -> bytes:
        """Equal to `start`, calls of `read` and `acked`, and `stop`; now is the instant of the
        last."""
        ...


class Stretched(Exception):
    """SCL stayed low longer than the controller waits, or its deadline passed between bits."""


class BusStuck(Exception):
    """SDA is low when it must be high: no START, STOP or 1 bit is possible."""


class Bus:
    """One I2C bus. Controllers drive it with start, write, read, stop; or give up with abandon.

    `tap`, if set, is called with (what, value) for all traffic: "start" with the address byte
    (address << 1 | reading), "ack" or "nack" for it, "write" and "read" with the byte, "stop",
    "abandon". It serves for wire traces and for power cuts between any two bytes. With a tap every
    byte is transferred separately, unless `stream_tap` is set too: it is called with ("write" or
    "read", bytes) for bytes that are transferred together. If that is a whole frame, `tap` gets
    its "start" only.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.devices: list[I2CDevice] = []
        self._tap: Callable[[str, int], None] | None = None
        self.stream_tap: Callable[[str, bytes], None] | None = None
        self.scl_stuck = False  # shorted to ground, or held by an unpowered device
        self.sda_stuck = False
        self.deadline: int | None = None  # instant at which the controller gives up
        self.stretch_limit: int | None = None  # ns, longest stretch that the controller accepts
        self.arbitrates = True  # whether the controller notices that SDA does not follow it
        self._bit = NS_PER_S // 100_000
        self._addressed: list[I2CDevice] = []
        self._reading = False
        self._left_reading = False  # abandoned while a target was sending
        self._resets_then: list[int] = []
        self._hanging: list[int] = []  # the bits that the target still has to send

    def set_frequency(self, hertz: int, late: int = 0) -> None:
        """Bits of this frequency, each by `late` ns longer."""
        if not 0 < hertz <= FASTEST:
            raise ValueError(f"{hertz} Hz is not an I2C clock of an STM32G0's loader")
        self._bit = NS_PER_S // hertz + late

    @property
    def tap(self) -> Callable[[str, int], None] | None:
        return self._tap

    @tap.setter
    def tap(self, tap: Callable[[str, int], None] | None) -> None:
        self._tap = tap
        self.stream_tap = None  # a new tap gets every byte by default

    @property
    def scl_high(self) -> bool:
        for device in self.devices:
            within_a_byte = self._hanging and device in self._addressed
            if device.holding_scl() and not within_a_byte:
                return False
        return not self.scl_stuck

    @property
    def sda_high(self) -> bool:
        return not self.sda_stuck and self._hanging_bit() == 1

    def _pass(self, what: str, value: int = 0) -> None:
        if self._tap is not None:
            self._tap(what, value)

    def _wait_for_scl(self) -> None:
        for device in self.devices:
            if device.holding_scl():
                break
        else:
            if not self.scl_stuck:
                return
        if self.scl_high:
            return
        clock = self.clock
        limit = clock.now + _FOREVER
        if self.deadline is not None:
            limit = min(limit, self.deadline)
        if self.stretch_limit is not None:
            limit = min(limit, clock.now + self.stretch_limit)
        if not clock.advance_until(lambda: self.scl_high, limit):
            raise Stretched

    def _bits_pass(self, count: int) -> None:
        """Advance by `count` bit times; the controller's deadline can pass."""
        clock = self.clock
        end = clock.now + count * self._bit
        if self.deadline is not None and end > self.deadline:
            clock.advance_to(self.deadline)
            raise Stretched
        if clock.quiet_until(end):
            clock.now = end
        else:
            clock.advance_to(end)

    def start(self, address: int, reading: bool) -> bool:
        """START and the address byte, 10 bit times; True if a device pulled the ACK.

        Raises BusStuck if SDA is low, Stretched if SCL was held for too long."""
        self._wait_for_scl()
        if not self.sda_high:
            if self.arbitrates:
                raise BusStuck
            return self._start_unseen()
        self._forget_hanging()
        self._pass("start", address << 1 | reading)
        self._addressed = []
        self._bits_pass(10)
        self._addressed = [device for device in self.devices if device.start(address, reading)]
        self._reading = reading
        acked = bool(self._addressed)
        self._pass("ack" if acked else "nack")
        return acked

    def _start_unseen(self) -> bool:
        """SDA is already low, so there is no START: nine clocks, and the low SDA looks like an
        ACK."""
        for _ in range(8):
            self.pulse_scl()
        acked = not self.sda_high
        self.pulse_scl()
        return acked

    def write(self, byte: int) -> bool:
        """One byte to the addressed device, 9 bit times; True if it was ACKed."""
        self._wait_for_scl()
        if self.sda_stuck:
            if self.arbitrates:
                raise BusStuck
            byte = 0
        self._pass("write", byte)
        self._bits_pass(9)
        acked = self.sda_stuck
        for device in self._addressed:
            acked = device.write(byte) or acked
        return acked

    def read(self, ack: bool) -> int:
        """One byte from the addressed device, 9 bit times; `ack` asks for another one after it.

        A device that stops before the eighth bit has sent nothing."""
        self._wait_for_scl()
        self._bits_pass(8)
        byte = NOT_DRIVEN
        for device in self._addressed:
            byte &= device.read()
        if self.sda_stuck:
            byte = 0
        self._bits_pass(1)
        self._pass("read", byte)
        for device in self._addressed:
            device.acked(ack)
        return byte

    # --- frames that are transferred together ---

    def write_frame(self, address: int, data: bytes) -> bool:
        """A whole transaction: START, `data`, STOP, if nothing can happen in it. False: nothing
        was sent."""
        device = self._framed(len(data))
        if device is None or not device.takes_frame(address, len(data)):
            return False
        self._pass("start", address << 1)
        if self.stream_tap is not None:
            self.stream_tap("write", data)
        self.clock.now += self._frame_time(len(data))
        device.take_frame(data)
        return True

    def read_frame(self, address: int, length: int) -> bytes | None:
        """A whole transaction: START, `length` bytes, STOP, if nothing can happen in it. None:
        nothing was sent."""
        device = self._framed(length)
        if device is None or not device.gives_frame(address, length):
            return None
        self._pass("start", address << 1 | 1)
        self.clock.now += self._frame_time(length)
        data = device.give_frame()
        if self.stream_tap is not None:
            self.stream_tap("read", data)
        return data

    def _frame_time(self, length: int) -> int:
        """ns: START and the address byte, `length` bytes, STOP."""
        return (11 + 9 * length) * self._bit

    def _framed(self, length: int) -> FramedDevice | None:
        """The only device, if it knows frames; None if anything else may act before the end of
        one."""
        if len(self.devices) != 1 or self._addressed or self._left_reading:
            return None
        if self.scl_stuck or self.sda_stuck or (self._tap is not None and self.stream_tap is None):
            return None
        end = self.clock.now + self._frame_time(length)
        if not self.clock.quiet_until(end) or (self.deadline is not None and end > self.deadline):
            return None
        device = self.devices[0]
        return cast(FramedDevice, device) if hasattr(device, "takes_frame") else None

    # --- bytes that are transferred together ---

    def write_stream(self, data: bytes) -> int:
        """Send as many first bytes of `data` as can be transferred together; return how many. All
        of them were ACKed. The result may be 0: `write` handles the rest."""
        device = self._streaming()
        if device is None:
            return 0
        count = self._undisturbed(min(len(data), device.ready_to_take()))
        if count:
            self.clock.now += count * 9 * self._bit
            device.take(data[:count])
            if self.stream_tap is not None:
                self.stream_tap("write", data[:count])
        return count

    def read_stream(self, count: int) -> bytes:
        """Up to `count` bytes, each ACKed, as many as can be transferred together. `read` handles
        the rest."""
        device = self._streaming()
        if device is None:
            return b""
        count = self._undisturbed(min(count, device.ready_to_give()))
        if not count:
            return b""
        self.clock.now += (count * 9 - 1) * self._bit
        data = device.give(count)
        self.clock.now += self._bit
        if self.stream_tap is not None:
            self.stream_tap("read", data)
        return data

    def _streaming(self) -> StreamingDevice | None:
        """The only addressed device; None if there are others, or if a tap needs each byte."""
        if len(self._addressed) != 1 or self.scl_stuck or self.sda_stuck:
            return None
        if self._tap is not None and self.stream_tap is None:
            return None
        device = self._addressed[0]
        if not hasattr(device, "ready_to_take"):
            return None
        for other in self.devices:
            if other.holding_scl():
                return None
        return cast(StreamingDevice, device)

    def _undisturbed(self, count: int) -> int:
        """How many of `count` bytes can be transferred before any action or the deadline is
        due."""
        limit = self.clock.next_due
        if self.deadline is not None:
            limit = self.deadline if limit is None else min(limit, self.deadline)
        if limit is None:
            return count
        return min(count, max(0, (limit - self.clock.now - 1) // (9 * self._bit)))

    def stop(self) -> None:
        """STOP, one bit time."""
        self._wait_for_scl()
        if self.sda_stuck and self.arbitrates:
            raise BusStuck
        self._bits_pass(1)
        if self.sda_stuck:
            return  # SDA never rose
        self._let_go()
        for device in self.devices:
            device.stop()
        self._pass("stop")

    def _let_go(self) -> None:
        self._addressed = []
        self._reading = False
        self._forget_hanging()

    def _forget_hanging(self) -> None:
        self._left_reading = False
        self._hanging = []

    # --- a transaction that was never finished ---

    def abandon(self) -> None:
        """The controller stops in mid-transaction, without a STOP (a timeout, a reset, a power
        cut).

        A device that was sending, or will be once it releases SCL, keeps driving SDA for its next
        byte until clock pulses read it out."""
        self._pass("abandon")
        self._left_reading = self._reading and bool(self._addressed)
        self._resets_then = self._resets()
        self._hanging = []

    def _resets(self) -> list[int]:
        return [getattr(device, "resets", 0) for device in self._addressed]

    def _hanging_bit(self) -> int:
        """The SDA bit of a target that was left in mid-read; 1 if there is none."""
        if not self._left_reading:
            return 1
        if self._resets() != self._resets_then:
            self._forget_hanging()
            return 1
        if not self._hanging:
            if not self.scl_high:
                return 1
            byte = NOT_DRIVEN
            for device in self._addressed:
                byte &= device.read()
            self._hanging = [byte >> shift & 1 for shift in range(7, -1, -1)]
            self._hanging.append(1)  # the ninth clock: SDA is free for the ACK
        return self._hanging[0]

    def pulse_scl(self) -> None:
        """One clock pulse by hand, for a controller that frees a bus with a stuck SDA."""
        self.clock.advance(self._bit)
        if not self.scl_high:
            return  # there was no pulse
        self._hanging_bit()
        if not self._left_reading:
            return
        del self._hanging[0]
        if not self._hanging:  # there was no ACK, so the device saw a NACK
            self._left_reading = False
            for device in self._addressed:
                device.acked(False)

    def stop_by_hand(self) -> None:
        """SDA rises while SCL is high: a STOP made with pins."""
        if self.scl_high and self.sda_high:
            self._let_go()
            for device in self.devices:
                device.stop()
