"""The updater's log on a board, and which board it is.

The log is a ring of two files of JSON lines. Every entry has a sequence number, "n". What becomes
of it on this computer: log_files.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple, Required, TypedDict, cast

from stm32up import plain_json
from stm32up.errors import NoUpdater
from stm32up.events import OWN_EVENTS, Report, Values, in_order, is_count
from stm32up.host import host_facts, identity
from stm32up.host.paths import FOLDER, MAIN
from stm32up.host.transport import Connection
from stm32up.text import clean_all, shortened

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
    """All entries on the board. Raises HostUnfit if it has no filesystem."""
    files = [connection.read_file(path) for path in FILES]
    if files == [None, None]:
        host_facts.check_filesystem(connection)
    return merge(content or b"" for content in files)


# Empty if the updater cannot be imported.
_UPDATER = """
def _updater():
 try: from stm32_updater import __version__; return __version__
 except Exception: return ''
"""


def who(connection: Connection) -> Values:
    """Which board this is, and what it is now: "board" and "pulled" of log_files.py. A value that
    is not known is left out. Raises DeviceError."""
    host = identity.of(connection)
    connection.define(_UPDATER)
    known = {
        "board": host.unique_id,
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "host": host.machine or host.platform,
        "micropython": host.micropython,
        "updater": str(connection.ask("_updater()")),
    }
    return clean_all({key: value for key, value in known.items() if value})


# Runs the product's program as a start of the board does, and prints what the updater writes into
# its log.
_FOLLOW = """
def _follow(path):
 from stm32_updater.event_log import EventLog
 append = EventLog._append
 def _append(self, lines):
  append(self, lines)
  print(lines, end='')
 EventLog._append = _append
 with open(path) as f: program = f.read()
 exec(program, {'__name__': '__main__', '__file__': path})
"""
_ALWAYS_S = 1e9  # a program that works prints nothing


def follow(connection: Connection, on_entry: Callable[[Entry], None], report: Report) -> None:
    """Start the program on the board, and report each entry when it is written, until the program
    ends. Raises NoUpdater, DeviceError, ContactLost."""
    if connection.hash_file(MAIN) is None:
        raise NoUpdater(
            f"the board has no {MAIN} that runs the updater", "Install one: stm32up deploy --main."
        )

    def line(text: str) -> None:
        entry = entry_of(text.encode())
        if entry is not None:
            on_entry(entry)
        elif text:
            report({"event": "output", "text": shortened(text, 200)})

    connection.define(_FOLLOW)
    connection.exec(f"_follow({MAIN!r})", line, silence_s=_ALWAYS_S)


def merge(files: Iterable[bytes]) -> Log:
    """The entries of several files in order, without duplicates."""
    lines = [line for content in files for line in content.splitlines()]
    entries = [entry_of(line) for line in lines]
    good = {entry["n"]: entry for entry in entries if entry is not None}
    return Log([good[n] for n in sorted(good)], entries.count(None))


def entry_of(line: bytes) -> Entry | None:
    """The entry in a line; None if it holds none."""
    try:
        entry = plain_json.parse(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or not is_count(entry.get("n")):
        return None
    if str(entry.get("event")) in OWN_EVENTS:
        return None
    in_any_order = dict(sorted(clean_all(entry).items()))  # MicroPython's dicts keep no order
    return cast(Entry, in_order(in_any_order, "n", "t", "event"))
