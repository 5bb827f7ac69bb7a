"""What verbs tell while they work: plain dicts with "event" first, as the updater on the board
does.

    {"event": "progress", "phase": "push", "done": number, "total": number}
    {"event": "result", "ok": true, "status": ...}

or, as the last one of a verb that failed,

    {"event": "result", "ok": false, "error": code, "message": ..., "next_step": ...}
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NoReturn

from stm32up.errors import DeviceError
from stm32up.text import clean, clean_all, shortened

Event = dict[str, Any]
Report = Callable[[Event], None]


def progress(phase: str, done: int, total: int) -> Event:
    return {"event": "progress", "phase": phase, "done": done, "total": total}


def note(text: str) -> Event:
    """What has to be known of how it is done."""
    return {"event": "note", "text": text}


def result(values: dict[str, Any]) -> Event:
    """The last event of a verb that did what it should."""
    return {"event": "result", "ok": True, **values}


def failure(code: str, message: str, next_step: str) -> Event:
    """The last event of a verb that did not."""
    return {
        "event": "result",
        "ok": False,
        "error": code,
        "message": message,
        "next_step": next_step,
    }


def in_order(values: dict[str, Any], *first: str) -> dict[str, Any]:
    """The same with these keys in front, as far as they are there."""
    return {key: values[key] for key in first if key in values} | values


# What a board says. An updater may be older or newer than this program, so unknown events and
# unknown keys pass; what this program computes with has to be of its type.

_DEEPEST = 20  # of lists in lists
_LARGEST = 1 << 63
# Only this program tells these: their words stand on values that it made itself.
_OWN_EVENTS = {
    *("plan", "pushed", "note", "port", "log", "told", "at", "way-back", "counted", "lane"),
    *("naive", "supply-fails", "outcome"),
}
_NEEDED = {
    "progress": ("phase", "done", "total"),
    "seen": ("ms",),
    "hands-off": ("ms",),
}


def from_board(line: str) -> Event:
    """The event in a line that the updater on a board has printed; a line that is none becomes an
    "output" event. Raises DeviceError for an event that makes no sense.
    """
    try:
        value = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        if line.lstrip().startswith("{"):
            raise _nonsense("is no JSON", line) from None
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("event"), str):
        return {"event": "output", "text": shortened(clean(line), 200)}
    reason = _wrong(value)
    if reason:
        raise _nonsense(reason, line)
    event: Event = clean_all(value)
    return event


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are no JSON


def _wrong(event: Event) -> str:
    """Why an event makes no sense; empty if it does."""
    if event["event"] in _OWN_EVENTS:
        return "is not for an updater to tell"
    for key in _NEEDED.get(event["event"], ()):
        if key not in event:
            return f"lacks {key}"
    for key, (fits, kind) in _TYPES.items():
        if key in event and not fits(event[key]):
            return f"has {key} that is no {kind}"
    if not _is_plain(event, _DEEPEST):
        return "holds numbers or lists without measure"
    if event["event"] == "progress" and event["done"] > event["total"]:
        return "has done more than total"
    return ""


def _is_plain(value: Any, depth: int) -> bool:
    if depth == 0:
        return False
    if isinstance(value, dict):
        return all(_is_plain(content, depth - 1) for content in value.values())
    if isinstance(value, list):
        return all(_is_plain(content, depth - 1) for content in value)
    if isinstance(value, float):
        return math.isfinite(value) and abs(value) < _LARGEST
    return not isinstance(value, int) or abs(value) < _LARGEST


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LARGEST


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_object_or_none(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _is_fields(value: Any) -> bool:
    """The bits of a register before and after, as a bench plan has them."""
    return isinstance(value, list) and all(
        isinstance(field, dict)
        and isinstance(field.get("name"), str)
        and all(_is_count(field.get(key)) for key in ("low", "width", "before", "after"))
        and field["width"] <= 32
        for field in value
    )


_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "ok": (lambda value: isinstance(value, bool), "truth value"),
    "phase": (_is_text, "text"),
    "done": (_is_count, "count"),
    "total": (_is_count, "count"),
    "ms": (_is_count, "count"),
    "inbox": (_is_texts, "list of texts"),
    "failed": (_is_text_or_none, "text"),
    "message": (_is_text, "text"),
    "next_step": (_is_text, "text"),
    "option_bytes": (_is_object_or_none, "object"),
    "fields": (_is_fields, "list of fields"),
}


def _nonsense(reason: str, line: str) -> DeviceError:
    return DeviceError(
        f"the updater on the board told something that {reason}: {shortened(clean(line), 60)}",
        "Put it there again: stm32up deploy.",
    )
