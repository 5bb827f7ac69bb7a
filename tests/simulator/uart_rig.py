"""A target on a UART line: packets by hand, byte by byte."""

from __future__ import annotations

from typing import Any

from stm32sim.wires.clock import NS_PER_MS, Clock
from stm32sim.wires.uart import EVEN, Format, Line, frame_time
from tests.simulator.rig import ACK, Rig, data_frame, word, xor

SYNC = b"\x7f"


class End:
    """One end of a line: keeps what it receives."""

    def __init__(self, clock: Clock, form: Format) -> None:
        self._clock = clock
        self.format: Format | None = form
        self.since = 0
        self.received = bytearray()
        self.faulty: list[bool] = []
        self.instants: list[int] = []

    def measure(self, bits: list[int], rate: float, began: int) -> None:
        raise AssertionError("its format is always known")

    def receive(self, byte: int, faulty: bool) -> None:
        self.received.append(byte)
        self.faulty.append(faulty)
        self.instants.append(self._clock.now)

    def ready_to_take(self) -> int:
        return 0

    def take(self, data: bytes) -> None:
        raise AssertionError("it is not ready")


class UartRig(Rig):
    """A powered STM32 on a line and on a bus. `synchronised`: 0x7F was sent and answered."""

    def __init__(
        self,
        *,
        rate: int = 115_200,
        parity: int | None = EVEN,
        bits: int = 8,
        synchronised: bool = True,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.line = Line(self.clock)
        self.line.connect(self.chip.usart)
        self.format = Format(rate, parity, bits)
        self.end = End(self.clock, self.format)
        self.line.to_host.receiver = self.end
        if synchronised:
            assert self.say(SYNC) == ACK

    @property
    def byte_time(self) -> int:
        """ns of a byte from the loader, whose rate is that of its own clock."""
        assert self.chip.usart.format is not None
        return frame_time(self.chip.usart.format)

    def hand_over(self, data: bytes) -> None:
        """Send bytes, up to the end of the last one."""
        self.clock.advance_to(self.line.to_target.send(data, self.format))

    def hear(self, count: int, limit_ms: float = 100) -> bytes:
        """What arrives until there are `count` bytes, or until the limit."""
        end = self.end
        limit = self.clock.now + int(limit_ms * NS_PER_MS)
        self.clock.advance_until(lambda: len(end.received) >= count, limit)
        data = bytes(end.received[:count])
        del end.received[:count]
        return data

    def say(self, packet: bytes) -> int | None:
        """A packet and the status after it; None if there is none."""
        self.hand_over(packet)
        answer = self.hear(1)
        return answer[0] if answer else None

    def order(self, code: int) -> int | None:
        return self.say(bytes([code, code ^ 0xFF]))

    def put(self, address: int, data: bytes) -> int | None:
        """Write Memory."""
        for packet in (b"\x31\xce", word(address)):
            status = self.say(packet)
            if status != ACK:
                return status
        return self.say(data_frame(data))

    def get(self, address: int, count: int) -> bytes | None:
        """Read Memory; None if it was refused."""
        packets = (b"\x11\xee", word(address), bytes([count - 1, count - 1 ^ 0xFF]))
        if any(self.say(packet) != ACK for packet in packets):
            return None
        return self.hear(count)

    def erase_pages(self, *pages: int) -> int | None:
        status = self.order(0x44)
        return self.say(pages_packet(*pages)) if status == ACK else status

    def answers(self) -> bool:
        """Whether a loader answers correctly, and nothing else was waiting."""
        self.hear(1000, limit_ms=30)
        return self.say(b"\x01\xfe") == ACK and self.hear(5) == b"\x31\x00\x00\x79"


def pages_packet(*pages: int) -> bytes:
    body = b"".join(number.to_bytes(2, "big") for number in (len(pages) - 1, *pages))
    return body + bytes([xor(body)])
