"""The commands of ST's ROM bootloader ("loader") of the STM32G07x/08x, in both of its protocols:
AN4221 (I2C) and AN3155 (UART). Frames and packets are those of the transport, see LoaderSteps.

The program has the assumed structure of the ROM: straight-line code that waits for flags of a
peripheral, see polled.py.

Evidence: AN4221 rev 14 and AN3155; ST's open bootloader (OPENBL) for what happens between frames;
AN2606 for the versions. If the sources do not say, the simulator refuses.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Generator

from stm32sim.chip.crc import crc_stm32
from stm32sim.chip.flash import FLASH_START, GRANULE
from stm32sim.chip.loader_steps import ACK, NACK, Chip, Memory, Refused, xor
from stm32sim.chip.option_bytes import OPTION_LENGTH, OPTION_START, registers_written
from stm32sim.chip.polled import Program, Wait
from stm32sim.chip.protection import Protection
from stm32sim.chip.quirks import Quirks

CRC_WORD = 500  # ns: 12 cycles of the loader's 24 MHz for each word [R]
SYSTEM_MEMORY_START = 0x1FFF_0000

_RAM_NOISE = random.Random(0).randbytes(264)  # content of the payload buffer after power-on


class Loader(Protection):
    """The commands of a loader running in a chip."""

    def __init__(self, chip: Chip, quirks: Quirks) -> None:
        self._buffer = bytearray(_RAM_NOISE)  # payload; its old content stays (OPENBL-G0)
        super().__init__(chip, quirks)

    def _main(self) -> Program:
        handlers: dict[int, Callable[[], Program]] = {
            0x00: self._get,
            0x01: self._get_version,
            0x02: self._get_id,
            0x11: self._read_memory,
            0x21: self._go,
            0x31: lambda: self._write_memory(False),
            0x32: lambda: self._write_memory(True),
            0x44: lambda: self._erase(False),
            0x45: lambda: self._erase(True),
            0x63: lambda: self._write_protect(False),
            0x64: lambda: self._write_protect(True),
            0x73: lambda: self._write_unprotect(False),
            0x74: lambda: self._write_unprotect(True),
            0x82: lambda: self._readout_protect(False),
            0x83: lambda: self._readout_protect(True),
            0x92: lambda: self._readout_unprotect(False),
            0x93: lambda: self._readout_unprotect(True),
            0xA1: self._get_checksum,
        }
        while True:
            code = yield from self._receive_code()
            if code is None or code not in self._served:
                yield from self._answer(NACK)
            else:
                with contextlib.suppress(Refused):
                    yield from handlers[code]()

    def _get(self) -> Program:
        yield from self._answer(ACK)
        yield from self._send_reply(bytes([len(self.codes), self.protocol_version]) + self.codes)
        yield from self._answer(ACK)

    def _get_version(self) -> Program:
        yield from self._answer(ACK)
        yield from self._send_reply(bytes([self.protocol_version]) + self.option_bytes_sent)
        yield from self._answer(ACK)

    def _get_id(self) -> Program:
        yield from self._answer(ACK)
        yield from self._send_reply(b"\x01" + self.quirks.product_id.to_bytes(2, "big"))
        yield from self._answer(ACK)

    def _allowed_address(
        self, suits: Callable[[Memory, int], bool]
    ) -> Generator[Wait, int, tuple[Memory, int] | None]:
        """The beginning of Read, Go and Write: check protection, then receive an address in a
        suitable memory; None after NACK."""
        if not (yield from self._allowed()):
            return None
        address = yield from self._receive_word()
        memory = None if address is None else self.chip.memory_at(address)
        if address is None or memory is None or not suits(memory, address):
            yield from self._answer(NACK)
            return None
        yield from self._answer(ACK)
        return memory, address

    def _read_memory(self) -> Program:
        place = yield from self._allowed_address(lambda memory, address: True)
        if place is None:
            return
        _, address = place
        count = yield from self._receive_packet(2, check=0xFF)
        if count is None:
            yield from self._answer(NACK)
            return
        yield from self._answer(ACK)
        yield from self._wait_until_idle(no_stretch=False)  # a read stalls while the flash is busy
        length = count[0] + 1
        sound = self._sound_bytes(address, length)
        if len(sound) == length:
            yield from self._send_reply(sound)
            return
        yield from self._send_in_part(sound)
        yield from self._fault()

    def _sound_bytes(self, address: int, length: int, protected_too: bool = False) -> bytes:
        """The bytes that the CPU can read from `address` on. They end before a torn granule and at
        the end of the memory; none in flash that readout protection closes."""
        memory = self.chip.memory_at(address)
        if memory is None:
            return b""
        length = min(length, memory.end - address)
        if memory.name == "flash":
            if not (protected_too or self.chip.flash_readable):
                return b""
            length = self.chip.flash.sound_length(address - memory.start, length)
        return self.chip.peek(address, length) if length else b""

    def _fault(self) -> Program:
        """The CPU gets an ECC error (NMI) or a bus error in a read and never recovers by
        itself."""
        if self.quirks.ecc_error == "reset":
            self.chip.system_reset()
        yield Wait.EVER

    def _hard_fault(self) -> Program:
        """The CPU gets a bus error or makes an unaligned access in a write."""
        self.chip.hard_fault()
        yield Wait.EVER

    def _go(self) -> Program:
        """Jump to any address in flash or RAM, and nowhere else [V OPENBL]."""
        place = yield from self._allowed_address(_is_flash_or_ram)
        if place is None:
            return
        _, address = place
        yield from self._wait_until_idle(no_stretch=False)  # the vectors are read first
        self.chip.jump(address)
        yield Wait.EVER

    def _write_memory(self, no_stretch: bool) -> Program:
        """Over I2C valid data is written before the STOP of its frame [V OPENBL], but without that
        STOP there is no status [strict: OPENBL never waits for it]."""
        place = yield from self._allowed_address(_is_writable)
        if place is None:
            return
        memory, address = place
        data, sound = yield from self._receive_counted()
        length = len(data)
        self._buffer[:length] = data
        too_long = memory.name == "options" and length > OPTION_LENGTH  # [strict; OPENBL-G0 cuts]
        if not sound or too_long:
            yield from self._answer(NACK)
            return
        if memory.name == "options":
            values = registers_written(bytes(self._buffer[:length]))
            yield from self._program_options([values], no_stretch)
            return
        if memory.name == "ram":
            yield from self._write_ram(address, length, memory)
        else:
            yield from self._program_flash(address, length, memory, no_stretch)
        yield from self._answer(ACK)  # in any case: OPENBL ignores the result

    def _write_ram(self, address: int, length: int, memory: Memory) -> Program:
        """Word by word, as OPENBL-G0 does: if the length is not a multiple of 4, stale bytes are
        written too; an unaligned word or one beyond the end is a fault [D]."""
        length = (length + 3) // 4 * 4
        if address % 4 or address + length > memory.end:
            yield from self._hard_fault()
        flip = 0xFF if self.quirks.damages_ram else 0
        self.chip.poke_ram(address, bytes(byte ^ flip for byte in self._buffer[:length]))

    def _program_flash(
        self, address: int, length: int, memory: Memory, no_stretch: bool
    ) -> Program:
        """Double word by double word, each as two words; if the length is not a multiple of 8,
        stale bytes are written too. An address that is not a multiple of 4 is an unaligned access,
        one that is not a multiple of 8 a flash error; beyond the end of flash is a bus error
        [D]."""
        flash = self.chip.flash
        end = -(-length // GRANULE) * GRANULE
        index = 0
        while index < end:
            if address % 4 or address + index >= memory.end:
                yield from self._hard_fault()
            data = bytes(self._buffer[index:end])
            flash.start_program_run(address - memory.start + index, data)
            yield from self._wait_until_idle(no_stretch)
            index += flash.run_length * GRANULE

    def _erase(self, no_stretch: bool) -> Program:
        if not (yield from self._allowed()):
            return
        received = yield from self._receive_erase()
        if received is None:
            yield from self._answer(NACK)
            return
        count, pages = received
        if count & 0xFFF0 == 0xFFF0:
            yield from self._mass_erase(count, no_stretch)
        else:
            yield from self._erase_pages(pages, no_stretch)

    def _mass_erase(self, code: int, no_stretch: bool) -> Program:
        """0xFFFF; the bank erases do not exist on a single-bank part. The result is reported."""
        flash = self.chip.flash
        if code != 0xFFFF:
            yield from self._answer(NACK)
            return
        done = flash.start_mass_erase()
        yield from self._wait_until_idle(no_stretch)
        yield from self._answer(ACK if done else NACK)

    def _erase_pages(self, pages: bytes, no_stretch: bool) -> Program:
        """Errors of pages are never reported (OPENBL)."""
        flash = self.chip.flash
        no_stretch = no_stretch and not self.quirks.erase_stretches
        for index in range(0, len(pages), 2):
            page = self.chip.page_of(int.from_bytes(pages[index : index + 2], "big"))
            in_bank_2 = page is not None and page >= flash.pages // 2
            if index and in_bank_2 and self.quirks.one_page_in_bank_2:
                continue
            flash.start_page_erase(flash.pages if page is None else page)
            if not self.quirks.does_not_wait_for_erase:
                yield from self._wait_until_idle(no_stretch)
        yield from self._answer(ACK)

    def _get_checksum(self) -> Program:
        """0xA1: CRC-32 as the STM32's CRC unit computes it (AN4221 section 2.20)."""
        if not (yield from self._allowed(up_to=1)):
            return
        address = yield from self._receive_word()
        if address is None or not self._in_flash(address):
            yield from self._answer(NACK)
            return
        yield from self._answer(ACK)
        size = yield from self._receive_word()
        if not size or size % 4 or address % 4 or not self._in_flash(address + size - 1):
            yield from self._answer(NACK)
            return
        yield from self._answer(ACK)
        yield from self._wait_until_idle(no_stretch=True)
        data = self._sound_bytes(address, size, self.quirks.checksum_when_protected)
        if len(data) < size:
            yield from self._fault()
        self._compute(size // 4 * CRC_WORD)
        yield from self._wait_until_idle(no_stretch=True)
        crc = crc_stm32(data).to_bytes(4, "big")
        yield from self._answer(ACK)
        yield from self._send_reply(crc + bytes([xor(crc)]))

    def _in_flash(self, address: int) -> bool:
        return FLASH_START <= address < FLASH_START + self.chip.flash.size


def _is_flash_or_ram(memory: Memory, address: int) -> bool:
    return memory.name in ("flash", "ram")


def _is_writable(memory: Memory, address: int) -> bool:
    """Option bytes can only be written from their start [V AN4221 2.6; strict: OPENBL accepts any
    address inside them]."""
    if memory.name == "options":
        return address == OPTION_START
    return _is_flash_or_ram(memory, address)
