"""Who made an image: RSA-PSS signatures as imgtool makes them, checked with one pow().

SHA-256, MGF1 with SHA-256, a salt of 32 bytes, exponent 65537, keys of 2048 or 3072 bits. RSA,
since its check is 17 modular multiplications; any elliptic curve takes thousands.

Source: RFC 8017 sections 8.1.2 and 9.1.2; the salt's length from imgtool's keys/rsa.py.
"""

import hashlib
import os
import struct

from micropython import const

from .errors import ImageKeyUnknown, ImageNotSigned, ImageSignatureWrong, StoreError

_EXPONENT = const(65537)
_SIZES = (256, 384)  # bytes of a modulus, and of a signature
_HASH = const(32)  # bytes of a SHA-256, and of the salt
_TRAILER = const(0xBC)
_ENOENT = const(2)


class Keys:
    """The public keys that this board trusts, in a folder: files NAME.pub that hold a modulus,
    big-endian, 256 or 384 bytes; `stm32up deploy --key` puts them there.

    NAME, 16 hex digits of the key's hash, only tells where to look: a file counts as the key that
    its content hashes to."""

    def __init__(self, folder):
        self._folder = folder

    def find(self, wanted):
        """The modulus of the key with this hash (32 bytes), or None. Raises StoreError."""
        modulus = self._read(key_id(wanted) + ".pub")
        return modulus if modulus is not None and key_hash(modulus) == wanted else None

    def ids(self):
        """The ids of all keys that `find` would find."""
        try:
            names = sorted(os.listdir(self._folder))
        except OSError:
            return []  # no key was ever deployed
        moduli = [(name, self._read(name)) for name in names]
        ids = [(name, key_id(key_hash(key))) for name, key in moduli if key is not None]
        return [id for name, id in ids if name == id + ".pub"]

    def _read(self, name):
        """The content of a key file, or None: not there, or no key that MCUboot knows."""
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
    """Whether `image`, whose digest was checked, comes from the owner of one of `keys`; returns
    the id of the key, or None if that was not asked.

    Where unsigned images are allowed, one signed with an unknown key passes like one that is not
    signed: whoever wants it in could leave the signature out as well. A known key is always asked.
    A wrong signature is never let through: it says that something was changed.
    Raises ImageNotSigned, ImageKeyUnknown, ImageSignatureWrong; StoreError."""
    if image.signature is None:
        if unsigned_allowed:
            return None
        raise ImageNotSigned("%s has no RSA signature" % image.path)
    modulus = keys.find(image.key_hash)
    if modulus is None:
        if unsigned_allowed:
            return None
        raise ImageKeyUnknown(
            "%s is signed with the key %s; this board trusts %s"
            % (image.path, key_id(image.key_hash), ", ".join(keys.ids()) or "no key at all")
        )
    if not verify(image.signature, image.digest, modulus):
        raise ImageSignatureWrong(
            "%s: this is not a signature of its content by the key %s"
            % (image.path, key_id(image.key_hash))
        )
    return key_id(image.key_hash)


def verify(signature, digest, modulus):
    """Whether `signature` is the owner of `modulus` signing a message whose SHA-256 is `digest`.
    All are bytes, big-endian. False for anything else, whatever its length.

    With 3072 bits an RP2040 is estimated to take 0.3 s (benchmarks/signature.py), in which no
    watchdog is fed. Heap: 7.2 KB, most of it garbage at once."""
    size = len(modulus)
    number = int.from_bytes(modulus, "big")
    signed = int.from_bytes(signature, "big")
    if len(signature) != size or signed >= number:
        return False
    encoded = bytearray(pow(signed, _EXPONENT, number).to_bytes(size, "big"))
    # EMSA-PSS: 0 bits, a one, the salt, all of that masked; then a hash, then the trailer.
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
    """Take the mask of MGF1 off the first `length` bytes of `data`. RFC 8017 appendix B.2.1."""
    for start in range(0, length, _HASH):
        mask = hashlib.sha256(seed + struct.pack(">I", start // _HASH)).digest()
        for index in range(start, min(start + _HASH, length)):
            data[index] ^= mask[index - start]


def key_hash(modulus):
    """SHA-256 of the public key as PKCS#1 DER, the content of an image's KEYHASH TLV: a SEQUENCE
    of two INTEGERs, the modulus (its top bit set, so a zero byte comes first) and 65537."""
    size = len(modulus)
    header = struct.pack(">BBHBBHB", 0x30, 0x82, size + 10, 0x02, 0x82, size + 1, 0)
    return hashlib.sha256(header + modulus + b"\x02\x03\x01\x00\x01").digest()


def key_id(hash):
    """The first 16 hex digits of a key's hash: its name for people, and of its file."""
    return hash[:8].hex()
