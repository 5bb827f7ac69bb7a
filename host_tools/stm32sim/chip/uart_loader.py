"""The loader over UART: AN3155's packets in a stream of bytes, and an ACK after each.

There is no timeout: a host that stops within a command finds the loader there, until it has sent
the missing bytes or resets the chip [V OPENBL]. There are no No-Stretch commands, and no BUSY: a
status comes by itself when it is due.
"""

from __future__ import annotations

from collections.abc import Generator

from stm32sim.chip.loader import Loader
from stm32sim.chip.loader_steps import ACK, MAX_ERASE_PAGES, Chip, xor
from stm32sim.chip.polled import Program, Wait
from stm32sim.chip.polled_usart import PolledUsart
from stm32sim.chip.quirks import Quirks

# The list that Get answers: AN3155 section 3.1, with 0x44 for 0x43.
COMMANDS = bytes.fromhex("0001021121314463738292")
CHECKSUM = b"\xa1"


class UartLoader(Loader, PolledUsart):
    """The loader running in a chip, whose USART has just received 0x7F. `connection`: ns until
    its ACK."""

    protocol_version = 0x31  # V3.1, of a G071 and a C031 [V AN2606 table 3]
    option_bytes_sent = bytes(2)  # AN3155 section 3.2: "for compatibility"
    unprotect_ack = "early"  # [V OPENBL]

    def __init__(self, chip: Chip, quirks: Quirks, connection: int) -> None:
        self._usart = chip.usart
        self._connection = connection
        self.codes = COMMANDS
        if quirks.checksum_over_uart:
            self.codes, self.protocol_version = COMMANDS + CHECKSUM, 0x33
        self._served = self.codes
        super().__init__(chip, quirks)

    def _main(self) -> Program:
        self._compute(self._connection)
        yield Wait.IDLE
        yield from self._status(ACK)
        yield from super()._main()

    def _launches(self) -> bool:
        return self.quirks.launches_options_over_uart

    def _receive_code(self) -> Generator[Wait, int, int | None]:
        frame = yield from self._receive_packet(2, check=0xFF)
        return None if frame is None else frame[0]

    def _receive_packet(self, length: int, check: int = 0) -> Generator[Wait, int, bytes | None]:
        self._faulty = False
        packet = yield from self._receive(length)
        return packet if xor(packet) == check and self._acceptable() else None

    def _acceptable(self) -> bool:
        return not self._faulty or self.quirks.line_errors == "taken"

    def _receive_counted(self) -> Generator[Wait, int, tuple[bytes, bool]]:
        self._faulty = False
        count = (yield from self._receive(1))[0]
        rest = yield from self._receive(count + 2)
        return rest[:-1], count == xor(rest) and self._acceptable()

    def _receive_sector_codes(self) -> Generator[Wait, int, bytes | None]:
        codes, sound = yield from self._receive_counted()
        return codes if sound else None

    def _receive_erase(self) -> Generator[Wait, int, tuple[int, bytes] | None]:
        """One packet with one checksum. All of it is read before it is refused."""
        self._faulty = False
        head = yield from self._receive(2)
        count = int.from_bytes(head, "big")
        special = count & 0xFFF0 == 0xFFF0
        rest = yield from self._receive(1 if special else 2 * count + 3)
        if xor(head + rest) or not self._acceptable():
            return None
        if not special and count >= MAX_ERASE_PAGES:
            return None  # as over I2C [strict: OPENBL erases what fits into its buffer]
        return count, rest[:-1]

    def _status(self, byte: int) -> Program:
        yield from self._send(bytes([byte]))

    def _send_reply(self, data: bytes) -> Program:
        yield from self._send(data)

    def _send_in_part(self, data: bytes) -> Program:
        yield from self._send(data)

    def _wait_until_idle(self, no_stretch: bool) -> Program:
        while self._busy():
            yield Wait.IDLE
