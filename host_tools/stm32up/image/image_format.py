"""Parses an image in MCUboot's format, as imgtool does, to show, sign and explain it. imgtool
writes images. Only the updater's own reader decides whether the updater accepts one:
device.check_image. firmware/stm32_updater/image.py describes the parts of an image.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
import tempfile
from pathlib import Path
from typing import NamedTuple

from imgtool import dumpinfo
from imgtool.image import IMAGE_F, IMAGE_MAGIC, TLV_INFO_MAGIC, TLV_PROT_INFO_MAGIC, TLV_VALUES

from stm32up import device
from stm32up.errors import ImageError

MAGIC = IMAGE_MAGIC.to_bytes(4, "little")
HEADER = struct.Struct("<IIHHIIBBHI")  # struct image_header of MCUboot
_VERSION = slice(20, 28)  # of the header
PROTECTED_MAGIC = TLV_PROT_INFO_MAGIC
OTHER_MAGIC = TLV_INFO_MAGIC
_INFO = 4  # bytes before each TLV, and before each area of them

KEYHASH = TLV_VALUES["KEYHASH"]
SHA256 = TLV_VALUES["SHA256"]
RSA2048 = TLV_VALUES["RSA2048"]
RSA3072 = TLV_VALUES["RSA3072"]
SECURITY_COUNTER = TLV_VALUES["SEC_CNT"]
CLASS_ID = TLV_VALUES["UUID_CID"]
PRODUCT_ID = 0x00A0  # ours, in the range for vendors: the chip's product ID, u16
KEPT = 0x00A1  # ours: (offset, length) of each hole in the payload, u32 each, in whole pages
CHECKSUMS = 0x00A2  # ours: see checksums.py
MAX_HOLES = 16
MOST_TLVS = 16  # that the updater reads: _MAX_TLVS of stm32_updater/image.py
HOLE = struct.Struct("<II")
SIGNATURES = {RSA2048: "rsa2048", RSA3072: "rsa3072"}
# TLVs that the digest cannot cover. All others must be protected to count.
UNPROTECTED = (KEYHASH, SHA256, RSA2048, RSA3072)
ROM_FIXED = IMAGE_F["ROM_FIXED"]
FLAG_NAMES = {bit: name.lower().replace("_", "-") for name, bit in IMAGE_F.items()}
_NAMES = {number: name.lower().replace("_", " ") for name, number in TLV_VALUES.items()} | {
    KEYHASH: "key hash",
    TLV_VALUES["PUBKEY"]: "public key",
    RSA2048: "signature rsa2048",
    RSA3072: "signature rsa3072",
    TLV_VALUES["ECDSASIG"]: "signature ecdsa",
    TLV_VALUES["ED25519"]: "signature ed25519",
    SECURITY_COUNTER: "security counter",
    TLV_VALUES["UUID_VID"]: "vendor id",
    CLASS_ID: "class id",
    PRODUCT_ID: "product id",
    KEPT: "kept pages",
    CHECKSUMS: "checksums",
}


def tlv_name(kind: int) -> str:
    """The name of a TLV type, also for one of another vendor or a newer MCUboot."""
    other = "vendor-specific" if kind >= PRODUCT_ID else "unknown to this imgtool"
    return str(_NAMES.get(kind, other))


class Tlv(NamedTuple):
    type: int
    protected: bool
    value: bytes


class Parsed(NamedTuple):
    """An image with consistent sizes. The updater may still refuse it."""

    load_address: int
    header_size: int
    flags: int
    version: str  # "1.4.2", or "1.4.2+7" with a build number
    payload: bytes
    signed_part: bytes  # what digest and signature cover
    tlvs: list[Tlv]
    rest: bytes  # bytes after the image, such as padding to its slot

    def find(self, tlv_type: int) -> bytes | None:
        """The value of the first TLV of this type, in the area that it belongs to."""
        wanted = (tlv_type, tlv_type not in UNPROTECTED)
        return next((tlv.value for tlv in self.tlvs if (tlv.type, tlv.protected) == wanted), None)

    def kept(self) -> list[tuple[int, int]]:
        """(offset, length) of each hole in the payload."""
        pairs = self.find(KEPT) or b""
        return list(HOLE.iter_unpack(pairs[: len(pairs) // HOLE.size * HOLE.size]))


def signed_size(beginning: bytes) -> int | None:
    """The size, from the header, of the part of an image that digest and signature cover; None if
    these bytes are not the beginning of an image.
    """
    if len(beginning) < HEADER.size or beginning[:4] != MAGIC:
        return None
    _, _, header_size, protected_size, payload_size, *_ = HEADER.unpack_from(beginning)
    return int(header_size + payload_size + protected_size)


def parse(data: bytes, name: object = "the image") -> Parsed:
    """Split an image into its parts. Raises ImageError if its sizes are inconsistent."""
    if len(data) < HEADER.size:
        raise ImageError(
            f"{name} is truncated: {len(data)} bytes, less than its header", device.AGAIN
        )
    if data[:4] != MAGIC:
        raise ImageError(f"{name} is not an MCUboot image")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        file, told = Path(folder, "image.bin"), Path(folder, "image.json")
        file.write_bytes(data)
        try:
            dumpinfo.dump_imginfo(str(file), str(told), "json")
        except (struct.error, IndexError):  # imgtool reads beyond the end of the file
            raise ImageError(
                f"{name} is damaged, or truncated to {len(data)} bytes", device.AGAIN
            ) from None
        read = json.loads(told.read_bytes())
    header, areas = read["header"], read["tlv_area"]
    header_size, protected_size = header["hdr_size"], header["protected_tlv_size"]
    if header_size < HEADER.size:
        raise ImageError(f"{name} is damaged: a header of {header_size} bytes", device.AGAIN)
    payload_end = header_size + header["img_size"]
    tlvs: list[Tlv] = []
    end = payload_end
    for area, magic, protected in (("_prot", PROTECTED_MAGIC, True), ("", OTHER_MAGIC, False)):
        info, found = areas[f"tlv_hdr{area}"], areas[f"tlvs{area}"]
        if protected and not protected_size:
            continue
        size = _INFO + sum(_INFO + tlv["len"] for tlv in found)
        stated = protected_size if protected else size
        if (info["magic"], info["tlv_tot"], stated) != (magic, size, size):
            raise ImageError(f"{name} is damaged: no valid TLVs at 0x{end:X}", device.AGAIN)
        tlvs += [Tlv(tlv["type"], protected, bytes.fromhex(tlv["data"])) for tlv in found]
        end += size
    if end > len(data):
        raise ImageError(f"{name} is truncated: {len(data)} of {end} bytes", device.AGAIN)
    return Parsed(
        load_address=header["load_addr"],
        header_size=header_size,
        flags=header["flags"],
        version=device.version_text(data[_VERSION]),
        payload=data[header_size:payload_end],
        signed_part=data[: payload_end + protected_size],
        tlvs=tlvs,
        rest=data[end:],
    )
