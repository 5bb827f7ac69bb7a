"""What happens, in words: one line for each kind of event and for the end of each verb.

Values come from a board whose updater may be older or newer than this program: what is missing
reads "?", and an event nobody knows here is still told, with everything it carries.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from stm32up.events import Event

Values = dict[str, Any]

PHASES = {
    "deploy": ("copying the updater", "bytes"),
    "push": ("pushing the image", "bytes"),
    "compare": ("comparing flash", "pages"),
    "write": ("writing flash", "pages"),
}
_EVENTS = {
    "refused": "refused: {message}",
    "installing": "installing {version} ({bytes} bytes)",
    "resuming": "resuming the installation of {version} ({bytes} bytes)",
    "rolling-back": "going back to {version} ({bytes} bytes)",
    "superseded": "left out {version}: a newer image is there",
    "loader": "loader V{version}, protocol V{protocol}, {chip}",
    "output": "board: {text}",
}
_RESULTS = {
    "keys new": "made {key}: RSA, {bits} bits, id {key_id}; keep it secret",
    "image build": "built {file}: version {version}, {bytes} bytes, {signed}",
    "logs pull": "{entries} entries, numbers {first} to {last}",
}


class _Known(Values):
    """A "?" for what is not there."""

    def __missing__(self, key: str) -> str:
        return "?"


def event(event: Event) -> str:
    """An event in one line."""
    name = str(event["event"])
    if name in _SAYINGS:
        return _SAYINGS[name](_Known(event))
    if name in _EVENTS:
        return _EVENTS[name].format_map(_Known(event))
    rest = ", ".join(f"{words(key)} {event[key]}" for key in sorted(event) if key != "event")
    return f"{words(name)}: {rest}" if rest else words(name)


def stopped(progress: Event) -> str:
    """How far a phase had come that did not reach its end."""
    doing, unit = phase(progress)
    done, total = progress["done"], progress["total"]
    return f"stopped {doing} after {done} of {total} {unit}"


def phase(progress: Event) -> tuple[str, str]:
    """What a progress event is about, and what it counts."""
    name = str(progress["phase"])
    return PHASES.get(name, (words(name), "steps"))


def result(verb: str, values: Values) -> list[str]:
    """The good end of a verb, in one line or a few."""
    known = _Known(values)
    if verb in _ENDS:
        return _ENDS[verb](known)
    return [_RESULTS[verb].format_map(_Known(values, signed=signed(values)))]


def signed(values: Values) -> str:
    """How an image is signed."""
    kind = values.get("signed_with")
    return f"signed with {kind}" if kind else "not signed"


def seconds(milliseconds: Any) -> str:
    return f"{milliseconds / 1000:.1f} s" if isinstance(milliseconds, int) else "? s"


def words(key: str) -> str:
    return key.replace("_", " ").replace("-", " ")


def _written(values: _Known) -> str:
    verified = f"{values['verified']} of {values['bytes']} bytes verified"
    erased = values["erased_pages"]
    if erased == 0:
        return f"nothing to write: {verified}"
    return f"written: {verified}, {erased} page erases"


def _starting(values: _Known) -> str:
    again = f" again, try {values['try']}" if values["try"] != 1 else ""
    return f"starting the application{again}"


def _pushed(values: _Known) -> str:
    name = PurePosixPath(str(values["image"])).name
    if values["status"] == "already-there":
        return f"{name} was in the inbox already"
    return f"pushed {name} to the inbox ({values['sent']} bytes sent)"


def _push_ended(values: _Known) -> list[str]:
    return [f"{_pushed(values)}; the updater installs it when it runs next"]


def _update_ended(values: _Known) -> list[str]:
    if values["status"] == "installed":
        return [f"installed {values['version']} in {seconds(values['target_ms'])}"]
    if values["status"] == "up-to-date":
        return [f"{values['version']} is installed already and runs; nothing was done"]
    if values["status"] == "idle":
        return ["nothing to do"]
    return [words(str(values["status"]))]


def _deploy_ended(values: _Known) -> list[str]:
    copied, removed, unchanged = values["copied"], values["removed"], values["unchanged"]
    lines = [f"copied {path}" for path in copied] if unchanged else []  # all of them is no news
    lines += [f"removed {path}" for path in removed]
    if not copied and not removed:
        return [f"{values['board']}: all {unchanged} files are there already"]
    counts = f"{len(copied)} files copied ({values['bytes']} bytes), {unchanged} unchanged"
    return [*lines, f"deployed for {values['board']}: {counts}"]


def _image_verified(values: _Known) -> list[str]:
    signature = {
        "valid": "the signature is valid",
        "unchecked": "the signature was not checked (give --key)",
        "none": "it is not signed",
    }.get(str(values["signature"]), "?")
    return [f"{values['file']} is sound: version {values['version']}, {signature}"]


_SAYINGS: dict[str, Callable[[_Known], str]] = {
    "written": _written,
    "starting": _starting,
    "pushed": _pushed,
}
_ENDS: dict[str, Callable[[_Known], list[str]]] = {
    "push": _push_ended,
    "update": _update_ended,
    "deploy": _deploy_ended,
    "image verify": _image_verified,
}
