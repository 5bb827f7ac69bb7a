"""Collects the updater's log from a board.

The log is a ring of two files of JSON lines. Every entry has a sequence number, "n".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Required, TypedDict, cast

from stm32up.errors import UsageError
from stm32up.events import Values, in_order
from stm32up.host.paths import FOLDER
from stm32up.host.transport import Connection
from stm32up.text import clean_all

FILES = (f"{FOLDER}/log.1", f"{FOLDER}/log.0")  # the numbers show which one is older


class Entry(TypedDict, total=False):
    """A line of the log. An updater of another version may write other keys."""

    n: Required[int]
    t: int
    event: str
    ok: bool
    status: str
    version: str
    error: str
    message: str
    next_step: str


class Log(NamedTuple):
    entries: list[Entry]  # by rising "n"
    damaged: int  # lines that are not entries: a power cut can tear the last line of a file

    def as_lines(self) -> str:
        return "".join(json.dumps(entry) + "\n" for entry in self.entries)

    def summary(self) -> Values:
        return {
            "entries": len(self.entries),
            "first": self.entries[0]["n"] if self.entries else None,
            "last": self.entries[-1]["n"] if self.entries else None,
            "damaged_lines": self.damaged,
        }


def collect(connection: Connection) -> Log:
    """All entries on the board."""
    return merge(connection.read_file(path) or b"" for path in FILES)


def write(log: Log, path: Path) -> None:
    """Write the entries as JSON lines. Raises UsageError if that fails."""
    try:
        path.write_text(log.as_lines(), encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def merge(files: Iterable[bytes]) -> Log:
    """The entries of several files in order, without duplicates."""
    lines = [line for content in files for line in content.splitlines()]
    entries = [_entry(line) for line in lines]
    good = {entry["n"]: entry for entry in entries if entry is not None}
    return Log([good[n] for n in sorted(good)], entries.count(None))


def _entry(line: bytes) -> Entry | None:
    try:
        entry = json.loads(line)
        json.dumps(entry, allow_nan=False)  # Python reads NaN and 1e999, which are not JSON
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or type(entry.get("n")) is not int:
        return None
    in_any_order = dict(sorted(clean_all(entry).items()))  # MicroPython's dicts keep no order
    return cast(Entry, in_order(in_any_order, "n", "t", "event"))
