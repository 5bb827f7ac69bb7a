"""The updater's files on the host: images, and one record of the update under way.

    inbox/*.img     pushed images
    keys/*.pub      public keys; see signature.py
    candidate.img   the image that is checked or being installed
    confirmed.img   the last image whose application has proved itself
    state.0 state.1 the record, written alternately
    hands-off       a bench operation is under way or was interrupted; see `hands_off`
    spare           is removed to make room for the record when the filesystem is full

Two alternating files keep the record safe on littlefs and on FAT: a cut while a file is rewritten
can lose that file on FAT, but not the other.
"""

import json
import os

from micropython import const

from stm32_rom.errors import UpdaterError

from . import record as records

HANDS_OFF = "/hands-off"
_MAX_LENGTH = const(1024)  # of a record or a hands-off file; real ones have less than 200
_PIECE = b"\0" * 256
_FOLDER = const(0x4000)  # in the first number of os.stat, the second of os.ilistdir
_MAX_IMAGES = const(16)
_SPARE = const(8192)  # bytes: a new record needs one or two littlefs blocks of 4096
_ENOENT = const(2)
_FULL = (28, 13)  # ENOSPC; EACCES on FAT: the folder cannot grow


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
        if not exists(self.inbox):
            for path in (folder, self.inbox):
                try:
                    os.mkdir(path)
                except OSError:
                    if not exists(path):
                        raise _errors().StoreError("the folder %s cannot be made" % path)

    def keep_spare(self):
        """Reserve room for a later record, if there is any. Errors are ignored: `save` raises one
        if a record cannot be written."""
        try:
            if size_of(self._spare) < _SPARE:
                with open(self._spare, "wb") as file:
                    for _ in range(_SPARE // len(_PIECE)):
                        file.write(_PIECE)
        except OSError:
            pass

    @property
    def knows_doubt(self):
        """Whether `load` found a record, and no file that may be a newer one was unreadable."""
        return self._number > 0 and not self._unreadable

    def load(self):
        """The newest valid Record, or None. If the other file, which may be newer, cannot be read,
        the phase is UNKNOWN and every page is in doubt."""
        found, newest = None, -1
        self._unreadable = []
        for path in self._states:
            try:
                with open(path, "rb") as file:
                    read = records.from_bytes(file.read(_MAX_LENGTH))
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
                self._number += 1  # the number that the unreadable file may have
        return found

    def save(self, record):
        """Make `record` durable. Raises StoreError."""
        self._number += 1
        content = record.to_bytes(self._number)
        try:
            try:
                self._write(content)
            except OSError as error:
                if error.errno not in _FULL:
                    raise error
                self.discard(self._spare)
                self._write(content)
        except OSError as error:
            raise _errors().StoreError("the state record cannot be written: %s" % error)
        if self._number == 1:
            # May be a record of another version, which that version would read again.
            self.discard(self._states[0])
        for path in self._unreadable:  # may become readable again
            if path != self._states[self._number % 2]:
                self.discard(path)
        self._unreadable = []

    def _write(self, content):
        with open(self._states[self._number % 2], "wb") as file:
            file.write(content)

    def inbox_images(self):
        """Paths of the pushed images, sorted: at most the first 16 that the filesystem lists,
        because more may not fit in RAM. Raises StoreError."""
        found = []
        try:
            for entry in os.ilistdir(self.inbox):
                if entry[0].endswith(".img") and not entry[1] & _FOLDER:
                    found.append(self.inbox + "/" + entry[0])
                    if len(found) == _MAX_IMAGES:
                        break
        except OSError as error:
            raise _errors().StoreError("%s cannot be listed: %s" % (self.inbox, error))
        found.sort()
        return found

    def image_waits(self):
        """Whether an image may have to be installed; also True if the inbox cannot be read."""
        try:
            return self.inbox_images() or exists(self.candidate)
        except UpdaterError:
            return True

    def kept(self):
        """The paths where the image of an update under way can be."""
        return (self.candidate, self.confirmed)

    def owns(self, image):
        """Whether `image` is in a file that no other task writes: not in the inbox."""
        return image.path in self.kept()

    def respect_hands_off(self):
        """Raises HandsOff if the target's option bytes may be half written: it must not be
        reset."""
        operation = hands_off(self.folder)
        if operation is not None:
            raise _errors().HandsOff(
                "a bench operation was started and not finished: %s" % operation["what"]
            )

    def adopt(self, image):
        """Make `image` the candidate. Raises StoreError."""
        self._move(image, self.candidate)

    def give_back(self, image, path):
        """Move an adopted image back to `path`. Raises StoreError."""
        self._move(image, path)

    def confirm(self, image):
        """Make `image` the confirmed one. Raises StoreError."""
        self._move(image, self.confirmed)

    def _move(self, image, destination):
        """Rename, replacing `destination`. On FAT, MicroPython first deletes the destination: a
        cut before the rename leaves only the source (extmod/vfs_fat.c, fat_vfs_rename)."""
        if image.path == destination:
            return
        try:
            os.rename(image.path, destination)
        except OSError as error:
            raise _errors().StoreError(
                "%s cannot become %s: %s" % (image.path, destination, error)
            )
        image.path = destination

    def finish_move(self):
        """Finish a move into this folder that a cut interrupted. Until something is written,
        littlefs hides files beside the one that was moved (seen with 2.11). Removing a file that
        does not exist makes it do that, and writes nothing otherwise."""
        self.discard(self.folder + "/none")

    def discard(self, path):
        """Remove a file that may not exist. Raises StoreError."""
        try:
            os.remove(path)
        except OSError as error:
            if exists(path):
                raise _errors().StoreError(
                    "%s cannot be removed: %s" % (path, error),
                    "Remove it by hand: mpremote resume fs rm :%s" % path,
                )


def _errors():
    """The module errors, which a start with nothing to do does not load."""
    from . import errors

    return errors


def hands_off(folder):
    """The unfinished bench operation that the hands-off file states, {"what": text, "stage",
    "chip"}; None if there is no such file. A file that cannot be read counts as one."""
    path = folder + HANDS_OFF
    if not exists(path):
        return None
    operation = {"what": "an unknown operation", "stage": "?", "chip": "?"}
    try:
        with open(path) as file:
            operation.update(json.loads(file.read(_MAX_LENGTH)))
    except (OSError, ValueError, TypeError):
        pass
    operation["what"] = str(operation["what"])
    return operation


def exists(path):
    """False only if the filesystem reports ENOENT; other errors count as existing."""
    try:
        os.stat(path)
    except OSError as error:
        return error.errno != _ENOENT
    return True


def size_of(path):
    """Bytes of a file; 0 if there is none or it cannot be read."""
    try:
        return os.stat(path)[6]
    except OSError:
        return 0


def is_folder(path):
    try:
        return os.stat(path)[0] & _FOLDER != 0
    except OSError:
        return False
