"""Option bytes of the STM32G0x1: storage, meaning, and the effect of torn ones.

Evidence: RM0490 table 18 (same layout), CMSIS-G0 for the bits, BMP and RM0490 for factory values,
RM0444 p. 90 for interrupted programming, OPENBL-G0 for writing by a loader.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

OPTION_START = 0x1FFF_7800
OPTION_LENGTH = 128  # bytes: 16 slots of a word and its complement [V RM0490 table 18]

# Offsets of the existing registers in that area [V RM0490 table 18, OPENBL-G0].
OPTR, PCROP1ASR, PCROP1AER, WRP1AR, WRP1BR, PCROP1BSR, PCROP1BER, SECR = (
    0x00,
    0x08,
    0x10,
    0x18,
    0x20,
    0x28,
    0x30,
    0x70,
)

# Factory values: OPTR [V BMP, ST community, COLDCARD]; no WRP: start above end [V RM0490]; SECR
# with BOOT_LOCK 0 [V RM0490]; no PCROP: start above end [D]. Slots without a register read as ones
# [D].
FACTORY = {
    OPTR: 0xFFFF_FEAA,
    PCROP1ASR: 0xFFFF_FFFF,
    PCROP1AER: 0x0000_0000,
    WRP1AR: 0x0000_003F,
    WRP1BR: 0x0000_003F,
    PCROP1BSR: 0xFFFF_FFFF,
    PCROP1BER: 0x0000_0000,
    SECR: 0x0000_0000,
}

RDP_LEVEL_0 = 0xAA
RDP_LEVEL_1 = 0xBB  # written by HAL-G0; every other byte means level 1 too [V RM0490 4.5]
RDP_LEVEL_2 = 0xCC

# The shortest write to the option area that changes each register, in bytes [V OPENBL-G0].
_REACHED = {
    OPTR: 4,
    PCROP1ASR: 10,
    PCROP1AER: 20,
    WRP1AR: 28,
    WRP1BR: 36,
    PCROP1BSR: 42,
    PCROP1BER: 50,
    SECR: 116,
}


# mV at which a rising supply ends the reset, by BORR_LEV [V HAL-G0].
BOR_RISING_MV = (2100, 2300, 2600, 2900)


def registers_written(data: bytes) -> dict[int, int]:
    """The new values of registers after Write Memory of `data` (1 to 128 bytes) at OPTION_START.

    OPTR is always written: less than 4 bytes set its first byte, and all its other bits become 0.
    The complements in the data are ignored, because hardware computes them [V OPENBL-G0; the ROM
    is not known to differ]."""
    values = {OPTR: data[0]}
    for offset, least in _REACHED.items():
        if len(data) >= least:
            values[offset] = int.from_bytes(data[offset : offset + 4], "little")
    return values


def write_protected_area(start: int, end: int) -> int:
    """WRP1AR or WRP1BR for the pages `start` to `end`: 6 bits each [V CMSIS-G0]."""
    return start & 0x3F | (end & 0x3F) << 16


@dataclass(frozen=True)
class Options:
    """The options in use, from the last loading of the option bytes."""

    optr: int
    wrp1a: int
    wrp1b: int
    pcrop: bool  # there is an area that can be executed but not read
    boot_lock: bool
    valid: bool  # False: a word did not match its complement, the chip has locked itself

    @property
    def rdp_level(self) -> int:
        rdp = self.optr & 0xFF
        return {RDP_LEVEL_0: 0, RDP_LEVEL_2: 2}.get(rdp, 1)

    @property
    def least_supply_mv(self) -> int:
        """The brown-out reset holds the chip below this; 0 without BOR_EN [V CMSIS-G0]."""
        return BOR_RISING_MV[self.optr >> 9 & 3] if self.optr >> 8 & 1 else 0

    @property
    def boot0_from_pin(self) -> bool:
        """nBOOT_SEL = 0: the BOOT0 pin is used; 1 (factory): bit nBOOT0 is used."""
        return not self.optr >> 24 & 1

    @property
    def nboot1(self) -> bool:
        return bool(self.optr >> 25 & 1)

    @property
    def nboot0(self) -> bool:
        return bool(self.optr >> 26 & 1)

    def beyond_this_model(self) -> str | None:
        """A setting whose effect is not modelled; None if there is none."""
        if not self.valid:
            return None  # locked, so other options have no effect
        if self.pcrop:
            return "PCROP areas"
        if not self.optr >> 16 & 1:
            return "a watchdog that hardware starts (IWDG_SW = 0)"
        if not self.optr >> 22 & 1:
            return "SRAM with parity (RAM_PARITY_CHECK = 0)"
        if self.optr >> 27 & 3 != 3:
            return "an NRST pin that is not a bidirectional reset (NRST_MODE)"
        return None

    def protected_pages(self, pages: int) -> set[int]:
        """Pages under write protection; an area whose start is above its end is none
        [V RM0490]."""
        protected: set[int] = set()
        for area in (self.wrp1a, self.wrp1b):
            start, end = area & 0x3F, area >> 16 & 0x3F
            protected.update(range(start, min(end, pages - 1) + 1))
        return protected


# The loaded options if a word and its complement differ: level 1, every page PCROP, always boot
# from main flash; on G0x1 that closes the debug port too [V RM0490, RM0444 p. 90].
LOCKED = Options(optr=0xFFFF_FEFF, wrp1a=0x3F, wrp1b=0x3F, pcrop=True, boot_lock=True, valid=False)


class OptionBytes:
    """The 128 bytes in flash."""

    def __init__(self) -> None:
        self.data = bytearray(b"\xff" * OPTION_LENGTH)
        for offset, value in FACTORY.items():
            self.store(offset, value)

    def store(self, offset: int, value: int) -> None:
        """Store a register's word and its complement, as a completed programming does."""
        self.data[offset : offset + 4] = value.to_bytes(4, "little")
        self.data[offset + 4 : offset + 8] = (value ^ 0xFFFF_FFFF).to_bytes(4, "little")

    def program(self, values: Mapping[int, int]) -> None:
        """A complete option programming: these registers get new values, all others keep
        theirs."""
        for offset, value in values.items():
            self.store(offset, value)

    def tear(self, values: Mapping[int, int], done: float, randomness: random.Random) -> None:
        """Interrupt an option programming after the share `done` of its time.

        Only a cut before the first cell changes keeps the old values. After that, any word may be
        old, blank, new or in between, and at least one does not match its complement [V RM0444 p.
        90 that this is possible; strict that it always happens]."""
        if not done:
            return
        for offset in FACTORY:
            slot = slice(offset, offset + 8)
            fate = randomness.randrange(4)
            if fate == 0:
                self.data[slot] = bytes(
                    byte | randomness.getrandbits(8) for byte in self.data[slot]
                )
            elif fate == 1:
                self.data[slot] = b"\xff" * 8
            elif fate == 2 and offset in values:
                self.store(offset, values[offset])
        unfinished = randomness.choice(list(FACTORY))
        self.data[unfinished : unfinished + 8] = b"\xff" * 8

    @property
    def torn(self) -> bool:
        """Whether any existing register does not match its complement."""
        return any(self.word(offset) ^ self.word(offset + 4) != 0xFFFF_FFFF for offset in FACTORY)

    def word(self, offset: int) -> int:
        return int.from_bytes(self.data[offset : offset + 4], "little")

    def _area(self, start: int, end: int) -> bool:
        """Whether two PCROP registers define an area; 8 bits of each, in units of 512 bytes [V
        CMSIS-G0]."""
        return self.word(start) & 0xFF <= self.word(end) & 0xFF

    def load(self) -> Options:
        """The options that the chip loads at power-on or option launch."""
        if self.torn:
            return LOCKED
        return Options(
            optr=self.word(OPTR),
            wrp1a=self.word(WRP1AR),
            wrp1b=self.word(WRP1BR),
            pcrop=self._area(PCROP1ASR, PCROP1AER) or self._area(PCROP1BSR, PCROP1BER),
            boot_lock=bool(self.word(SECR) >> 16 & 1),
            valid=True,
        )
