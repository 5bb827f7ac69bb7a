"""A log that survives power cuts: JSON lines in two files of limited size, each line flushed."""

import json

from micropython import const

from .store import size_of

_MAX_BYTES = const(16384)  # of each of the two files
_MAX_LINE = const(1500)  # bytes; the longest line is a plan of the bench
_TAIL = const(3072)  # bytes that hold the last whole line and one line that a cut tore
_LONGEST_TEXT = const(256)
_SHORTEST_TEXT = const(16)  # longer than any event name
_MAX_NUMBER = const(0x3FFFFFFF)  # more lines than will ever be written


class EventLog:
    """Lines {"n": sequence number, "t": ms since `began`, "event": ..., ...} in log.0 and log.1.

    `run`: the run that writes, and `began`: ticks of the clock at its beginning; at first those
    when this object was made. When one file is full, the other is emptied and used. The sequence
    number continues over restarts, so that the files can be merged. A write error does not stop an
    update; `lost` counts the lines that were not written."""

    def __init__(self, folder, clock):
        self._paths = (folder + "/log.0", folder + "/log.1")
        self._clock = clock
        self.run = None
        self.began = clock.now()
        self.lost = 0
        last = [_last_number(path) for path in self._paths]
        self._current = 1 if last[1] > last[0] else 0
        self._number = max(last) + 1

    def write(self, *events):
        """Append a line for each event, a dict of texts, numbers and None. All in one write: for
        each write littlefs erases a block. Texts are cut if a line is too long."""
        try:
            lines = "".join([self._line(event) + "\n" for event in events])
            if lines:
                self._append(lines)
        except (OSError, MemoryError):
            self.lost += len(events)

    def _line(self, event):
        line = {"n": self._number, "t": self._clock.since(self.began)}
        line.update(event)
        self._number += 1
        text, limit = json.dumps(line), _LONGEST_TEXT
        # The text of an exception may have any length.
        while limit > _SHORTEST_TEXT and len(text.encode()) > _MAX_LINE:
            for key, value in line.items():
                if isinstance(value, str) and len(value) > limit:
                    line[key] = value[:limit] + "..."
            text, limit = json.dumps(line), limit // 2
        return text

    def _append(self, lines):
        path = self._paths[self._current]
        mode = "a"
        if size_of(path) + len(lines) >= _MAX_BYTES:
            self._current = 1 - self._current
            path = self._paths[self._current]
            mode = "w"
        with open(path, mode) as file:
            file.write(lines)


def _last_number(path):
    """Sequence number of the last valid line of a log file; -1 if there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, size_of(path) - _TAIL))
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
