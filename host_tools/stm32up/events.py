"""What verbs tell while they work: plain objects with "event" first, as the updater on the board
does. The words for them stand in say/words.py.

    {"event": "progress", "phase": "push", "done": number, "total": number}
    {"event": "result", "ok": true, "status": ...}

or, as the last one of a verb that failed,

    {"event": "result", "ok": false, "error": code, "message": ..., "next_step": ...}
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Literal, NoReturn, Required, TypedDict, TypeGuard

from stm32up.errors import DeviceError
from stm32up.text import clean, clean_all, shortened

# An updater may be older or newer than this program: an event can have any name and any key. What
# this program computes with has a type of its own.
Values = Mapping[str, object]
Event = Values
Report = Callable[[Event], None]


class Progress(TypedDict):
    event: Literal["progress"]
    phase: str
    done: int
    total: int


class Field(TypedDict):
    """Bits of a register, before and after."""

    name: str
    low: int
    width: int
    before: int
    after: int


class Plan(TypedDict, total=False):
    """What a bench verb is about to do: stm32_bench says what is in it."""

    event: Literal["plan"]
    status: str
    chip: str
    command: str
    before: str
    after: str
    fields: list[Field]
    wishes: dict[str, int | None]
    supply: bool
    supply_switch: bool
    bor_mv: int
    needs_mv: int


# What verbs end with, where more than its words are made of it.


class InterruptedPush(TypedDict):
    file: str
    done: int
    bytes: int | None  # of the image but its signature; None if its header is not one


class Status(TypedDict, total=False):
    """What the host knows, as its updater says it."""

    phase: str
    confirmed: str | None
    candidate: str | None
    inbox: list[str]
    failed: str | None
    installed: str | None
    pages_in_doubt: int
    log_lines_lost: int
    interrupted_pushes: list[InterruptedPush]


class Finding(TypedDict):
    """One thing that the doctor found."""

    code: str
    severity: str
    what: str
    evidence: list[str]
    cause: str
    next_step: str


class Examined(TypedDict, total=False):
    """What the doctor found, the diagnosis first; `error` and what follows only if it is bad."""

    ok: Required[bool]
    status: Required[str]
    findings: Required[list[Finding]]
    otherwise: Required[list[Finding]]
    facts: Required[Values]
    error: str
    message: str
    next_step: str


class Stretch(TypedDict):
    """Bytes of the flash, and what an image does to them: "written", "kept" or "padded"."""

    what: str
    address: int
    length: int


class Tlv(TypedDict):
    type: int
    name: str
    protected: bool
    value: str  # hex digits


class Shown(TypedDict, total=False):
    """What `image show` tells of an image; the last two only where they are known."""

    file: Required[str]
    version: Required[str]
    bytes: Required[int]
    address: Required[int]
    product_id: Required[int | None]
    class_id: Required[str | None]
    security_counter: Required[int | None]
    sha256: Required[str | None]
    signed_with: Required[str | None]
    key_hash: Required[str | None]
    layout: Required[list[Stretch] | None]
    header_size: Required[int]
    flags: Required[list[str]]
    tlvs: Required[list[Tlv]]
    signature: str  # "valid", "unchecked" or "none"
    product: str | None


def progress(phase: str, done: int, total: int) -> Progress:
    return {"event": "progress", "phase": phase, "done": done, "total": total}


def is_progress(event: Event) -> TypeGuard[Progress]:
    """`from_board` has seen to the types of its values."""
    return event["event"] == "progress"


def is_plan(event: Event) -> TypeGuard[Plan]:
    return event["event"] == "plan"


def note(text: str) -> Event:
    """What has to be known of how it is done."""
    return {"event": "note", "text": text}


def result(values: Values) -> Event:
    """The last event of a verb that did what it should."""
    return {"event": "result", "ok": True, **values}


def failure(code: str, message: str, next_step: str) -> Event:
    """The last event of a verb that did not."""
    said = {"error": code, "message": message, "next_step": next_step}
    return {"event": "result", "ok": False, **said}


def in_order(values: Values, *first: str) -> dict[str, object]:
    """The same with these keys in front, as far as they are there."""
    return {**{key: values[key] for key in first if key in values}, **values}


# What a board says: unknown events and unknown keys pass, known keys have to be of their type.

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
    return clean_all(value)


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are no JSON


def _wrong(event: Event) -> str:
    """Why an event makes no sense; empty if it does."""
    if event["event"] in _OWN_EVENTS:
        return "is not for an updater to tell"
    for key in _NEEDED.get(str(event["event"]), ()):
        if key not in event:
            return f"lacks {key}"
    for key, (fits, kind) in _TYPES.items():
        if key in event and not fits(event[key]):
            return f"has {key} that is no {kind}"
    if not _is_plain(event, _DEEPEST):
        return "holds numbers or lists without measure"
    if is_progress(event) and event["done"] > event["total"]:
        return "has done more than total"
    return ""


def _is_plain(value: object, depth: int) -> bool:
    if depth == 0:
        return False
    if isinstance(value, dict):
        return all(_is_plain(content, depth - 1) for content in value.values())
    if isinstance(value, list):
        return all(_is_plain(content, depth - 1) for content in value)
    if isinstance(value, float):
        return math.isfinite(value) and abs(value) < _LARGEST
    return not isinstance(value, int) or abs(value) < _LARGEST


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _LARGEST


def _is_fields(value: object) -> bool:
    """The bits of a register before and after, as a bench plan has them."""
    return isinstance(value, list) and all(
        isinstance(field, dict)
        and isinstance(field.get("name"), str)
        and all(_is_count(field.get(key)) for key in ("low", "width", "before", "after"))
        and field["width"] <= 32
        for field in value
    )


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


_Kind = tuple[Callable[[object], bool], str]
_COUNT: _Kind = (_is_count, "count")
_TEXT: _Kind = (lambda value: isinstance(value, str), "text")
_TYPES: dict[str, _Kind] = {
    "ok": (lambda value: isinstance(value, bool), "truth value"),
    "phase": _TEXT,
    "done": _COUNT,
    "total": _COUNT,
    "ms": _COUNT,
    "inbox": (_is_texts, "list of texts"),
    "failed": (lambda value: isinstance(value, str | None), "text"),
    "message": _TEXT,
    "next_step": _TEXT,
    "option_bytes": (lambda value: isinstance(value, dict | None), "object"),
    "fields": (_is_fields, "list of fields"),
}


def _nonsense(reason: str, line: str) -> DeviceError:
    return DeviceError(
        f"the updater on the board told something that {reason}: {shortened(clean(line), 60)}",
        "Put it there again: stm32up deploy.",
    )
