"""Checks the RSA-PSS signatures that imgtool makes, with one pow().

SHA-256, MGF1 with SHA-256, a salt of 32 bytes, exponent 65537, keys of 2048 or 3072 bits. RSA,
because a check takes 17 modular multiplications; elliptic curves take thousands.

Source: RFC 8017 sections 8.1.2 and 9.1.2; the salt length from imgtool's keys/rsa.py.
"""

import hashlib
import os
import struct

from micropython import const

from .errors import ImageKeyUnknown, ImageNotSigned, ImageSignatureWrong, StoreError

_EXPONENT = const(65537)
_SIZES = (256, 384)  # bytes of a modulus and of a signature
_HASH = const(32)  # bytes of a SHA-256 and of the salt
_TRAILER = const(0xBC)
_ENOENT = const(2)


class Keys:
    """The public keys that this board trusts: files NAME.pub in a folder, each a modulus,
    big-endian, 256 or 384 bytes. `stm32up deploy --key` writes them.

    NAME is the key's id. It only serves to find the file: the content's hash is checked."""

    def __init__(self, folder):
        self._folder = folder

    def find(self, wanted):
        """The modulus of the key whose hash (32 bytes) is `wanted`, or None. Raises StoreError."""
        modulus = self._read(key_id(wanted) + ".pub")
        return modulus if modulus is not None and key_hash(modulus) == wanted else None

    def ids(self):
        """The ids of all keys that `find` can find. Raises StoreError."""
        try:
            names = sorted(os.listdir(self._folder))
        except OSError:
            return []  # no key was ever deployed
        moduli = [(name, self._read(name)) for name in names]
        ids = [(name, key_id(key_hash(key))) for name, key in moduli if key is not None]
        return [id for name, id in ids if name == id + ".pub"]

    def _read(self, name):
        """The modulus in a key file; None if the file does not exist or is not an RSA-2048 or
        RSA-3072 key."""
        try:
            with open(self._folder + "/" + name, "rb") as file:
                modulus = file.read(_SIZES[-1] + 1)
        except OSError as error:
            if error.errno == _ENOENT:
                return None
            raise StoreError("the key %s cannot be read: %s" % (name, error))
        whole = len(modulus) in _SIZES and modulus[0] & 0x80 and modulus[-1] & 1
        return modulus if whole else None


def check(image, keys, unsigned_allowed):
    """Check that one of `keys` signed `image`, whose digest was checked before. Returns the id of
    the key, or None if the signature was not checked.

    If unsigned images are allowed, an image signed with an unknown key is accepted as an unsigned
    one: an attacker could simply remove the signature. A signature by a known key is always
    checked, and a wrong one is always refused, because it shows that the image was changed.
    Raises ImageNotSigned, ImageKeyUnknown, ImageSignatureWrong, StoreError."""
    if image.signature is None:
        if unsigned_allowed:
            return None
        raise ImageNotSigned("%s has no RSA signature" % image.name)
    modulus = keys.find(image.key_hash)
    if modulus is None:
        if unsigned_allowed:
            return None
        raise ImageKeyUnknown(
            "%s is signed with the key %s; this board trusts %s"
            % (image.name, key_id(image.key_hash), ", ".join(keys.ids()) or "no key at all")
        )
    if not verify(image.signature, image.digest, modulus):
        raise ImageSignatureWrong(
            "%s: its signature by the key %s does not match its content"
            % (image.name, key_id(image.key_hash))
        )
    return key_id(image.key_hash)


def verify(signature, digest, modulus):
    """Whether `signature` was made with the key of `modulus` for a message whose SHA-256 is
    `digest`. All are bytes, big-endian. False for any invalid signature, of any length.

    For 3072 bits an RP2040 takes an estimated 0.3 s (benchmarks/signature.py), in which the
    watchdog is not fed. Uses 7.2 KB of heap, most of it garbage afterwards."""
    size = len(modulus)
    number = int.from_bytes(modulus, "big")
    signed = int.from_bytes(signature, "big")
    if len(signature) != size or signed >= number:
        return False
    encoded = bytearray(pow(signed, _EXPONENT, number).to_bytes(size, "big"))
    # EMSA-PSS: masked (zeros, a 1, the salt), hash, trailer.
    masked = size - _HASH - 1
    if encoded[0] & 0x80 or encoded[-1] != _TRAILER:
        return False
    seed = bytes(encoded[masked:-1])
    _unmask(encoded, masked, seed)
    encoded[0] &= 0x7F
    zeros = masked - _HASH - 1
    if encoded[zeros] != 1 or any(encoded[:zeros]):
        return False
    salt = encoded[zeros + 1 : masked]
    return hashlib.sha256(bytes(8) + digest + salt).digest() == seed


def _unmask(data, length, seed):
    """Remove the MGF1 mask from the first `length` bytes of `data`. RFC 8017 appendix B.2.1."""
    for start in range(0, length, _HASH):
        mask = hashlib.sha256(seed + struct.pack(">I", start // _HASH)).digest()
        for index in range(start, min(start + _HASH, length)):
            data[index] ^= mask[index - start]


def key_hash(modulus):
    """SHA-256 of the public key as PKCS#1 DER, as in an image's KEYHASH TLV: a SEQUENCE of two
    INTEGERs, the modulus (with a leading zero byte, because its top bit is set) and 65537."""
    size = len(modulus)
    header = struct.pack(">BBHBBHB", 0x30, 0x82, size + 10, 0x02, 0x82, size + 1, 0)
    return hashlib.sha256(header + modulus + b"\x02\x03\x01\x00\x01").digest()


def key_id(hash):
    """The first 16 hex digits of a key's hash: its name in messages, and of its file."""
    return hash[:8].hex()
