"""Option bytes of the STM32G0x1: how they are stored, what they mean, and what if they are torn.

Evidence: RM0490 table 18 (same layout), CMSIS-G0 for the bits, BMP and RM0490 for factory values.
"""

from __future__ import annotations

from dataclasses import dataclass

OPTION_START = 0x1FFF_7800
OPTION_LENGTH = 128  # bytes: 16 slots of a word and its complement [V RM0490 table 18]

# Offsets of the registers that exist in that area [V RM0490 table 18, OPENBL-G0].
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
RDP_LEVEL_2 = 0xCC


@dataclass(frozen=True)
class Options:
    """What the chip goes by since option bytes were last loaded."""

    optr: int
    wrp1a: int
    wrp1b: int
    pcrop: bool  # an area that code can be run from but not read
    boot_lock: bool
    valid: bool  # False: a word did not match its complement, the chip has locked itself

    @property
    def rdp_level(self) -> int:
        rdp = self.optr & 0xFF
        return {RDP_LEVEL_0: 0, RDP_LEVEL_2: 2}.get(rdp, 1)

    @property
    def boot0_from_pin(self) -> bool:
        """nBOOT_SEL = 0: the BOOT0 pin counts; 1 (factory): bit nBOOT0 counts."""
        return not self.optr >> 24 & 1

    @property
    def nboot1(self) -> bool:
        return bool(self.optr >> 25 & 1)

    @property
    def nboot0(self) -> bool:
        return bool(self.optr >> 26 & 1)

    def beyond_this_model(self) -> str | None:
        """A setting that would change how the chip behaves in ways nothing here models."""
        if not self.valid:
            return None  # locked, whatever else it says
        if self.pcrop:
            return "PCROP areas"
        if not self.optr >> 16 & 1:
            return "a watchdog that hardware starts (IWDG_SW = 0)"
        if not self.optr >> 22 & 1:
            return "SRAM with parity (RAM_PARITY_CHECK = 0)"
        if self.optr >> 27 & 3 != 3:
            return "an NRST pin that is no bidirectional reset (NRST_MODE)"
        return None

    def protected_pages(self, pages: int) -> set[int]:
        """Pages under write protection; an area whose start is above its end is none
        [V RM0490]."""
        protected: set[int] = set()
        for area in (self.wrp1a, self.wrp1b):
            start, end = area & 0x3F, area >> 16 & 0x3F
            protected.update(range(start, min(end, pages - 1) + 1))
        return protected


# What is loaded when a word and its complement differ: level 1, every page PCROP, boot from main
# flash for ever; on G0x1 that closes the debug port too [V RM0490, RM0444 p. 90].
LOCKED = Options(optr=0xFFFF_FEFF, wrp1a=0x3F, wrp1b=0x3F, pcrop=True, boot_lock=True, valid=False)


class OptionBytes:
    """The 128 bytes in flash."""

    def __init__(self) -> None:
        self.data = bytearray(b"\xff" * OPTION_LENGTH)
        for offset, value in FACTORY.items():
            self.store(offset, value)

    def store(self, offset: int, value: int) -> None:
        """Put a register's word and its complement in place, as a completed programming does."""
        self.data[offset : offset + 4] = value.to_bytes(4, "little")
        self.data[offset + 4 : offset + 8] = (value ^ 0xFFFF_FFFF).to_bytes(4, "little")

    def word(self, offset: int) -> int:
        return int.from_bytes(self.data[offset : offset + 4], "little")

    def _area(self, start: int, end: int) -> bool:
        """Whether two PCROP registers span something; 9 bits of each, 512 bytes a unit [R]."""
        return self.word(start) & 0x1FF <= self.word(end) & 0x1FF

    def load(self) -> Options:
        """What the chip takes over at power-on or option launch."""
        for offset in FACTORY:
            complement = int.from_bytes(self.data[offset + 4 : offset + 8], "little")
            if self.word(offset) ^ complement != 0xFFFF_FFFF:
                return LOCKED
        return Options(
            optr=self.word(OPTR),
            wrp1a=self.word(WRP1AR),
            wrp1b=self.word(WRP1BR),
            pcrop=self._area(PCROP1ASR, PCROP1AER) or self._area(PCROP1BSR, PCROP1BER),
            boot_lock=bool(self.word(SECR) >> 16 & 1),
            valid=True,
        )
