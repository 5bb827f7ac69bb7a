"""What the host keeps: images, and one record of what is under way.

    inbox/*.img     pushed images
    candidate.img   the image being installed
    confirmed.img   the last image whose application has answered
    state.0 state.1 the record, written in turn

Two files in turn make the record safe on littlefs and on FAT alike: rewriting one in place can
lose it on FAT, but never the other.
"""

import binascii
import hashlib
import json
import os

from micropython import const

from .errors import StoreError

_VERSION = const(1)
# Phases of the record
UNKNOWN = "unknown"  # there is none
IDLE = "idle"
INSTALLING = "installing"
CONFIRMING = "confirming"
ROLLING_BACK = "rolling back"


class Record:
    """What the host remembers across a loss of power.

    `phase`; `image`: digest (hex) of the image being installed or rolled back to, or None;
    `installed`: digest of the confirmed image, or None; `failed`: digest of the image that was
    rolled back last, or None; `doubt`: flash pages nothing vouches for, as bits."""

    def __init__(self, phase, image, installed, failed, doubt):
        self.phase = phase
        self.image = image
        self.installed = installed
        self.failed = failed
        self.doubt = doubt


class Store:
    """The updater's folder on the host's filesystem."""

    def __init__(self, folder):
        self.folder = folder
        self.candidate = folder + "/candidate.img"
        self.confirmed = folder + "/confirmed.img"
        self.inbox = folder + "/inbox"
        self._states = (folder + "/state.0", folder + "/state.1")
        self._number = 0
        for path in (folder, self.inbox):
            try:
                os.mkdir(path)
            except OSError:
                if not exists(path):
                    raise StoreError("the folder %s cannot be made" % path)

    def load(self):
        """The newest sound Record, or None if there is none."""
        best = None
        for path in self._states:
            found = _read_state(path)
            if found and (best is None or found["number"] > best["number"]):
                best = found
        if best is None:
            return None
        self._number = best["number"]
        return Record(
            best["phase"], best["image"], best["installed"], best["failed"], int(best["doubt"], 16)
        )

    def save(self, record):
        """Make `record` durable. Raises StoreError."""
        self._number += 1
        body = json.dumps(
            {
                "version": _VERSION,
                "number": self._number,
                "phase": record.phase,
                "image": record.image,
                "installed": record.installed,
                "failed": record.failed,
                "doubt": "%x" % record.doubt,
            }
        )
        try:
            with open(self._states[self._number % 2], "w") as file:
                file.write(_check(body) + body)
        except OSError as error:
            raise StoreError("the state record cannot be written: %s" % error)

    def inbox_images(self):
        """Paths of the pushed images, in the order of their names."""
        names = [name for name in os.listdir(self.inbox) if name.endswith(".img")]
        return [self.inbox + "/" + name for name in sorted(names)]

    def kept(self):
        """Where the image of an update under way can be."""
        return (self.candidate, self.confirmed)

    def adopt(self, image):
        """Make `image` the candidate. Raises StoreError."""
        self._move(image, self.candidate)

    def confirm(self, image):
        """Make `image` the confirmed one. Raises StoreError."""
        self._move(image, self.confirmed)

    def _move(self, image, destination):
        """Rename over what may be there. FAT deletes first: a cut between leaves only the
        source."""
        source = image.path
        if source == destination:
            return
        try:
            os.rename(source, destination)
        except OSError:
            try:
                os.remove(destination)
                os.rename(source, destination)
            except OSError as error:
                raise StoreError("%s cannot become %s: %s" % (source, destination, error))
        image.path = destination

    def discard(self, path):
        """Remove a file that may be gone already."""
        try:
            os.remove(path)
        except OSError as error:
            if exists(path):
                raise StoreError("%s cannot be removed: %s" % (path, error))


def exists(path):
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def _check(text):
    """First 16 hex digits of the text's SHA-256."""
    return binascii.hexlify(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _read_state(path):
    """A sound record as a dict, or None: missing, cut short, altered, or of another version."""
    try:
        with open(path) as file:
            text = file.read()
    except (OSError, UnicodeError):
        return None
    check, body = text[:16], text[16:]
    if check != _check(body):
        return None
    state = json.loads(body)
    return state if state.get("version") == _VERSION else None
