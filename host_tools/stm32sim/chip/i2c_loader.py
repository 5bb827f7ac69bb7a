"""The loader over I2C: AN4221's frames, each one transaction, with a status read after it."""

from __future__ import annotations

from collections.abc import Generator

from stm32sim.chip.loader import Loader
from stm32sim.chip.loader_steps import ACK, BUSY, MAX_ERASE_PAGES, Chip, xor
from stm32sim.chip.polled import Program, Wait
from stm32sim.chip.polled_i2c import NO_BYTE, TOGETHER, PolledI2C
from stm32sim.chip.quirks import Quirks

_NOBODY = -1  # as an I2C address: the peripheral is switched off

# The list that Get answers, in the order of AN4221 section 2.1 for V1.2.
COMMANDS = bytes.fromhex("0001021121314463738292" + "324564748393a1")


class I2CLoader(Loader, PolledI2C):
    """The loader running in a chip; an I2CDevice."""

    def __init__(self, chip: Chip, quirks: Quirks) -> None:
        self.address = chip.family.address
        self.patience = chip.family.timeout
        self.protocol_version = chip.family.protocol
        self._stop_due = False  # of a frame that was executed before its end
        self.codes = COMMANDS[:-1] if quirks.checksum == "unlisted" else COMMANDS
        self._served = COMMANDS if quirks.checksum == "served" else COMMANDS[:-1]
        self.unprotect_ack = quirks.unprotect_ack
        self.connection_stretch = quirks.connection_stretch
        super().__init__(chip, quirks)

    def _give_up(self) -> None:
        self.chip.system_reset()

    def _selected_by_host(self) -> None:
        """The first activity selects the interface: the others are off until the next reset [V
        AN2606]."""
        self.chip.usart.off()

    def _survives_empty_frame(self) -> bool:
        return self.quirks.survives_probe

    def _idle_patience(self) -> int | None:
        return self.quirks.idle_timeout

    def _hide(self, hidden: bool) -> None:
        if self.quirks.unprotect_answer == "nack":
            self.address = _NOBODY if hidden else self.chip.family.address

    def _receive_code(self) -> Generator[Wait, int, int | None]:
        while True:
            self._expected = 2
            came = yield Wait.ADDRESS_FOREVER
            self._expected = 0
            if came == TOGETHER:
                code, complement = self._incoming
            else:
                code = yield Wait.FIRST_BYTE
                if code == NO_BYTE:
                    yield Wait.STOP
                    continue
                complement = (yield from self._receive(1))[0]
                yield Wait.STOP
            return code if code ^ complement == 0xFF else None

    def _receive_packet(self, length: int, check: int = 0) -> Generator[Wait, int, bytes | None]:
        frame = yield from self._receive_frame(length)
        return frame if xor(frame) == check else None

    def _receive_counted(self) -> Generator[Wait, int, tuple[bytes, bool]]:
        yield Wait.ADDRESS
        count = (yield from self._receive(1))[0]
        rest = yield from self._receive(count + 2)
        self._stop_due = True
        return rest[:-1], count == xor(rest)

    def _receive_sector_codes(self) -> Generator[Wait, int, bytes | None]:
        """Number of codes less one, then the codes and their XOR. Valid codes take effect before
        their STOP [V OPENBL]."""
        if self.quirks.write_protect_in_one_frame:
            codes, sound = yield from self._receive_counted()
            return codes if sound else None
        count = yield from self._receive_packet(2, check=0xFF)
        if count is None:
            return None
        yield from self._answer(ACK)
        yield Wait.ADDRESS
        received = yield from self._receive(count[0] + 2)
        self._stop_due = True
        return None if xor(received) else received[:-1]

    def _receive_erase(self) -> Generator[Wait, int, tuple[int, bytes] | None]:
        """The number or the special code, and the page list, in separate frames."""
        frame = yield from self._receive_packet(3)
        if frame is None:
            return None
        count = int.from_bytes(frame[:2], "big")
        if count & 0xFFF0 == 0xFFF0:
            return count, b""
        if count >= MAX_ERASE_PAGES:
            return None
        yield from self._answer(ACK)
        pages = yield from self._receive_packet(2 * count + 3)
        return None if pages is None else (count, pages[:-1])

    def _status(self, byte: int) -> Program:
        """In a read frame of its own."""
        if self._stop_due:
            self._stop_due = False
            yield Wait.STOP
        yield from self._send_frame(bytes([byte]))

    def _send_reply(self, data: bytes) -> Program:
        yield from self._send_frame(data)

    def _send_in_part(self, data: bytes) -> Program:
        yield Wait.ADDRESS
        if data:
            yield from self._send(data)

    def _wait_until_idle(self, no_stretch: bool) -> Program:
        """A No-Stretch command answers reads meanwhile with BUSY, and does nothing else until that
        is read."""
        while self._busy():
            if not no_stretch or self.quirks.stretches_anyway:
                yield Wait.IDLE
                continue
            yield Wait.IDLE_OR_ADDRESS
            if self._busy():
                self.chip.flash.end_run()
                yield from self._answer(BUSY)
