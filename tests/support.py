"""Payloads and images for tests, made once per process."""

from __future__ import annotations

import functools
import random
import struct
import tempfile
from pathlib import Path

from stm32sim.application import KnownImage
from stm32up import device, images

RAM_END = 0x2000_9000
FLASH = 0x0800_0000


@functools.cache
def payload(size: int = 6000, seed: int = 1) -> bytes:
    """A bootable payload: stack pointer and reset vector that make sense, the rest random."""
    body = random.Random(seed).randbytes(size - 8)
    return struct.pack("<II", RAM_END, FLASH + 0xC1) + body


@functools.cache
def image(
    content: bytes,
    version: str = "1.0.0",
    *,
    chip: str = "STM32G071RB",
    product: str | None = None,
    address: int | None = None,
) -> bytes:
    """The MCUboot image of a payload."""
    with tempfile.TemporaryDirectory() as folder:
        raw, built = Path(folder, "app.bin"), Path(folder, "app.img")
        raw.write_bytes(content)
        images.build(
            raw,
            device.chip(chip),
            version,
            None,
            built,
            product=product,
            address=address,
        )
        return built.read_bytes()


def version_bytes(version: str) -> bytes:
    """As the application answers it: MCUboot's image_version."""
    major, minor, revision = (int(part) for part in version.split("."))
    return struct.pack("<BBHI", major, minor, revision, 0)


def known(content: bytes, version: str = "1.0.0", **behaviour: bool) -> KnownImage:
    """What the simulated target does once it holds `content`."""
    return KnownImage(content, version_bytes(version), **behaviour)
