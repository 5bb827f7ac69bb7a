"""Parts of the loader's commands: frames, words, statuses, waiting for the flash."""

from __future__ import annotations

import functools
import operator
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Protocol

from stm32sim.chip.flash import Flash
from stm32sim.chip.option_bytes import OptionBytes
from stm32sim.chip.polled_i2c import PolledI2C, Program, Wait
from stm32sim.chip.quirks import Quirks
from stm32sim.wires.clock import NS_PER_S, Clock

ACK, NACK, BUSY = 0x79, 0x1F, 0x76  # AN4221 section 2
I2C_ADDRESS = 0x51  # AN2606 table 107
TIMEOUT = 1 * NS_PER_S  # AN2606 table 230: 1000 ms, then a system reset


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


class Refused(Exception):
    """A command ended after a NACK from `refuses`."""


class LoaderSteps(PolledI2C):
    """A loader without its commands."""

    address = I2C_ADDRESS
    patience = TIMEOUT

    def __init__(self, chip: Chip, quirks: Quirks) -> None:
        self.chip = chip
        self.quirks = quirks
        self._computing_until = 0
        self.refuses = False  # the next ACK
        self._stop_due = False  # of a frame that was executed before its end
        if quirks.clears_empty_flag:
            chip.set_empty_flag(False)
        chip.flash.clears_errors = quirks.clears_errors
        super().__init__(chip.clock, quirks.connection_stretch)
        chip.flash.on_ready = self._run

    def halt(self) -> None:
        """Power loss or reset: this loader stops."""
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

    def _answer(self, byte: int) -> Program:
        """One status byte in a read frame of its own. Raises Refused."""
        if self._stop_due:
            self._stop_due = False
            yield Wait.STOP
        refused = self.refuses and byte == ACK
        yield from self._send_frame(bytes([NACK if refused else byte]))
        if refused:
            self.refuses = False
            raise Refused

    def _receive_word(self) -> Generator[Wait, int, int | None]:
        """Four bytes, MSB first, and their XOR; None if the XOR is wrong."""
        frame = yield from self._receive_frame(5)
        if xor(frame) != 0:
            return None
        return int.from_bytes(frame[:4], "big")

    def _wait_until_idle(self, no_stretch: bool) -> Program:
        """Wait until the operation has ended; a No-Stretch command answers reads meanwhile with
        BUSY, and does nothing else until that is read."""
        while self._busy():
            if not no_stretch or self.quirks.stretches_anyway:
                yield Wait.IDLE
                continue
            yield Wait.IDLE_OR_ADDRESS
            if self._busy():
                self.chip.flash.end_run()
                yield from self._answer(BUSY)

    def _compute(self, duration: int) -> None:
        """Keep the CPU busy for `duration` ns."""
        self._computing_until = self._clock.now + duration
        self._clock.at(self._computing_until, self._run)

    def _allowed(self, up_to: int = 0) -> Generator[Wait, int, bool]:
        """The status after the code of a command that readout protection above level `up_to`
        forbids. Only Get, Get Version and Get ID work at level 2 [V AN2606]."""
        allowed = self.chip.rdp_level <= up_to
        yield from self._answer(ACK if allowed else NACK)
        return allowed


def xor(data: bytes) -> int:
    """XOR over `data`; 0 over a frame whose last byte is its checksum."""
    return functools.reduce(operator.xor, data, 0)
