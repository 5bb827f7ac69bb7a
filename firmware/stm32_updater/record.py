"""What the host remembers across a loss of power."""

import hashlib
import json

from micropython import const

# A record of another version counts as none: the target and the kept images tell what it held.
_VERSION = const(4)
UNKNOWN, IDLE, INSTALLING, CONFIRMING, ROLLING_BACK = PHASES = (
    "unknown",
    "idle",
    "installing",
    "confirming",
    "rolling back",
)
EVERY_PAGE = const(-1)  # as bits, however many pages there are
_DIGESTS = ("image", "installed", "failed")
_NUMBERS = ("counter", "starts")
_FIELDS = ("phase", "again") + _DIGESTS + _NUMBERS
_CHECK_DIGITS = const(16)
_DIGEST_DIGITS = const(64)


class Record:
    """`phase`; `image`: digest (hex) of the image being installed or rolled back to, or None;
    `installed`: digest of the confirmed image, or None; `failed`: digest of the image that was
    rolled back last, or None; `again`: 1 if that one may be tried once more; `doubt`: flash pages
    that nothing vouches for, as bits; `counter`: the highest security counter whose image was ever
    confirmed; `starts`: how often the application of `image` was started to prove itself.

    A new one is that of a host that knows nothing."""

    def __init__(self):
        self.phase = UNKNOWN
        self.image = self.installed = self.failed = None
        self.doubt = EVERY_PAGE
        self.counter = self.starts = self.again = 0

    @property
    def barred(self):
        """Digest of the image that is not tried again, or None."""
        return None if self.again else self.failed

    def to_text(self, number):
        """Its file: the first 16 hex digits of a SHA-256, then JSON. `number`: of the writing."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        fields.update({"doubt": "%x" % self.doubt, "version": _VERSION, "number": number})
        body = json.dumps(fields)
        return _check(body) + body


def from_text(text):
    """(number, Record) of a file, or None: cut short, altered, of another version, or with
    something in it that no record of this version holds."""
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
    """Whether every field is of the kind that `to_text` writes. Raises KeyError, TypeError."""
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
