"""A log that survives power cuts: JSON lines in two files of limited size, each line flushed."""

import json
import os

from micropython import const

_MAX_BYTES = const(16384)  # of each of the two files
_MAX_LINE = const(1500)  # bytes; the longest line is a plan of the bench
_TAIL = const(3072)  # bytes that hold the last whole line and one line that a cut tore
_LONGEST_TEXT = const(256)
_SHORTEST_TEXT = const(16)  # longer than any event name
_MAX_NUMBER = const(0x3FFFFFFF)  # more lines than will ever be written


class EventLog:
    """Lines {"n": sequence number, "t": ms since the last `restart`, "event": ..., ...} in log.0
    and log.1.

    When one file is full, the other is emptied and used. The sequence number continues over
    restarts, so that the files can be merged. A write error does not stop an update; `lost` counts
    the lines that were not written."""

    def __init__(self, folder, clock):
        self._paths = (folder + "/log.0", folder + "/log.1")
        self._clock = clock
        self._began = clock.now()
        self.lost = 0
        last = [_last_number(path) for path in self._paths]
        self._current = 1 if last[1] > last[0] else 0
        self._number = max(last) + 1

    def restart(self):
        """Set the time of the log to 0: a run of the updater begins."""
        self._began = self._clock.now()

    def write(self, event):
        """Append `event`, a dict of texts, numbers and None. Texts are cut if the line is too
        long."""
        line = {"n": self._number, "t": self._clock.since(self._began)}
        line.update(event)
        self._number += 1
        text, limit = json.dumps(line), _LONGEST_TEXT
        # The text of an exception may have any length.
        while limit > _SHORTEST_TEXT and len(text.encode()) > _MAX_LINE:
            for key, value in line.items():
                if isinstance(value, str) and len(value) > limit:
                    line[key] = value[:limit] + "..."
            text, limit = json.dumps(line), limit // 2
        try:
            self._append(text)
        except OSError:
            self.lost += 1

    def _append(self, text):
        path = self._paths[self._current]
        mode = "a"
        if _size(path) + len(text) >= _MAX_BYTES:
            self._current = 1 - self._current
            path = self._paths[self._current]
            mode = "w"
        with open(path, mode) as file:
            file.write(text + "\n")


def _size(path):
    try:
        return os.stat(path)[6]
    except OSError:
        return 0


def _last_number(path):
    """Sequence number of the last valid line of a log file; -1 if there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, _size(path) - _TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return -1
    for line in reversed(lines):
        try:
            number = json.loads(line)["n"]
        except (ValueError, KeyError, TypeError):
            continue  # torn by a loss of power, or the tail of a line
        if type(number) is int and 0 <= number <= _MAX_NUMBER:
            return number
    return -1
