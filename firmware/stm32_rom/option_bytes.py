"""Decodes the option bytes of a G0 or C0. Only stm32_bench can write them.

Layout: eight bytes per word, the word and its complement, from the chip's `options_address`;
RM0490 table 18. Bits: CMSIS device headers of the STM32G071 and the STM32C031, which agree.
"""

import struct

from micropython import const

LENGTH = const(128)  # bytes
_OPTR = const(0x00)
_WRP1A = const(0x18)
_WRP1B = const(0x20)
_SECR = const(0x70)
_PAGES = const(64)  # of most parts; 6 bits number them
# Offsets of the option words; the others are reserved. RM0490 table 18
_WORDS = (0x00, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x70)

RDP_LEVEL_0 = const(0xAA)  # the RDP byte; RM0490 section 4.5
_RDP_LEVEL_2 = const(0xCC)
_NBOOT_SEL = const(1 << 24)

# OPTR above the RDP byte, names as in ST's documents: (name, lowest bit, width)
OPTR_FIELDS = (
    ("BOR_EN", 8, 1),
    ("BORR_LEV", 9, 2),
    ("BORF_LEV", 11, 2),
    ("nRST_STOP", 13, 1),
    ("nRST_STDBY", 14, 1),
    ("nRST_SHDW", 15, 1),
    ("IWDG_SW", 16, 1),
    ("IWDG_STOP", 17, 1),
    ("IWDG_STDBY", 18, 1),
    ("WWDG_SW", 19, 1),
    ("RAM_PARITY_CHECK", 22, 1),
    ("nBOOT_SEL", 24, 1),
    ("nBOOT1", 25, 1),
    ("nBOOT0", 26, 1),
    ("NRST_MODE", 27, 2),
    ("IRHEN", 29, 1),
)
# Beside these in a C0; reserved in a G0. CMSIS device header of the STM32C031
_C0_FIELDS = (("HSE_NOT_REMAPPED", 21, 1), ("SECURE_MUXING_EN", 23, 1))


def fields_of(chip_name):
    """The fields of OPTR that this part has, RDP excepted."""
    return OPTR_FIELDS + (_C0_FIELDS if chip_name.startswith("STM32C0") else ())


def field(optr, low, width):
    """The value of one of OPTR_FIELDS."""
    return optr >> low & ((1 << width) - 1)


class OptionBytes:
    """The decoded option area; `data`: its 128 bytes as read from the chip. `pages`: of its flash,
    because a part with more than 64 has wider WRP areas. `fields`: of OPTR."""

    def __init__(self, data, pages=_PAGES, fields=OPTR_FIELDS):
        self.data = data
        self._fields = fields
        self._page_bits = 0x3F if pages <= _PAGES else 0x7F

    def word(self, offset):
        return struct.unpack_from("<I", self.data, offset)[0]

    @property
    def torn(self):
        """Whether a word and its complement do not match. The chip locks itself when it loads such
        option bytes (RM0444 section 3.4). A bit that flipped on the bus looks the same."""
        return any(self.word(offset) ^ self.word(offset + 4) != 0xFFFFFFFF for offset in _WORDS)

    @property
    def rdp_level(self):
        """Readout protection level: 0, 2, or 1 for any RDP byte that is neither 0xAA nor 0xCC."""
        rdp = self.word(_OPTR) & 0xFF
        return 0 if rdp == RDP_LEVEL_0 else 2 if rdp == _RDP_LEVEL_2 else 1

    @property
    def boot0_from_pin(self):
        """Whether the BOOT0 pin counts (nBOOT_SEL = 0)."""
        return not self.word(_OPTR) & _NBOOT_SEL

    def write_protected(self, page):
        """Whether a page lies in one of the two WRP areas (none if its start is above its end)."""
        return any(start <= page <= end for start, end in map(self._area, (_WRP1A, _WRP1B)))

    def _area(self, offset):
        """(first page, last page) of a WRP area."""
        area = self.word(offset)
        return area & self._page_bits, area >> 16 & self._page_bits

    def as_dict(self):
        """{field name: number}; OPTR as hex text, WRP areas as [first page, last page] or None."""
        optr = self.word(_OPTR)
        fields = {"OPTR": "0x%08X" % optr, "RDP": self.rdp_level}
        for name, low, width in self._fields:
            fields[name] = field(optr, low, width)
        for name, offset in (("WRP1A", _WRP1A), ("WRP1B", _WRP1B)):
            start, end = self._area(offset)
            fields[name] = [start, end] if start <= end else None
        fields["BOOT_LOCK"] = self.word(_SECR) >> 16 & 1
        return fields
