"""Reading a firmware image file: MCUboot's image format, checked whole before anything is done.

    header          hdr_size bytes, the first 32 defined (struct image_header)
    payload         img_size bytes: what goes to flash
    protected TLVs  protect_tlv_size bytes, tag 0x6908
    TLVs            tag 0x6907: SHA-256 over all of the above, hash of a key, its signature

Source: MCUboot bootutil/image.h and its design document, section "Image format".
"""

import hashlib
import os
import struct

from micropython import const

from .chips import RAM_START
from .errors import (
    ImageDamaged,
    ImageDoesNotFit,
    ImageForAnotherChip,
    ImageForAnotherProduct,
    StoreError,
)

_MAGIC = const(0x96F3B83D)
# magic, load address, header size, protected TLV size, payload size, flags, version
_HEADER = "<IIHHIIBBHI"
_HEADER_SIZE = const(32)  # 4 bytes of padding follow
_VERSION = "<BBHI"  # struct image_version: major, minor, revision, build number
_FLAG_ROM_FIXED = const(0x100)  # the load address is the flash address it was linked for
_FLAGS_NOT_FOR_US = const(0x20 | 0x04 | 0x08 | 0x10 | 0x200 | 0x400)  # RAM load, encrypted, ...

_TLV_INFO_MAGIC = const(0x6907)
_TLV_PROTECTED_MAGIC = const(0x6908)
_TLV_KEY_HASH = const(0x01)
_TLV_SHA256 = const(0x10)
_TLV_RSA2048 = const(0x20)
_TLV_RSA3072 = const(0x23)
_SIGNATURE_SIZES = {_TLV_RSA2048: 256, _TLV_RSA3072: 384}
_TLV_SECURITY_COUNTER = const(0x50)
_TLV_CLASS_ID = const(0x75)
_TLV_PRODUCT_ID = const(0xA0)  # vendor range: the chip's 12-bit product ID, u16 little endian
# What the digest cannot cover, and nothing else, stands outside the protected part.
_UNPROTECTED = (_TLV_KEY_HASH, _TLV_SHA256, _TLV_RSA2048, _TLV_RSA3072)
_MAX_TLV_AREA = const(2048)  # RSA-3072 with all our TLVs takes about 550 bytes
_CHUNK = const(1024)


class Image:
    """A firmware image in a file, structurally sound; `open_image` makes one.

    `version` (text), `version_bytes` (8 bytes as in the header), `address` (of the payload in the
    target's flash), `size` (bytes of payload), `digest` (32 bytes; names the image), `product_id`,
    `class_id` (16 bytes or None), `security_counter`, `signature` (256 or 384 bytes, or None),
    `key_hash` (32 bytes: of the key that made the signature)."""

    def __init__(self, path, header, tlvs, payload_offset):
        self.path = path
        self.payload_offset = payload_offset
        self.address = header[1]
        self.size = header[4]
        self.version_bytes = struct.pack(_VERSION, *header[6:10])
        self.version = version_text(self.version_bytes)
        self.digest = tlvs[_TLV_SHA256]
        self.product_id = struct.unpack("<H", tlvs[_TLV_PRODUCT_ID])[0]
        self.class_id = tlvs.get(_TLV_CLASS_ID)
        self.security_counter = struct.unpack("<I", tlvs[_TLV_SECURITY_COUNTER])[0]
        self.signature = tlvs.get(_TLV_RSA2048) or tlvs.get(_TLV_RSA3072)
        self.key_hash = tlvs.get(_TLV_KEY_HASH)
        self.protected_end = payload_offset + self.size + header[3]

    def rank(self):
        """Sorts images by age: the security counter first, then the version."""
        return (self.security_counter,) + struct.unpack(_VERSION, self.version_bytes)

    def check_digest(self, clock):
        """Hash header, payload and protected TLVs. Raises ImageDamaged, StoreError."""
        hasher = hashlib.sha256()
        buffer = bytearray(_CHUNK)
        view = memoryview(buffer)
        left = self.protected_end
        with _open(self.path) as file:
            while left:
                count = file.readinto(view[: min(left, _CHUNK)])
                if not count:
                    raise ImageDamaged("%s ends too early" % self.path)
                hasher.update(view[:count])
                left -= count
                clock.feed()
        if hasher.digest() != self.digest:
            raise ImageDamaged("%s: its content does not match its SHA-256" % self.path)

    def check_fit(self, chip, preserved):
        """Whether this image may go to `chip`, whose `preserved` regions are [(start, length)].

        Raises ImageForAnotherChip, ImageDoesNotFit."""
        if self.product_id != chip.product_id:
            raise ImageForAnotherChip(
                "%s is for chip 0x%03X, the target is 0x%03X (%s)"
                % (self.path, self.product_id, chip.product_id, chip.name)
            )
        start, end = self.address, self.address + self.size
        if start % chip.page_size:
            raise ImageDoesNotFit(
                "%s starts at 0x%08X, not at a page boundary" % (self.path, start)
            )
        if start < chip.flash_start or end > chip.flash_end:
            raise ImageDoesNotFit(
                "%s covers 0x%08X..0x%08X, the flash of %s is 0x%08X..0x%08X"
                % (self.path, start, end - 1, chip.name, chip.flash_start, chip.flash_end - 1)
            )
        last_page_end = end + -end % chip.page_size
        for region_start, length in preserved:
            if start < region_start + length and region_start < last_page_end:
                raise ImageDoesNotFit(
                    "%s covers the preserved region at 0x%08X (%d bytes)"
                    % (self.path, region_start, length)
                )

    def check_product(self, class_id):
        """Whether this image was made for this product. Raises ImageForAnotherProduct."""
        if class_id is not None and self.class_id != class_id:
            raise ImageForAnotherProduct("%s was built for another product" % self.path)

    def check_vectors(self, chip):
        """Whether stack pointer and reset vector make sense (RM0444: initial SP in RAM, reset
        vector inside the image with the Thumb bit set). Raises ImageDoesNotFit."""
        vectors = bytearray(8)
        with self.payload() as payload:
            payload.read_into(0, vectors)
        stack, reset = struct.unpack("<II", vectors)
        ram_end = RAM_START + chip.ram_size
        if not RAM_START < stack <= ram_end or stack % 4:
            raise ImageDoesNotFit(
                "%s: the initial stack pointer 0x%08X is not in RAM" % (self.path, stack)
            )
        if not self.address < reset < self.address + self.size or not reset & 1:
            raise ImageDoesNotFit(
                "%s: the reset vector 0x%08X does not point into the image" % (self.path, reset)
            )

    def payload(self):
        """A Payload to read from; use it with `with`."""
        return Payload(_open(self.path), self.payload_offset, self.size)


class Payload:
    """The open payload of an image; past its end it reads as erased flash."""

    def __init__(self, file, offset, size):
        self._file = file
        self._offset = offset
        self._size = size

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def read_into(self, offset, buffer):
        """Fill `buffer` from `offset` of the payload. Raises StoreError."""
        count = max(0, min(len(buffer), self._size - offset))
        try:
            self._file.seek(self._offset + offset)
            done = self._file.readinto(memoryview(buffer)[:count]) if count else 0
        except OSError as error:
            raise StoreError("reading the image failed: %s" % error)
        if done != count:
            raise StoreError("the image became shorter while it was read")
        for index in range(count, len(buffer)):
            buffer[index] = 0xFF


def open_image(path):
    """The Image in the file at `path`, after a check of its structure (not of its digest).

    Raises ImageDamaged, StoreError."""
    size = _file_size(path)
    with _open(path) as file:
        raw = file.read(_HEADER_SIZE)
        if len(raw) < _HEADER_SIZE:
            raise ImageDamaged("%s is too short for an image: %d bytes" % (path, len(raw)))
        header = struct.unpack_from(_HEADER, raw)
        magic, _, header_size, protected_size, payload_size, flags = header[:6]
        if magic != _MAGIC:
            raise ImageDamaged("%s is no MCUboot image" % path)
        if flags & _FLAGS_NOT_FOR_US or not flags & _FLAG_ROM_FIXED:
            raise ImageDamaged("%s has flags 0x%X, which do not suit this updater" % (path, flags))
        if header_size < _HEADER_SIZE or not payload_size:
            raise ImageDamaged("%s has no payload" % path)
        end = header_size + payload_size
        tlvs = {}
        if protected_size:
            end = _read_tlvs(file, path, size, end, _TLV_PROTECTED_MAGIC, tlvs)
        if end != header_size + payload_size + protected_size:
            raise ImageDamaged("%s: the protected part has another length than stated" % path)
        protected = set(tlvs)
        end = _read_tlvs(file, path, size, end, _TLV_INFO_MAGIC, tlvs)
    if end != size:
        raise ImageDamaged("%s has %d bytes too many" % (path, size - end))
    for kind, length, name in (
        (_TLV_SHA256, 32, "SHA-256"),
        (_TLV_PRODUCT_ID, 2, "chip"),
        (_TLV_SECURITY_COUNTER, 4, "security counter"),
    ):
        if len(tlvs.get(kind, b"")) != length:
            raise ImageDamaged("%s does not state its %s" % (path, name))
    for kind in tlvs:
        if (kind in protected) == (kind in _UNPROTECTED):
            raise ImageDamaged("%s: TLV 0x%02X does not belong where it stands" % (path, kind))
    _check_signature_form(path, tlvs)
    return Image(path, header, tlvs, header_size)


def _check_signature_form(path, tlvs):
    """No signature, or one that names its key. Raises ImageDamaged."""
    kinds = [kind for kind in _SIGNATURE_SIZES if kind in tlvs]
    if len(kinds) > 1:
        raise ImageDamaged("%s has two signatures" % path)
    for kind in kinds:
        if len(tlvs[kind]) != _SIGNATURE_SIZES[kind] or len(tlvs.get(_TLV_KEY_HASH, b"")) != 32:
            raise ImageDamaged("%s: its signature or the hash of its key is cut short" % path)


def version_text(raw):
    """ "1.4.2", or "1.4.2+7" with a build number, of the 8 bytes of an image_version."""
    major, minor, revision, build = struct.unpack(_VERSION, raw)
    text = "%d.%d.%d" % (major, minor, revision)
    return text + "+%d" % build if build else text


def _read_tlvs(file, path, size, start, magic, tlvs):
    """Read one TLV area at `start` into `tlvs`; returns its end. Raises ImageDamaged."""
    if start + 4 > size:
        raise ImageDamaged("%s is truncated: %d bytes" % (path, size))
    file.seek(start)
    found, total = struct.unpack("<HH", file.read(4))
    if found != magic:
        raise ImageDamaged("%s: no TLV area at byte %d" % (path, start))
    if start + total > size:
        raise ImageDamaged("%s is truncated: %d of %d bytes" % (path, size, start + total))
    if not 4 <= total <= _MAX_TLV_AREA:
        raise ImageDamaged("%s: a TLV area of %d bytes" % (path, total))
    area = file.read(total - 4)
    at = 0
    while at < len(area):
        if at + 4 > len(area):
            raise ImageDamaged("%s: a TLV is cut short" % path)
        kind, length = struct.unpack_from("<HH", area, at)
        at += 4
        if at + length > len(area) or kind in tlvs:
            raise ImageDamaged("%s: TLV 0x%02X is cut short or repeated" % (path, kind))
        tlvs[kind] = bytes(area[at : at + length])
        at += length
    return start + total


def _file_size(path):
    try:
        return os.stat(path)[6]
    except OSError:
        raise StoreError("no file %s" % path)


def _open(path):
    try:
        return open(path, "rb")
    except OSError as error:
        raise StoreError("%s cannot be opened: %s" % (path, error))
