"""What the option bytes of a G0 or C0 say. Reading only: nothing here, or above, can change them.

Layout: eight bytes per word, the word and its complement, from the chip's `options_address`;
RM0490 table 18. Bits: CMSIS device header of the STM32G071.
"""

import struct

from micropython import const

LENGTH = const(128)  # bytes
_OPTR = const(0x00)
_WRP1A = const(0x18)
_WRP1B = const(0x20)
_SECR = const(0x70)
_PAGE_BITS = const(0x3F)

# Names as in ST's documents: (name, lowest bit, width)
_FIELDS = (
    ("BOR_EN", 8, 1),
    ("BORR_LEV", 9, 2),
    ("BORF_LEV", 11, 2),
    ("IWDG_SW", 16, 1),
    ("WWDG_SW", 19, 1),
    ("nBOOT_SEL", 24, 1),
    ("nBOOT1", 25, 1),
    ("nBOOT0", 26, 1),
    ("NRST_MODE", 27, 2),
)


class OptionBytes:
    """The decoded option area; `data` is its 128 bytes as read from the chip."""

    def __init__(self, data):
        self._data = data

    def word(self, offset):
        return struct.unpack_from("<I", self._data, offset)[0]

    @property
    def rdp_level(self):
        """Readout protection: 0 for AAh, 2 for CCh, 1 for anything else; RM0490 section 4.5."""
        rdp = self.word(_OPTR) & 0xFF
        return 0 if rdp == 0xAA else 2 if rdp == 0xCC else 1

    def write_protected(self, page):
        """Whether a page lies in one of the two WRP areas (none if its start is above its end)."""
        for offset in (_WRP1A, _WRP1B):
            area = self.word(offset)
            if area & _PAGE_BITS <= page <= area >> 16 & _PAGE_BITS:
                return True
        return False

    def as_dict(self):
        """For people and programs: field names to numbers."""
        optr = self.word(_OPTR)
        fields = {"OPTR": "0x%08X" % optr, "RDP": self.rdp_level}
        for name, low, width in _FIELDS:
            fields[name] = optr >> low & ((1 << width) - 1)
        for name, offset in (("WRP1A", _WRP1A), ("WRP1B", _WRP1B)):
            area = self.word(offset)
            start, end = area & _PAGE_BITS, area >> 16 & _PAGE_BITS
            fields[name] = [start, end] if start <= end else None
        fields["BOOT_LOCK"] = self.word(_SECR) >> 16 & 1
        return fields
