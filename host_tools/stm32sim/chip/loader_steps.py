"""Parts of the loader's commands, and what they need of the transport."""

from __future__ import annotations

import functools
import operator
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Protocol

from stm32sim.chip.families import G071, Family
from stm32sim.chip.flash import Flash
from stm32sim.chip.option_bytes import OptionBytes
from stm32sim.chip.polled import Polled, Program, Wait
from stm32sim.chip.polled_usart import Usart
from stm32sim.chip.quirks import Quirks
from stm32sim.wires.clock import Clock

ACK, NACK, BUSY = 0x79, 0x1F, 0x76  # AN4221 section 2
I2C_ADDRESS = G071.address
MAX_ERASE_PAGES = 512  # AN4221 section 2.7


@dataclass(frozen=True)
class Memory:
    """Addresses [start, end) of one kind."""

    name: str  # "flash", "ram", "options"; or read-only: "system", "otp", "engineering"
    start: int
    end: int


class Chip(Protocol):
    """The parts of the chip that the loader uses."""

    clock: Clock
    flash: Flash
    usart: Usart
    family: Family

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
        """OPTSTRT: erase and rewrite the option page; return whether it started."""
        ...

    def launch_options(self) -> None:
        """OBL_LAUNCH: load option bytes and reset."""
        ...

    def memory_at(self, address: int) -> Memory | None:
        """The memory that contains an address; None if the loader refuses it."""
        ...

    def peek(self, address: int, length: int) -> bytes:
        """Bytes inside one memory."""
        ...

    def poke_ram(self, address: int, data: bytes) -> None: ...
    def system_reset(self) -> None: ...
    def hard_fault(self) -> None:
        """The CPU stops until an external reset."""
        ...

    def jump(self, address: int) -> None: ...
    def set_empty_flag(self, value: bool) -> None: ...
    def page_of(self, number: int) -> int | None:
        """The page that a number in an erase command means; None: none."""
        ...


class Refused(Exception):
    """A command ended after a NACK from `refuses`."""


class LoaderSteps(Polled):
    """A loader without its commands: what they need of a transport, and parts of them.

    Of the transports, i2c_loader.py has AN4221's and uart_loader.py AN3155's."""

    protocol_version = 0
    option_bytes_sent = b""  # after the version that Get Version answers
    codes = b""  # the commands, in the order of Get's list
    _served = b""  # those of them that are not refused
    unprotect_ack = "late"  # see Quirks

    def __init__(self, chip: Chip, quirks: Quirks) -> None:
        self.chip = chip
        self.quirks = quirks
        self._computing_until = 0
        self.refuses = False  # the next ACK
        if quirks.clears_empty_flag:
            chip.set_empty_flag(False)
        chip.flash.clears_errors = quirks.clears_errors
        super().__init__(chip.clock)
        chip.flash.on_ready = self._run

    def halt(self) -> None:
        """Power loss or reset: this loader stops."""
        self._running = False
        self.chip.flash.on_ready = None

    # --- the transport ---

    def _receive_code(self) -> Generator[Wait, int, int | None]:
        """The code of a command and its complement; None if they do not match."""
        raise NotImplementedError

    def _receive_packet(self, length: int, check: int = 0) -> Generator[Wait, int, bytes | None]:
        """`length` bytes whose XOR is `check`; None if it is not."""
        raise NotImplementedError

    def _receive_counted(self) -> Generator[Wait, int, tuple[bytes, bool]]:
        """A number less one, as many bytes, and the XOR of all: the bytes, and whether that is
        right. It ends with the last byte, even if a frame does not."""
        raise NotImplementedError

    def _receive_sector_codes(self) -> Generator[Wait, int, bytes | None]:
        """The codes of Write Protect; None if a checksum is wrong."""
        raise NotImplementedError

    def _receive_erase(self) -> Generator[Wait, int, tuple[int, bytes] | None]:
        """The number of pages less one, or a special code (0xFFFn), and the pages, two bytes
        each; None if a checksum is wrong or there are too many."""
        raise NotImplementedError

    def _status(self, byte: int) -> Program:
        """Send one status byte."""
        raise NotImplementedError

    def _send_reply(self, data: bytes) -> Program:
        """Send data after an ACK."""
        raise NotImplementedError

    def _send_in_part(self, data: bytes) -> Program:
        """Send the first bytes of a reply whose end never comes."""
        raise NotImplementedError

    def _wait_until_idle(self, no_stretch: bool) -> Program:
        """Wait until the operation has ended; `no_stretch`: for a No-Stretch command."""
        raise NotImplementedError

    def _hide(self, hidden: bool) -> None:
        """Readout Unprotect is at work: a host may see nothing of the loader meanwhile."""

    # --- parts of commands ---

    def _busy(self) -> bool:
        return self.chip.flash.busy or self._clock.now < self._computing_until

    def _answer(self, byte: int) -> Program:
        """One status byte. Raises Refused."""
        refused = self.refuses and byte == ACK
        yield from self._status(NACK if refused else byte)
        if refused:
            self.refuses = False
            raise Refused

    def _receive_word(self) -> Generator[Wait, int, int | None]:
        """Four bytes, MSB first, and their XOR; None if the XOR is wrong."""
        frame = yield from self._receive_packet(5)
        return None if frame is None else int.from_bytes(frame[:4], "big")

    def _compute(self, duration: int) -> None:
        """Keep the CPU busy for `duration` ns."""
        self._computing_until = self._clock.now + duration
        self._clock.at(self._computing_until, self._run)

    def _launches(self) -> bool:
        """Whether new option bytes are loaded, which resets the chip."""
        return True

    def _allowed(self, up_to: int = 0) -> Generator[Wait, int, bool]:
        """The status after the code of a command that readout protection above level `up_to`
        forbids. Only Get, Get Version and Get ID work at level 2 [V AN2606]."""
        allowed = self.chip.rdp_level <= up_to
        yield from self._answer(ACK if allowed else NACK)
        return allowed


def xor(data: bytes) -> int:
    """XOR over `data`; 0 over a frame whose last byte is its checksum."""
    return functools.reduce(operator.xor, data, 0)
