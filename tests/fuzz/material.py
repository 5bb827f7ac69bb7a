"""Shared by the targets: a key, images made with it, and the check of error messages."""

from __future__ import annotations

import functools
import hashlib
import struct
import tempfile
from pathlib import Path
from typing import Any

from imgtool.keys import RSA

from stm32up.device import module as device_module
from stm32up.image import image_format, images, inputs, keys
from tests.fuzz.finding import Finding
from tests.support import payload

BOARD_FILES = Path(__file__).parents[2] / "boards"
LOG_LINES = [
    b'{"n": 0, "t": 12, "event": "installing", "version": "1.0.0", "bytes": 1576}\n'
    b'{"n": 1, "t": 900, "event": "result", "ok": true}\n',
    b'{"n": 7, "t": 1, "event": "refused", "message": "\\u00e9", "x": [1.5e3, null, -1]}\n{"n": 8',
]


@functools.cache
def private_key() -> RSA:
    """A key of 2048 bits. The key and its signatures are the same in every process, so that inputs
    with them can be replayed and tests use the same ones every time."""
    key = keys.load(Path(__file__).with_name("fuzz_development_key.pem"))
    assert isinstance(key, RSA)
    key.sign = functools.partial(_signature, key)
    return key


@functools.cache
def _signature(key: RSA, payload: bytes) -> bytes:
    """RSA-PSS as in imgtool (RFC 8017 section 9.1.1), but with a constant salt."""
    digest = hashlib.sha256(payload).digest()
    salt = hashlib.sha256(digest).digest()
    seed = hashlib.sha256(bytes(8) + digest + salt).digest()
    numbers = key.key.private_numbers()
    size = key.key.key_size // 8
    block = (b"\1" + salt).rjust(size - len(seed) - 1, b"\0")
    pieces = (hashlib.sha256(seed + struct.pack(">I", n)).digest() for n in range(len(block)))
    mask = b"".join(pieces)[: len(block)]
    masked = bytearray(a ^ b for a, b in zip(block, mask, strict=True))
    masked[0] &= 0x7F  # one bit less than the modulus
    encoded = int.from_bytes(bytes(masked) + seed + b"\xbc", "big")
    return pow(encoded, numbers.d, numbers.public_numbers.n).to_bytes(size, "big")


@functools.cache
def real_images() -> list[bytes]:
    """Images for the board under test: with and without a signature and a build number."""
    with tempfile.TemporaryDirectory() as folder:
        raw, built = Path(folder, "app.bin"), Path(folder, "app.img")
        raw.write_bytes(payload(256))
        made = []
        for version, key in (("1.0.0", None), ("1.4.2+7", private_key())):
            images.build(raw, chip(), version, key, built, product="nucleo-demo")
            made.append(built.read_bytes())
    return made


@functools.cache
def with_a_hole() -> bytes:
    """An image that keeps a page between its first and its last page."""
    page = chip().page_size
    content = payload(256).ljust(2 * page, b"\xff") + payload(256)
    given = [(0, 256), (2 * page, 256)]
    loaded = inputs.Payload(chip().flash_start, content, given)
    return images.pack(loaded, chip(), "1.0.0", None, product="nucleo-demo", kept=[(page, page)])


@functools.cache
def many_tlvs() -> bytes:
    """An image whose protected area is full of empty TLVs."""
    real = real_images()[0]
    area = b"".join(struct.pack("<HH", kind, 0) for kind in range(0x1000, 0x1100))
    header = real[:10] + struct.pack("<H", len(area) + 4) + real[12:]
    (size,) = struct.unpack_from("<I", real, 12)
    (begin,) = struct.unpack_from("<H", real, 8)
    end = begin + size
    return header[:end] + struct.pack("<HH", image_format.PROTECTED_MAGIC, len(area) + 4) + area


def chip() -> Any:
    return device_module("stm32_rom.chips").by_name("STM32G071RB")


def check_message(error: Exception, message: str) -> object:
    if not message or "\n" in message.strip():
        raise Finding(f"{type(error).__name__} says {message!r}")
    return error
