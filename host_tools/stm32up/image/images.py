"""Firmware images: build, sign, show and verify, on top of imgtool.

An image is an MCUboot image: a header of 512 bytes with the flash address (imgtool's rom-fixed),
the payload in whole granules of 8 bytes, protected TLVs, SHA-256, and an RSA-PSS signature if a
key was given. The protected TLVs are the security counter, the class id of the product, 0x00A0:
the chip's product ID as a little-endian u16 (60 04 for 0x460), and, if the input has whole pages
without data, 0x00A1: offset and length of each such hole, two little-endian u32; and 0x00A2: see
checksums.py. The updater
strips the header; the application stays linked at its flash address.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import re
import shlex
import struct
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from imgtool import image as imgtool_image
from imgtool.keys import RSA, RSAPublic

from stm32up import device, outputs
from stm32up.device import Chip
from stm32up.errors import ImageError, KeyFileError, UsageError
from stm32up.events import Area, Shown, Stretch, Values
from stm32up.image import (
    checksums,
    file_kinds,
    image_format,
    imgtool_options,
    inputs,
    keys,
    layout,
    versions,
)
from stm32up.image.bounded_read import read_up_to

HEADER_SIZE = 0x200
LARGEST = 4 << 20  # bytes of a file that can be an image; the largest known flash has 512 KB
USUAL_CHIP = "STM32G071RB"  # for advice about an image without a chip
VENDOR = "stm32up"  # imgtool's namespace for the class ids of products


def class_id(product: str) -> uuid.UUID:
    """The class id that `imgtool --vid stm32up --cid PRODUCT` derives. A PRODUCT that is a UUID is
    used unchanged.
    """
    vendor = imgtool_image.parse_uuid(uuid.NAMESPACE_DNS, VENDOR)
    try:
        return uuid.UUID(bytes=imgtool_image.parse_uuid(uuid.UUID(bytes=vendor), product))
    except ValueError:
        raise UsageError(f"{product!r} is neither a printable name nor a UUID") from None


class NotAnImage(ImageError):
    """A file of another kind, where an image was expected. `source`: the name that the file needs
    so that an image can be built from it; None if that is not possible.
    """

    def __init__(self, message: str, path: Path, source: Path | None) -> None:
        super().__init__(message, how_to_build(path, source))
        self.source = source


def how_to_build(path: Path, source: Path | None, *options: str) -> str:
    """The advice how to build an image from `source`, with the version from its name. If `path`
    has another name, the advice begins with renaming it.
    """
    renamed = source is not None and source != path
    source = source or Path("INPUT")
    build = ["image", "build", str(source), "--version", version_in(source)]
    command = shlex.join(["stm32up", *options, *build, "-o", str(source.with_suffix(".img"))])
    first = f"Rename it to {source.name}, then make" if renamed else "Make"
    return f"{first} one: {command}"


def version_in(path: Path) -> str:
    """The version in the name of a file, for advice; 1.0.0 if there is none."""
    found = re.search(r"\d+\.\d+\.\d+", path.stem)
    return found[0] if found else "1.0.0"


def is_image(path: Path) -> bool:
    """Whether the file begins as an image does. Raises UsageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return bool(file.read(len(image_format.MAGIC)) == image_format.MAGIC)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def build(
    source: Path,
    chip: Chip,
    version: str,
    key: RSA | None,
    output: Path,
    *,
    product: str | None = None,
    security_counter: int | None = None,
    address: int | None = None,
    preserve: Sequence[tuple[int, int]] = (),
) -> Shown:
    """Build an image from a bin, hex, srec or elf file and return the values of `show`.

    `key` None leaves it unsigned. `security_counter` None takes it from the version, as imgtool
    does. `address` is where a raw binary begins (default: the start of flash). A board with this
    chip and these `preserve` regions accepts the image. Raises UsageError, ImageError,
    KeyFileError; then `output` is not touched.
    """
    payload = inputs.read(source, chip, address)
    kept = layout.holes(source, payload, chip)
    content = pack(
        payload, chip, version, key, product=product, security_counter=security_counter, kept=kept
    )
    device.check_image(content, source, chip, preserve)
    _check_reset_vector(source, payload)
    outputs.refuse_inputs(output, [source])
    _write(output, content)
    size = len(payload.data)
    stretches = layout.stretches(payload.address, size, kept, chip, payload.given)
    return {**show(output), "product": product, "layout": stretches}


def pack(
    payload: inputs.Payload,
    chip: Chip,
    version: str,
    key: RSA | None,
    *,
    product: str | None = None,
    security_counter: int | None = None,
    kept: Sequence[tuple[int, int]] = (),
) -> bytes:
    """An image of this payload, not checked as a board would; see `build`."""
    if key is not None and not isinstance(key, RSA):
        raise KeyFileError("a public key cannot sign", "Give the private key.")
    custom = {
        image_format.PRODUCT_ID: struct.pack("<H", chip.product_id),
        image_format.CHECKSUMS: checksums.stated(payload.data, chip.page_size),
    }
    if kept:
        custom[image_format.KEPT] = b"".join(image_format.HOLE.pack(*hole) for hole in kept)
    image = imgtool_image.Image(
        version=versions.parse(version),
        header_size=HEADER_SIZE,
        pad_header=True,
        rom_fixed=payload.address,
        security_counter="auto" if security_counter is None else _u32(security_counter),
        cid=None if product is None else class_id(product).hex,
    )
    with tempfile.TemporaryDirectory() as folder:
        raw, built = os.path.join(folder, "payload.bin"), os.path.join(folder, "image.bin")
        Path(raw).write_bytes(payload.data)
        with contextlib.redirect_stdout(io.StringIO()):  # imgtool prints what it is doing
            image.load(raw)
            image.create(key, public_key_format="hash", enckey=None, custom_tlvs=custom)
            image.save(built)
        return Path(built).read_bytes()


def _check_reset_vector(source: Path, payload: inputs.Payload) -> None:
    """Raise ImageError if the reset vector points into a gap of the input."""
    reset = int.from_bytes(payload.data[4:8], "little")
    offset = (reset & ~1) - payload.address
    if not any(start <= offset < start + length for start, length in payload.given):
        raise ImageError(
            f"{source}: the reset vector 0x{reset:08X} points to where the file has no data",
            "Check whether a part of the application is missing.",
        )


def write_digest(path: Path, output: Path) -> Values:
    """Write the digest to sign: SHA-256 of header, payload and protected TLVs, 32 bytes.

    The signature is RSA-PSS of that digest, with SHA-256 for MGF1 too and a salt of 32 bytes.
    Raises ImageError for an image that `verify` refuses.
    """
    verify(path)
    digest = image_format.parse(_read(path)).find(image_format.SHA256) or b""
    outputs.refuse_inputs(output, [path])
    _write(output, digest)
    return {"file": str(output), "sha256": digest.hex()}


def sign(
    path: Path, key: RSA | RSAPublic, output: Path, *, signature: Path | None = None
) -> Shown:
    """Sign an image, or add a signature that was made elsewhere; return the values of `verify`.

    `key` is private, or public with `signature`: a file with the bare signature, 256 or 384 bytes,
    or the same in base64. An existing signature is replaced. Raises ImageError, KeyFileError,
    UsageError; then `output` is not touched.
    """
    verify(path)
    signed_part = image_format.parse(_read(path)).signed_part
    value = _made_elsewhere(signature, key) if signature else _signature(key, signed_part)
    tlvs = imgtool_image.TLV("little")
    tlvs.add("SHA256", hashlib.sha256(signed_part).digest())
    tlvs.add("KEYHASH", keys.key_hash(key))
    tlvs.add(key.sig_tlv(), value)
    content: bytes = signed_part + tlvs.get()
    verified = check(output, content, key)
    _write(output, content)
    return verified


def _signature(key: RSA | RSAPublic, signed_part: bytes) -> bytes:
    if not isinstance(key, RSA):
        raise KeyFileError(
            "a public key cannot sign", "Give the private key, or a --signature made elsewhere."
        )
    made: bytes = key.sign(signed_part)
    return made


def _made_elsewhere(path: Path, key: RSA | RSAPublic) -> bytes:
    """The signature in this file, as it is or in base64 (as imgtool exchanges them)."""
    content = _read(path)
    size = key.key_size() // 8
    if len(content) != size:
        with contextlib.suppress(ValueError):
            content = base64.b64decode(content, validate=False)
    if len(content) != size:
        raise ImageError(
            f"{path} is not a signature by this key: {len(content)} bytes, not {size}",
            "Sign the output of stm32up image digest.",
        )
    return content


def show(path: Path) -> Shown:
    """Header and TLVs of an image, as plain values. Checks only that its sizes are consistent."""
    return _describe(path, _parse(path, _read(path)))


def memory_map(path: Path, chip: Chip, preserve: Sequence[tuple[int, int]] = ()) -> list[Area]:
    """What installing this image does to each page of a chip. See `layout.memory_map`."""
    parsed = _parse(path, _read(path))
    size = len(parsed.payload)
    return layout.memory_map(parsed.load_address, size, parsed.kept(), chip, preserve)


def verify(
    path: Path,
    key: RSA | RSAPublic | None = None,
    *,
    chip: Chip | None = None,
    preserve: Sequence[tuple[int, int]] = (),
) -> Shown:
    """Make the updater's checks, and check the signature if a key is given; return the values of
    `show`.

    Their "signature" is "valid", "unchecked" (no key given) or "none". `chip` None takes the
    largest of the family that the image is for. Raises ImageError.
    """
    return check(path, _read(path), key, chip=chip, preserve=preserve)


def check(
    path: Path,
    content: bytes,
    key: RSA | RSAPublic | None,
    *,
    chip: Chip | None = None,
    preserve: Sequence[tuple[int, int]] = (),
) -> Shown:
    """As `verify`, for bytes; `path` is for messages."""
    parsed = _parse(path, content)
    reasons = imgtool_options.reasons(parsed, chip or device.chip(USUAL_CHIP))
    if reasons:
        raise ImageError(
            f"{path} {', '.join(reason.what for reason in reasons)}",
            " ".join(reason.advice for reason in reasons),
        )
    device.check_image(content, path, chip, preserve)
    _check_checksums(path, parsed)
    signature = "none" if _signature_of(parsed) is None else "unchecked"
    if key is not None:
        _check_signature(path, parsed, key)
        signature = "valid"
    return {**_describe(path, parsed), "signature": signature}


def _check_checksums(path: Path, parsed: image_format.Parsed) -> None:
    """Raise ImageError if an image states checksums that are not those of its payload, or of one
    that is not whole words, which has none. A board would read all of it back, and then do without
    them."""
    found = parsed.find(image_format.CHECKSUMS)
    if found is None:
        return
    product_id = int.from_bytes(parsed.find(image_format.PRODUCT_ID) or b"", "little")
    page_size = device.largest(product_id).page_size
    payload = parsed.payload
    if len(payload) % checksums.WORD or found != checksums.stated(payload, page_size):
        raise ImageError(f"{path} states wrong checksums (TLV 0x{image_format.CHECKSUMS:02X})")


def _parse(path: Path, content: bytes) -> image_format.Parsed:
    if content[:4] == image_format.MAGIC:
        return image_format.parse(content, path)
    head = content[: file_kinds.HEAD]
    what, form = file_kinds.what(head), file_kinds.form(head)
    raw = what is None and path.suffix.lower() == inputs.RAW
    name = f"{what}, not an MCUboot image" if what else "not an MCUboot image"
    raise NotAnImage(
        f"{path} is {name}", path, inputs.right_name(path, form) if raw or form else None
    )


def _signature_of(parsed: image_format.Parsed) -> image_format.Tlv | None:
    found = (tlv for tlv in parsed.tlvs if tlv.type in image_format.SIGNATURES)
    return next(found, None)


def _check_signature(path: Path, parsed: image_format.Parsed, key: RSA | RSAPublic) -> None:
    hint = "Sign it with the key that the board knows."
    kind = next(kind for kind, name in image_format.SIGNATURES.items() if name == _kind(key))
    signature = parsed.find(kind)
    if signature is None:
        if _signature_of(parsed):
            raise ImageError(f"{path} is not signed with {_kind(key)}", hint)
        raise ImageError(f"{path} is not signed", hint)
    if parsed.find(image_format.KEYHASH) != keys.key_hash(key):
        raise ImageError(f"{path} is signed with another key", hint)
    try:
        key.verify(signature, parsed.signed_part)
    except InvalidSignature:
        raise ImageError(f"{path} has a wrong signature", hint) from None


def _kind(key: RSA | RSAPublic) -> str:
    return f"rsa{key.key_size()}"


def _describe(path: Path, parsed: image_format.Parsed) -> Shown:
    product_id = parsed.find(image_format.PRODUCT_ID)
    counter = parsed.find(image_format.SECURITY_COUNTER)
    class_id_value = parsed.find(image_format.CLASS_ID)
    key_hash = parsed.find(image_format.KEYHASH)
    digest = parsed.find(image_format.SHA256)
    signature = _signature_of(parsed)
    return {
        "file": str(path),
        "version": parsed.version,
        "bytes": len(parsed.payload),
        "address": parsed.load_address,
        "product_id": int.from_bytes(product_id, "little") if product_id else None,
        "class_id": class_id_value.hex() if class_id_value else None,
        "security_counter": int.from_bytes(counter, "little") if counter else None,
        "sha256": digest.hex() if digest else None,
        "signed_with": image_format.SIGNATURES[signature.type] if signature else None,
        "key_hash": key_hash.hex() if key_hash else None,
        "layout": _layout(parsed),
        "header_size": parsed.header_size,
        "flags": [n for bit, n in image_format.FLAG_NAMES.items() if parsed.flags & bit],
        "tlvs": [
            {
                "type": tlv.type,
                "name": image_format.tlv_name(tlv.type),
                "protected": tlv.protected,
                "value": tlv.value.hex(),
            }
            for tlv in parsed.tlvs
        ],
    }


def _layout(parsed: image_format.Parsed) -> list[Stretch] | None:
    """What the image does to flash; None if its chip is not known."""
    product_id = int.from_bytes(parsed.find(image_format.PRODUCT_ID) or b"", "little")
    if not device.knows(product_id):
        return None
    chip = device.largest(product_id)
    size, kept = len(parsed.payload), parsed.kept()
    return layout.stretches(parsed.load_address, size, kept, chip)


def _write(path: Path, content: bytes) -> None:
    with outputs.written(path):
        path.write_bytes(content)


def _read(path: Path) -> bytes:
    """The content of an image or of a signature."""
    try:
        with path.open("rb") as file:
            content, size = read_up_to(file, LARGEST)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if size > LARGEST:
        raise ImageError(f"{path} has {size} bytes, too many for an image")
    return content


def _u32(number: int) -> int:
    if not 0 <= number <= 0xFFFF_FFFF:
        raise UsageError(f"a security counter of {number} does not fit 32 bits")
    return number
