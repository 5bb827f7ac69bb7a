"""Looks at what the host's filesystem holds for the updater. Nothing is written."""

from stm32_rom.errors import BoardError, UpdaterError
from stm32_updater.admission import Admission, opened
from stm32_updater.board import Board
from stm32_updater.record import Record
from stm32_updater.store import Store, exists, hands_off


def trouble_with(settings, clock):
    """Why the updater could not work by these settings (the content of board.json); None if it
    could."""
    try:
        Board(settings, clock)
    except BoardError as error:
        return error.message
    return None


def facts(settings, folder, clock):
    """The updater's folder, as a dict.

    record      {"phase", "installed", "failed"} or None if there is no sound one
    slots       how many files of a record there are, sound or not
    inbox       [{"path", "version"} or {"path", "error", "message", "next_step"}]: a refusal
    candidate, confirmed    likewise, or None
    hands_off   the note of a bench operation, see stm32_updater.store.hands_off, or None

    Versions come as text and, in "version_bytes", as the 16 hex digits an application answers."""
    found = dict.fromkeys(("record", "candidate", "confirmed"))
    found["slots"] = sum([exists("%s/state.%d" % (folder, number)) for number in (0, 1)])
    found["inbox"] = []
    found["hands_off"] = hands_off(folder)
    if not exists(folder + "/inbox"):
        return found  # a Store would make it
    store = Store(folder)
    record = store.load()
    if record is not None:
        found["record"] = {
            "phase": record.phase,
            "installed": record.installed,
            "failed": record.failed,
        }
    else:
        record = Record()  # as the updater takes it
    admission = Admission(Board(settings, clock), store, clock)
    lowest = admission.lowest_counter(record)
    found["inbox"] = [
        _looked_at(path, admission, lowest, record.barred) for path in store.inbox_images()
    ]
    for name, path in (("candidate", store.candidate), ("confirmed", store.confirmed)):
        if exists(path):
            found[name] = _looked_at(path, admission)
    return found


def _looked_at(path, admission, lowest=0, failed=None):
    """The version of an image, or why the updater refuses it."""
    found = {"path": path}
    try:
        image = opened(path)
        admission.check(image, lowest, failed)
        found["version"] = image.version
        found["version_bytes"] = image.version_bytes.hex()
    except UpdaterError as error:
        found.update(error.as_dict())
    return found
