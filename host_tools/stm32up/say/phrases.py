"""What happens, in words: one line for each kind of event and for the end of each verb.

Values come from a board whose updater may be older or newer than this program: what is missing
reads "?", and an event that is unknown here is still told, with everything it carries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any

from stm32up.events import Event

Values = dict[str, Any]

PHASES = {
    "deploy": ("copying the updater", "bytes"),
    "push": ("pushing the image", "bytes"),
    "blank check": ("looking for what is left", "pages"),
    "compare": ("comparing flash", "pages"),
    "write": ("writing flash", "pages"),
    "verify": ("verifying flash", "pages"),
    "naive": ("cutting naive host", "times"),
    "unprotect-slow": ("cutting patient host", "times"),
    "unprotect": ("cutting unprotect", "times"),
    "update": ("cutting the update", "times"),
}
_EVENTS = {
    "refused": "refused: {message}",
    "retry": "page {page} again: {message}",
    "not-kept": "it runs, but the host cannot keep it: {message}; the last good image stays the "
    "earlier one. To have it kept: stm32up update --force IMAGE",
    "installing": "installing {version} ({bytes} bytes)",
    "resuming": "resuming the installation of {version} ({bytes} bytes)",
    "superseded": "left out {version}: a newer image is there",
    "loader": "loader V{version}, protocol V{protocol}, {chip}",
    "interrupted": "an earlier {what} was interrupted ({stage}); waiting, then looking",
    "power-on-needed": "switch the target's supply off and on once, or it may go by what it had",
    "sending": "sending {what}; hands off the target",
    "doubt": "the bus failed, so it may have arrived or not: {message}",
    "unprotected": "readout protection is off and the flash is blank",
    "output": "board: {text}",
    "note": "note: {text}",
    "lane": "{title}",
    "naive": "{what}",
    "supply-fails": "the supply of host and target fails",
    "outcome": "in the end: {outcome}",
}
_STRETCHES = {
    "written": "written",
    "kept": "kept: the input leaves them open",
    "padded": "padded with FF",
}
_MOST_STRETCHES = 24  # lines; --json has all of them
_RESULTS = {
    "keys public": "made {key}: public half of key {key_id}, RSA, {bits} bits",
    "image digest": "written to {file}: {sha256}",
    "image sign": "signed {file}: version {version}, {signed}",
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


def story(entries: Iterable[Event]) -> list[str]:
    """What a log tells of its updates: how each began, was interrupted, and ended."""
    told = []
    new = "?"  # the version that is being installed
    refused = ""  # why the last image was, if the end comes next
    for entry in map(_Known, entries):
        if entry["event"] == "installing":
            new = str(entry["version"])
        line = _told_of(entry, new, refused)
        refused = entry["message"] if entry["event"] == "refused" else ""
        if line:
            told.append(f"- {line}")
    return told


def _told_of(entry: _Known, new: str, refused: str) -> str:
    version = entry["version"]
    match entry["event"], entry["status"]:
        case "resuming", _:
            return f"the installation of {version} was interrupted; the next start went on with it"
        case "rolling-back", _:
            return f"{new} did not prove itself ({entry['reason']})"
        case "refused" | "not-kept", _:
            return event(entry)
        case "result", "installed":
            return f"{version} was installed: {entry['bytes']} bytes"
        case "result", "rolled-back":
            return f"{version} came back"
        case "result", _ if not entry["ok"] and entry["message"] != refused:
            return f"it failed: {entry['message']}"
    return ""


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


def layout(values: Values) -> list[str]:
    """What an image does to flash, a line for each stretch."""
    found = values.get("layout") or []
    lines = [
        f"0x{stretch['address']:08X} to 0x{stretch['address'] + stretch['length'] - 1:08X}"
        f"  {stretch['length']:6} bytes {_STRETCHES[stretch['what']]}"
        for stretch in found[:_MOST_STRETCHES]
    ]
    if len(found) > _MOST_STRETCHES:
        lines.append(f"and {len(found) - _MOST_STRETCHES} more, which --json shows")
    return lines


def seconds(milliseconds: Any) -> str:
    return f"{milliseconds / 1000:.1f} s" if isinstance(milliseconds, int) else "? s"


def words(key: str) -> str:
    return key.replace("_", " ").replace("-", " ")


def count(number: Any, what: str) -> str:
    """ "1 page", "2 pages"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _written(values: _Known) -> str:
    line = f"{values['verified']} of {values['bytes']} bytes verified"
    erased, repeats = values["erased_pages"], values.get("repeats")
    line = (
        f"nothing to write: {line}"
        if erased == 0
        else f"written: {line}, {count(erased, 'page erase')}"
    )
    return f"{line}; {count(repeats, 'block')} sent or read again" if repeats else line


def _rolling_back(values: _Known) -> str:
    reason = str(values["reason"])
    back = " Going" if reason.endswith("?") else "; going"
    return f"no proof of the new application: {reason}{back} back to {values['version']}"


def _starting(values: _Known) -> str:
    again = f" again, try {values['try']}" if values["try"] != 1 else ""
    return f"starting the application{again}"


def _pushed(values: _Known) -> str:
    name = PurePosixPath(str(values["image"])).name
    file = str(values.get("file", name))
    renamed = f" as {name}" if file != name else ""
    if values["status"] == "already-there":
        return f"{file} was in the inbox already{renamed}"
    return f"pushed {file} to the inbox{renamed} ({values['sent']} bytes sent)"


def _logs_pulled(values: _Known) -> list[str]:
    if not values["entries"]:
        return ["the log is empty"]
    entries = "1 entry" if values["entries"] == 1 else f"{values['entries']} entries"
    return [f"{entries}, numbers {values['first']} to {values['last']}"]


def _key_made(values: _Known) -> list[str]:
    use = "for development only, no product takes it" if values["development"] is True else ""
    made = f"made {values['key']}: RSA, {values['bits']} bits, id {values['key_id']}"
    return [f"{made}; {use or 'keep it secret'}"]


def _push_ended(values: _Known) -> list[str]:
    return [f"{_pushed(values)}; the updater installs it when it runs next"]


def _update_ended(values: _Known) -> list[str]:
    if values["status"] == "installed":
        took = f" in {seconds(values['target_ms'])}" if "target_ms" in values else ""
        return [f"installed {values['version']}{took}"]
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


_PROVISION_NOW = "Run stm32up provision now, while it is blank"
_TAKE_AWAY = "Before this host goes into a product, take the bench package off: stm32up deploy"


def _seen(values: _Known) -> str:
    return f"after {seconds(values['ms'])} the target says: {values['what']}"


def _hands_off(values: _Known) -> str:
    return f"hands off for {seconds(values['ms'])}: nothing is sent, reset or switched"


def _provision_ended(values: _Known) -> list[str]:
    if values["status"] == "nothing-to-do":
        return [f"OPTR {values['before']} is right already; nothing was written"]
    done = f"provisioned: OPTR is {values['after']}, read back; BOOT0 counts now"
    return [f"{done}. {_TAKE_AWAY}"]


def _unprotect_ended(values: _Known) -> list[str]:
    if values["status"] == "not-protected":
        return ["the target is not protected; nothing was done"]
    if values["status"] == "unprotected":
        if values["boot0_counts"] is False:
            return [f"{_EVENTS['unprotected']}, but it ignores BOOT0. {_PROVISION_NOW}"]
        return [f"{_EVENTS['unprotected']}. Install an application: stm32up update IMAGE"]
    if values["status"] == "up-to-date":
        return [f"{values['version']} is installed already; nothing was erased. {_TAKE_AWAY}"]
    return [f"unprotected, and {values['version']} is {values['status']}. {_TAKE_AWAY}"]


def _image_built(values: _Known) -> list[str]:
    lines = layout(values)
    product = values.get("product")
    if product and not str(product).isascii():
        lines.append(f"product {product}: class id {values['class_id']}")
    built = f"built {values['file']}: version {values['version']}, {values['bytes']} bytes"
    return [*lines, f"{built}, {signed(values)}"]


def _image_verified(values: _Known) -> list[str]:
    signature = {
        "valid": "the signature is valid",
        "unchecked": "the signature was not checked (give --key)",
        "none": "it is not signed",
    }.get(str(values["signature"]), "?")
    return [f"{values['file']} is sound: version {values['version']}, {signature}"]


def _checked(values: _Known) -> str:
    sound = f"checked {values['version']}: sound{_took(values['hash_ms'])}"
    if not values["key"]:
        return f"{sound}, not signed by a key of this board, which allows that"
    return f"{sound}, signed by {values['key']}{_took(values['signature_ms'])}"


def _took(milliseconds: Any) -> str:
    """The simulated host computes in no time: there is nothing to tell then."""
    return f" ({milliseconds} ms)" if milliseconds else ""


def _told(values: _Known) -> str:
    return f"{values['ms'] / 1000:9.3f} s  {values['what']}"


def _at(values: _Known) -> str:
    return f"{values['ms'] / 1000:9.3f} s  {event(values['what'])}"


def _way_back(values: _Known) -> str:
    answer = "an answer" if values["answered"] else "no answer"
    return f"             {values['what']}: {answer}"


def _counted(values: _Known) -> str:
    window, total = values["window_ms"], values["total_ms"]
    line = (
        f"{values['title']}: the supply failed {values['instants']} times, "
        f"{values['locked']} locked, {values['recovered']} recovered"
    )
    for what, how_often in values["other"].items():
        line += f", {how_often} {what}"
    line += f"; danger for {window:.1f} of {total:.0f} ms, {window / total:.2%}"
    return f"{line}\n  again: {values['replay']}" if values["replay"] else line


def _forum_ended(values: _Known) -> list[str]:
    update = values["lanes"][-1]
    return [f"the field package: {update['locked']} of {update['instants']} locked"]


def _forum_case_ended(values: _Known) -> list[str]:
    case = f"{values['lane']}/{values['number']}"
    return [f"{case}: the supply failed after {values['ms']:.6f} ms: {values['status']}"]


_SAYINGS: dict[str, Callable[[_Known], str]] = {
    "told": _told,
    "at": _at,
    "way-back": _way_back,
    "counted": _counted,
    "checked": _checked,
    "written": _written,
    "rolling-back": _rolling_back,
    "starting": _starting,
    "pushed": _pushed,
    "seen": _seen,
    "hands-off": _hands_off,
}
_ENDS: dict[str, Callable[[_Known], list[str]]] = {
    "keys new": _key_made,
    "push": _push_ended,
    "update": _update_ended,
    "run": _update_ended,
    "deploy": _deploy_ended,
    "provision": _provision_ended,
    "unprotect": _unprotect_ended,
    "image build": _image_built,
    "logs pull": _logs_pulled,
    "image verify": _image_verified,
    "simulate forum": _forum_ended,
    "simulate forum case": _forum_case_ended,
}
