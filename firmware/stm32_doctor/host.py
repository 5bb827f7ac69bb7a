"""Looks at what the host's filesystem holds for the updater. Nothing is written."""

import binascii

from stm32_updater import signature
from stm32_updater.board import Board
from stm32_updater.errors import ImageError, ImageFailedBefore, ImageTooOld, UpdaterError
from stm32_updater.image import open_image
from stm32_updater.signature import Keys
from stm32_updater.store import Store, exists


def trouble_with(settings, clock):
    """Why the updater could not work by these settings (the content of board.json); None if it
    could."""
    try:
        Board(settings, clock)
    except UpdaterError as error:
        return error.message
    except (ValueError, OSError) as error:  # from the machine module: no such pin, no such I2C
        return "its pins do not suit this host: %s" % error
    return None


def facts(settings, folder, clock):
    """The updater's folder, as a dict.

    record      {"phase", "installed", "failed", "doubt"} or None if there is no sound one
    slots       how many files of a record there are, sound or not
    inbox       [{"path", "version"} or {"path", "error", "message", "next_step"}]: a refusal
    candidate, confirmed    likewise, or None

    Versions come as text and, in "version_bytes", as the 16 hex digits an application answers."""
    found = dict.fromkeys(("record", "candidate", "confirmed"))
    found["slots"] = sum([exists("%s/state.%d" % (folder, number)) for number in (0, 1)])
    found["inbox"] = []
    if not exists(folder + "/inbox"):
        return found  # a Store would make it
    store = Store(folder)
    record = store.load()
    if record is not None:
        found["record"] = {
            "phase": record.phase,
            "installed": record.installed,
            "failed": record.failed,
            "doubt": bin(record.doubt).count("1"),
        }
    board = Board(settings, clock)
    keys = Keys(store.keys)
    found["inbox"] = [
        _looked_at(path, board, keys, record, clock) for path in store.inbox_images()
    ]
    for name, path in (("candidate", store.candidate), ("confirmed", store.confirmed)):
        if exists(path):
            found[name] = _looked_at(path, board, keys, None, clock)
    return found


def _looked_at(path, board, keys, record, clock):
    """The version of an image, or why it is refused; `record` None: age does not matter."""
    found = {"path": path}
    try:
        image = open_image(path)
        image.check_fit(board.chip, board.preserved)
        image.check_product(board.class_id)
        image.check_vectors(board.chip)
        image.check_digest(clock)
        signature.check(image, keys, board.unsigned_allowed)
        if record is not None and image.security_counter < record.counter:
            raise ImageTooOld("%s is older than what was installed here" % path)
        if record is not None and _hex(image.digest) == record.failed:
            raise ImageFailedBefore("%s was installed before and did not prove itself" % path)
        found["version"] = image.version
        found["version_bytes"] = _hex(image.version_bytes)
    except ImageError as error:
        found.update(error.as_dict())
    return found


def _hex(data):
    return binascii.hexlify(data).decode()
