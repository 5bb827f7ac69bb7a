"""The state of an update that the host keeps across a loss of power."""

import hashlib
import struct

from micropython import const

# A record of another version is ignored: its content can be recovered from the target and the
# kept images.
_VERSION = const(5)
UNKNOWN, IDLE, INSTALLING, CONFIRMING, ROLLING_BACK = PHASES = (
    "unknown",
    "idle",
    "installing",
    "confirming",
    "rolling back",
)
EVERY_PAGE = const(-1)  # all bits set, for any number of pages
# A state file, little endian: the first 8 bytes of the SHA-256 of the rest; version, number,
# phase, again, tries, counter, the digests; then the pages in doubt, without the zero bytes at
# their end. For 64 pages that is 125 bytes. Up to 128 littlefs keeps it inside its folder on any
# port; in a block of its own every record would cost an erase.
_LAYOUT = "<BIBBHI32s32s32s"
_CHECK = const(8)
_LENGTH = const(117)  # up to the pages in doubt
_MAX_DOUBT = const(64)  # bytes, a bit for each page
_NO_DIGEST = b"\0" * 32


class Record:
    """The fields of the record; digests are 32 bytes.

    `phase`: one of PHASES. `image`: digest of the image being installed or rolled back to, or
    None. `installed`: digest of the confirmed image, or None. `failed`: digest of the image that
    was given up last, or None. `again`: 1 if that one may be tried once more. `doubt`: the
    flash pages in doubt, as bits; see flasher.py. `counter`: the highest security counter of any
    confirmed image. `tries`: how many runs could not write `image`; after it was written, how
    often its application was started to prove itself.

    A new Record is the state of a host that knows nothing."""

    def __init__(self):
        self.phase = UNKNOWN
        self.image = self.installed = self.failed = None
        self.doubt = EVERY_PAGE
        self.counter = self.tries = self.again = 0

    @property
    def barred(self):
        """Digest of the image that may not be tried again, or None."""
        return None if self.again else self.failed

    def to_bytes(self, number):
        """The content of a state file. `number`: higher in each later file."""
        body = struct.pack(
            _LAYOUT,
            _VERSION,
            number,
            PHASES.index(self.phase),
            self.again,
            self.tries,
            self.counter,
            self.image or _NO_DIGEST,
            self.installed or _NO_DIGEST,
            self.failed or _NO_DIGEST,
        )
        doubt = self.doubt & ((1 << 8 * _MAX_DOUBT) - 1)  # EVERY_PAGE is negative
        body += doubt.to_bytes(_MAX_DOUBT, "little").rstrip(b"\0")
        return _check(body) + body


def from_bytes(content):
    """(number, Record) of a state file, or None if it is truncated, altered, of another version,
    or holds what `to_bytes` does not write."""
    if len(content) < _LENGTH or content[:_CHECK] != _check(content[_CHECK:]):
        return None
    record = Record()
    version, number, phase, record.again, record.tries, record.counter, *digests = (
        struct.unpack_from(_LAYOUT, content, _CHECK)
    )
    doubt = content[_LENGTH:]
    if (
        version != _VERSION
        or phase >= len(PHASES)
        or record.again > 1
        or len(doubt) > _MAX_DOUBT
        or doubt[-1:] == b"\0"
    ):
        return None
    record.phase = PHASES[phase]
    record.image, record.installed, record.failed = [
        None if digest == _NO_DIGEST else digest for digest in digests
    ]
    record.doubt = int.from_bytes(doubt, "little")
    return number, record


def as_text(digest):
    """A digest of a Record as hex digits, or None."""
    return None if digest is None else digest.hex()


def _check(body):
    return hashlib.sha256(body).digest()[:_CHECK]
