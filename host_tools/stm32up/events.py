"""What verbs report while they work: plain objects with "event" first, as the updater on the board
prints them. Their texts are in say/words.py.

    {"event": "progress", "phase": "push", "done": number, "total": number}
    {"event": "result", "ok": true, "status": ...}

If the verb failed, its last event is

    {"event": "result", "ok": false, "error": code, "message": ..., "next_step": ...}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Required, TypedDict, TypeGuard, get_args

from stm32up import plain_json
from stm32up.errors import DeviceError
from stm32up.plain_json import LARGEST
from stm32up.text import clean, clean_all, shortened

# An updater may be older or newer than this program, so an event can have any name and any key.
# Values that this program computes with have their own types.
Values = Mapping[str, object]
Event = Values
Report = Callable[[Event], None]


class Progress(TypedDict, total=False):
    event: Required[Literal["progress"]]
    phase: Required[str]
    done: Required[int]
    total: Required[int]
    each_ms: int
    left_s: int


class Field(TypedDict):
    """Bits of a register, before and after."""

    name: str
    low: int
    width: int
    before: int
    after: int


class Plan(TypedDict, total=False):
    """What a bench verb is about to do; stm32_bench describes the values."""

    event: Literal["plan"]
    verb: str
    status: str
    chip: str
    command: str
    before: str
    after: str
    fields: list[Field]
    wishes: dict[str, int | None]
    supply: bool
    supply_switch: bool
    bor_mv: int | None
    needs_mv: int | None
    pages: int
    of: int
    kept: list[list[int]]


# Results that this program uses for more than printing.


class InterruptedPush(TypedDict):
    file: str
    done: int
    bytes: int | None  # of the image without its signature; None if the header is invalid


class Status(TypedDict, total=False):
    """The state of the host, as its updater reports it."""

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
    """One finding of the doctor."""

    code: str
    severity: str
    what: str
    evidence: list[str]
    cause: str
    next_step: str


class Examined(TypedDict, total=False):
    """The findings of the doctor, the diagnosis first; `error` and the keys after it only if
    something is wrong."""

    ok: Required[bool]
    status: Required[str]
    findings: Required[list[Finding]]
    otherwise: Required[list[Finding]]
    facts: Required[Values]
    error: str
    message: str
    next_step: str


class Stretch(TypedDict):
    """A range of flash, and what an image does to it: "written", "kept" or "padded"."""

    what: str
    address: int
    length: int


class Area(TypedDict):
    """Whole pages of flash, and what an installation does to them: "written" (erased, then
    written), "hole" (kept, the image has nothing there), "preserved" (kept, the board says so),
    "refused" (the image would write what the board preserves), "untouched"."""

    what: str
    address: int
    length: int
    first_page: int
    last_page: int
    bytes: int  # of the image; the rest of what is written is padding


class Tlv(TypedDict):
    type: int
    name: str
    protected: bool
    value: str  # hex digits


class Shown(TypedDict, total=False):
    """What `image show` says about an image; the last keys only if they are known."""

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
    map: list[Area] | None  # of all of the flash of `chip`
    chip: str
    board: str | None  # whose chip and preserved regions the map shows


def progress(phase: str, done: int, total: int) -> Progress:
    return {"event": "progress", "phase": phase, "done": done, "total": total}


def is_progress(event: Event) -> TypeGuard[Progress]:
    """`from_board` has checked the types of its values."""
    return event["event"] == "progress"


def is_plan(event: Event) -> TypeGuard[Plan]:
    return event["event"] == "plan"


def note(text: str) -> Event:
    """A remark for the user about how the work is done."""
    return {"event": "note", "text": text}


def result(values: Values) -> Event:
    """The last event of a verb that succeeded."""
    return {"event": "result", "ok": True, **values}


def failure(code: str, message: str, next_step: str) -> Event:
    """The last event of a verb that failed."""
    said = {"error": code, "message": message, "next_step": next_step}
    return {"event": "result", "ok": False, **said}


def in_order(values: Values, *first: str) -> dict[str, object]:
    """The same values, with these keys first if they are present."""
    return {**{key: values[key] for key in first if key in values}, **values}


# Output of a board: unknown events and unknown keys pass, known keys must have their type.

# Only this program makes these events: their texts rely on values that it computed itself.
OWN_EVENTS = {
    *(
        "plan",
        "built",
        "pushed",
        "note",
        "port",
        "log",
        "log-of",
        "told",
        "at",
        "way-back",
        "counted",
        "lane",
    ),
    *("naive", "supply-fails", "outcome", "left", "step", "bench", "bench-continued", "cycle"),
    *("read-back", "stopped", "wire", "deployed"),
}
_IMAGE = {"image": str, "version": str, "bytes": int}
ERROR: dict[str, Any] = {"error": str, "message": str, "next_step": str}
# Events of the updater and of the bench package: firmware/stm32_updater/run_events.py,
# firmware/stm32_bench/procedure.py.
OF_BOARDS: dict[str, Any] = {
    "refused": {"image": str, **ERROR},
    "checked": {**_IMAGE, "hash_ms": int, "signature_ms": int, "key": str | None},
    "superseded": {"image": str, "version": str},
    "installing": _IMAGE,
    "resuming": _IMAGE,
    "rolling-back": {**_IMAGE, "reason": str},
    "loader": {"version": str, "protocol": str, "chip": str},
    "progress": Progress,
    "retry": {"page": int, "error": str, "message": str},
    "written": {"bytes": int, "verified": int, "erased_pages": int, "repeats": int},
    "starting": {"try": int},
    "not-kept": {"image": str, **ERROR},
    "idle": {},
    "begun": {},
    "ended": {},
    "run": {},
    "interrupted": {"what": str, "stage": str},
    "power-on-needed": {},
    "sending": {"what": str},
    "doubt": {"message": str},
    "hands-off": {"ms": int},
    "seen": {"what": str, "ms": int},
    "cut": {"kind": str, "t": int, "ms": int},
    "read-back": {"sha256": str | None},
}
# Results of boards.
UPDATED: dict[str, Any] = {
    "status": str,
    "version": str,
    "bytes": int,
    "verified": int,
    "target_ms": int,
    "hash_ms": int,
    "signature_ms": int,
}
PROBED: dict[str, Any] = {
    "chip": str,
    "product_id": str | int,
    "loader": str,
    "protocol": str,
    "application": str,
    "application_version": str | None,
    "option_bytes": dict | None,
}
_BENCH = {"before": str, "after": str, "pages": int, "blank": bool, "boot0_counts": bool | None}
_STATE = {"phase": str, "confirmed": str | None, "candidate": str | None, "installed": str | None}
_COUNTS = {"pages_in_doubt": int, "log_lines_lost": int}
_RESULT = {"port": str, **ERROR, **UPDATED, **PROBED, **_BENCH, **_STATE, **_COUNTS}
NEEDED: dict[str, tuple[str, ...]] = {  # keys of a board's events
    "progress": ("phase", "done", "total"),
    "seen": ("ms",),
    "hands-off": ("ms",),
    "cut": ("kind", "t"),
}


def from_board(line: str) -> Event:
    """The event in a line that the updater on a board printed. Any other line becomes an "output"
    event. Raises DeviceError for an event with invalid values.
    """
    try:
        value = plain_json.parse(line)
    except ValueError:
        if line.lstrip().startswith("{"):
            raise _nonsense("is not JSON, or too large", line) from None
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("event"), str):
        return {"event": "output", "text": shortened(clean(line), 200)}
    reason = _wrong(value)
    if reason:
        raise _nonsense(reason, line)
    return clean_all(value)


def _wrong(event: Event) -> str:
    """Why an event is invalid; empty if it is valid."""
    if event["event"] in OWN_EVENTS:
        return "only stm32up itself can report"
    for key in NEEDED.get(str(event["event"]), ()):
        if key not in event:
            return f"lacks {key}"
    for key, (fits, kind) in _TYPES.items():
        if key in event and not fits(event[key]):
            return f"has {key} that is not a {kind}"
    shape = OF_BOARDS.get(str(event["event"]), _RESULT if event["event"] == "result" else {})
    for key, kind in shape.items() if isinstance(shape, dict) else ():
        if key in event and type(event[key]) not in (get_args(kind) or (kind,)):
            return f"has a value of the wrong type for {key}"
    if is_progress(event) and event["done"] > event["total"]:
        return "has a larger done than total"
    return ""


def is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < LARGEST


def _is_fields(value: object) -> bool:
    """The fields of a register, before and after, in a bench plan."""
    return isinstance(value, list) and all(
        isinstance(field, dict)
        and isinstance(field.get("name"), str)
        and all(is_count(field.get(key)) for key in ("low", "width", "before", "after"))
        and field["width"] <= 32
        for field in value
    )


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


_Kind = tuple[Callable[[object], bool], str]
_COUNT: _Kind = (is_count, "count")
_TEXT: _Kind = (lambda value: isinstance(value, str), "text")
_TYPES: dict[str, _Kind] = {
    "ok": (lambda value: isinstance(value, bool), "truth value"),
    "phase": _TEXT,
    "kind": _TEXT,
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
        f"the updater on the board reported an event that {reason}: {shortened(clean(line), 60)}",
        "Install it again: stm32up deploy.",
    )
