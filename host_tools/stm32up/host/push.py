"""Puts an image into the board's inbox. A power cut at any instant leaves no half image under its
final name.

What the host would refuse whatever its state is refused here, in the updater's own words: its
board.json and the names of its keys say enough for that.

An image is written as NAME.part, checked on the board by length and SHA-256, and only then renamed
to NAME.img. A .part that holds the beginning of the same image is continued; any other is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path
from typing import Any, TypedDict

from stm32up import device
from stm32up.errors import DeviceError
from stm32up.events import Report, progress
from stm32up.host import host_clock, host_facts
from stm32up.host.paths import BOARD_JSON, FOLDER, INBOX, KEYS
from stm32up.host.transport import Connection, understood
from stm32up.image import images

SPARE = 8192  # bytes to leave free for the updater's state and log

# Makes the inbox; returns all that a push must know, as one answer.
_SURVEY = """
def _board(path):
 try:
  with open(path) as file: board = json.load(file)
  return [board[key] for key in ('chip', 'preserve', 'class_id', 'unsigned')]
 except (OSError, ValueError, KeyError, TypeError): return None
def _listed(path): return list(os.ilistdir(path)) if _exists(path) else ()
def _survey(folders, image, part, board, keys):
 for path in folders: _exists(path) or os.mkdir(path)
 space = os.statvfs('/')
 return {
  'image': _hash(image) if _exists(image) else None,
  'part': _hash(part) if _exists(part) else None,
  'parts': [e[0] for e in _listed(folders[-1]) if e[0].endswith('.part')],
  'free': space[0] * space[3],
  'board': _board(board),
  'keys': [e[0] for e in _listed(keys)],
 }
"""


class Pushed(TypedDict):
    """The path of the image on the board, and how much of it was sent."""

    status: str
    file: str
    image: str
    version: str
    sha256: str
    sent: int


def push(connection: Connection, image: Path, report: Report) -> Pushed:
    """Verify the image here, then copy it to the board; return its path and how much was sent.

    After a reset of the board, for example by its watchdog, the push continues by itself. Raises
    ImageError (nothing was sent), DeviceError, NoBoard.
    """
    described = images.verify(image)
    data = image.read_bytes()
    try:
        return connection.persistently(
            lambda: _push(connection, image, data, described["version"], report), report
        )
    except DeviceError as error:
        raise (host_facts.cause(connection, error) if error.kind else error) from None


def _push(
    connection: Connection, image: Path, data: bytes, version: str, report: Report
) -> Pushed:
    digest = hashlib.sha256(data).hexdigest()
    target = f"{INBOX}/{inbox_name(image)}"
    part = f"{target.removesuffix('.img')}.part"
    done = Pushed(
        status="pushed", file=image.name, image=target, version=version, sha256=digest, sent=0
    )
    arguments = [FOLDER, INBOX], target, part, BOARD_JSON, KEYS
    host_clock.set_if_unset(connection)
    connection.define(_SURVEY)
    found = connection.ask(f"_survey{arguments!r}")
    with understood(found):
        if found["image"] == [len(data), digest]:
            return {**done, "status": "already-there"}
        _check_for_host(data, image, found["board"], found["keys"])
        start = found["part"][0] if found["part"] else 0
        if found["part"] != [start, hashlib.sha256(data[:start]).hexdigest()]:
            start = 0
        remainders = [f"{INBOX}/{name}" for name in found["parts"]]
        free = int(found["free"])
    for path in remainders:
        if path != part or not start:
            connection.remove(path)
            free = connection.free_space()
    if free < len(data) - start + SPARE:
        raise DeviceError(
            f"the board has {free} bytes free, and the image needs {len(data) - start + SPARE}",
            f"Remove old images from {INBOX} or other files from the board.",
        )
    connection.append_file(part, data, start, lambda n, total: report(progress("push", n, total)))
    if connection.hash_file(part) != (len(data), digest):
        connection.remove(part)
        raise DeviceError(f"{image.name} arrived damaged", "Push it again; check the cable.")
    connection.rename(part, target)
    return {**done, "sent": len(data) - start}


def _check_for_host(data: bytes, image: Path, board: Any, keys: list[str]) -> None:
    """Raise ImageError if the host will refuse the image. A board.json that is missing or invalid
    says nothing: the updater itself will report it."""
    with contextlib.suppress(ValueError, TypeError):
        chip, preserve, class_id, unsigned = board
        device.check_for_host(data, image, chip, preserve, class_id, unsigned, keys)


def inbox_name(image: Path) -> str:
    """The name on the board: the name of the image, in characters that every filesystem
    accepts."""
    return (re.sub(r"[^A-Za-z0-9._-]+", "_", image.stem).strip(".")[:48] or "image") + ".img"
