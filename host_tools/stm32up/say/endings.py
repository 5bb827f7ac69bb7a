"""The result of each verb in words: what was done, and to what."""

from __future__ import annotations

from collections.abc import Callable

from stm32up.events import Values
from stm32up.say import tables
from stm32up.say.large import large
from stm32up.say.words import EVENTS, Known, count, entries, pushed, seconds, signed, words

_STRETCHES = {
    "written": "written",
    "kept": "kept: the input has no data there",
    "padded": "padded with FF",
}
_MOST_STRETCHES = 24  # lines; --json has all of them
_PROVISION_NOW = "Run stm32up provision now, while the flash is blank"
_TAKE_AWAY = "Before this host goes into a product, remove the bench package: stm32up deploy"


def ending(verb: str, values: Values) -> list[str]:
    """The lines for a verb that succeeded."""
    return _ENDINGS[verb](Known(values))


def brief(verb: str, values: Values) -> str:
    """The same in one line, for a table of several boards."""
    told = _BRIEF.get(verb)
    return told(Known(values)) if told else ending(verb, values)[-1]


def layout(values: Values) -> list[str]:
    """What an image does to flash, one line per range."""
    found = values.get("layout")
    if not isinstance(found, list):
        return []
    lines = [
        f"0x{stretch['address']:08X} to 0x{stretch['address'] + stretch['length'] - 1:08X}"
        f"  {stretch['length']:6} bytes {_STRETCHES[stretch['what']]}"
        for stretch in found[:_MOST_STRETCHES]
    ]
    if len(found) > _MOST_STRETCHES:
        lines.append(f"and {len(found) - _MOST_STRETCHES} more; --json shows all")
    return lines


def _key_made(values: Known) -> list[str]:
    use = "for development only, a product refuses it" if values["development"] is True else ""
    made = f"made {values['key']}: RSA, {values['bits']} bits, id {values['key_id']}"
    return [f"{made}; {use or 'keep it secret'}"]


def _public_key_made(values: Known) -> list[str]:
    return [
        f"made {values['key']}: public half of key {values['key_id']}, RSA, {values['bits']} bits"
    ]


def _image_built(values: Known) -> list[str]:
    lines = layout(values)
    product = values.get("product")
    if product and not str(product).isascii():
        lines.append(f"product {product}: class id {values['class_id']}")
    built = f"built {values['file']}: version {values['version']}, {values['bytes']} bytes"
    return [*lines, f"{built}, {signed(values)}"]


def _image_verified(values: Known) -> list[str]:
    signature = {
        "valid": "the signature is valid",
        "unchecked": "the signature was not checked; to check it, give --key KEY.pem",
        "none": "it is not signed",
    }.get(str(values["signature"]), "?")
    return [f"{values['file']} is sound: version {values['version']}, {signature}"]


def _digest_written(values: Known) -> list[str]:
    return [f"written to {values['file']}: {values['sha256']}"]


def _image_signed(values: Known) -> list[str]:
    return [f"signed {values['file']}: version {values['version']}, {signed(values)}"]


def _deployed(values: Known) -> list[str]:
    copied, removed, unchanged = values["copied"], values["removed"], values["unchanged"]
    assert isinstance(copied, list) and isinstance(removed, list)
    lines = [f"copied {path}" for path in copied] if unchanged else []  # not on a first run
    lines += [f"removed {path}" for path in removed]
    if not copied and not removed:
        return [f"{values['board']}: all {unchanged} files are up to date"]
    counts = (
        f"{count(len(copied), 'file')} copied ({values['bytes']} bytes), {unchanged} unchanged"
    )
    return [*lines, f"deployed for {values['board']}: {counts}"]


def _pushed(values: Known) -> list[str]:
    return [f"{pushed(values)}; the updater checks and installs it when it next runs"]


def _updated(values: Known) -> list[str]:
    if values["status"] == "installed":
        took = f" in {seconds(values['target_ms'])}" if "target_ms" in values else ""
        return [f"installed {values['version']}{took}"]
    if values["status"] == "up-to-date":
        return [f"{values['version']} is already installed and runs; nothing was done"]
    if values["status"] == "idle":
        return ["nothing to do"]
    return [words(str(values["status"]))]


def _provisioned(values: Known) -> list[str]:
    if values["status"] == "nothing-to-do":
        return [f"OPTR {values['before']} is already right; nothing was written"]
    done = f"provisioned: OPTR is {values['after']}, read back; the BOOT0 pin is in use now"
    return [f"{done}. {_TAKE_AWAY}"]


def _unprotected(values: Known) -> list[str]:
    open_now = EVENTS["unprotected"].line
    if values["status"] == "not-protected":
        return ["the target is not protected; nothing was done"]
    if values["status"] == "unprotected":
        if values["boot0_counts"] is False:
            return [f"{open_now}, but it ignores BOOT0. {_PROVISION_NOW}"]
        return [f"{open_now}. Install an application: stm32up update IMAGE"]
    if values["status"] == "up-to-date":
        return [f"{values['version']} is already installed; nothing was erased. {_TAKE_AWAY}"]
    return [f"unprotected, and {values['version']} is {values['status']}. {_TAKE_AWAY}"]


def label(title: str, unit: Values) -> list[str]:
    """What stands on a unit: a line for each fact that is known."""
    facts = (
        ("S/N", "serial_number"),
        ("target ID", "target_id"),
        ("host ID", "host_id"),
        ("firmware", "version"),
        ("updater", "updater"),
        ("loader", "loader"),
        ("tested", "time"),
    )
    return [title, *(f"{name} {unit[key]}" for name, key in facts if unit.get(key))]


def _produced(values: Known) -> list[str]:
    passed = values["ok"] is True
    lines = [] if passed else [f"{values['failed_step']} failed: {values['message']}"]
    if not passed and values["next_step"]:
        lines.append(str(values["next_step"]))
    serial = values["serial_number"]
    row = f"row added to {values['inventory']}: {serial or 'no serial number'}"
    again = f", try {values['try']} of this unit" if values["try"] != 1 else ""
    return [*lines, f"{row}{again}", "", *large("PASS" if passed else "FAIL")]


def _read(values: Known) -> list[str]:
    return [f"read {values['bytes']} bytes from 0x{values['address']:08X} to {values['file']}"]


def _same(values: Known) -> list[str]:
    return [f"flash holds {values['file']}: {values['bytes']} bytes compared"]


def _erased(values: Known) -> list[str]:
    return [f"erased {values['pages']} pages, and read them back. {_TAKE_AWAY}"]


def _logs_pulled(values: Known) -> list[str]:
    if not values["entries"]:
        return ["the log is empty"]
    numbers = f"numbers {values['first']} to {values['last']}"
    if "file" not in values:
        return [f"{entries(values['entries'])}, {numbers}"]
    lines = []
    if values.get("new_life"):
        lines.append(
            "the log of this board has begun again since the last pull: its filesystem was "
            "erased, or a file of the log was lost"
        )
    if lost := values.get("overwritten"):
        lines.append(f"{entries(lost)} before these had been overwritten on the board")
    if torn := values.get("damaged_lines"):
        lines.append(f"{count(torn, 'damaged line')} skipped")
    return [
        *lines,
        f"{entries(values['entries'])} on the board, {numbers}: {values['new']} new, added to "
        f"{values['file']}",
    ]


def _logs_shown(values: Known) -> list[str]:
    if torn := values.get("damaged_lines"):
        return [f"{count(torn, 'damaged line')} skipped", *_logs_shown(Known(_sound(values)))]
    if values["entries"] == values["of"]:
        return [entries(values["of"]) if values["of"] else "the log is empty"]
    return [f"{values['entries']} of {entries(values['of'])}"]


def _sound(values: Values) -> Values:
    return {key: value for key, value in values.items() if key != "damaged_lines"}


def _logs_reported(values: Known) -> list[str]:
    boards, updates = count(values["boards"], "board"), count(values["updates"], "update")
    return [f"written to {values['file']}: {boards}, {updates}"]


def _board_made(values: Known) -> list[str]:
    wires = values["wires"]
    assert isinstance(wires, list)
    lines = tables.aligned(wires)
    if wires:
        lines.append("the resistors: docs/product.md, The wires of your own board")
    else:
        lines.append("its pins on your board: docs/families.md, Pins of the loader")
    if values["soft_i2c"] is True:
        lines.append("these pins belong to no hardware I2C controller, so SoftI2C is used")
    if values["unsigned"] is False:
        lines.append(
            "it takes signed images only: stm32up keys new makes a key, and deploy takes its "
            "public half; for development only, say unsigned = true in the file"
        )
    return [*lines, f"made {values['file']}; use it with --board {values['folder']}"]


def _forum_told(values: Known) -> list[str]:
    lanes = values["lanes"]
    assert isinstance(lanes, list)
    update = lanes[-1]
    return [f"the field package: {update['locked']} of {update['instants']} locked"]


def _forum_case_told(values: Known) -> list[str]:
    case = f"{values['lane']}/{values['number']}"
    return [f"{case}: the supply failed after {values['ms']:.6f} ms: {values['status']}"]


def _tortured(values: Known) -> list[str]:
    slowest = seconds(values["slowest_ms"])
    if "settled_on" in values:
        return [f"settled on the {values['settled_on']} application, {slowest} after the cut"]
    return [
        f"{count(values['cuts'], 'cut')}, no violation: {values['new']} ended with the new "
        f"application, {values['old']} with the old one, after {slowest} at most"
    ]


_ENDINGS: dict[str, Callable[[Known], list[str]]] = {
    "keys new": _key_made,
    "keys public": _public_key_made,
    "image build": _image_built,
    "image verify": _image_verified,
    "image digest": _digest_written,
    "image sign": _image_signed,
    "deploy": _deployed,
    "push": _pushed,
    "update": _updated,
    "run": _updated,
    "provision": _provisioned,
    "unprotect": _unprotected,
    "produce": _produced,
    "read": _read,
    "verify": _same,
    "erase": _erased,
    "logs pull": _logs_pulled,
    "reset": lambda values: ["reset, as by its button" if values["hard"] else "soft reset"],
    "boards new": _board_made,
    "logs show": _logs_shown,
    "logs report": _logs_reported,
    "torture": _tortured,
    "simulate forum": _forum_told,
    "simulate forum case": _forum_case_told,
}


def _status_in_brief(values: Known) -> str:
    kept = values.get("confirmed")
    return f"{values['phase']}, {kept} installed" if kept else f"{values['phase']}, no image"


def _probed_in_brief(values: Known) -> str:
    runs = values.get("application_version") or values["application"]
    return f"{values['chip']}, loader V{values['loader']}, application {runs}"


_BRIEF: dict[str, Callable[[Known], str]] = {
    "status": _status_in_brief,
    "probe": _probed_in_brief,
    "doctor": lambda values: "nothing is wrong",
}
