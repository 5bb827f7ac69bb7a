"""CRC-32 as the CRC unit of the STM32 computes it."""

from __future__ import annotations

import zlib
from array import array


def crc_stm32(data: bytes) -> int:
    """CRC unit at reset: polynomial 0x04C11DB7, start 0xFFFFFFFF, 32-bit little-endian words."""
    words = array("I", data)
    words.byteswap()  # the unit takes the highest byte of a word first
    # zlib computes the same with the bits of each byte, and of the result, in reverse order
    crc = zlib.crc32(words.tobytes().translate(_REVERSED)) ^ 0xFFFF_FFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_REVERSED), "big")


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
