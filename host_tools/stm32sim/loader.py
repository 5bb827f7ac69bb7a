"""ST's ROM bootloader ("loader") of the STM32G07x/08x as seen over I2C: AN4221, frame by frame.

The program is written as the ROM is believed to be: straight-line code that waits for flags of the
I2C peripheral, see polled_i2c.py.

Evidence: AN4221 rev 14 for frames; ST's open bootloader (OPENBL) for what happens between them;
AN2606 for the versions. Where the sources are silent the simulator refuses.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Protocol

from stm32sim.clock import NS_PER_MS, NS_PER_S, NS_PER_US, Clock
from stm32sim.flash import FLASH_START, GRANULE, Flash
from stm32sim.option_bytes import (
    OPTION_LENGTH,
    OPTION_START,
    OPTR,
    RDP_LEVEL_0,
    RDP_LEVEL_1,
    WRP1AR,
    WRP1BR,
    OptionBytes,
    registers_written,
    write_protected_area,
)
from stm32sim.polled_i2c import NO_BYTE, PolledI2C, Program, Wait

ACK, NACK, BUSY = 0x79, 0x1F, 0x76  # AN4221 section 2
PRODUCT_ID = 0x460  # G07x/08x, AN2606 table 226
PROTOCOL_VERSION = 0x12  # I2C protocol V1.2, AN2606 table 107
I2C_ADDRESS = 0x51  # AN2606 table 107
TIMEOUT = 1 * NS_PER_S  # AN2606 table 230: 1000 ms, then a system reset
CONNECTION = 2 * NS_PER_US  # AN2606 table 230: stretch at the first address match
CRC_WORD = 500  # ns: 12 cycles of the loader's 24 MHz for each word [R]
MAX_ERASE_PAGES = 512  # AN4221 section 2.7
SYSTEM_MEMORY_START = 0x1FFF_0000
LOADER_ID_ADDRESS = 0x1FFF_6FFE  # AN2606 table 3; 0xBn means V11.n

# The list that Get answers, in the order of AN4221 section 2.1 for V1.2.
COMMANDS = bytes.fromhex("0001021121314463738292" + "324564748393a1")

FOR_EVER = 10 * 365 * 24 * 3600 * NS_PER_S  # longer than any world lasts
_WRITABLE = ("flash", "ram")
_NOBODY = -1  # as an I2C address: the peripheral is switched off
_RAM_NOISE = random.Random(0).randbytes(264)  # what power-on leaves in the payload buffer


@dataclass(frozen=True)
class Quirks:
    """How a loader version misbehaves (AN2606 table 108) and what the sources leave open."""

    version: int  # 1 is V11.1
    product_id: int = PRODUCT_ID
    clears_empty_flag: bool = False
    does_not_wait_for_erase: bool = False
    connection_stretch: int = CONNECTION  # ns SCL is held at the first address match
    survives_probe: bool = False  # a zero-length write; [?] V1.2 is said to bear i2cdetect
    ecc_error: str = "hang"  # what a fault of its CPU leads to: "hang" or "reset" [?]
    stretches_anyway: bool = False  # No-Stretch commands too, as G05x and F723 were seen to do
    has_checksum: bool = True  # 0xA1; V1.2 has it [V AN4221], a G070 was seen to refuse it
    erase_clears_errors: bool = False  # of earlier flash operations; OPENBL-G0 does, the ROM [?]
    # ns a connected loader waits for the next command: None in AN2606 and OPENBL, but OPENBL's
    # port to the G0C1 resets itself there too.
    idle_timeout: int | None = None
    # Status after option bytes were written (Write Memory, Write (Un)protect, Readout Protect;
    # they are torn by whatever resets the chip before they are programmed):
    # "before" the launch that resets the chip; "early", while they are still being programmed
    # [V OPENBL-G0: it does not wait]; or "lost" in that reset [AN4221 2.6; D].
    option_ack: str = "before"
    # Readout Unprotect. Second status: "late", when all is done [V AN4221]; "early", before
    # anything begins [V OPENBL]; or "never".
    unprotect_ack: str = "late"
    # What a read meets meanwhile: "busy" (0x93; 0x92 stretches), "stretch", or "nack": nobody at
    # the address [V AN4221, OPENBL; which of them is open].
    unprotect_answer: str = "busy"
    # ns it takes beyond its time: the option page stays erased so long [D: a G071 was seen BUSY
    # for 40 s and was locked by the reset that followed]. FOR_EVER: it never ends.
    unprotect_delay: int = 0
    erases_first: bool = True  # False: option bytes are rewritten before flash is erased [?]
    write_protect_in_one_frame: bool = False  # OPENBL wants the length in a frame of its own
    # The checksum command is listed as available under level 1 [V AN4221 table 2], where flash
    # is a bus error to a loader [V RM0490 4.5]: False takes the second for true.
    checksum_when_protected: bool = False

    def __post_init__(self) -> None:
        for value, known in (
            (self.ecc_error, ("hang", "reset")),
            (self.option_ack, ("before", "early", "lost")),
            (self.unprotect_ack, ("late", "early", "never")),
            (self.unprotect_answer, ("busy", "nack", "stretch")),
        ):
            if value not in known:
                raise ValueError(f"no such quirk: {value!r}; there are {', '.join(known)}")


def quirks_of(version: int, *, pc11_low: bool = False) -> Quirks:
    """Quirks of V11.`version`; `pc11_low`: USART3_RX is low, which V11.3 takes for a start bit."""
    if version not in (0, 1, 2, 3, 4):
        raise ValueError(f"loader V11.{version} is not modelled")
    flawed = version == 3
    stretch = 40 * NS_PER_MS if flawed and pc11_low else CONNECTION
    return Quirks(
        version,
        clears_empty_flag=flawed,
        does_not_wait_for_erase=flawed,
        connection_stretch=stretch,
    )


@dataclass(frozen=True)
class Memory:
    """Addresses [start, end) of one kind."""

    name: str  # "flash", "ram", "options"; or read-only: "system", "otp", "engineering"
    start: int
    end: int


class Chip(Protocol):
    """What the loader needs of the chip it runs in."""

    clock: Clock
    flash: Flash

    @property
    def option_bytes(self) -> OptionBytes: ...
    @property
    def rdp_level(self) -> int:
        """Readout protection, as loaded: 0, 1 or 2."""
        ...

    @property
    def flash_readable(self) -> bool:
        """Whether readout protection lets a loader read main flash."""
        ...

    def start_options(self, values: Mapping[int, int], longer: int = 0) -> bool:
        """OPTSTRT: erase and rewrite the option page; whether it began."""
        ...

    def launch_options(self) -> None:
        """OBL_LAUNCH: load option bytes and reset."""
        ...

    def memory_at(self, address: int) -> Memory | None:
        """The memory an address is in; None where the loader refuses it."""
        ...

    def peek(self, address: int, length: int) -> bytes:
        """Bytes inside one memory."""
        ...

    def poke_ram(self, address: int, data: bytes) -> None: ...
    def system_reset(self) -> None: ...
    def jump(self, address: int) -> None: ...
    def set_empty_flag(self, value: bool) -> None: ...


class NotModelled(Exception):
    """A host used something this simulator has no honest answer for."""


class Loader(PolledI2C):
    """The loader running in a chip; an I2CDevice."""

    address = I2C_ADDRESS
    patience = TIMEOUT

    def __init__(self, chip: Chip, quirks: Quirks) -> None:
        self.chip = chip
        self.quirks = quirks
        self._buffer = bytearray(_RAM_NOISE)  # payload; keeps what was in it (OPENBL-G0)
        self._computing_until = 0
        if quirks.clears_empty_flag:
            chip.set_empty_flag(False)
        super().__init__(chip.clock, quirks.connection_stretch)
        chip.flash.on_ready = self._run

    def halt(self) -> None:
        """Power loss or reset: nothing of this loader happens any more."""
        self._running = False
        self.chip.flash.on_ready = None

    def _busy(self) -> bool:
        return self.chip.flash.busy or self._clock.now < self._computing_until

    def _give_up(self) -> None:
        self.chip.system_reset()

    def _survives_empty_frame(self) -> bool:
        return self.quirks.survives_probe

    def _idle_patience(self) -> int | None:
        return self.quirks.idle_timeout

    # --- small steps ---

    def _answer(self, byte: int) -> Program:
        """One status byte in a read frame of its own."""
        return self._send_frame(bytes([byte]))

    def _receive_word(self) -> Generator[Wait, int, int | None]:
        """Four bytes MSB first and their XOR; None if that is wrong."""
        frame = yield from self._receive_frame(5)
        if _xor(frame) != 0:
            return None
        return int.from_bytes(frame[:4], "big")

    def _wait_until_idle(self, no_stretch: bool) -> Program:
        """Until the operation is over; a No-Stretch command answers reads meanwhile with BUSY."""
        while self._busy():
            if not no_stretch or self.quirks.stretches_anyway:
                yield Wait.IDLE
                continue
            yield Wait.IDLE_OR_ADDRESS
            if self._busy():
                yield from self._answer(BUSY)

    def _compute(self, duration: int) -> None:
        """Keep the CPU busy for `duration` ns."""
        self._computing_until = self._clock.now + duration
        self._clock.at(self._computing_until, self._run)

    # --- the program ---

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
        known = COMMANDS if self.quirks.has_checksum else COMMANDS[:-1]
        while True:
            yield Wait.ADDRESS_FOR_EVER
            code = yield Wait.FIRST_BYTE
            if code == NO_BYTE:
                yield Wait.STOP
                continue
            complement = (yield from self._receive(1))[0]
            yield Wait.STOP
            if code ^ complement != 0xFF or code not in known:
                yield from self._answer(NACK)
            else:
                yield from handlers[code]()

    def _allowed(self, up_to: int = 0) -> Generator[Wait, int, bool]:
        """The status after the code of a command that readout protection above level `up_to`
        forbids. Only Get, Get Version and Get ID work at level 2 [V AN2606]."""
        allowed = self.chip.rdp_level <= up_to
        yield from self._answer(ACK if allowed else NACK)
        return allowed

    def _get(self) -> Program:
        yield from self._answer(ACK)
        yield from self._send_frame(bytes([len(COMMANDS), PROTOCOL_VERSION]) + COMMANDS)
        yield from self._answer(ACK)

    def _get_version(self) -> Program:
        yield from self._answer(ACK)
        yield from self._send_frame(bytes([PROTOCOL_VERSION]))
        yield from self._answer(ACK)

    def _get_id(self) -> Program:
        yield from self._answer(ACK)
        yield from self._send_frame(b"\x01" + self.quirks.product_id.to_bytes(2, "big"))
        yield from self._answer(ACK)

    def _readable_address(self) -> Generator[Wait, int, int | None]:
        """How Read and Go begin: protection, then an address in known memory; None after NACK."""
        if not (yield from self._allowed()):
            return None
        address = yield from self._receive_word()
        if address is None or self.chip.memory_at(address) is None:
            yield from self._answer(NACK)
            return None
        yield from self._answer(ACK)
        return address

    def _read_memory(self) -> Program:
        address = yield from self._readable_address()
        if address is None:
            return
        count, complement = yield from self._receive_frame(2)
        if count ^ complement != 0xFF:
            yield from self._answer(NACK)
            return
        yield from self._answer(ACK)
        yield from self._wait_until_idle(no_stretch=False)  # a read stalls while the flash is busy
        length = count + 1
        sound = self._sound_bytes(address, length)
        if len(sound) == length:
            yield from self._send_frame(sound)
            return
        yield Wait.ADDRESS
        if sound:
            yield from self._send(sound)
        yield from self._fault()

    def _sound_bytes(self, address: int, length: int, protected_too: bool = False) -> bytes:
        """What the CPU can read from `address` on: it ends before a torn granule, where the
        memory ends, and at once in flash that readout protection shuts."""
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
        """The CPU meets an ECC error (NMI), a bus error or an unaligned access (HardFault): it
        never comes back by itself."""
        if self.quirks.ecc_error == "reset":
            self.chip.system_reset()
        yield Wait.EVER

    def _go(self) -> Program:
        address = yield from self._readable_address()
        if address is None:
            return
        yield from self._wait_until_idle(no_stretch=False)  # the vectors are read first
        self.chip.jump(address)
        yield Wait.EVER

    def _write_memory(self, no_stretch: bool) -> Program:
        if not (yield from self._allowed()):
            return
        address = yield from self._receive_word()
        memory = None if address is None else self.chip.memory_at(address)
        if address is None or memory is None or not _is_writable(memory, address):
            yield from self._answer(NACK)
            return
        yield from self._answer(ACK)
        yield Wait.ADDRESS
        code = (yield from self._receive(1))[0]
        length = code + 1
        data = yield from self._receive(length + 1)
        self._buffer[:length] = data[:length]
        yield Wait.STOP
        too_long = memory.name == "options" and length > OPTION_LENGTH  # [strict; OPENBL-G0 cuts]
        if code ^ _xor(data) != 0 or too_long:
            yield from self._answer(NACK)
            return
        if memory.name == "options":
            values = registers_written(bytes(self._buffer[:length]))
            yield from self._program_options(values, no_stretch)
        elif memory.name == "ram":
            yield from self._write_ram(address, length, memory)
        else:
            yield from self._program_flash(address, length, memory, no_stretch)
        yield from self._answer(ACK)  # whatever became of it: OPENBL ignores the result

    def _write_ram(self, address: int, length: int, memory: Memory) -> Program:
        """Word by word, as OPENBL-G0 does: a length that is no multiple of 4 takes stale bytes
        along, an unaligned word or one beyond the end is a fault [D]."""
        length = (length + 3) // 4 * 4
        if address % 4 or address + length > memory.end:
            yield from self._fault()
        self.chip.poke_ram(address, bytes(self._buffer[:length]))

    def _program_flash(
        self, address: int, length: int, memory: Memory, no_stretch: bool
    ) -> Program:
        """Double word by double word; a length that is no multiple of 8 takes stale bytes along.
        Beyond the end of flash is a bus error [D]."""
        flash = self.chip.flash
        for index in range(0, length, GRANULE):
            if address + index >= memory.end:
                yield from self._fault()
            data = bytes(self._buffer[index : index + GRANULE])
            flash.start_program(address - memory.start + index, data)
            yield from self._wait_until_idle(no_stretch)

    def _program_options(self, values: Mapping[int, int], no_stretch: bool) -> Program:
        """Rewrite the option page, tell so, launch. Nobody looks whether the programming began:
        after an earlier error it does not [strict: OPENBL-G0 clears the flags], and the ACK comes
        all the same."""
        ack = self.quirks.option_ack
        self.chip.start_options(values)
        if ack == "early":
            yield from self._answer(ACK)
        yield from self._wait_until_idle(no_stretch)
        if ack == "before":
            yield from self._answer(ACK)
        yield from self._launch()

    def _launch(self) -> Program:
        """Over I2C every version reloads option bytes: V11.2 forgets to only over USART."""
        self.chip.launch_options()
        yield Wait.EVER

    def _write_protect(self, no_stretch: bool) -> Program:
        """Pairs of first and last page, area A, then B; unchecked [V OPENBL-G0]. An area without
        its pair stays as it is."""
        if not (yield from self._allowed()):
            return
        codes = yield from self._receive_sector_codes()
        if codes is None:
            yield from self._answer(NACK)
            return
        values = {}
        for index, register in enumerate((WRP1AR, WRP1BR)):
            pair = codes[2 * index : 2 * index + 2]
            if len(pair) == 2:
                values[register] = write_protected_area(*pair)
        yield from self._program_options(values, no_stretch)

    def _receive_sector_codes(self) -> Generator[Wait, int, bytes | None]:
        """Number of codes less one, then the codes and their XOR; None if a checksum is wrong."""
        if self.quirks.write_protect_in_one_frame:
            yield Wait.ADDRESS
            count = (yield from self._receive(1))[0]
            codes = yield from self._receive(count + 2)
            yield Wait.STOP
            return None if count ^ _xor(codes) else codes[:-1]
        count, complement = yield from self._receive_frame(2)
        if count ^ complement != 0xFF:
            return None
        yield from self._answer(ACK)
        codes = yield from self._receive_frame(count + 2)
        return None if _xor(codes) else codes[:-1]

    def _write_unprotect(self, no_stretch: bool) -> Program:
        if (yield from self._allowed()):
            none = write_protected_area(0x3F, 0)
            yield from self._program_options({WRP1AR: none, WRP1BR: none}, no_stretch)

    def _readout_protect(self, no_stretch: bool) -> Program:
        if (yield from self._allowed()):
            yield from self._program_options(self._optr_with(RDP_LEVEL_1), no_stretch)

    def _optr_with(self, rdp: int) -> dict[int, int]:
        return {OPTR: self.chip.option_bytes.word(OPTR) & ~0xFF | rdp}

    def _readout_unprotect(self, no_stretch: bool) -> Program:
        """Flash is erased and option bytes are rewritten for level 0, at level 0 too. NACK if the
        erase is refused: at level 0 it heeds write protection [D from AN4221 2.11, RM0490 4.3].
        What is refused leaves the error flag set, so nothing after it begins either."""
        if not (yield from self._allowed(up_to=1)):
            return
        quirks = self.quirks
        if quirks.unprotect_ack == "early":
            yield from self._answer(ACK)
        if quirks.unprotect_answer == "nack":
            self.address = _NOBODY
        answers = no_stretch and quirks.unprotect_answer == "busy"
        steps = [self._start_unprotect_erase, self._start_unprotect_options]
        done = False
        for start in steps if quirks.erases_first else reversed(steps):
            done = start()
            yield from self._wait_until_idle(answers)
        self.address = I2C_ADDRESS
        if quirks.unprotect_ack == "late":
            yield from self._answer(ACK if done else NACK)
        if done:
            yield from self._launch()

    def _start_unprotect_erase(self) -> bool:
        protected = self.chip.rdp_level == 1
        return self.chip.flash.start_mass_erase(despite_protection=protected)

    def _start_unprotect_options(self) -> bool:
        values = self._optr_with(RDP_LEVEL_0)
        return self.chip.start_options(values, self.quirks.unprotect_delay)

    def _erase(self, no_stretch: bool) -> Program:
        if not (yield from self._allowed()):
            return
        frame = yield from self._receive_frame(3)
        count = int.from_bytes(frame[:2], "big")
        if _xor(frame) != 0:
            yield from self._answer(NACK)
        elif count & 0xFFF0 == 0xFFF0:
            yield from self._mass_erase(count, no_stretch)
        else:
            yield from self._erase_pages(count + 1, no_stretch)

    def _mass_erase(self, code: int, no_stretch: bool) -> Program:
        """0xFFFF; the bank erases do not exist on a single-bank part. The result is reported."""
        flash = self.chip.flash
        if code != 0xFFFF:
            yield from self._answer(NACK)
            return
        done = flash.start_mass_erase()
        yield from self._wait_until_idle(no_stretch)
        yield from self._answer(ACK if done else NACK)

    def _erase_pages(self, count: int, no_stretch: bool) -> Program:
        """The page list in a frame of its own. Errors of pages are never reported (OPENBL)."""
        if count > MAX_ERASE_PAGES:
            yield from self._answer(NACK)
            return
        yield from self._answer(ACK)
        frame = yield from self._receive_frame(2 * count + 1)
        if _xor(frame) != 0:
            yield from self._answer(NACK)
            return
        if self.quirks.erase_clears_errors:
            self.chip.flash.error = False
        for index in range(0, 2 * count, 2):
            self.chip.flash.start_page_erase(int.from_bytes(frame[index : index + 2], "big"))
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
        yield from self._send_frame(crc + bytes([_xor(crc)]))

    def _in_flash(self, address: int) -> bool:
        return FLASH_START <= address < FLASH_START + self.chip.flash.size


def _is_writable(memory: Memory, address: int) -> bool:
    """Option bytes are written from their start on, or not at all [V AN4221 2.6; strict: OPENBL
    takes any address inside them for it]."""
    if memory.name == "options":
        return address == OPTION_START
    return memory.name in _WRITABLE


def _xor(data: bytes) -> int:
    """XOR over `data`; 0 over a frame whose last byte is its checksum."""
    result = 0
    for byte in data:
        result ^= byte
    return result


def crc_stm32(data: bytes) -> int:
    """CRC unit at reset: polynomial 0x04C11DB7, start 0xFFFFFFFF, 32-bit little-endian words."""
    crc = 0xFFFF_FFFF
    for (word,) in struct.iter_unpack("<I", data):
        crc ^= word
        for _ in range(4):
            crc = (crc << 8 & 0xFFFF_FFFF) ^ _CRC_TABLE[crc >> 24]
    return crc


def _crc_of_byte(byte: int) -> int:
    crc = byte << 24
    for _ in range(8):
        crc = (crc << 1 ^ 0x04C1_1DB7 if crc & 0x8000_0000 else crc << 1) & 0xFFFF_FFFF
    return crc


_CRC_TABLE = [_crc_of_byte(byte) for byte in range(256)]
