"""Puts an image into the board's inbox. A power cut at any instant leaves no half image under its
final name.

It is written as NAME.part, checked on the board by length and SHA-256, and only then renamed to
NAME.img. A .part that holds the beginning of the same image is continued; any other is removed.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TypedDict

from stm32up.errors import DeviceError
from stm32up.events import Report, progress
from stm32up.host.paths import INBOX
from stm32up.host.transport import Connection
from stm32up.image import images

SPARE = 8192  # bytes to leave free for the updater's state and log


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
    return connection.persistently(
        lambda: _push(connection, image, data, described["version"], report), report
    )


def _push(
    connection: Connection, image: Path, data: bytes, version: str, report: Report
) -> Pushed:
    digest = hashlib.sha256(data).hexdigest()
    target = f"{INBOX}/{inbox_name(image)}"
    done = Pushed(
        status="pushed", file=image.name, image=target, version=version, sha256=digest, sent=0
    )
    connection.make_folder(INBOX)
    if connection.hash_file(target) == (len(data), digest):
        return {**done, "status": "already-there"}
    part = f"{target.removesuffix('.img')}.part"
    start = _usable_start(connection, part, data)
    _check_space(connection, len(data) - start)
    report(progress("push", start, len(data)))
    connection.append_file(part, data, start, lambda n, total: report(progress("push", n, total)))
    if connection.hash_file(part) != (len(data), digest):
        connection.remove(part)
        raise DeviceError(f"{image.name} arrived damaged", "Push it again; check the cable.")
    connection.rename(part, target)
    return {**done, "sent": len(data) - start}


def inbox_name(image: Path) -> str:
    """The name on the board: the name of the image, in characters that every filesystem
    accepts."""
    return (re.sub(r"[^A-Za-z0-9._-]+", "_", image.stem).strip(".")[:48] or "image") + ".img"


def _usable_start(connection: Connection, part: str, data: bytes) -> int:
    """How many bytes of this image an earlier push has left. Removes all other remainders."""
    start = 0
    for file in connection.list_folder(INBOX):
        path = f"{INBOX}/{file.name}"
        if not file.name.endswith(".part"):
            continue
        beginning = hashlib.sha256(data[: file.size]).hexdigest()
        if path == part and connection.hash_file(path) == (file.size, beginning):
            start = file.size
        else:
            connection.remove(path)
    return start


def _check_space(connection: Connection, wanted: int) -> None:
    free = connection.free_space()
    if free < wanted + SPARE:
        raise DeviceError(
            f"the board has {free} bytes free, and the image needs {wanted + SPARE}",
            f"Remove old images from {INBOX} or other files from the board.",
        )
