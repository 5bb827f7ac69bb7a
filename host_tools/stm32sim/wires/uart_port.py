"""The host's UARTs in each port of MicroPython, with their faults.

Sources: MicroPython ports/rp2/machine_uart.c and ports/esp32/machine_uart.c; ESP-IDF's driver
uart.c. No port reports parity, framing or overrun errors: a byte with an error is delivered as it
is, and a lost one is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stm32sim.wires.clock import NS_PER_MS, Clock
from stm32sim.wires.uart import Format, Wire, frame_time

ESP_ERR_INVALID_ARG = 0x102


@dataclass(frozen=True)
class Hardware:
    """Of a port: `fifo` bytes in each direction; `threshold`: bytes in the FIFO that cause an
    interrupt, which moves them into the buffer; `reads_fifo`: a read looks into the FIFO too;
    `resets_fifo`: an overrun empties the FIFO; `waits`: a write waits for room without limit;
    `tick`: ns, if an operating system counts the time of a wait in ticks."""

    fifo: int
    threshold: int
    reads_fifo: bool
    resets_fifo: bool
    waits: bool
    tick: int = 0


HARDWARE = {
    "rp2": Hardware(32, 24, reads_fifo=True, resets_fifo=False, waits=False),
    # uart_hal.h, UART_LL_FIFO_DEF_LEN; driver/uart.c, UART_FULL_THRESH_DEFAULT and its interrupt
    "esp32": Hardware(
        128, 120, reads_fifo=False, resets_fifo=True, waits=True, tick=10 * NS_PER_MS
    ),
}
_ESP32_LONGEST_SILENCE = 92  # bytes; uart_set_rx_timeout refuses more [R ESP-IDF]


class UartPort:
    """One UART object. Times in ns.

    `wire`: from TX; `incoming`: to RX; `blocked`: whether interrupts are off, as while the host
    writes its own flash [V MPY rp2_flash.c; D for esp32: its handler is not in IRAM]. Then bytes
    stay in the FIFO, and what does not fit is lost. An rp2's timeout interrupt is left out: up to
    23 bytes that were not read may be in the FIFO before [strict]."""

    def __init__(
        self,
        port: str,
        form: Format,
        *,
        wire: Wire,
        incoming: Wire,
        blocked: Callable[[], bool],
        clock: Clock,
        rxbuf: int,
        txbuf: int,
        timeout: int,
        timeout_char: int,
    ) -> None:
        self.format: Format | None = form
        self.since = clock.now
        self._form = form
        self._clock = clock
        self._hardware = HARDWARE[port]
        self._threshold = self._hardware.threshold
        self._wire = wire
        self._incoming = incoming
        self._blocked = blocked
        self._rxbuf = rxbuf
        self._txbuf = txbuf
        self._timeout = timeout
        self._timeout_char = timeout_char
        self._silence = 0  # ns after the last byte until the FIFO is emptied
        self._watching = False
        if port == "esp32":
            self._set_silence()
        self._buffer = bytearray()
        self._fifo = bytearray()
        self._overrun = False
        self._last = 0  # the instant of the last byte
        self._wanted = 0  # bytes that a read still waits for; none below 1
        self.lost = 0  # bytes
        incoming.receiver = self

    def _set_silence(self) -> None:
        """ports/esp32/machine_uart.c, "make sure it is at least as long as a whole character"."""
        character_ms = int(12_000 / self._form.rate) + 1
        characters = self._timeout_char // NS_PER_MS // character_ms
        if characters < 1:
            self._threshold = 1
            return
        if characters > _ESP32_LONGEST_SILENCE:
            raise OSError(ESP_ERR_INVALID_ARG)
        self._silence = characters * frame_time(self._form)

    # --- as a Receiver ---

    def measure(self, bits: list[int], rate: float, began: int) -> None:
        pass  # closed

    def receive(self, byte: int, faulty: bool) -> None:
        self._last = self._clock.now
        self._wanted -= 1
        if len(self._fifo) >= self._hardware.fifo:
            self.lost += 1
            self._overrun = True
        else:
            self._fifo.append(byte)
        if len(self._fifo) >= self._threshold and not self._blocked():
            self._drain()
        elif self._silence and not self._watching:
            self._watching = True
            self._clock.at(self._last + self._silence, self._falls_silent)

    def ready_to_take(self) -> int:
        """All but the last byte that a read of an rp2 waits for: the host is in that call, no
        interrupt is off, and a byte takes less than `timeout_char`."""
        alone = self._hardware.reads_fifo and not self._fifo
        return max(0, self._wanted - 1) if alone else 0

    def take(self, data: bytes) -> None:
        self._last = self._clock.now
        self._wanted -= len(data)
        self._store(data)

    def _falls_silent(self) -> None:
        """Called by an alarm, which sets itself again if bytes came since, or if the interrupt has
        to wait."""
        due = self._last + self._silence
        if self._clock.now < due:
            self._clock.at(due, self._falls_silent)
        elif self._blocked():
            self._clock.after(NS_PER_MS, self._falls_silent)
        else:
            self._watching = False
            self._drain()

    def _drain(self) -> None:
        """The interrupt handler, or a read: the FIFO's bytes go into the buffer."""
        if self._overrun and self._hardware.resets_fifo:
            self.lost += len(self._fifo)
            self._fifo.clear()
        self._overrun = False
        self._store(bytes(self._fifo))
        self._fifo.clear()

    def _store(self, data: bytes) -> None:
        room = self._rxbuf - len(self._buffer)
        self._buffer += data[:room]
        self.lost += max(0, len(data) - room)

    # --- calls ---

    def any(self) -> int:
        """Bytes that can be read now."""
        self._arrived()
        return len(self._buffer)

    def _arrived(self) -> bool:
        if self._fifo and (self._hardware.reads_fifo or len(self._fifo) >= self._threshold):
            self._drain()
        return bool(self._buffer)

    def read(self, count: int) -> bytes:
        """Up to `count` bytes. As mp_stream_rw() of py/stream.c: if only some came, it asks the
        port again, up to a wait in vain."""
        data = bytearray()
        while len(data) < count and (part := self._read_once(count - len(data))):
            data += part
        return bytes(data)

    def _read_once(self, count: int) -> bytes:
        """It waits `timeout` for the first byte, then `timeout_char` after each [V MPY]."""
        clock, incoming = self._clock, self._incoming
        data = bytearray()
        limit = clock.now + self._wait(self._timeout)
        try:
            while True:
                if self._arrived():
                    part = self._buffer[: count - len(data)]
                    del self._buffer[: len(part)]
                    data += part
                    limit = clock.now + self._wait(self._timeout_char)
                if len(data) == count:
                    break
                if self._wanted <= 0:
                    self._wanted = count - len(data)
                    incoming.plan()
                if clock.advance_until(self._arrived, limit):
                    continue
                incoming.settle()  # of bytes that arrive together, some may be here
                if not self._arrived():
                    break
        finally:
            self._wanted = 0
            incoming.settle()
            incoming.plan()
        return bytes(data)

    def _wait(self, duration: int) -> int:
        """How long a wait is at least. An operating system counts ticks, and the first one may end
        at once [strict]."""
        tick = self._hardware.tick
        return max(0, duration // tick - 1) * tick if tick else duration

    def write(self, data: bytes) -> int:
        """Send; return how many bytes the buffer took; repeated as a read."""
        taken = 0
        while taken < len(data) and (count := self._write_once(data[taken:])):
            taken += count
        return taken

    def _write_once(self, data: bytes) -> int:
        """An rp2 waits `timeout` for room, then `timeout_char` after each byte [V MPY]."""
        wire, clock = self._wire, self._clock
        capacity = self._hardware.fifo + self._txbuf
        taken = 0
        limit = clock.now + self._timeout
        while taken < len(data):
            room = capacity - wire.pending
            if room > 0:
                part = data[taken : taken + room]
                wire.send(part, self._form)
                taken += len(part)
                continue
            free_at = wire.next_end
            if free_at > limit and not self._hardware.waits:
                break
            clock.advance_to(free_at)
            limit = clock.now + self._timeout_char
        return taken

    def sent(self) -> bool:
        """Whether everything is sent."""
        return not self._wire.pending

    def flush(self) -> None:
        """Wait until everything is sent."""
        while self._wire.pending:
            self._clock.advance_to(self._wire.free_at)

    def close(self) -> None:
        """The peripheral is switched off, or its host is."""
        self.format = None
        self._wire.abort()
        if self._incoming.receiver is self:
            self._incoming.receiver = None
