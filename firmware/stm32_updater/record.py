"""The state of an update that the host keeps across a loss of power."""

import hashlib
import json

from micropython import const

# A record of another version is ignored: its content can be recovered from the target and the
# kept images.
_VERSION = const(4)
UNKNOWN, IDLE, INSTALLING, CONFIRMING, ROLLING_BACK = PHASES = (
    "unknown",
    "idle",
    "installing",
    "confirming",
    "rolling back",
)
EVERY_PAGE = const(-1)  # all bits set, for any number of pages
_DIGESTS = ("image", "installed", "failed")
_NUMBERS = ("counter", "starts")
_FIELDS = ("phase", "again") + _DIGESTS + _NUMBERS
_CHECK_DIGITS = const(16)
_DIGEST_DIGITS = const(64)


class Record:
    """The fields of the record; digests are hex text.

    `phase`: one of PHASES. `image`: digest of the image being installed or rolled back to, or
    None. `installed`: digest of the confirmed image, or None. `failed`: digest of the image that
    was rolled back last, or None. `again`: 1 if that one may be tried once more. `doubt`: the
    flash pages in doubt, as bits; see flasher.py. `counter`: the highest security counter of any
    confirmed image. `starts`: how often the application of `image` was started to prove itself.

    A new Record is the state of a host that knows nothing."""

    def __init__(self):
        self.phase = UNKNOWN
        self.image = self.installed = self.failed = None
        self.doubt = EVERY_PAGE
        self.counter = self.starts = self.again = 0

    @property
    def barred(self):
        """Digest of the image that may not be tried again, or None."""
        return None if self.again else self.failed

    def to_text(self, number):
        """The content of a state file: 16 hex digits of the SHA-256 of the JSON that follows.
        `number`: higher in each later file."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        fields.update({"doubt": "%x" % self.doubt, "version": _VERSION, "number": number})
        body = json.dumps(fields)
        return _check(body) + body


def from_text(text):
    """(number, Record) of a state file, or None if it is truncated, altered, of another version,
    or has invalid values."""
    check, body = text[:_CHECK_DIGITS], text[_CHECK_DIGITS:]
    if check != _check(body):
        return None
    record = Record()
    try:
        fields = json.loads(body)
        if fields["version"] != _VERSION or not _is_sound(fields):
            return None
        for name in _FIELDS:
            setattr(record, name, fields[name])
        record.doubt = int(fields["doubt"], 16)
        return fields["number"], record
    except (ValueError, KeyError, TypeError):
        return None


def _check(text):
    return hashlib.sha256(text.encode()).digest().hex()[:_CHECK_DIGITS]


def _is_sound(fields):
    """Whether every field has a value that `to_text` could write. Raises KeyError, TypeError."""
    return (
        fields["phase"] in PHASES
        and fields["again"] in (0, 1)
        and all(_is_number(fields[name]) for name in ("number",) + _NUMBERS)
        and _is_hex(fields["doubt"])
        and all(
            fields[name] is None or _is_hex(fields[name]) and len(fields[name]) == _DIGEST_DIGITS
            for name in _DIGESTS
        )
    )


def _is_number(value):
    return type(value) is int and 0 <= value <= 0xFFFFFFFF


def _is_hex(value):
    return type(value) is str and value and all(digit in "0123456789abcdef" for digit in value)
