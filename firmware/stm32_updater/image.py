"""Reads a firmware image file in MCUboot's image format, and checks its structure.

    header          hdr_size bytes, the first 32 defined (struct image_header)
    payload         img_size bytes: what goes to flash
    protected TLVs  protect_tlv_size bytes, tag 0x6908
    TLVs            tag 0x6907: SHA-256 over all of the above, hash of the key, signature

Source: MCUboot bootutil/image.h and its design document, section "Image format".
"""

import hashlib
import os
import struct

from micropython import const

from stm32_rom.chips import RAM_START

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
_FLAG_ROM_FIXED = const(0x100)  # the load address is the flash address of the payload

_TLV_INFO_MAGIC = const(0x6907)
_TLV_PROTECTED_MAGIC = const(0x6908)
_TLV_KEY_HASH = const(0x01)
_TLV_SHA256 = const(0x10)
_TLV_RSA2048 = const(0x20)
_TLV_RSA3072 = const(0x23)
_TLV_SECURITY_COUNTER = const(0x50)
_TLV_CLASS_ID = const(0x75)
# In MCUboot's range for vendors:
_TLV_PRODUCT_ID = const(0xA0)  # the chip's 12-bit product ID, u16 little endian
_TLV_KEPT = const(0xA1)  # pages to leave unchanged: pairs of u32, offset and length in bytes
_TLV_CHECKSUMS = const(0xA2)  # see Image.checksum
# The TLVs that are read, and their lengths in bytes (None: any). Others are ignored.
_LENGTHS = {
    _TLV_KEY_HASH: 32,
    _TLV_SHA256: 32,
    _TLV_RSA2048: 256,
    _TLV_RSA3072: 384,
    _TLV_SECURITY_COUNTER: 4,
    _TLV_CLASS_ID: 16,
    _TLV_PRODUCT_ID: 2,
    _TLV_KEPT: None,
    _TLV_CHECKSUMS: None,
}
# Only these TLVs, which the digest cannot cover, may be outside the protected part.
_UNPROTECTED = (_TLV_KEY_HASH, _TLV_SHA256, _TLV_RSA2048, _TLV_RSA3072)
_LONG = (_TLV_RSA2048, _TLV_RSA3072, _TLV_CHECKSUMS)  # are not copied
_MAX_TLVS = const(16)  # in both areas; a signed image has 6 to 9
_MAX_TLV_AREA = const(3072)  # bytes; the checksums of 512 pages take 2052, all others 700
_CHECKSUM = const(4)  # bytes
VECTORS = const(16)  # bytes: initial SP, Reset, NMI, HardFault (PM0223 2.3.4)
_MAX_KEPT = const(16)  # regions
_CHUNK = const(1024)
_STEP = const(16384)  # bytes: an RP2040 hashes them in 24 ms
_VECTOR_TABLE = const(64)  # bytes: the core's 16 vectors, Armv6-M manual B1.5.2


class Image:
    """A firmware image file whose structure was checked; made by `open_image`.

    `path`: where the file is now. `name`: where it was opened, for messages. `version` (text),
    `version_bytes` (8 bytes as in the header), `address` (of the payload in the target's flash),
    `size` (bytes of payload), `digest` (32 bytes; identifies the image), `product_id`, `class_id`
    (16 bytes or None), `security_counter`, `signature` (256 or 384 bytes, or None), `key_hash` (32
    bytes, of the signing key, or None), `kept` [(offset in the payload, length)]: pages within the
    payload that are left unchanged in flash, `own_size`: bytes of the payload without the kept
    pages, `protected`: the protected TLVs as in the file."""

    def __init__(self, path, header, tlvs, payload_offset, protected):
        self.path = self.name = path
        self.protected = protected
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
        self._checksums = tlvs.get(_TLV_CHECKSUMS)
        self.kept = _kept(path, tlvs.get(_TLV_KEPT), self.size)
        self.own_size = self.size - sum([length for _, length in self.kept])

    def rank(self):
        """Sort key by age: the security counter, then the version."""
        return (self.security_counter,) + struct.unpack(_VERSION, self.version_bytes)

    def keeps(self, offset):
        """Whether the page at `offset` of the payload is left unchanged."""
        for start, length in self.kept:  # noqa: SIM110, a generator would allocate memory
            if start <= offset < start + length:
                return True
        return False

    def checksum(self, page=None):
        """The 4 bytes that the loader's Get Memory Checksum must answer for a page of the payload
        (its number from 0), or for all of the payload; without the first VECTORS bytes, which are
        written last. None if the image does not state it: one with kept pages does not for all."""
        if self._checksums is None or page is None and self.kept:
            return None
        at = 0 if page is None else _CHECKSUM * (page + 1)
        return self._checksums[at : at + _CHECKSUM]

    def check_digest(self, clock):
        """Hash header, payload and protected TLVs. Raises ImageDamaged, StoreError."""
        for _ in self.checking_digest(clock, False):
            pass

    def checking_digest(self, clock, pauses):
        """As `check_digest`, but a generator. With `pauses` it yields None after some KB each."""
        view = memoryview(bytearray(_CHUNK))
        with self.payload() as payload:
            payload.begin_hash(view)
            for offset in range(0, self.size, _CHUNK):
                payload.hash_into(offset, view)
                clock.feed()
                if pauses and offset % _STEP == 0:
                    yield None
            payload.end_hash(self)

    def check_fit(self, chip, preserved):
        """Check that this image fits `chip` and its `preserved` regions, [(start, length)].

        Raises ImageForAnotherChip, ImageDoesNotFit, ImageDamaged."""
        if self.product_id != chip.product_id:
            raise ImageForAnotherChip(
                "%s is for chip 0x%03X, the target is 0x%03X (%s)"
                % (self.name, self.product_id, chip.product_id, chip.name)
            )
        start, end = self.address, self.address + self.size
        if start != chip.flash_start:  # the old first vectors would stay, without their code
            raise ImageDoesNotFit(
                "%s starts at 0x%08X, not where an application starts: 0x%08X"
                % (self.name, start, chip.flash_start),
                "Link the application at 0x%08X." % chip.flash_start,
            )
        if end > chip.flash_end:
            raise ImageDoesNotFit(
                "%s covers 0x%08X..0x%08X, the flash of %s is 0x%08X..0x%08X"
                % (self.name, start, end - 1, chip.name, chip.flash_start, chip.flash_end - 1)
            )
        for offset, length in self.kept:
            if offset % chip.page_size or length % chip.page_size:
                raise ImageDoesNotFit(
                    "%s keeps %d bytes at 0x%08X: not whole pages of %s"
                    % (self.name, length, start + offset, chip.name)
                )
        pages = -(-self.size // chip.page_size)
        if self._checksums is not None and len(self._checksums) != _CHECKSUM * (pages + 1):
            raise ImageDamaged("%s does not state one checksum for each page" % self.name)
        covered = start
        for offset, length in self.kept + [(end + -end % chip.page_size - start, 0)]:
            self._check_preserved(covered, start + offset, preserved)
            covered = start + offset + length

    def _check_preserved(self, start, end, preserved):
        """Check that start..end, which this image erases, is outside the preserved regions."""
        for region, length in preserved:
            if start < region + length and region < end:
                raise ImageDoesNotFit(
                    "%s covers the preserved region at 0x%08X (%d bytes)"
                    % (self.name, region, length)
                )

    def check_product(self, class_id):
        """Check that this image is for this product. Raises ImageForAnotherProduct."""
        if class_id is None or self.class_id == class_id:
            return
        if self.class_id is None:
            raise ImageForAnotherProduct(
                "%s names no product, and this board takes only images for its own" % self.name,
                "Build it with --product, or sign it with imgtool's --vid stm32up --cid PRODUCT.",
            )
        raise ImageForAnotherProduct("%s was built for another product" % self.name)

    def check_vectors(self, chip):
        """Check the first vectors: initial SP in RAM; reset vector in the image, after the vector
        table, not in a kept page, with the Thumb bit set (PM0223 section 2.3.4).
        Raises ImageDoesNotFit."""
        vectors = memoryview(bytearray(8))
        with self.payload() as payload:
            payload.read_into(0, vectors)
        stack, reset = struct.unpack("<II", vectors)
        ram_end = RAM_START + chip.ram_size
        if not RAM_START < stack <= ram_end or stack % 4:
            raise ImageDoesNotFit(
                "%s: the initial stack pointer 0x%08X is not in RAM" % (self.name, stack)
            )
        code = self.address + _VECTOR_TABLE
        inside = code < reset < self.address + self.size
        if not inside or self.keeps(reset - self.address) or not reset & 1:
            raise ImageDoesNotFit(
                "%s: the reset vector 0x%08X does not point to code in the image"
                % (self.name, reset)
            )

    def payload(self):
        """The open Payload; use it in a `with` statement. Raises StoreError."""
        return Payload(_File(self.path), self.payload_offset, self.size)


class Payload:
    """The open payload of an image. Past its end it reads as erased flash (0xFF).

    To hash the image while it is read: `begin_hash`, `hash_into` for all of the payload in order,
    `end_hash`."""

    def __init__(self, file, offset, size):
        self._file = file
        self._offset = offset
        self._size = size
        self._hasher = hashlib.sha256()
        self._at = 0  # position in the file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def read_into(self, offset, view):
        """Fill `view`, a memoryview, from `offset` of the payload. Returns the part of `view` that
        is not past the end. Raises StoreError."""
        count = max(0, min(len(view), self._size - offset))
        part = view if count == len(view) else view[:count]  # a slice allocates memory
        if count:
            self._seek(self._offset + offset)
            self._file.fill(part)
            self._at += count
        for index in range(count, len(view)):
            view[index] = 0xFF
        return part

    def begin_hash(self, scratch):
        """Hash the header. `scratch`: a memoryview to read into. Raises StoreError."""
        self._hasher = hashlib.sha256()
        self._seek(0)
        length = self._at = self._offset
        while length:
            part = scratch if length >= len(scratch) else scratch[:length]
            self._file.fill(part)
            self._hasher.update(part)
            length -= len(part)

    def hash_into(self, offset, view):
        """As `read_into`, and hash the returned part. Raises StoreError."""
        self._hasher.update(self.read_into(offset, view))

    def hash_parts(self, offset, parts):
        """As `hash_into`, for memoryviews that follow each other from `offset` on."""
        self._seek(self._offset + offset)
        for part in parts:
            offset += len(part)
            if offset > self._size:
                part = self.read_into(offset - len(part), part)
            else:
                self._file.fill(part)
                self._at += len(part)
            self._hasher.update(part)

    def end_hash(self, image):
        """Hash the protected TLVs, as `image` holds and uses them, and compare with its digest.
        Raises ImageDamaged."""
        self._hasher.update(image.protected)
        if self._hasher.digest() != image.digest:
            raise ImageDamaged("%s: its content does not match its SHA-256" % image.name)

    def _seek(self, position):
        if position != self._at:
            self._file.seek(position)
            self._at = position


class _File:
    """The open file of an image. Methods raise StoreError for any error of the filesystem."""

    def __init__(self, path):
        self.path = path
        try:
            self._file = open(path, "rb")  # noqa: SIM115, closed by `close`
        except OSError as error:
            raise self._failed(error)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self._file.close()
        except OSError:
            pass  # it was only read

    def seek(self, position):
        try:
            self._file.seek(position)
        except OSError as error:
            raise self._failed(error)

    def fill(self, buffer):
        """Fill all of `buffer`. Raises StoreError, also if the file ends before."""
        try:
            count = self._file.readinto(buffer)
        except OSError as error:
            raise self._failed(error)
        if count != len(buffer):
            raise self._failed("it became shorter")

    def read(self, count):
        """`count` bytes. Raises ImageDamaged if the file ends before, StoreError."""
        try:
            data = self._file.read(count)
        except OSError as error:
            raise self._failed(error)
        if len(data) != count:
            raise ImageDamaged("%s ends too early" % self.path)
        return data

    def _failed(self, error):
        return _unreadable(self.path, error)


def open_image(path):
    """The Image in the file at `path`. Checks its structure, not its digest.

    Raises ImageDamaged, StoreError."""
    size = _file_size(path)
    with _File(path) as file:
        header = struct.unpack_from(_HEADER, file.read(_HEADER_SIZE))
        magic, _, header_size, protected_size, payload_size, flags = header[:6]
        if magic != _MAGIC:
            raise ImageDamaged("%s is not an MCUboot image" % path)
        if flags != _FLAG_ROM_FIXED:  # others: encrypted, compressed, to run from RAM, ...
            raise ImageDamaged("%s has flags 0x%X, which are not supported" % (path, flags))
        if header_size < _HEADER_SIZE or not payload_size:
            raise ImageDamaged("%s has no payload" % path)
        end = header_size + payload_size
        tlvs, protected = {}, b""
        if protected_size:
            protected = _read_tlvs(file, size, end, _TLV_PROTECTED_MAGIC, tlvs)
        if len(protected) != protected_size:
            raise ImageDamaged("%s: its protected part does not have the stated length" % path)
        end += protected_size
        end += len(_read_tlvs(file, size, end, _TLV_INFO_MAGIC, tlvs))
    if end != size:
        raise ImageDamaged("%s has %d extra bytes at its end" % (path, size - end))
    for kind, name in (
        (_TLV_SHA256, "SHA-256"),
        (_TLV_PRODUCT_ID, "chip"),
        (_TLV_SECURITY_COUNTER, "security counter"),
    ):
        if kind not in tlvs:
            raise ImageDamaged("%s does not state its %s" % (path, name))
    _check_signature_form(path, tlvs)
    return Image(path, header, tlvs, header_size, protected)


def _kept(path, content, size):
    """[(offset, length)] of the kept pages in the TLV `content`, None: no TLV. Checks that they
    are in order, not adjacent, and inside the payload. Raises ImageDamaged."""
    regions = []
    end = 0
    for at in range(0, len(content or b""), 8):
        if len(content) % 8 or len(regions) == _MAX_KEPT:
            break
        offset, length = struct.unpack_from("<II", content, at)
        if offset <= end or not length or offset + length >= size:
            break
        end = offset + length
        regions.append((offset, length))
    else:
        if content != b"":
            return regions
    raise ImageDamaged("%s: its list of kept pages is invalid" % path)


def _check_signature_form(path, tlvs):
    """Check for at most one signature, with the hash of its key. Raises ImageDamaged."""
    if _TLV_RSA2048 in tlvs and _TLV_RSA3072 in tlvs:
        raise ImageDamaged("%s has two signatures" % path)
    if (_TLV_RSA2048 in tlvs or _TLV_RSA3072 in tlvs) and _TLV_KEY_HASH not in tlvs:
        raise ImageDamaged("%s: its signature does not name its key" % path)


def version_text(raw):
    """The 8 bytes of an image_version as text: "1.4.2", or "1.4.2+7" with a build number."""
    major, minor, revision, build = struct.unpack(_VERSION, raw)
    text = "%d.%d.%d" % (major, minor, revision)
    return text + "+%d" % build if build else text


def _read_tlvs(file, size, start, magic, tlvs):
    """Read the TLV area at `start` into `tlvs`, {kind: bytes, None if ignored}. Returns the area.
    Raises ImageDamaged, StoreError."""
    path = file.path
    if start + 4 > size:
        raise ImageDamaged("%s is truncated: %d bytes" % (path, size))
    file.seek(start)
    found, total = struct.unpack("<HH", file.read(4))
    if found != magic:
        raise ImageDamaged("%s: no TLV area at byte %d" % (path, start))
    if start + total > size:
        raise ImageDamaged("%s is truncated: %d of %d bytes" % (path, size, start + total))
    if not 4 <= total <= _MAX_TLV_AREA:
        raise ImageDamaged("%s has a TLV area of %d bytes" % (path, total))
    file.seek(start)
    area = file.read(total)
    at = 4
    while at < total:
        if at + 4 > total:
            raise ImageDamaged("%s: a TLV is cut short" % path)
        kind, length = struct.unpack_from("<HH", area, at)
        at += 4 + length
        if at > total or kind in tlvs:
            raise ImageDamaged("%s: TLV 0x%02X is cut short or repeated" % (path, kind))
        if (magic == _TLV_INFO_MAGIC) != (kind in _UNPROTECTED):
            raise ImageDamaged("%s: TLV 0x%02X is in the wrong area" % (path, kind))
        if length != (_LENGTHS.get(kind) or length):
            raise ImageDamaged("%s: TLV 0x%02X has %d bytes" % (path, kind, length))
        if len(tlvs) == _MAX_TLVS:
            raise ImageDamaged("%s has more than %d TLVs" % (path, _MAX_TLVS))
        content = memoryview(area) if kind in _LONG else area
        tlvs[kind] = content[at - length : at] if kind in _LENGTHS else None
    return area


def _file_size(path):
    try:
        return os.stat(path)[6]
    except OSError as error:
        raise _unreadable(path, error)


def _unreadable(path, why):
    return StoreError("%s cannot be read: %s" % (path, why), "Push the image again.")
