"""Keys for signing images: RSA, because checking a signature is a single pow() on the host MCU.

A development key is known to more people than a product can trust. It is recognised by a line of
text before its PEM block, or because MCUboot publishes its private half.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from imgtool.keys import RSA, RSAPublic

from stm32up.errors import KeyFileError, UsageError
from stm32up.image.bounded_read import read_up_to

SIZES = (2048, 3072)  # bits; those that MCUboot supports
EXPONENT = 65537
LARGEST = 64 * 1024  # bytes of a file that can be a key
# RFC 7468 section 2 allows text before a PEM block; every reader skips it.
DEVELOPMENT = "stm32up development key: a board for a product refuses it"
# KEYHASH of the keys in sim/mcuboot-sys/csupport/keys.c of mcu-tools/mcuboot. Their private halves
# are root-rsa-2048.pem and root-rsa-3072.pem there, so anyone can sign with them.
PUBLISHED = {
    "fc5701dc6135e1323847bdc40f04d2e5bee5833b23c29f93593d00018cfa9994": "root-rsa-2048.pem",
    "449793fb65cd7698753d5b3f35fab15f1e3a45111ff24e1d46741de5ae12d59e": "root-rsa-3072.pem",
}


class PassphraseNeeded(KeyFileError):
    """The private key is encrypted and no passphrase was given."""


class DeviceKey(NamedTuple):
    """A public key as the updater reads it: /updater/keys/NAME.

    The name is the first 16 hex digits of the SHA-256 in an image's KEYHASH TLV, with ".pub". The
    content is the modulus, big-endian, 256 or 384 bytes; the exponent is always 65537.
    """

    name: str
    content: bytes


def new(
    path: Path, bits: int = 3072, passphrase: str | None = None, *, development: bool = False
) -> None:
    """Write a new private key as PEM, readable by its owner only. Never overwrites a file."""
    if bits not in SIZES:
        raise UsageError(
            f"{bits} bits is not a key size that MCUboot supports", "Use 2048 or 3072."
        )
    key = rsa.generate_private_key(public_exponent=EXPONENT, key_size=bits)
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    _write_new(path, _marked(pem, development), 0o600)


def write_public(source: Path, output: Path, passphrase: str | None = None) -> RSA | RSAPublic:
    """Write the public half of the key in `source`, and return the key.

    The mark of a development key is copied too. Never overwrites a file.
    """
    key = load(source, passphrase)
    _write_new(output, _marked(key.get_public_pem(), why_development(source, key) != ""), 0o644)
    return key


def why_development(path: Path, key: RSA | RSAPublic) -> str:
    """Why the key in this file is for development only; empty if it is not."""
    published = PUBLISHED.get(key_hash(key).hex())
    if published is not None:
        return f"MCUboot publishes its private half as {published}"
    before_block = _read(path).partition(b"-----BEGIN")[0]
    return "it is marked as one" if DEVELOPMENT.encode() in before_block else ""


def load(path: Path, passphrase: str | None = None) -> RSA | RSAPublic:
    """The key in this PEM file: imgtool's RSA (private) or RSAPublic.

    Raises PassphraseNeeded, or KeyFileError for everything that is not an RSA key of 2048 or 3072
    bits.
    """
    key = _parse(path, _read(path), None if passphrase is None else passphrase.encode())
    if not isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        raise KeyFileError(
            f"{path} is not an RSA key, and the updater checks RSA signatures only",
            "Make one: stm32up keys new KEY.pem.",
        )
    if key.key_size not in SIZES:
        raise KeyFileError(
            f"{path} is an RSA key of {key.key_size} bits, and MCUboot supports 2048 and 3072",
            "Make one: stm32up keys new KEY.pem.",
        )
    public = key.public_key() if isinstance(key, rsa.RSAPrivateKey) else key
    if public.public_numbers().e != EXPONENT:
        raise KeyFileError(f"{path} has another public exponent than {EXPONENT}")
    return RSA(key) if isinstance(key, rsa.RSAPrivateKey) else RSAPublic(key)


def key_hash(key: RSA | RSAPublic) -> bytes:
    """SHA-256 of the public key as imgtool encodes it (PKCS#1 DER): the content of the KEYHASH
    TLV.
    """
    return hashlib.sha256(key.get_public_bytes()).digest()


def device_key(key: RSA | RSAPublic) -> DeviceKey:
    """The public half of a key, for the board's filesystem."""
    modulus: int = key._get_public().public_numbers().n
    content = modulus.to_bytes(key.key_size() // 8, "big")
    return DeviceKey(f"{key_hash(key).hex()[:16]}.pub", content)


def _marked(pem: bytes, development: bool) -> bytes:
    return DEVELOPMENT.encode() + b"\n" + pem if development else pem


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise UsageError(f"{path} already exists", "Give the key another name.") from None
    except OSError as error:
        missing = not path.absolute().parent.is_dir()
        make = f"Make the folder first: mkdir {shlex.quote(str(path.parent))}." if missing else ""
        raise UsageError(f"cannot write {path}: {error.strerror}", make) from None
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content, size = read_up_to(file, LARGEST)
    except OSError as error:
        raise UsageError(
            f"cannot read the key {path}: {error.strerror}", "Make one: stm32up keys new KEY.pem."
        ) from None
    if size > LARGEST:
        raise KeyFileError(f"{path} has {size} bytes, too many for a key")
    return content


def _parse(path: Path, pem: bytes, passphrase: bytes | None) -> object:
    if b"PRIVATE KEY-----" not in pem:
        try:
            return serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            raise KeyFileError(f"{path} holds no key in PEM form") from None
    try:
        return serialization.load_pem_private_key(pem, passphrase)
    except TypeError:
        if passphrase is None:
            raise PassphraseNeeded(
                f"{path} needs a passphrase", "Set STM32UP_PASSPHRASE, or run in a terminal."
            ) from None
        return serialization.load_pem_private_key(pem, None)  # it is not encrypted
    except (ValueError, UnsupportedAlgorithm):
        what = "the key is damaged" if passphrase is None else "wrong passphrase, or damaged"
        raise KeyFileError(f"cannot read the key {path}: {what}") from None
