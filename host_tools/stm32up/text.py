"""Text from a board, a file or a port, made safe to show.

A terminal obeys control sequences, and right-to-left overrides change what a line seems to say. So
each character that does not print is shown as its number: ESC becomes <1B>.
"""

from __future__ import annotations

import re
from typing import Any

_LOG_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # ESP-IDF colours its log lines


def clean(text: str, keep: str = "") -> str:
    """The text with every character that does not print as <HEX>, except those of `keep`.

    str.isprintable() is False for control and format characters, surrogates, unassigned ones and
    all separators but the space.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else f"<{ord(c):02X}>" for c in text)


def clean_all(value: Any) -> Any:
    """A JSON value with every text in it on one line and clean, names included."""
    if isinstance(value, str):
        return clean(" ".join(value.split("\n")))
    if isinstance(value, dict):
        return {clean_all(str(name)): clean_all(content) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [clean_all(content) for content in value]
    return value


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters of it."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def without_colour(text: str) -> str:
    return _LOG_COLOUR.sub("", text)
