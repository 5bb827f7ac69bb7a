"""An STM32's I2C peripheral as an I2C target, and a program that only polls its flags.

A host that breaks the protocol meets the flags as on silicon: SCL held low, a byte left in a data
register, and a system reset after the program's own timeout.

Evidence: RM0444 "Inter-integrated circuit interface (I2C)" for the flags; ST's open bootloader
(OPENBL, Interfaces/Patterns/I2C) for how a loader polls them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

from stm32sim.chip.polled import Polled, Program, Wait
from stm32sim.wires.bus import NOT_DRIVEN
from stm32sim.wires.clock import Clock

# Looking up a member of an enumeration is slow in CPython, so they are globals here.
(
    RECEIVE,
    SEND,
    ADDRESS,
    NACK,
    STOP,
    FIRST_BYTE,
    ADDRESS_FOREVER,
    IDLE,
    IDLE_OR_ADDRESS,
    EVER,
) = Wait

NO_BYTE = -1  # FIRST_BYTE of a frame without bytes
TOGETHER = 1  # ADDRESS, ADDRESS_FOREVER: all of the announced frame has passed, up to its STOP


class PolledI2C(Polled):
    """The peripheral and the program's timeouts. Subclasses write `_main`.

    `patience` is how many ns the program waits for any one flag before it resets the chip."""

    address = 0  # 7 bits
    patience = 0
    connection_stretch = 0  # ns SCL is held at the first address match

    def __init__(self, clock: Clock) -> None:
        # the peripheral
        self._address_match = False
        self._received: deque[int] = deque()  # RXDR and the shift register: SCL is held at two
        self._sending = False
        self._transmit: int | None = None  # TXDR; never flushed, so it can outlast its frame
        self._nack_flag = False
        self._stop_flag = False
        self._selected = False  # between address match and STOP
        self._connected = False
        self._held_until = 0
        # the program
        self._deadline: int | None = None
        self._watching = False
        self._incoming = bytearray()
        self._missing = 0
        self._outgoing = b""
        self._sent = 0
        self._expected = 0  # bytes of the whole frame that comes next; 0: any
        self._reply = b""  # all bytes of the read frame that comes next; empty: any
        super().__init__(clock)

    def _selected_by_host(self) -> None:
        """The first address match."""

    def _give_up(self) -> None:
        """The program has waited too long."""
        raise NotImplementedError

    def _survives_empty_frame(self) -> bool:
        """Whether an address match without bytes is harmless when a command is expected."""
        raise NotImplementedError

    def _idle_patience(self) -> int | None:
        """ns for ADDRESS_FOREVER; None: no limit."""
        return None

    # --- the peripheral, as the bus sees it ---

    def start(self, address: int, reading: bool) -> bool:
        if address != self.address:
            self._selected = self._sending = False  # and no STOPF follows [strict]
            return False
        self._selected = True
        self._address_match = True
        self._sending = reading
        if not self._connected:
            self._connected = True
            self._selected_by_host()
            self._held_until = self._clock.now + self.connection_stretch
            self._clock.at(self._held_until, self._run)
        else:
            self._run()
        return True

    def write(self, byte: int) -> bool:
        if not self._selected or self._sending:
            return False
        if self._waiting is RECEIVE and self._missing > 1 and not self._received:
            self._take(byte)  # nothing else can become due, so the program need not run
        else:
            self._received.append(byte)
            self._run()
        return True

    def read(self) -> int:
        byte, self._transmit = self._transmit, None
        # TXDR is empty: the next byte is written while this one is on the wires
        if self._waiting is SEND and self._sending and self._sent + 1 < len(self._outgoing):
            self._give()
        else:
            self._run()
        return NOT_DRIVEN if byte is None else byte

    def ready_to_take(self) -> int:
        """All but the last byte, which wakes the program."""
        if self._sending or not self._selected or self._received or self._address_match:
            return 0
        return self._missing - 1 if self._waiting is RECEIVE else 0

    def take(self, data: bytes) -> None:
        self._incoming += data
        self._missing -= len(data)
        self._deadline = self._clock.now + self.patience

    def ready_to_give(self) -> int:
        """All but the last byte, which wakes the program."""
        if not self._sending or self._transmit is None or self._address_match:
            return 0
        return len(self._outgoing) - self._sent - 1 if self._waiting is SEND else 0

    def give(self, count: int) -> bytes:
        assert self._transmit is not None
        data = bytes([self._transmit]) + self._outgoing[self._sent : self._sent + count - 1]
        self._sent += count - 1
        self._give()
        return data

    def takes_frame(self, address: int, length: int) -> bool:
        """Whether a write frame of `length` bytes is what the program waits for."""
        return length == self._expected and self._is_ready(address)

    def take_frame(self, data: bytes) -> None:
        """Such a frame; now is the instant of its STOP."""
        self._incoming = bytearray(data)
        self._proceed(TOGETHER)
        self._run()

    def gives_frame(self, address: int, length: int) -> bool:
        """Whether `length` bytes are the reply that the program waits to send."""
        return length == len(self._reply) and self._is_ready(address)

    def give_frame(self) -> bytes:
        """All of that reply; now is the instant of its STOP."""
        data = self._reply
        self._proceed(TOGETHER)
        self._run()
        return data

    def _is_ready(self, address: int) -> bool:
        """Whether the program waits for its address, and no flag is left from before."""
        return (
            self._running
            and self._connected
            and address == self.address
            and (self._waiting is ADDRESS or self._waiting is ADDRESS_FOREVER)
            and not (self._address_match or self._stop_flag or self._nack_flag)
            and not (self._selected or self._sending or self._received)
            and self._transmit is None
            and self._clock.now >= self._held_until
        )

    def acked(self, ack: bool) -> None:
        if self._selected and not ack:
            self._nack_flag = True
            self._sending = False
            self._run()

    def stop(self) -> None:
        if self._selected:
            self._selected = False
            self._sending = False
            self._stop_flag = True
            self._run()

    def holding_scl(self) -> bool:
        return self._running and (
            self._address_match
            or len(self._received) >= 2
            or (self._sending and self._transmit is None)
        )

    # --- the engine ---

    def _take(self, byte: int) -> None:
        self._incoming.append(byte)
        self._missing -= 1
        self._deadline = self._clock.now + self.patience

    def _give(self) -> None:
        self._transmit = self._outgoing[self._sent]
        self._sent += 1
        self._deadline = self._clock.now + self.patience

    def _run(self) -> None:
        if self._clock.now < self._held_until:
            return
        super()._run()
        if self._running:
            self._watch()

    def _proceed(self, value: int) -> None:
        self._deadline = None
        self._waiting = self._program.send(value)

    def _flag(self) -> int | None:
        wait = self._waiting
        if wait is RECEIVE:
            while self._received and self._missing:
                self._take(self._received.popleft())
            return None if self._missing else 0
        if wait is SEND:
            while self._sending and self._transmit is None and not self._address_match:
                self._give()
                if self._sent == len(self._outgoing):
                    return 0
            return None
        if wait is STOP:
            was, self._stop_flag = self._stop_flag, False
            return 0 if was else None
        if wait is NACK:
            was, self._nack_flag = self._nack_flag, False
            return 0 if was else None
        if wait is ADDRESS or wait is ADDRESS_FOREVER:
            was, self._address_match = self._address_match, False
            return 0 if was else None
        if wait is FIRST_BYTE:
            if self._received:
                return self._received.popleft()
            return NO_BYTE if self._stop_flag and self._survives_empty_frame() else None
        if wait is IDLE:
            return None if self._busy() else 0
        if wait is IDLE_OR_ADDRESS:
            return None if self._busy() and not self._address_match else 0
        return None

    def _watch(self) -> None:
        """Set the one alarm for all timeouts; an early alarm sets itself again."""
        if self._deadline is None:
            limit = self._limit()
            if limit is None:
                return
            self._deadline = self._clock.now + limit
        if not self._watching:
            self._watching = True
            self._clock.at(self._deadline, self._timeout)

    def _limit(self) -> int | None:
        """ns that the program waits at its current place; None: no limit."""
        if self._waiting <= FIRST_BYTE:
            return self.patience
        if self._waiting is ADDRESS_FOREVER and self._connected:
            return self._idle_patience()
        return None

    def _timeout(self) -> None:
        self._watching = False
        if not self._running or self._deadline is None:
            return
        if self._clock.now >= self._deadline:
            self._give_up()
        else:
            self._watch()

    # --- small steps of a program ---

    def _receive(self, count: int) -> Generator[Wait, int, bytes]:
        """`count` bytes of a write frame."""
        self._incoming = bytearray()
        self._missing = count
        yield RECEIVE
        return bytes(self._incoming)

    def _receive_frame(self, length: int) -> Generator[Wait, int, bytes]:
        """A write frame of exactly `length` bytes."""
        self._expected = length
        came = yield ADDRESS
        self._expected = 0
        if came == TOGETHER:
            return bytes(self._incoming)
        data = yield from self._receive(length)
        yield STOP
        return data

    def _send(self, data: bytes) -> Program:
        """Bytes of a read frame, one by one when TXDR is free."""
        self._outgoing = data
        self._sent = 0
        yield SEND

    def _send_frame(self, data: bytes) -> Program:
        """A reply in one read frame; a host that reads another length gets out of step."""
        self._reply = data
        came = yield ADDRESS
        self._reply = b""
        if came == TOGETHER:
            return
        yield from self._send(data)
        yield NACK
        yield STOP
