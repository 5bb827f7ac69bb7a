"""Facts about the updater's files on the host. Nothing is written."""

from stm32_rom.errors import BoardError, UpdaterError
from stm32_updater.admission import Admission, opened
from stm32_updater.board import Board
from stm32_updater.record import Record, as_text
from stm32_updater.store import Store, exists, hands_off


def trouble_with(settings, clock):
    """Why these settings (the content of board.json) are invalid, as text; None if they are
    valid."""
    try:
        Board(settings, clock)
    except BoardError as error:
        return error.message
    return None


def facts(settings, folder, clock):
    """The content of the updater's `folder`, as a dict.

    record      {"phase", "installed", "failed"}, or None if there is no valid one
    slots       number of state files, valid or not
    inbox       [{"path", "version", "version_bytes"} or, if the image is refused, {"path",
                "error", "message", "next_step"}]
    candidate, confirmed    likewise, or None
    hands_off   the unfinished bench operation, see stm32_updater.store.hands_off, or None

    "version" is text; "version_bytes" is 16 hex digits, as an application answers them."""
    found = dict.fromkeys(("record", "candidate", "confirmed"))
    found["slots"] = sum([exists("%s/state.%d" % (folder, number)) for number in (0, 1)])
    found["inbox"] = []
    found["hands_off"] = hands_off(folder)
    if not exists(folder + "/inbox"):
        return found  # Store() would make the folder
    store = Store(folder)
    record = store.load()
    if record is not None:
        found["record"] = {
            "phase": record.phase,
            "installed": as_text(record.installed),
            "failed": as_text(record.failed),
        }
    else:
        record = Record()  # as the updater does
    admission = Admission(Board(settings, clock), store, clock)
    lowest = admission.lowest_counter(record)
    found["inbox"] = [
        _image_facts(path, admission, lowest, record.barred) for path in store.inbox_images()
    ]
    for name, path in (("candidate", store.candidate), ("confirmed", store.confirmed)):
        if exists(path):
            found[name] = _image_facts(path, admission)
    return found


def _image_facts(path, admission, lowest=0, failed=None):
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
