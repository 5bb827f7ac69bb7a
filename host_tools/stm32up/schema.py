"""The JSON schema of --json: docs/schema.json, made from events.py and these tables.

    python -m stm32up.schema > docs/schema.json

A line is an object with "event". Events and keys that are not in the schema may appear: the
updater on a board may be newer than this program. It may be older, too, so no key of its events
is certain, except those that `events.from_board` checks.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from typing import Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from stm32up import events

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]  # JSON
_TEXT_OR_NULL = str | None

# Events of this program: every key is there.
OWN: dict[str, Any] = {
    "plan": events.Plan,
    "unprotected": {},
    "output": {"text": str},
    "note": {"text": str},
    "deployed": {"needs": str},
    "stopped": {"stage": str, "text": str},
    "built": events.Shown,
    "differs": {"page": int, "address": int, "bytes": int, "flash": str, "file": str},
    "i2c": {
        "at": int,
        "us": int,
        "address": int,
        "read": bool,
        "data": str,
        "acked": int,
        "errno": int | None,
    },
    "pushed": {
        "status": str,
        "file": str,
        "image": str,
        "version": str,
        "sha256": str,
        "sent": int,
    },
    "left": {"state": str},
    "wire": {
        "wire": str,
        "pin": int,
        "pulled_up": int,
        "pulled_down": int,
        "low?": int,
        "high?": int,
        "says": str,
    },
    "log": {"entry": dict},
    "log-of": {"board": str},
    "bench": {"seed": int, "kinds": list[str], "span_ms": int},
    "bench-continued": {"file": str, "done": int},
    "cycle": {
        "cycle": int,
        "version": str,
        "cuts": list[dict[str, Any]],
        "runs": int,
        "retries": int,
        "resets": int,
        "phases": dict,
        "failure": dict | None,
    },
    "step": {"step": str},
    "port": {"port": str, "pty": _TEXT_OR_NULL},
    "lane": {"lane": str, "title": str},
    "naive": {"what": str},
    "told": {"ms": int | float, "what": str | dict},
    "at": {"ms": int | float, "what": str | dict},
    "programming": {"took": str},
    "supply-fails": {},
    "supply-off": {},
    "supply-back": {},
    "outcome": {"outcome": str},
    "way-back": {"what": str, "answered": bool},
    "counted": {
        "title": str,
        "instants": int,
        "locked": int,
        "recovered": int,
        "other": dict,
        "window_ms": int | float,
        "total_ms": int | float,
        "replay": _TEXT_OR_NULL,
    },
}

# The result of each verb that succeeded. "status" says what was done.
_KEY = {"status": str, "key": str, "bits": int, "key_id": str}
_UPDATED = {f"{name}?": kind for name, kind in events.UPDATED.items()}
_BENCH = {"status?": str, "before?": str, "after?": str, "stages?": list[list[Any]]}
RESULTS: dict[str, Any] = {
    "keys new": {**_KEY, "development": bool},
    "keys public": _KEY,
    "image build": events.Shown,
    "image show": events.Shown,
    "image verify": events.Shown,
    "image sign": events.Shown,
    "image digest": {"status": str, "file": str, "sha256": str},
    "deploy": {
        "status": str,
        "board": str,
        "copied": list[str],
        "removed": list[str],
        "unchanged": int,
        "bytes": int,
    },
    "push": OWN["pushed"],
    "update": _UPDATED,
    "run": _UPDATED,
    "status": events.Status,
    "probe": {f"{name}?": kind for name, kind in events.PROBED.items()},
    "doctor": events.Examined,
    "read": {"status": str, "file": str, "address": int, "bytes": int},
    "verify": {"status": str, "file": str, "bytes": int},
    "erase": {"status": str, "pages": int, "blank": bool},
    "provision": _BENCH,
    "unprotect": {**_BENCH, "blank?": bool, "boot0_counts?": bool | None, **_UPDATED},
    "logs pull": {
        "status": str,
        "entries": int,
        "first": int | None,
        "last": int | None,
        "damaged_lines": int,
    },
    "bench": {
        "status": str,
        "cycles": int,
        "cuts": int,
        "failures": int,
        "retries": int,
        "resets": int,
        "cuts_by_kind": dict,
        "phases": dict,
        "failed": list[dict[str, Any]],
        "seed": int,
        "versions": list[str],
        "kinds": list[str],
        "report?": str,
    },
    "produce": {
        "status": str,
        "ok": bool,
        "result": str,
        "time": str,
        "target_id": str,
        "host_id": str,
        "board": str,
        "version": str,
        "flash_sha256": str,
        "loader": str,
        "updater": str,
        "failed_step": str,
        "message": str,
        "seconds": int | float,
        "unit": str,
        "serial_number": str,
        "try": int,
        "inventory": str,
        "label?": str,
    },
    "logs show": {"status": str, "entries": int, "of": int, "damaged_lines?": int},
    "logs report": {
        "status": str,
        "file": str,
        "boards": int,
        "updates": int,
        "damaged_lines": int,
    },
    "reset": {"status": str, "hard": bool},
    "devices": {"devices": list[dict[str, Any]]},
    "boards list": {"boards": list[dict[str, Any]]},
    "boards new": {"status": str, "file": str, "wires": list[tuple[str, str, str]]},
    "simulate": {"status": str},
    "torture": {
        "status": str,
        "cuts": int,
        "slowest_ms": int,
        "violations": list[dict[str, Any]],
        "new?": int,
        "old?": int,
        "settled_on?": str,
    },
    "simulate forum": {"status": str, "lanes": list[dict[str, Any]]},
    "simulate forum case": {"status": str, "lane": str, "number": int, "ms": int | float},
    "completion": {"status": str, "lines": list[str]},
}
RESULTS["probe --all"] = RESULTS["probe"]


def schema() -> Schema:
    """The schema of a line; in "$defs" that of the result of each verb, "result of probe"."""
    known = {
        name: _object(shape, events.NEEDED.get(name, ()))
        for name, shape in events.OF_BOARDS.items()
    }
    known |= {name: _object(shape) for name, shape in OWN.items()}
    return {
        "$schema": DIALECT,
        "title": "A line of stm32up --json",
        "description": 'The last line has the event "result". Others may have events and keys '
        "that are not listed here.",
        "type": "object",
        "required": ["event"],
        "properties": {"event": {"type": "string"}},
        "allOf": [
            *(_if(name, {"$ref": f"#/$defs/{name}"}) for name in known),
            _if("result", {"$ref": "#/$defs/result"}),
        ],
        "$defs": {
            **known,
            "result": _result(),
            **{f"result of {verb}": _object(shape) for verb, shape in RESULTS.items()},
        },
    }


def _if(name: str, then: Schema) -> Schema:
    return {"if": {"properties": {"event": {"const": name}}}, "then": then}


def _result() -> Schema:
    failed = _object(events.ERROR)
    return {
        **_object({"ok": bool, "status?": str, "port?": str}),
        "if": {"properties": {"ok": {"const": False}}},
        "then": failed,
    }


def _object(shape: Any, certain: tuple[str, ...] | None = None) -> Schema:
    """The schema of a TypedDict, or of {"name": type, "name?": type}. `certain`: the only keys
    that are required."""
    if isinstance(shape, Mapping):
        fields = {name.rstrip("?"): kind for name, kind in shape.items()}
        required = [name for name in shape if not name.endswith("?")]
    else:
        # Not __required_keys__: it does not see Required in annotations that are text.
        fields = get_type_hints(shape, include_extras=True)
        marks = {name: get_origin(kind) for name, kind in fields.items()}
        required = [
            name
            for name, mark in marks.items()
            if mark is Required or shape.__total__ and mark is not NotRequired
        ]
    required = [name for name in required if certain is None or name in certain]
    made: Schema = {"type": "object", "properties": {k: _type(v) for k, v in fields.items()}}
    return {**made, "required": required} if required else made


_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def _type(kind: Any) -> Schema:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _NAMES:
        return {"type": _NAMES[kind]}
    if kind is dict or origin in (dict, Mapping) or kind is events.Values:
        return {"type": "object"}
    if origin is list:
        return {"type": "array", "items": _type(arguments[0])}
    if origin is Literal:
        return {"enum": [*arguments]}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_type(one) for one in arguments]}
    if origin in (Required, NotRequired):
        return _type(arguments[0])
    return _object(kind) if hasattr(kind, "__required_keys__") else {}


def text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
