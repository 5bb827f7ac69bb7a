"""What the host keeps: images, and one record of what is under way.

    inbox/*.img     pushed images
    keys/*.pub      public keys; see signature.py
    candidate.img   the image being installed
    confirmed.img   the last image whose application has answered
    state.0 state.1 the record, written in turn
    hands-off       a bench operation is under way, or was interrupted; see `hands_off`
    spare           gives its room to the record when the filesystem is full

Two files in turn make the record safe on littlefs and on FAT alike: rewriting one in place can
lose it on FAT, but never the other.
"""

import json
import os

from micropython import const

from . import record as records
from .errors import HandsOff, StoreError

HANDS_OFF = "/hands-off"
_MAX_LENGTH = const(1024)  # characters of a record or a note; a real one has some 400
_PIECE = b"\0" * 256
_FOLDER = const(0x4000)  # in the first number of os.stat, the second of os.ilistdir
_MOST_IMAGES = const(16)
_SPARE = const(8192)  # bytes: littlefs has blocks of 4096 here, and a new record needs one or two
_ENOENT = const(2)
_FULL = (28, 13)  # ENOSPC; EACCES: of FAT, a folder that cannot grow


class Store:
    """The updater's folder on the host's filesystem."""

    def __init__(self, folder):
        self.folder = folder
        self.candidate = folder + "/candidate.img"
        self.confirmed = folder + "/confirmed.img"
        self.inbox = folder + "/inbox"
        self.keys = folder + "/keys"
        self._states = (folder + "/state.0", folder + "/state.1")
        self._spare = folder + "/spare"
        self._number = 0
        self._unreadable = []
        for path in (folder, self.inbox):
            try:
                os.mkdir(path)
            except OSError:
                if not exists(path):
                    raise StoreError("the folder %s cannot be made" % path)

    def keep_spare(self):
        """Set aside the room that a record may need one day, where there is some. Whether a record
        can be written is for `save` to say."""
        try:
            if not exists(self._spare) or os.stat(self._spare)[6] < _SPARE:
                with open(self._spare, "wb") as file:
                    for _ in range(_SPARE // len(_PIECE)):
                        file.write(_PIECE)
        except OSError:
            pass

    @property
    def has_record(self):
        """Whether there is one, after `load`."""
        return self._number > 0

    def load(self):
        """The newest sound Record, or None if there is none. If a file that may be newer cannot be
        read, what is under way is unknown, and every page is in doubt."""
        found, newest = None, -1
        self._unreadable = []
        for path in self._states:
            try:
                with open(path) as file:
                    read = records.from_text(file.read(_MAX_LENGTH))
            except UnicodeError:
                continue
            except OSError as error:
                if error.errno != _ENOENT:
                    self._unreadable.append(path)
                continue
            if read and read[0] > newest:
                newest, found = read
        if found:
            self._number = newest
            if self._unreadable:
                found.phase, found.image, found.doubt = records.UNKNOWN, None, records.EVERY_PAGE
                self._number += 1  # that of the file that cannot be read
        return found

    def save(self, record):
        """Make `record` durable. Raises StoreError."""
        self._number += 1
        text = record.to_text(self._number)
        try:
            try:
                self._write(text)
            except OSError as error:
                if error.errno not in _FULL:
                    raise error
                self.discard(self._spare)
                self._write(text)
        except OSError as error:
            raise StoreError("the state record cannot be written: %s" % error)
        if self._number == 1:
            self.discard(self._states[0])  # of a version unknown here: it would count again there
        for path in self._unreadable:  # it might be read again one day
            if path != self._states[self._number % 2]:
                self.discard(path)
        self._unreadable = []

    def _write(self, text):
        with open(self._states[self._number % 2], "w") as file:
            file.write(text)

    def inbox_images(self):
        """Paths of the pushed images, in the order of their names: of the first 16 that the
        filesystem tells, for more might not fit into RAM. What they come to makes room for the
        others. Raises StoreError."""
        found = []
        try:
            for entry in os.ilistdir(self.inbox):
                if entry[0].endswith(".img") and not entry[1] & _FOLDER:
                    found.append(self.inbox + "/" + entry[0])
                    if len(found) == _MOST_IMAGES:
                        break
        except OSError as error:
            raise StoreError("%s cannot be listed: %s" % (self.inbox, error))
        found.sort()
        return found

    def kept(self):
        """Where the image of an update under way can be."""
        return (self.candidate, self.confirmed)

    def respect_hands_off(self):
        """A target whose option bytes are being changed must not even be reset. Raises
        HandsOff."""
        note = hands_off(self.folder)
        if note is not None:
            raise HandsOff("a bench operation was begun and not ended: %s" % note["what"])

    def adopt(self, image):
        """Make `image` the candidate. Raises StoreError."""
        self._move(image, self.candidate)

    def confirm(self, image):
        """Make `image` the confirmed one. Raises StoreError."""
        self._move(image, self.confirmed)

    def _move(self, image, destination):
        """Rename over what may be there. On FAT, MicroPython deletes that first: a cut between
        leaves only the source (extmod/vfs_fat.c, fat_vfs_rename)."""
        if image.path == destination:
            return
        try:
            os.rename(image.path, destination)
        except OSError as error:
            raise StoreError("%s cannot become %s: %s" % (image.path, destination, error))
        image.path = destination

    def discard(self, path):
        """Remove a file that may be gone already."""
        try:
            os.remove(path)
        except OSError as error:
            if exists(path):
                raise StoreError(
                    "%s cannot be removed: %s" % (path, error),
                    "Remove it by hand: mpremote resume fs rm :%s" % path,
                )


def hands_off(folder):
    """The note of a bench operation that was begun and not ended, {"what": text, "stage", "chip"};
    None if there is none. It counts even if it cannot be understood."""
    path = folder + HANDS_OFF
    if not exists(path):
        return None
    note = {"what": "an unknown operation", "stage": "?", "chip": "?"}
    try:
        with open(path) as file:
            note.update(json.loads(file.read(_MAX_LENGTH)))
    except (OSError, ValueError, TypeError):
        pass
    note["what"] = str(note["what"])
    return note


def exists(path):
    """False only if the filesystem says so: what it cannot read is there."""
    try:
        os.stat(path)
    except OSError as error:
        return error.errno != _ENOENT
    return True


def is_folder(path):
    try:
        return os.stat(path)[0] & _FOLDER != 0
    except OSError:
        return False
