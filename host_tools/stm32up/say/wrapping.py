"""Wraps lines to the width of the terminal, between words and never inside one."""

from __future__ import annotations

import os
import re
from typing import IO

PAGE = 80  # columns of a page if the width is not known
_FIXED_SPACE = "\xa0"
_LEAST = 24  # fewest columns for a readable column of text


def width_of(stream: IO[str]) -> int | None:
    """The width of the terminal behind a stream. None for a pipe or a file, whose lines are not
    wrapped.
    """
    if not stream.isatty():
        return None
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    try:
        return os.get_terminal_size(stream.fileno()).columns or PAGE
    except OSError:
        return PAGE


def wrapped(text: str, width: int | None, indent: int | None = None) -> list[str]:
    """The lines of a text, each within `width` unless a single word is longer. Continuation lines
    begin with `indent` spaces; by default under the last column of the line, if columns are two or
    more spaces apart.
    """
    return [part for line in text.split("\n") for part in _wrapped(line, width, indent)]


def typed(command: str, width: int | None) -> list[str]:
    """A shell command, wrapped with backslashes before its options."""
    whole = re.sub(r" (?!-)", _FIXED_SPACE, command)
    lines = _wrapped(whole, width and width - 2, 4)
    lines = [line.replace(_FIXED_SPACE, " ") for line in lines]
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


def _wrapped(line: str, width: int | None, indent: int | None) -> list[str]:
    if width is None or len(line) <= width:
        return [line]
    start = _last_column(line)
    if indent is None:
        indent = start if 0 < start <= width - _LEAST else len(line) - len(line.lstrip()) or 2
    lines, pad, rest = [], "", line
    while len(pad) + len(rest) > width:
        cut = rest.rfind(" ", start + 1, width - len(pad) + 1)
        if cut < 0:  # the word is longer than the line
            cut = rest.find(" ", max(start + 1, width - len(pad)))
        if cut < 0:
            break
        lines.append(pad + rest[:cut].rstrip())
        pad, rest, start = " " * indent, rest[cut:].lstrip(), 0
    return [*lines, pad + rest]


def _last_column(line: str) -> int:
    """Where the last column begins: after a bullet, or after the last gap between columns."""
    starts = [match.end() for match in re.finditer(r"^ *- |\S(?: {2,})(?=\S)", line)]
    return starts[-1] if starts else 0
