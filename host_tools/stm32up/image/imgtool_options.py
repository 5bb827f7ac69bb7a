"""Why the updater does not accept an image of MCUboot's imgtool, and which option corrects
that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from imgtool.dumpinfo import BOOT_MAGIC, BOOT_MAGIC_2
from imgtool.image import IMAGE_F, TLV_VALUES

from stm32up import device
from stm32up.device import Chip
from stm32up.image import image_format
from stm32up.image.image_format import Parsed

_ENCRYPTED = IMAGE_F["ENCRYPTED_AES128"] | IMAGE_F["ENCRYPTED_AES256"]
_COMPRESSED = IMAGE_F["COMPRESSED_LZMA1"] | IMAGE_F["COMPRESSED_LZMA2"]
_PUBLIC_KEY, _PURE = TLV_VALUES["PUBKEY"], TLV_VALUES["SIG_PURE"]
_OTHER_DIGESTS = {TLV_VALUES["SHA384"]: "SHA-384", TLV_VALUES["SHA512"]: "SHA-512"}
_ECDSA_224 = 0x21  # of older imgtools
_ECDSA, _ED25519 = TLV_VALUES["ECDSASIG"], TLV_VALUES["ED25519"]
_LONGEST_P256 = 72  # bytes of a signature in DER
_ENCRYPTION_KEYS = range(0x30, 0x35)
_DECOMPRESSION = range(0x70, 0x74)
_SIZES = {image_format.KEPT: image_format.HOLE.size, image_format.CHECKSUMS: 4}  # of an element
_TRAILER_MAGICS = (BOOT_MAGIC, BOOT_MAGIC_2)  # the end of a padded slot


class Reason(NamedTuple):
    what: str  # what is wrong with the image: "is padded to its slot"
    advice: str


def reasons(image: Parsed, chip: Chip) -> list[Reason]:
    """Everything that must change so that this chip's updater accepts the image."""
    return [*_forms(image), *_signatures(image), *_missing(image, chip)]


def _forms(image: Parsed) -> Iterator[Reason]:
    types = {tlv.type for tlv in image.tlvs}
    if image.flags & _ENCRYPTED or types.intersection(_ENCRYPTION_KEYS):
        yield Reason("is encrypted", "Sign it without --encrypt.")
    if image.flags & _COMPRESSED or types.intersection(_DECOMPRESSION):
        yield Reason("is compressed", "Sign it without --compression.")
    if image.flags & IMAGE_F["NON_BOOTABLE"]:
        yield Reason("is marked as not bootable", "Sign it without --non-bootable.")
    if image.flags & IMAGE_F["RAM_LOAD"]:
        yield Reason("is linked to run from RAM", "Sign it without --load-addr.")
    if image.rest.endswith(_TRAILER_MAGICS):
        yield Reason("is padded to its slot", "Sign it without --pad, --confirm and --test.")
    elif len(image.tlvs) > image_format.MOST_TLVS:
        yield Reason(
            f"has {len(image.tlvs)} TLVs, more than the {image_format.MOST_TLVS} that the updater "
            "reads",
            "Sign it with fewer --custom-tlv.",
        )
    elif image.rest:
        size = len(image.rest)
        yield Reason(f"has {size} bytes after its end", "Build it again, or copy it again.")


def _signatures(image: Parsed) -> Iterator[Reason]:
    values = {tlv.type: tlv.value for tlv in image.tlvs if not tlv.protected}
    name = ""
    if _ECDSA in values:
        name = "ECDSA P-256" if len(values[_ECDSA]) <= _LONGEST_P256 else "ECDSA P-384"
    elif _ECDSA_224 in values:
        name = "ECDSA P-224"
    elif _ED25519 in values:
        name = "Ed25519"
    if name:
        yield Reason(
            f"is signed with {name}, and the updater checks RSA-2048 and RSA-3072 only",
            "Sign it with an RSA key: stm32up keys new KEY.pem.",
        )
    if _PURE in values:
        yield Reason("is signed as a whole, not by its digest", "Sign it without --pure.")
    if _PUBLIC_KEY in values:
        yield Reason("carries the whole public key", "Sign it with --public-key-format hash.")
    for kind, digest in _OTHER_DIGESTS.items():
        if kind in values and image_format.SHA256 not in values:
            yield Reason(f"states {digest}, not SHA-256", "Sign it with --sha 256.")


def _missing(image: Parsed, chip: Chip) -> Iterator[Reason]:
    for tlv in image.tlvs:
        size = _SIZES.get(tlv.type)
        if size and len(tlv.value) % size:
            yield Reason(
                f"has a TLV 0x{tlv.type:X} that is not one of stm32up image build",
                f"Sign it without --custom-tlv 0x{tlv.type:X}.",
            )
    if not image.flags & image_format.ROM_FIXED:
        yield Reason(
            "names no flash address", f"Sign it with --rom-fixed 0x{chip.flash_start:08X}."
        )
    values = {tlv.type: tlv.value for tlv in image.tlvs}
    wrong = _wrong_chip(values.get(image_format.PRODUCT_ID))
    if wrong:
        value = chip.product_id.to_bytes(2, "little").hex()
        option = f"--custom-tlv 0x{image_format.PRODUCT_ID:X} 0x{value}"
        yield Reason(wrong, f"Sign it with {option} for {chip.name}.")
    if image_format.SECURITY_COUNTER not in values:
        yield Reason("has no security counter", "Sign it with --security-counter auto.")


def _wrong_chip(value: bytes | None) -> str:
    """What is wrong with the product ID; empty if it may be valid."""
    if value is None:
        return "names no chip"
    if len(value) != 2:
        return f"names its chip in {len(value)} bytes, not 2"
    if not device.knows(int.from_bytes(value, "little")) and device.knows(
        int.from_bytes(value, "big")
    ):
        return "names its chip with the bytes in the wrong order"
    return ""
