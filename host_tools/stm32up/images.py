"""Firmware images: built and signed by imgtool, shown, verified.

An image is a MCUboot image: a header of 512 bytes with the flash address (imgtool's rom-fixed),
the payload in whole granules of 8 bytes, protected TLVs, SHA-256, and an RSA-PSS signature if a
key was given. The protected TLVs are the security counter, the class id of the product, and
0x00A0: the chip's product ID as a little-endian u16 (60 04 for 0x460). The updater strips the
header; the application stays linked at its flash address.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import struct
import tempfile
import uuid
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from imgtool import image as imgtool_image
from imgtool.keys import RSA, RSAPublic
from imgtool.version import SemiSemVersion, decode_version

from stm32up import image_format, inputs, keys
from stm32up.device import Chip
from stm32up.errors import ImageError, KeyFileError, UsageError

HEADER_SIZE = 0x200
VENDOR = "stm32up"  # the name space in which imgtool turns a product's name into its class id


def class_id(product: str) -> uuid.UUID:
    """The class id that `imgtool --vid stm32up --cid PRODUCT` derives; a UUID as PRODUCT is taken
    as it is.
    """
    vendor = imgtool_image.parse_uuid(uuid.NAMESPACE_DNS, VENDOR)
    try:
        return uuid.UUID(bytes=imgtool_image.parse_uuid(uuid.UUID(bytes=vendor), product))
    except ValueError:
        raise UsageError(f"{product!r} is neither a printable name nor a UUID") from None


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
) -> dict[str, Any]:
    """Builds an image from a bin, hex, srec or elf file and returns what `show` says about it.

    `key` None leaves it unsigned. `security_counter` None takes it from the version, as imgtool
    does. `address` is where a raw binary begins (default: the start of flash). Raises UsageError,
    ImageError, KeyFileError; then `output` is not touched.
    """
    if key is not None and not isinstance(key, RSA):
        raise KeyFileError("a public key cannot sign", "Give the private key.")
    payload = inputs.read(source, chip, address)
    image = imgtool_image.Image(
        version=_version(version),
        header_size=HEADER_SIZE,
        pad_header=True,
        rom_fixed=payload.address,
        security_counter="auto" if security_counter is None else _u32(security_counter),
        cid=None if product is None else class_id(product).hex,
    )
    with tempfile.TemporaryDirectory() as folder:
        raw, built = os.path.join(folder, "payload.bin"), os.path.join(folder, "image.bin")
        Path(raw).write_bytes(payload.data)
        with contextlib.redirect_stdout(io.StringIO()):  # imgtool tells what it is doing
            image.load(raw)
            image.create(
                key,
                public_key_format="hash",
                enckey=None,
                custom_tlvs={image_format.PRODUCT_ID: struct.pack("<H", chip.product_id)},
            )
            image.save(built)
        content = Path(built).read_bytes()
    _write(output, content)
    return show(output)


def write_digest(path: Path, output: Path) -> dict[str, Any]:
    """Writes what is to be signed: SHA-256 of header, payload and protected TLVs, 32 bytes.

    The signature is RSA-PSS of that digest, with SHA-256 for MGF1 too and a salt of 32 bytes.
    Raises ImageError for an image that `verify` refuses.
    """
    verify(path)
    digest = image_format.parse(_read(path)).find(image_format.SHA256) or b""
    _write(output, digest)
    return {"file": str(output), "sha256": digest.hex()}


def sign(
    path: Path, key: RSA | RSAPublic, output: Path, *, signature: Path | None = None
) -> dict[str, Any]:
    """Signs an image, or gives it a signature that was made elsewhere; returns what `verify` does.

    `key` is private, or public with `signature`: a file with the bare signature, 256 or 384 bytes,
    or the same in base64. A signature that is there already is replaced. Raises ImageError,
    KeyFileError, UsageError; then `output` is not touched.
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
            f"{path} is no signature by this key: {len(content)} bytes, not {size}",
            "Have it made of what stm32up image digest wrote.",
        )
    return content


def show(path: Path) -> dict[str, Any]:
    """Header and TLVs of an image, as plain values. Checks its structure but neither digest nor
    signature.
    """
    return _describe(path, image_format.parse(_read(path)))


def verify(path: Path, key: RSA | RSAPublic | None = None) -> dict[str, Any]:
    """Checks structure, digest and, if a key is given, the signature; returns what `show` does.

    There, "signature" is decided: "valid", "unchecked" (no key given) or "none". Raises
    ImageError.
    """
    return check(path, _read(path), key)


def check(path: Path, content: bytes, key: RSA | RSAPublic | None) -> dict[str, Any]:
    """What `verify` does, of bytes; `path` is what messages call them."""
    parsed = image_format.parse(content)
    _check_kind(path, parsed)
    if hashlib.sha256(parsed.signed_part).digest() != parsed.find(image_format.SHA256):
        raise ImageError(
            f"{path} is damaged: its digest does not match", "Build it again, or copy it again."
        )
    _check_signature_form(path, parsed)
    signature = "unchecked" if _signatures(parsed) else "none"
    if key is not None:
        _check_signature(path, parsed, key)
        signature = "valid"
    return {**_describe(path, parsed), "signature": signature}


def _check_kind(path: Path, parsed: image_format.Parsed) -> None:
    """What the updater on the board wants to find, beyond a sound structure."""
    hint = "Build it with stm32up image build."
    unsuited = parsed.flags & image_format.UNSUITED
    if unsuited:
        names = [name for bit, name in image_format.FLAG_NAMES.items() if unsuited & bit]
        raise ImageError(f"{path} is {', '.join(names)}, which the updater cannot install", hint)
    if not parsed.flags & image_format.ROM_FIXED:
        raise ImageError(f"{path} names no flash address", hint)
    if not parsed.payload:
        raise ImageError(f"{path} has no payload", hint)
    if len({tlv.type for tlv in parsed.tlvs}) < len(parsed.tlvs):
        raise ImageError(f"{path} says something twice: two TLVs of one type", hint)
    for tlv in parsed.tlvs:
        if tlv.protected == (tlv.type in image_format.UNPROTECTED):
            raise ImageError(f"{path} has TLV 0x{tlv.type:02X} where it does not belong", hint)
        if len(tlv.value) != image_format.LENGTHS.get(tlv.type, len(tlv.value)):
            size = len(tlv.value)
            raise ImageError(f"{path} has TLV 0x{tlv.type:02X} of {size} bytes", hint)
    if parsed.find(image_format.PRODUCT_ID) is None:
        raise ImageError(f"{path} names no chip", hint)
    if parsed.find(image_format.SECURITY_COUNTER) is None:
        raise ImageError(f"{path} has no security counter", hint)


def _signatures(parsed: image_format.Parsed) -> list[image_format.Tlv]:
    return [tlv for tlv in parsed.tlvs if tlv.type in image_format.SIGNATURES]


def _check_signature_form(path: Path, parsed: image_format.Parsed) -> None:
    """No signature, or one that names its key."""
    hint = "Sign it again: stm32up image sign."
    if len(_signatures(parsed)) > 1:
        raise ImageError(f"{path} has two signatures", hint)
    if _signatures(parsed) and parsed.find(image_format.KEYHASH) is None:
        raise ImageError(f"{path}: the signature does not name its key", hint)


def _check_signature(path: Path, parsed: image_format.Parsed, key: RSA | RSAPublic) -> None:
    hint = "Sign it with the key that the board knows."
    kind = next(kind for kind, name in image_format.SIGNATURES.items() if name == _kind(key))
    signature = parsed.find(kind)
    if signature is None:
        if _signatures(parsed):
            raise ImageError(f"{path} is signed with another key than {_kind(key)}", hint)
        raise ImageError(f"{path} is not signed", hint)
    if parsed.find(image_format.KEYHASH) != keys.key_hash(key):
        raise ImageError(f"{path} is signed with another key", hint)
    try:
        key.verify(signature, parsed.signed_part)
    except InvalidSignature:
        raise ImageError(f"{path} has a wrong signature", hint) from None


def _kind(key: RSA | RSAPublic) -> str:
    return f"rsa{key.key_size()}"


def _describe(path: Path, parsed: image_format.Parsed) -> dict[str, Any]:
    product_id = parsed.find(image_format.PRODUCT_ID)
    counter = parsed.find(image_format.SECURITY_COUNTER)
    class_id_value = parsed.find(image_format.CLASS_ID)
    key_hash = parsed.find(image_format.KEYHASH)
    digest = parsed.find(image_format.SHA256)
    kinds = [name for kind, name in image_format.SIGNATURES.items() if parsed.find(kind)]
    return {
        "file": str(path),
        "version": parsed.version,
        "bytes": len(parsed.payload),
        "address": parsed.load_address,
        "product_id": int.from_bytes(product_id, "little") if product_id else None,
        "class_id": class_id_value.hex() if class_id_value else None,
        "security_counter": int.from_bytes(counter, "little") if counter else None,
        "sha256": digest.hex() if digest else None,
        "signed_with": kinds[0] if kinds else None,
        "key_hash": key_hash.hex() if key_hash else None,
        "header_size": parsed.header_size,
        "flags": [n for bit, n in image_format.FLAG_NAMES.items() if parsed.flags & bit],
        "tlvs": [
            {
                "type": tlv.type,
                "name": image_format.NAMES.get(tlv.type, "unknown"),
                "protected": tlv.protected,
                "value": tlv.value.hex(),
            }
            for tlv in parsed.tlvs
        ],
    }


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _version(text: str) -> SemiSemVersion:
    """Checks what imgtool leaves to struct: major and minor are bytes, revision has 16 bits, build
    32.
    """
    try:
        version = decode_version(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a version", "Write it as 1.4.2 or 1.4.2+7.") from None
    for part, limit in zip(version, (0xFF, 0xFF, 0xFFFF, 0xFFFF_FFFF), strict=True):
        if part > limit:
            raise UsageError(f"version {text}: {part} is more than {limit}")
    return version


def _u32(number: int) -> int:
    if not 0 <= number <= 0xFFFF_FFFF:
        raise UsageError(f"a security counter of {number} does not fit 32 bits")
    return number
