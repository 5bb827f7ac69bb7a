"""JSON from a board, or from a file that anyone may have written.

Python reads more than JSON is (NaN, Infinity), and more than a program can compute with: integers
of thousands of digits, numbers that overflow, thousands of lists in lists.
"""

from __future__ import annotations

import json
import math
from typing import Any

_DEEPEST = 20  # of lists in lists
LARGEST = 1 << 63


def parse(text: str | bytes) -> Any:
    """The value. Raises ValueError if it is not JSON, or holds a number or list that is too
    large."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("too many lists in lists") from None
    if not _is_plain(value, _DEEPEST):
        raise ValueError("it holds a number or list that is too large")
    return value


def _is_plain(value: object, depth: int) -> bool:
    if depth == 0:
        return False
    if isinstance(value, dict):
        return all(_is_plain(content, depth - 1) for content in value.values())
    if isinstance(value, list):
        return all(_is_plain(content, depth - 1) for content in value)
    if isinstance(value, float):
        return math.isfinite(value) and abs(value) < LARGEST
    return not isinstance(value, int) or abs(value) < LARGEST
