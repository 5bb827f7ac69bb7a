"""OPTR, the option word with the boot bits of a G0 or C0: the value that the updater needs.

Bits: CMSIS device headers of the STM32G071 and the STM32C031; RM0490 table 18.
"""

import struct

from micropython import const

from stm32_rom.option_bytes import RDP_LEVEL_0, field, fields_of

LENGTH = const(4)  # bytes; the hardware writes the complement
_RDP_MASK = const(0xFF)
_BOR_EN = const(1 << 8)
_BOR_LEVELS = const(0xF << 9)
_NBOOT_SEL = const(1 << 24)
_NBOOT1 = const(1 << 25)
_NBOOT0 = const(1 << 26)
CHANGEABLE = _BOR_EN | _BOR_LEVELS | _NBOOT_SEL | _NBOOT1 | _NBOOT0

NRST_BIDIRECTIONAL = const(3)  # value of NRST_MODE, the factory setting

# Rising thresholds in mV of BOR levels 1 to 4; stm32g0xx_hal_flash.h
BOR_RISING_MV = (2100, 2300, 2600, 2900)


def read(data):
    """OPTR of the option area `data` (128 bytes)."""
    return struct.unpack_from("<I", data, 0)[0]


def boot0_counts(word):
    """Whether the chip reads its BOOT0 pin at a reset."""
    return not word & _NBOOT_SEL


def wanted(word, bor=None):
    """OPTR as the updater needs it: the chip reads its BOOT0 pin, and high selects the loader.

    `bor`: brown-out level 1 to 4, 0 for none, None for no change. nBOOT0 has no effect while the
    BOOT0 pin is read, so it alone is no reason to write; any write also sets it."""
    after = word & ~_NBOOT_SEL | _NBOOT1
    if bor == 0:
        after &= ~_BOR_EN
    elif bor is not None:
        after = after & ~_BOR_LEVELS | _BOR_EN | (bor - 1) << 9 | (bor - 1) << 11
    return after if after == word else after | _NBOOT0


def may_become(before, after):
    """Whether this change of OPTR is allowed: RDP level 0 before and after, and only boot and
    brown-out bits differ."""
    protection = before & _RDP_MASK == after & _RDP_MASK == RDP_LEVEL_0
    return protection and before != after and not (before ^ after) & ~CHANGEABLE


def comparison(before, after, chip_name):
    """[{"name", "low", "width", "before", "after"}] of all fields, to show to people."""
    return [
        {
            "name": name,
            "low": low,
            "width": width,
            "before": field(before, low, width),
            "after": field(after, low, width),
        }
        for name, low, width in (("RDP", 0, 8),) + fields_of(chip_name)
    ]


def pack(word):
    return struct.pack("<I", word)
