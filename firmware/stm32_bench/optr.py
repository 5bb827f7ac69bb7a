"""OPTR, the option word that says how a G0 or C0 boots: which bits the field package needs.

Bits: CMSIS device header of the STM32G071; RM0490 table 18 (the same for C0).
"""

import struct

from micropython import const

LENGTH = const(4)  # bytes; the complement behind it is made by the hardware
RDP_LEVEL_0 = const(0xAA)  # RM0490 section 4.5
_RDP_MASK = const(0xFF)

# name, lowest bit, width
FIELDS = (
    ("RDP", 0, 8),
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
_BOR_EN = const(1 << 8)
_BOR_LEVELS = const(0xF << 9)
_NBOOT_SEL = const(1 << 24)
_NBOOT1 = const(1 << 25)
_NBOOT0 = const(1 << 26)
CHANGEABLE = _BOR_EN | _BOR_LEVELS | _NBOOT_SEL | _NBOOT1 | _NBOOT0

# Rising thresholds in mV of BOR levels 1 to 4; stm32g0xx_hal_flash.h
BOR_RISING_MV = (2100, 2300, 2600, 2900)


def read(data):
    """OPTR of the option area `data` (128 bytes); None if its complement does not match: torn, or
    a bit flipped on the way."""
    word, complement = struct.unpack_from("<II", data, 0)
    return word if word ^ complement == 0xFFFFFFFF else None


def wanted(word, bor=None):
    """OPTR as the field package needs it: the BOOT0 pin counts, and high means the loader.

    `bor`: brown-out level 1 to 4, 0 for none, None to leave it. nBOOT0 means nothing while the
    pin counts, so it is no reason to write; but who writes makes it safe too."""
    after = word & ~_NBOOT_SEL | _NBOOT1
    if bor == 0:
        after &= ~_BOR_EN
    elif bor is not None:
        after = after & ~_BOR_LEVELS | _BOR_EN | (bor - 1) << 9 | (bor - 1) << 11
    return after if after == word else after | _NBOOT0


def may_become(before, after):
    """Whether OPTR may be changed so: no protection before or after, and nothing but boot and
    brown-out bits."""
    protection = before & _RDP_MASK == after & _RDP_MASK == RDP_LEVEL_0
    return protection and before != after and not (before ^ after) & ~CHANGEABLE


def field(word, low, width):
    return word >> low & ((1 << width) - 1)


def comparison(before, after):
    """For people: one dict for each field, {"name", "low", "width", "before", "after"}."""
    return [
        {
            "name": name,
            "low": low,
            "width": width,
            "before": field(before, low, width),
            "after": field(after, low, width),
        }
        for name, low, width in FIELDS
    ]


def pack(word):
    return struct.pack("<I", word)
