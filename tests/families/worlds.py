"""A bench with a target of any family, and applications for it."""

from __future__ import annotations

import functools
import random
import struct
from typing import Any

from stm32sim.chip.application import known_images
from stm32sim.chip.families import family_of, flash_size_of
from stm32sim.in_process import Bench
from tests.support import FLASH, image, known

VERSIONS = ("1.0.0", "1.1.0", "2.0.0")  # versions of OLD, NEW and LARGE
GRANULE = 8
DANGEROUS = {0x63, 0x64, 0x73, 0x74, 0x82, 0x83, 0x92, 0x93}
ADDRESSED = {0x11, 0x21, 0x31, 0x32, 0xA1}


@functools.cache
def application(part: str, size: int, seed: int) -> bytes:
    """A bootable payload with few bytes that are not blank in each page."""
    family = family_of(part)
    content = bytearray(b"\xff" * size)
    numbers = random.Random(seed)
    head = struct.pack(
        "<IIII", 0x2000_0000 + family.ram, *(FLASH + 0xC1 + 4 * n for n in range(3))
    )
    content[:64] = head + numbers.randbytes(48)
    for start in range(family.page, size, family.page):
        content[start + 256 : start + 272] = numbers.randbytes(16)
    content[-8:] = numbers.randbytes(8)
    return bytes(content)


def old(part: str) -> bytes:
    return application(part, 2 * family_of(part).page + 64, 1)


def new(part: str) -> bytes:
    return application(part, family_of(part).page + 320, 2)


def large(part: str) -> bytes:
    """Reaches two pages and a bit into the second half of flash."""
    return application(part, flash_size_of(part) // 2 + 2 * family_of(part).page + 64, 3)


def image_of(part: str, content: bytes, version: str, **more: Any) -> bytes:
    return image(content, version, chip=part, **more)


def bench_of(part: str, **arguments: Any) -> Bench:
    """A blank target. Its loader is known to be of this family, and its flash size is readable if
    nothing else is said. Over UART its applications toggle their line."""
    contents = old(part), new(part), large(part)
    blinks_ms = 20 if "uart" in arguments.get("settings", {}) else 0
    images = [known(*pair, blinks_ms=blinks_ms) for pair in zip(contents, VERSIONS, strict=True)]
    arguments.setdefault("applications", known_images(*images))
    return Bench(chip=part, **arguments)


def commands(bench: Bench) -> list[tuple[int, bytes, bytes]]:
    """The loader's commands on the bus: (code, the frame after it, the one after that), without
    statuses."""
    address = bench.target.family.address
    frames = [
        data for at, reading, data in bench.trace.transactions if at == address and not reading
    ]
    found = []
    at = 0
    while at < len(frames):
        frame = frames[at]
        if len(frame) != 2 or frame[0] ^ frame[1] != 0xFF:
            at += 1
            continue
        more = [*frames[at + 1 : at + 3], b"", b""][:2]
        found.append((frame[0], more[0], more[1]))
        at += 1 + (2 if frame[0] in (0x11, 0x31, 0x32, 0x44, 0x45, 0xA1) else 0)
    return found


def writes(bench: Bench) -> list[tuple[int, int]]:
    """(address, length) of each Write Memory."""
    return [
        (int.from_bytes(first[:4], "big"), second[0] + 1)
        for code, first, second in commands(bench)
        if code in (0x31, 0x32) and second
    ]


def erases(bench: Bench) -> list[bytes]:
    """The page list of each Erase; b"" for a special one."""
    return [
        second[:-1] if first[:2] < b"\xff\xf0" else b""
        for code, first, second in commands(bench)
        if code in (0x44, 0x45)
    ]
