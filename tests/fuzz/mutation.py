"""Makes inputs from other inputs by small changes."""

from __future__ import annotations

import random
import struct

TOKENS = [
    b"0",
    b"9",
    b"-",
    b"99",
    b"1e999",
    b"null",
    b"true",
    b'"',
    b'""',
    b"[]",
    b"{}",
    b"[",
    b"=",
]
NUMBERS = (0, 1, 0x7FFF, 0xFFFF, 0x8000_0000, 0xFFFF_FFFF)


def mutated(data: bytes, choose: random.Random) -> bytes:
    """One or a few random changes, of kinds that often break readers."""
    content = bytearray(data)
    for _ in range(choose.choice((1, 1, 1, 2, 4))):
        at = _place(len(content), choose)
        kind = choose.randrange(7)
        if kind == 0:
            content[at : at + 1] = bytes(
                byte ^ 1 << choose.randrange(8) for byte in content[at:][:1]
            )
        elif kind == 1:
            step = choose.randint(-4, 4)
            content[at : at + 1] = bytes((byte + step) & 0xFF for byte in content[at:][:1])
        elif kind == 2:
            content[at : at + choose.randint(1, 8)] = choose.randbytes(choose.randint(0, 8))
        elif kind == 3:
            content[at : at + choose.choice((0, 1, 4))] = choose.choice(TOKENS)
        elif kind == 4:
            del content[at:]
        elif kind == 5:
            number = struct.pack("<I", choose.choice(NUMBERS))
            content[at : at + 4] = number[: choose.choice((1, 2, 4))]
        else:
            content[at:at] = content[at : at + choose.randint(1, 64)]
    return bytes(content)


def _place(size: int, choose: random.Random) -> int:
    """A random place, or one near the beginning or the end, where formats have headers and
    trailers."""
    near = min(size, 64)
    return choose.choice(
        (choose.randint(0, size), choose.randint(0, near), size - choose.randint(0, near))
    )
