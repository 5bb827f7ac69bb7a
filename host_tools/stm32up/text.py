"""Text from a board, a file or a port, made safe to show.

Control sequences change a terminal, and right-to-left overrides change how a line reads. So each
character that does not print is shown as its number: ESC becomes <1B>.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_LOG_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # ESP-IDF colours its log lines


def clean(text: str, keep: str = "") -> str:
    """The text with every character that does not print as <HEX>, except those of `keep`.

    str.isprintable() is False for control and format characters, surrogates, unassigned ones and
    all separators but the space.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else f"<{ord(c):02X}>" for c in text)


def clean_all(values: Mapping[str, object]) -> dict[str, object]:
    """A JSON object with every text in it on one line and clean, names included."""
    return {_clean_line(str(name)): _clean_value(content) for name, content in values.items()}


def _clean_value(value: object) -> object:
    if isinstance(value, str):
        return _clean_line(value)
    if isinstance(value, Mapping):
        return clean_all(value)
    if isinstance(value, list | tuple):
        return [_clean_value(content) for content in value]
    return value


def _clean_line(text: str) -> str:
    return clean(" ".join(text.split("\n")))


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters of the text."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def without_colour(text: str) -> str:
    return _LOG_COLOUR.sub("", text)
