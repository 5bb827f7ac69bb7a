"""What verbs tell while they work: plain dicts with "event" first, as the updater on the board
does.

    {"event": "progress", "phase": "push", "done": number, "total": number}
    {"event": "result", "ok": true, "status": ...}

or, as the last one of a verb that failed,

    {"event": "result", "ok": false, "error": code, "message": ..., "next_step": ...}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
Report = Callable[[Event], None]


def progress(phase: str, done: int, total: int) -> Event:
    return {"event": "progress", "phase": phase, "done": done, "total": total}


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
