"""CRC-32 as the CRC unit of the STM32 computes it."""

from __future__ import annotations

from array import array

from fastcrc import crc32


def crc_stm32(data: bytes) -> int:
    """CRC unit at reset: polynomial 0x04C11DB7, start 0xFFFFFFFF, 32-bit little-endian words, the
    highest bit first. This is CRC-32/MPEG-2 of the words with their highest byte first."""
    words = array("I", data)
    words.byteswap()
    return crc32.mpeg_2(words.tobytes())
