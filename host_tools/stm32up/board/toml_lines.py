"""Line numbers of keys in a TOML file, which tomllib does not give."""

from __future__ import annotations

import re

_TABLE = re.compile(r"\s*\[\s*([A-Za-z0-9_.\-]+)\s*\]")
_KEY = re.compile(r"""\s*["']?([A-Za-z0-9_\-]+)["']?\s*=""")
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")


class Lines:
    """Line numbers of keys, from 1."""

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str, str], int] = {}
        table = ""
        for number, line in enumerate(text.splitlines(), 1):
            if header := _TABLE.match(line):
                table = header[1]
                self._lines.setdefault((table, ""), number)
            elif assignment := _KEY.match(line):
                self._lines.setdefault((table, assignment[1]), number)

    def of(self, table: str, key: str = "") -> int:
        """The line of the key, or of its table if the key is missing. "" is the top level."""
        return self._lines.get((table, key)) or self._lines.get((table, ""), 1)


def of_syntax_error(message: str, text: str) -> tuple[int, str]:
    """(line, what is wrong) from the message of a tomllib.TOMLDecodeError."""
    found = _AT_LINE.search(message)
    line = int(found[1]) if found else max(1, len(text.splitlines()))
    return line, message.split(" (at ")[0]
