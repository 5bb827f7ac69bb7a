"""The tables of `status`, `probe` and `image show`: rows of name, value and remark.

Tables fit 80 columns; texts are wrapped where they are printed. The values come from a board whose
updater may be older or newer than this program: a missing value reads "?", an unknown one is shown
as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stm32up import device
from stm32up.events import Area, Examined, Finding, InterruptedPush, Plan, Shown, Status, Values
from stm32up.say.words import UNDER_WAY, count, signed, words

Row = tuple[str, str, str]  # name, value, meaning
_MOST_FAILED = 20  # cycles of a bench

_PHASES = {
    "idle": "nothing is under way",
    "unknown": "the next run asks the target what it holds",
    "installing": "the installation continues at the next run",
    "confirming": "written and verified; the application has not answered yet",
    "rolling back": "the last good image is being put back",
}
_APPLICATION = {
    "running": "runs and answers",
    "blank": "none: the flash is blank",
    "silent": "the flash is not blank, but nothing answers with a version",
}


def aligned(rows: Iterable[Row], indent: str = "") -> list[str]:
    """Rows as lines with aligned columns."""
    rows = list(rows)
    names = max((len(name) for name, _, _ in rows), default=0)
    remarked = [value for _, value, remark in rows if remark]
    values = max(map(len, remarked), default=0)
    return [
        f"{indent}{name:{names}}  {value:{values}}  {remark}".rstrip()
        for name, value, remark in rows
    ]


# stm32up status


def status(values: Status) -> list[str]:
    """The state of the host."""
    phase = str(values.get("phase", "?"))
    inbox = [str(path).rpartition("/")[2] for path in values.get("inbox", [])]
    under_way = phase in UNDER_WAY
    candidate = "the image being installed" if under_way else "pushed: the next run checks it"
    instead = "the next run installs this instead, if it may" if under_way and inbox else ""
    rows: list[Row] = [
        ("phase", phase, _PHASES.get(phase, "")),
        _kept(values, "confirmed", "the image to go back to"),
        _kept(values, "candidate", candidate),
        ("inbox", ", ".join(inbox) or "empty", instead),
    ]
    for push in values.get("interrupted_pushes", []):
        name = push["file"].rpartition("/")[2].removesuffix(".part")
        rows.append(("push", f"{name}: interrupted after {arrived(push)}; push it again", ""))
    if failed := values.get("failed"):
        rows.append(("failed", failed[:8], "digest of the image that failed last"))
    if values.get("pages_in_doubt") and under_way:
        doubt = f"at least {values['pages_in_doubt']}"
        rows.append(("pages to do", doubt, "uncertain: the next run erases and writes them"))
    if values.get("log_lines_lost"):
        rows.append(("log", f"{values['log_lines_lost']} lines lost", "they could not be written"))
    return aligned([*rows, *_others(values, set(Status.__annotations__))])


def arrived(push: InterruptedPush) -> str:
    """How much of an image arrived in an interrupted push, without the signature, whose size is
    not known before it has arrived.
    """
    if push["bytes"] is None:
        return count(push["done"], "byte")
    return f"{min(push['done'], push['bytes'])} of {push['bytes']} bytes"


def _kept(values: Values, name: str, what: str) -> Row:
    version = values.get(name)
    return (name, "none", "") if version is None else (name, str(version), what)


def _others(values: Values, known: set[str]) -> list[Row]:
    return [(words(key), str(values[key]), "") for key in sorted(values) if key not in known]


# stm32up probe


def probe(values: Values) -> list[str]:
    """The chip, loader, application and all option bytes."""
    options = values.get("option_bytes")
    if not isinstance(options, dict):
        return [*aligned(_found(values)), _NO_OPTIONS]
    names = [name for name in _MEANINGS if name in options]
    names += sorted(set(options) - set(_MEANINGS) - {"OPTR"})
    title = f"option bytes (OPTR {options.get('OPTR', '?')})"
    return [*aligned(_found(values)), title, *_option_bytes(options, names)]


def probe_in_short(values: Values) -> list[str]:
    """As `probe`, but only the option bytes that matter, and those with unusual values."""
    options = values.get("option_bytes")
    if not isinstance(options, dict):
        return [*aligned(_found(values)), _NO_OPTIONS]
    always = (*_ALWAYS, "nBOOT0") if options.get("nBOOT_SEL") else _ALWAYS
    names = [
        name
        for name in _MEANINGS
        if name in options and (name in always or options[name] not in _USUAL.get(name, [None]))
    ]
    lines = [*aligned(_found(values)), "option bytes", *_option_bytes(options, names)]
    return [*lines, "for every bit: stm32up probe --all"]


_NO_OPTIONS = "option bytes: not known for this family"
_ALWAYS = ("RDP", "nBOOT_SEL")
# Values that need no attention; None: an area that protects nothing.
_USUAL: dict[str, list[object]] = {
    "nBOOT0": [0, 1],  # no effect while the BOOT0 pin is used
    "nBOOT1": [1],
    "BOOT_LOCK": [0],
    "NRST_MODE": [3],
    "IWDG_SW": [1],
    "WWDG_SW": [1],
    **{name: [0, 1, 2, 3] for name in ("BOR_EN", "BORR_LEV", "BORF_LEV")},
}


def _found(values: Values) -> list[Row]:
    """Chip, loader and application, and what a newer updater says."""
    application = str(values.get("application", "?"))
    rows: list[Row] = [
        ("chip", f"{values.get('chip', '?')}, product ID {_hex(values.get('product_id'), 3)}", ""),
        ("loader", f"V{values.get('loader', '?')}, protocol V{values.get('protocol', '?')}", ""),
        ("application", _APPLICATION.get(application, application), ""),
    ]
    if values.get("application_version"):
        rows[-1] = ("application", f"{values['application_version']}, {rows[-1][1]}", "")
    known = {"chip", "product_id", "loader", "protocol", "application", "application_version"}
    return rows + _others(values, known | {"option_bytes"})


def _option_bytes(fields: Values, names: Iterable[str]) -> list[str]:
    rows = [
        (name, _shown(fields[name]), _MEANINGS[name](fields) if name in _MEANINGS else "")
        for name in names
    ]
    return aligned(rows, indent="  ")


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)


# stm32up provision, unprotect, erase


def plan(values: Plan) -> list[str]:
    """What a bench verb is about to do: the fields of OPTR, with changes marked; or the pages."""
    if values.get("verb") == "erase":
        lines = [f"{values.get('chip', '?')}: erases {values['pages']} of {values['of']} pages"]
        for start, length in values["kept"]:
            lines.append(f"  kept: 0x{start:08X} to 0x{start + length - 1:08X} ([flash] preserve)")
        return lines
    if "fields" not in values:
        command = f"Readout Unprotect ({values.get('command', '?')})"
        return [f"{values.get('chip', '?')} is read-protected; {command} erases all of its flash"]
    fields = values["fields"]
    after = {field["name"]: field["after"] for field in fields}
    rows: list[Row] = []
    for field in fields:
        low, width, name = field["low"], field["width"], field["name"]
        bits = f"{low + width - 1}:{low}" if width > 1 else f"{low}"
        was, will = (f"{field[key]:0{width}b}" for key in ("before", "after"))
        meaning = _MEANINGS[name](after) if was != will and name in _MEANINGS else ""
        value = was if was == will else f"{was} -> {will}"
        rows.append((f"{'*' if was != will else ' '} {bits:>5}  {name}", value, meaning))
    return [f"OPTR {values['before']} -> {values['after']}, * changes:", *aligned(rows)]


Meaning = Callable[[Values], str]


def _one_of(name: str, *meanings: str) -> Meaning:
    """The meaning of each value, counted from 0."""

    def meaning(fields: Values) -> str:
        value = fields[name]
        return meanings[value] if type(value) is int and 0 <= value < len(meanings) else ""

    return meaning


def _nboot0(fields: Values) -> str:
    if fields.get("nBOOT_SEL") == 0:
        return "no effect: the BOOT0 pin is used"
    return _one_of("nBOOT0", "as BOOT0 high", "as BOOT0 low: the application starts")(fields)


def _level(name: str, edge: str) -> Meaning:
    def meaning(fields: Values) -> str:
        if fields.get("BOR_EN") == 0:
            return "no effect: BOR_EN is 0"
        value = fields[name]
        if not isinstance(value, int):
            return ""
        return f"brown-out threshold, {edge} supply: level {value + 1} of 4"

    return meaning


def _protected_pages(name: str) -> Meaning:
    def meaning(fields: Values) -> str:
        area = fields[name]
        if not area:
            return "protects no page"
        if isinstance(area, list) and len(area) == 2:
            return f"pages {area[0]} to {area[1]} are write-protected"
        return ""

    return meaning


# The most important ones for the updater come first. Meanings: CMSIS device header of the
# STM32G071; AN2606 table 2 for what boots.
_MEANINGS: dict[str, Meaning] = {
    "RDP": _one_of(
        "RDP",
        "not protected",
        "level 1: flash can be neither read nor written",
        "locked permanently",
    ),
    "nBOOT_SEL": _one_of(
        "nBOOT_SEL", "BOOT0 pin is used", "BOOT0 pin is ignored, nBOOT0 is used: stm32up provision"
    ),
    "nBOOT0": _nboot0,
    "nBOOT1": _one_of("nBOOT1", "BOOT0 high starts RAM", "BOOT0 high starts the loader"),
    "BOOT_LOCK": _one_of("BOOT_LOCK", "boot source is free", "main flash only, never the loader"),
    "NRST_MODE": _one_of(
        "NRST_MODE",
        "reserved",
        "NRST pin: reset input",
        "NRST pin is a GPIO: no reset by it",
        "NRST pin: reset input and output",
    ),
    "WRP1A": _protected_pages("WRP1A"),
    "WRP1B": _protected_pages("WRP1B"),
    "IWDG_SW": _one_of("IWDG_SW", "watchdog IWDG runs from reset", "IWDG is started by software"),
    "WWDG_SW": _one_of("WWDG_SW", "watchdog WWDG runs from reset", "WWDG is started by software"),
    "BOR_EN": _one_of("BOR_EN", "brown-out thresholds are off", "brown-out thresholds are on"),
    "BORR_LEV": _level("BORR_LEV", "rising"),
    "BORF_LEV": _level("BORF_LEV", "falling"),
}


# stm32up doctor


def doctor(values: Examined) -> list[str]:
    """The diagnosis: what is wrong, the evidence, the cause, the next step; then the other
    findings."""
    findings = values["findings"]
    parts: list[tuple[str, list[str]]] = []
    if not values["ok"]:
        first, *findings = findings
        title = "Probably beyond help" if first["severity"] == "beyond help" else "What is wrong"
        parts = [
            (title, [first["what"]]),
            ("What shows it", first["evidence"]),
            ("Cause", [first["cause"]]),
            ("Next step", [first["next_step"]]),
        ]
    notices = [other for other in findings if other["severity"] == "notice"]
    others = [other for other in findings if other not in notices]
    parts += [
        ("Other possible causes", [_in_short(other) for other in values["otherwise"]]),
        ("Also seen", [_in_short(other, "; ".join(other["evidence"])) for other in others]),
        ("Notes", [_in_short(notice) for notice in notices]),
    ]
    told = [_told(title, texts) for title, texts in parts if texts]
    lines = [line for part in told for line in ["", *part]][1:]
    return lines if not values["ok"] else ["nothing is wrong", *lines]


def _in_short(finding: Finding, evidence: str = "") -> str:
    shown = f"What shows it: {evidence.rstrip('.')}. " if evidence else ""
    return f"{finding['what']} {shown}{finding['next_step']}"


def _told(title: str, texts: list[str]) -> list[str]:
    """A heading and paragraphs under it; several become a list."""
    bullet = "- " if len(texts) > 1 else ""
    return [title, *(f"  {bullet}{text}" for text in texts)]


# stm32up bench


def bench(values: Values) -> list[str]:
    """The figures of a run, the failures, and a verdict as the last line."""
    phases, kinds, failed = values["phases"], values["cuts_by_kind"], values["failed"]
    assert isinstance(phases, dict) and isinstance(kinds, dict) and isinstance(failed, list)
    times = [
        (name, f"{row['min']:>7} ms  {row['median']:>7} ms  {row['p99']:>7} ms", "")
        for name, row in phases.items()
    ]
    told = ", ".join(f"{kind} {number}" for kind, number in kinds.items())
    rows: list[Row] = [
        ("cycles", str(values["cycles"]), f"with seed {values['seed']}"),
        ("cuts", str(values["cuts"]), told),
        ("retries", str(values["retries"]), "runs after a cut or an error"),
    ]
    if values["resets"]:
        rows.append(("resets", str(values["resets"]), "of the host, not by the bench"))
    if "report" in values:
        rows.append(("report", str(values["report"]), ""))
    heading = ("phase", f"{'min':>10}  {'median':>10}  {'p99':>10}", "")
    lines = [*aligned([heading, *times]), "", *aligned(rows)]
    lines += [f"cycle {one['cycle']} failed: {one['message']}" for one in failed[:_MOST_FAILED]]
    if len(failed) > _MOST_FAILED:
        lines.append(f"and {len(failed) - _MOST_FAILED} more; --json shows all")
    good = f"all {count(values['cycles'], 'cycle')} ended as they should"
    bad = f"{values['failures']} of {count(values['cycles'], 'cycle')} FAILED"
    return [*lines, bad if failed else good]


# stm32up image show


def image(values: Shown) -> list[str]:
    """Header and TLVs of an image."""
    unnamed = "not one of the known boards" if values["class_id"] else "not stated"
    product_id = values["product_id"]
    family = device.family(product_id) if product_id is not None else "not stated"
    key = f", key {values['key_hash'][:16]}" if values["key_hash"] else ""
    rows: list[Row] = [
        ("file", values["file"], ""),
        ("version", values["version"], ""),
        ("chip", f"{_hex(product_id, 3)}, {family}", ""),
        ("payload", f"{values['bytes']} bytes for {_hex(values['address'], 8)}", ""),
        ("product", str(values.get("product") or unnamed), ""),
        ("class id", str(values["class_id"] or "none"), ""),
        ("counter", str(values["security_counter"]), "security counter"),
        ("sha256", str(values["sha256"]), ""),
        ("signature", f"{signed(values)}{key}", ""),
        (
            "header",
            f"{values['header_size']} bytes, {', '.join(values['flags']) or 'no flags'}",
            "",
        ),
    ]
    tlvs = [
        (
            f"0x{tlv['type']:02X}",
            f"{tlv['name']}, {len(tlv['value']) // 2} bytes",
            "protected" if tlv["protected"] else "",
        )
        for tlv in values["tlvs"]
    ]
    areas = values.get("map")
    flash = _map(values, areas) if areas else []
    unchecked = ["digest and signature were not checked; to check them:"]
    unchecked.append("  stm32up image verify IMAGE --key KEY.pem")
    return [*aligned(rows), *flash, "TLVs", *aligned(tlvs, indent="  "), *unchecked]


_AREAS = {
    "written": "erased and written",
    "hole": "kept (a hole)",
    "preserved": "kept (preserved)",
    "refused": "REFUSED: preserved",
    "untouched": "not touched",
}


def _map(values: Shown, areas: list[Area]) -> list[str]:
    """What the image does to each page."""
    pages = areas[-1]["last_page"] + 1
    board = values.get("board")
    whose = f", on {board}" if board else ""
    return [f"flash of {values['chip']}, {count(pages, 'page')}{whose}", *map(_area, areas)]


def _area(area: Area) -> str:
    first, last = area["first_page"], area["last_page"]
    end = area["address"] + area["length"] - 1
    what = _AREAS[area["what"]]
    if area["what"] == "written" and area["bytes"] < area["length"]:
        what = f"erased, {area['bytes']} written"
    pages = f"page {first}" if first == last else f"pages {first} to {last}"
    return f"  0x{area['address']:08X} to 0x{end:08X}  {area['length']:6} bytes {what}, {pages}"


def _hex(value: object, digits: int) -> str:
    return f"0x{value:0{digits}X}" if isinstance(value, int) else str(value)


# stm32up boards list, stm32up devices


def boards(values: Values) -> list[str]:
    """The known boards."""
    lines: list[str] = []
    for board in _list(values, "boards"):
        pins = board.get("pins")
        wired = pins.items() if isinstance(pins, dict) else ()
        rows: list[Row] = [
            ("title", str(board.get("title", "")), ""),
            ("host", str(board.get("host", "")), ""),
            ("chip", str(board.get("chip", "")), ""),
            ("link", str(board.get("link", "")), ""),
            ("pins", ", ".join(f"{name} {pin}" for name, pin in wired if pin is not None), ""),
            ("trouble", str(board.get("trouble", "")), ""),
        ]
        lines += ["", str(board["name"]), *aligned((r for r in rows if r[1]), indent="  ")]
    return lines[1:]


def devices(values: Values) -> list[str]:
    """The ports, and what is on each."""
    lines: list[str] = []
    for found in _list(values, "devices"):
        rows: list[Row] = [("usb", str(found.get("usb", "")), "")]
        if "platform" in found:
            host = f"{found['platform']}, {found['machine']}, MicroPython {found['micropython']}"
            rows += [
                ("host", host, ""),
                ("unique ID", str(found["unique_id"]), ""),
                ("board", str(found["board"] or "no board.json"), ""),
                ("updater", _updater(found), ""),
                ("target", str(found["target"] or "no image is known to run on it"), ""),
            ]
        rows.append(("note", str(found.get("said", "")), ""))
        lines += ["", str(found["port"]), *aligned((r for r in rows if r[1]), indent="  ")]
    return lines[1:]


def _updater(found: Values) -> str:
    if found["updater"] is None:
        return "none; install it: stm32up deploy"
    phase = str(found["phase"])
    return f"{found['updater']}, {phase}: {_PHASES.get(phase, '')}".rstrip(": ")


def _list(values: Values, name: str) -> list[Values]:
    found = values[name]
    return found if isinstance(found, list) else []
