"""CRC-32 as the CRC unit of the STM32 computes it."""

from __future__ import annotations

import struct


def crc_stm32(data: bytes) -> int:
    """CRC unit at reset: polynomial 0x04C11DB7, start 0xFFFFFFFF, 32-bit little-endian words."""
    crc = 0xFFFF_FFFF
    for (word,) in struct.iter_unpack("<I", data):
        crc ^= word
        for _ in range(4):
            crc = (crc << 8 & 0xFFFF_FFFF) ^ _CRC_TABLE[crc >> 24]
    return crc


def _crc_of_byte(byte: int) -> int:
    crc = byte << 24
    for _ in range(8):
        crc = (crc << 1 ^ 0x04C1_1DB7 if crc & 0x8000_0000 else crc << 1) & 0xFFFF_FFFF
    return crc


_CRC_TABLE = [_crc_of_byte(byte) for byte in range(256)]
