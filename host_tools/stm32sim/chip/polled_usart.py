"""An STM32's USART with automatic detection of the rate, and a program that only polls its flags.

Without FIFO, as its users leave it: one byte waits in RDR, and one more that ends before RDR was
read is lost (overrun). The program looks at no error flag but may ask for it.

Evidence: RM0444 "USART" for the hardware; ST's open bootloader (OPENBL, usart_interface.c of its
port to the G0C1) for how a loader uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from stm32sim.chip.polled import Polled, Program, Wait
from stm32sim.wires.clock import Clock
from stm32sim.wires.uart import EVEN, Format, Wire, levels

# Hz; the loader's system clock on a G071 and a C031 [V AN2606 tables 107, 12]
KERNEL_CLOCK = 24_000_000
SLOWEST = 1_200  # baud; the lowest rate that ST tested [V AN3155 section 2.1]
DEVIATION = 0.025  # of a host's rate, at most [V AN3155 section 2]
SYNC = 0x7F


class Usart:
    """The peripheral: a Target of `wires.uart`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._fastest = 0  # baud
        self._wire: Wire | None = None  # from TX
        self._heard: Wire | None = None  # to RX
        self.format: Format | None = None
        self.since = 0  # the instant from which on it receives bytes of that format
        self.received: int | None = None  # RDR
        self.faulty = False  # PE or FE of that byte
        self.wake: Callable[[], None] = lambda: None
        self.missing: Callable[[], int] = lambda: 0  # bytes that the program waits for
        self.stored: Callable[[bytes], None] = lambda data: None
        self._detected: Callable[[], None] | None = None

    def detect(self, fastest: int, detected: Callable[[], None]) -> None:
        """Wait for 0x7F in 8E1, at SLOWEST to `fastest` baud, and take its rate; then call
        `detected`.

        If anything else comes first (noise, another byte, the rest of a byte, a rate out of
        range), ABRE is set, and only a new request could clear it. OPENBL makes none, so nothing
        is received until the next reset [V OPENBL-G0, R RM0444; whether the ROM makes one is
        open; strict]."""
        self.since = self._clock.now
        self._fastest = fastest
        self._detected = detected

    def connected(self, sends_on: Wire, hears: Wire) -> None:
        self._wire, self._heard = sends_on, hears

    def off(self) -> None:
        """Reset, or switched off: a byte that is being sent ends there."""
        if self._heard is not None:
            self._heard.settle()
        self.format = self.received = self._detected = None
        if self._heard is not None and self._wire is not None:
            self._heard.plan()
            self._wire.abort()

    def send(self, data: bytes) -> int:
        """Send bytes; return the instant at which the last one is complete (TC)."""
        assert self.format is not None and self._wire is not None
        return self._wire.send(data, self.format)

    # --- as a Receiver ---

    def measure(self, bits: list[int], rate: float, began: int) -> None:
        detected, self._detected = self._detected, None
        if detected is None:
            return
        sync = levels(SYNC, EVEN, 8, 1)
        received = (bits + [1] * len(sync))[: len(sync)]
        in_range = SLOWEST * (1 - DEVIATION) <= rate <= self._fastest * (1 + DEVIATION)
        if began < self.since or received != sync or not in_range:
            return
        self.format = Format(KERNEL_CLOCK / round(KERNEL_CLOCK / rate), EVEN)
        self.since = self._clock.now
        detected()

    def receive(self, byte: int, faulty: bool) -> None:
        if self.received is None:
            self.received, self.faulty = byte, faulty
            self.wake()

    def ready_to_take(self) -> int:
        """All but the last byte, which wakes the program."""
        return 0 if self.received is not None else max(0, self.missing() - 1)

    def take(self, data: bytes) -> None:
        self.stored(data)


class PolledUsart(Polled):
    """The engine of a program that uses a Usart whose format is known. Subclasses write
    `_main`."""

    _usart: Usart  # set before __init__

    def __init__(self, clock: Clock) -> None:
        self._incoming = bytearray()
        self._faulty = False  # a byte of them came with an error
        self._missing = 0
        self._sent_at = 0
        super().__init__(clock)
        usart = self._usart
        usart.wake = self._run
        usart.missing = lambda: self._missing if self._waiting is Wait.RECEIVE else 0
        usart.stored = self._take

    def _take(self, data: bytes) -> None:
        self._incoming += data
        self._missing -= len(data)

    def _flag(self) -> int | None:
        wait = self._waiting
        if wait is Wait.RECEIVE:
            usart = self._usart
            if usart.received is not None:
                self._faulty |= usart.faulty
                self._take(bytes([usart.received]))
                usart.received = None
            return None if self._missing else 0
        if wait is Wait.SEND:
            return 0 if self._clock.now >= self._sent_at else None
        if wait is Wait.IDLE:
            return None if self._busy() else 0
        return None

    def _receive(self, count: int) -> Generator[Wait, int, bytes]:
        """`count` bytes, however long they take: there is no timeout [V OPENBL]."""
        self._incoming = bytearray()
        self._missing = count
        yield Wait.RECEIVE
        return bytes(self._incoming)

    def _send(self, data: bytes) -> Program:
        """Bytes, up to the end of the last one. What comes meanwhile waits in RDR."""
        if data:
            self._sent_at = self._usart.send(data)
            self._clock.at(self._sent_at, self._run)
            yield Wait.SEND
