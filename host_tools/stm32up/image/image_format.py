"""The MCUboot image format, taken apart to be shown. Writing it is imgtool's business; whether
the updater takes an image, only its own reader says: device.check_image.

All numbers are little-endian. A header of 32 bytes, padded to `header_size`:

    offset  size  what
    0       4     magic 0x96F3B83D
    4       4     load address: where the payload goes (flag ROM_FIXED)
    8       2     header size
    10      2     size of the protected TLVs, with their 4 bytes of info; 0 if there are none
    12      4     payload size
    16      4     flags
    20      8     version: major u8, minor u8, revision u16, build u32

then the payload, the protected TLVs, the other TLVs. A TLV area begins with magic u16 (0x6908
protected, 0x6907 other) and its whole size u16; a TLV is type u16, length u16, value. The digest
and the signature cover everything before the other TLVs.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from stm32up.errors import ImageError

MAGIC = 0x96F3B83D
HEADER = struct.Struct("<IIHHIIBBHI")
INFO = struct.Struct("<HH")
PROTECTED_MAGIC = 0x6908
OTHER_MAGIC = 0x6907

KEYHASH = 0x01
SHA256 = 0x10
RSA2048 = 0x20
RSA3072 = 0x23
SECURITY_COUNTER = 0x50
CLASS_ID = 0x75
PRODUCT_ID = 0x00A0  # ours, in the range for vendors: the chip's product ID, u16
KEPT = 0x00A1  # ours: (offset, length) of each hole in the payload, u32 each, in whole pages
MAX_HOLES = 16
HOLE = struct.Struct("<II")
SIGNATURES = {RSA2048: "rsa2048", RSA3072: "rsa3072"}
# What the digest cannot cover. All else proves nothing unless it is protected.
UNPROTECTED = (KEYHASH, SHA256, RSA2048, RSA3072)
NAMES = {
    KEYHASH: "key hash",
    SHA256: "sha256",
    RSA2048: "signature rsa2048",
    RSA3072: "signature rsa3072",
    SECURITY_COUNTER: "security counter",
    CLASS_ID: "class id",
    PRODUCT_ID: "product id",
    KEPT: "kept pages",
}

ROM_FIXED = 0x100
FLAG_NAMES = {
    0x001: "pic",
    0x004: "encrypted-aes128",
    0x008: "encrypted-aes256",
    0x010: "non-bootable",
    0x020: "ram-load",
    ROM_FIXED: "rom-fixed",
    0x200: "compressed-lzma1",
    0x400: "compressed-lzma2",
    0x800: "compressed-arm-thumb",
}


class Tlv(NamedTuple):
    type: int
    protected: bool
    value: bytes


class Parsed(NamedTuple):
    """An image whose sizes add up. Nothing is said yet about whether the updater takes it."""

    load_address: int
    header_size: int
    flags: int
    version: str  # "1.4.2", or "1.4.2+7" with a build number
    payload: bytes
    signed_part: bytes  # what digest and signature cover
    tlvs: list[Tlv]
    rest: bytes  # what follows the image, as when it is padded to its slot

    def find(self, tlv_type: int) -> bytes | None:
        """The value of the first TLV of this type in the area where it belongs."""
        wanted = (tlv_type, tlv_type not in UNPROTECTED)
        return next((tlv.value for tlv in self.tlvs if (tlv.type, tlv.protected) == wanted), None)

    def kept(self) -> list[tuple[int, int]]:
        """(offset, length) of each hole in the payload."""
        pairs = self.find(KEPT) or b""
        return list(HOLE.iter_unpack(pairs[: len(pairs) // HOLE.size * HOLE.size]))


def signed_size(beginning: bytes) -> int | None:
    """By its header, the size of the part of an image that digest and signature cover; None if
    these bytes begin no image.
    """
    if len(beginning) < HEADER.size:
        return None
    magic, _, header_size, protected_size, payload_size, *_ = HEADER.unpack_from(beginning)
    return header_size + payload_size + protected_size if magic == MAGIC else None


def parse(data: bytes, name: object = "the image") -> Parsed:
    """Takes an image apart, without judging it. Raises ImageError if a size does not add up."""
    if len(data) < HEADER.size:
        raise ImageError(f"{name} is truncated: {len(data)} bytes, less than its header")
    fields = HEADER.unpack_from(data)
    magic, load_address, header_size, protected_size, payload_size, flags = fields[:6]
    major, minor, revision, build = fields[6:]
    if magic != MAGIC:
        raise ImageError(f"{name} is not an MCUboot image")
    if header_size < HEADER.size:
        raise ImageError(f"{name} is damaged: a header of {header_size} bytes")
    payload_end = header_size + payload_size
    tlvs, position = [], payload_end
    if protected_size:
        area, position = _tlv_area(name, data, position, PROTECTED_MAGIC)
        tlvs += area
        if position - payload_end != protected_size:
            raise ImageError(f"{name} is damaged: header and protected TLVs disagree in size")
    signed_end = position
    area, position = _tlv_area(name, data, position, OTHER_MAGIC)
    tlvs += area
    return Parsed(
        load_address=load_address,
        header_size=header_size,
        flags=flags,
        version=f"{major}.{minor}.{revision}" + (f"+{build}" if build else ""),
        payload=data[header_size:payload_end],
        signed_part=data[:signed_end],
        tlvs=tlvs,
        rest=data[position:],
    )


def _tlv_area(name: object, data: bytes, start: int, wanted_magic: int) -> tuple[list[Tlv], int]:
    """The TLVs of the area that begins at `start`, and where it ends."""
    if start + INFO.size > len(data):
        raise ImageError(f"{name} is truncated: {len(data)} of {start} bytes or more")
    magic, size = INFO.unpack_from(data, start)
    end = start + size
    if magic != wanted_magic or size < INFO.size:
        raise ImageError(f"{name} is damaged: no TLVs at 0x{start:X}")
    if end > len(data):
        raise ImageError(f"{name} is truncated: {len(data)} of {end} bytes or more")
    tlvs, position = [], start + INFO.size
    while position < end:
        if position + INFO.size > end:
            raise ImageError(f"{name} is damaged: half a TLV at 0x{position:X}")
        kind, length = INFO.unpack_from(data, position)
        position += INFO.size
        if position + length > end:
            raise ImageError(f"{name} is damaged: a TLV too long at 0x{position:X}")
        tlvs.append(Tlv(kind, wanted_magic == PROTECTED_MAGIC, data[position : position + length]))
        position += length
    return tlvs, end
