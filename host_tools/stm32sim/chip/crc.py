"""CRC-32 as the CRC unit of the STM32 computes it."""

from __future__ import annotations

import zlib

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def crc_stm32(data: bytes) -> int:
    """CRC unit at reset: polynomial 0x04C11DB7, start 0xFFFFFFFF, 32-bit little-endian words, the
    highest bit first. zlib takes bytes with the lowest bit first, hence the reversals; it inverts
    its result."""
    swapped = bytearray(len(data))
    for place in range(4):
        swapped[place::4] = data[3 - place :: 4]
    inverted = zlib.crc32(swapped.translate(_REVERSED))
    return int(f"{inverted ^ 0xFFFF_FFFF:032b}"[::-1], 2)
