"""The checksums that an image states, so that the host can ask the loader for the same.

Each is 4 bytes, MSB first: the CRC-32 of the STM32's CRC unit after a reset (AN4221 section 2.20).
The first is of all of the payload, the others are of its pages. The first VECTORS bytes of the
payload are not covered, because they are written last.
"""

from __future__ import annotations

import zlib

VECTORS = 16
WORD = 4
_SIZE = 4
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def stated(payload: bytes, page_size: int) -> bytes:
    """The value of an image's TLV of checksums. `payload`: whole words."""
    pages = [payload[start : start + page_size] for start in range(0, len(payload), page_size)]
    pages[0] = pages[0][VECTORS:]
    return b"".join(crc(part).to_bytes(_SIZE, "big") for part in (payload[VECTORS:], *pages))


def crc(data: bytes) -> int:
    """The STM32's CRC-32 of whole words.

    It takes the bits of each little-endian word from the highest, zlib the bits of each byte from
    the lowest. So zlib gets the bytes of each word backwards with their bits reversed; its result
    is reversed, too, and inverted."""
    words = bytearray(len(data))
    for place in range(WORD):
        words[place::WORD] = data[WORD - 1 - place :: WORD]
    found = zlib.crc32(words.translate(_REVERSED)) ^ 0xFFFF_FFFF
    return int(f"{found:032b}"[::-1], 2)
