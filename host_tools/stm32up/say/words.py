"""The texts of all events in one table: as they happen, and later in the summary of a log.

Progress lines, the lines of `simulate`, reports and drawings use this table. Values come from a
board whose updater may be older or newer than this program: a missing value reads "?", and an
unknown event is still printed, with all of its values.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import PurePosixPath
from typing import NamedTuple

from stm32up.events import Event, Progress, Values

# Phases of a record in which an update has not ended.
UNDER_WAY = ("installing", "confirming", "rolling back")
# The text of each phase of progress, and the unit that it counts.
PHASES = {
    "deploy": ("copying the updater", "bytes"),
    "push": ("pushing the image", "bytes"),
    "blank check": ("checking for a blank flash", "pages"),
    "compare": ("comparing flash", "pages"),
    "write": ("writing flash", "pages"),
    "verify": ("verifying flash", "pages"),
    "read": ("reading flash", "bytes"),
    "erase": ("erasing flash", "pages"),
    "naive": ("cutting naive host", "times"),
    "unprotect-slow": ("cutting patient host", "times"),
    "unprotect": ("cutting unprotect", "times"),
    "update": ("cutting the update", "times"),
    "bench": ("updating", "cycles"),
    "torture": ("cutting the power", "parts"),
}


class Known(dict[str, object]):
    """The values of an event; "?" for a missing one."""

    def __missing__(self, key: str) -> str:
        return "?"


Saying = str | Callable[[Known], str]


class Words(NamedTuple):
    """`line`: as it happens. `later`: in the summary of a log; empty if it is left out there."""

    line: Saying
    later: Saying = ""


def event(event: Event) -> str:
    """An event in one line."""
    name = str(event["event"])
    if name in EVENTS:
        return _said(EVENTS[name].line, event)
    rest = ", ".join(f"{words(key)} {event[key]}" for key in sorted(event) if key != "event")
    return f"{words(name)}: {rest}" if rest else words(name)


def story(entries: Iterable[Event]) -> list[str]:
    """The summary of the updates in a log: how each began, was interrupted, and ended."""
    told = []
    new: object = "?"  # the version that is being installed
    refused: object = ""  # why the last image was refused, if the result comes next
    for entry in entries:
        name = entry["event"]
        if name == "installing":
            new = entry.get("version", "?")
        later = EVENTS[str(name)].later if name in EVENTS else ""
        line = _said(later, {**entry, "new": new, "refused": refused})
        told += [f"- {line}"] if line else []
        refused = entry.get("message") if name == "refused" else ""
    return told


def _said(saying: Saying, values: Values) -> str:
    known = Known(values)
    return saying.format_map(known) if isinstance(saying, str) else saying(known)


def phase(progress: Progress) -> tuple[str, str]:
    """The text of a progress event, and its unit."""
    name = progress["phase"]
    return PHASES.get(name, (words(name), "steps"))


def pace(progress: Progress) -> str:
    """How fast it goes and how long it takes, if the event says so: ", 0.4 s each, 2 min left"."""
    each, left = progress.get("each_ms"), progress.get("left_s")
    if each is None or left is None:
        return ""
    return f", {took(each)} each, {took(left * 1000)} left"


def stopped(progress: Progress) -> str:
    """How far an unfinished phase had come."""
    return f"stopped {phase(progress)[0]} after {_done(progress)}"


def so_far(progress: Progress) -> str:
    """A line for a file, where a terminal has a bar."""
    return f"{phase(progress)[0]}: {_done(progress)}{pace(progress)}"


def _done(progress: Progress) -> str:
    return f"{progress['done']} of {progress['total']} {phase(progress)[1]}"


def seconds(milliseconds: object) -> str:
    return f"{milliseconds / 1000:.1f} s" if isinstance(milliseconds, int) else "? s"


def took(ms: float) -> str:
    """A duration: "12 ms", "3.4 s", "5 min 7 s", "2 h 5 min"."""
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 100_000:
        return f"{ms / 1000:.1f} s"
    minutes, full_seconds = divmod(round(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {full_seconds} s"


def words(key: str) -> str:
    return key.replace("_", " ").replace("-", " ")


def count(number: object, what: str) -> str:
    """ "1 page", "2 pages"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def entries(number: object) -> str:
    return "1 entry" if number == 1 else f"{number} entries"


def pushed(values: Known) -> str:
    name = PurePosixPath(str(values["image"])).name
    file = str(values.get("file", name))
    renamed = f" as {name}" if file != name else ""
    if values["status"] == "already-there":
        return f"{file} was already in the inbox{renamed}"
    return f"pushed {file} to the inbox{renamed} ({values['sent']} bytes sent)"


def signed(values: Values) -> str:
    """How an image is signed."""
    kind = values.get("signed_with")
    return f"signed with {kind}" if kind else "not signed"


def _built(values: Known) -> str:
    return f"built an image of {values['file']}: version {values['version']}, {signed(values)}"


def _differs(values: Known) -> str:
    address = values["address"]
    at = f"0x{address:08X}" if isinstance(address, int) else str(address)
    differ = "differs" if values["bytes"] == 1 else "differ"
    return (
        f"page {values['page']}: {count(values['bytes'], 'byte')} {differ}, from {at}: "
        f"{values['flash']} in flash, {values['file']} in the file"
    )


_LONGEST_DATA = 16  # bytes of a transaction that are shown
_STATUSES = {"79": "ACK", "1f": "NACK", "76": "BUSY"}


def _transaction(values: Known) -> str:
    at, address, data = values["at"], values["address"], str(values["data"]).split()
    when = f"{at / 1e6:11.6f} s" if isinstance(at, int) else "? s"
    where = f"0x{address:02X}" if isinstance(address, int) else str(address)
    shown = " ".join(data[:_LONGEST_DATA])
    if len(data) > _LONGEST_DATA:
        shown += f" ... ({len(data)} bytes)"
    elif len(data) == 1 and values["read"] and data[0] in _STATUSES:
        shown += f" ({_STATUSES[data[0]]})"
    line = f"{when}  {where} {'read ' if values['read'] else 'write'} {shown}"
    number = values["errno"]
    if isinstance(number, int):
        return f"{line} failed: {errno.errorcode.get(number, f'error {number}')}"
    short = not values["read"] and values["acked"] != len(data)
    return f"{line} only {values['acked']} acknowledged" if short else line


def _wire(values: Known) -> str:
    seen = ", ".join(
        f"{text} {values[name]}"
        for name, text in (
            ("pulled_up", "with pull-up"),
            ("pulled_down", "with pull-down"),
            ("low", "driven low"),
            ("high", "high or released"),
        )
        if name in values
    )
    return f"  {values['wire']} reads: {seen}: {values['says'] or 'ok'}"


def _checked(values: Known) -> str:
    sound = f"checked {values['version']}: sound{_took(values['hash_ms'])}"
    if not values["key"]:
        return f"{sound}, not signed by a key of this board, which allows unsigned images"
    return f"{sound}, signed by {values['key']}{_took(values['signature_ms'])}"


def _took(milliseconds: object) -> str:
    """Empty for 0: the simulated host computes in no time."""
    return f" ({milliseconds} ms)" if milliseconds else ""


# machine.reset_cause() of rp2 and esp32.
RESETS = {
    1: "power-on",
    2: "reset pin or machine.reset()",
    3: "watchdog or machine.reset()",
    4: "deep sleep",
    5: "soft reset",
}


def _run(values: Known) -> str:
    return f"run of the updater; the host's last reset: {reset(values['reset'])}"


def reset(cause: object) -> str:
    """Why a host had started."""
    return RESETS.get(cause, "unknown") if isinstance(cause, int) else "unknown"


def _installing(doing: str) -> Callable[[Known], str]:
    def line(values: Known) -> str:
        over = f" over {values['from']}" if values.get("from") else ""
        return f"{doing} {values['version']}{over} ({values['bytes']} bytes)"

    return line


def _written(values: Known) -> str:
    line = f"{values['verified']} of {values['bytes']} bytes verified"
    erased, repeats = values["erased_pages"], values.get("repeats")
    line = (
        f"written: {line}, {count(erased, 'page erase')}"
        if erased
        else f"nothing to write: {line}"
    )
    if repeats:
        line = f"{line}; {count(repeats, 'block')} sent or read again"
    spent = [
        f"{name} {took(ms)}"
        for name, key in WRITING.items()
        if isinstance(ms := values.get(key), int) and ms
    ]
    return f"{line}; {', '.join(spent)}" if spent else line


# The phases of "written": the name of each, and the key of its milliseconds.
WRITING = {"compare": "compare_ms", "write": "write_ms", "verify": "verify_ms"}


def _rolling_back(values: Known) -> str:
    reason, new = str(values["reason"]), values.get("from") or "the new application"
    back = " Going" if reason.endswith("?") else "; going"
    return f"{new} did not prove itself: {reason}{back} back to {values['version']}"


def _starting(values: Known) -> str:
    again = f" again, try {values['try']}" if values["try"] != 1 else ""
    return f"starting the application{again}"


def _ended(values: Known) -> str:
    why = "" if values["ok"] else f", {values['message']}"
    version = f" {values['version']}" if values.get("version") else ""
    return f"result: {values['status']}{version}{why}"


def _ended_later(values: Known) -> str:
    if values["status"] == "installed":
        return f"{values['version']} was installed: {values['bytes']} bytes"
    if values["status"] == "rolled-back":
        return f"{values['version']} was restored"
    told_already = values["ok"] or values["message"] == values["refused"]
    return "" if told_already else f"it failed: {values['message']}"


def log_line(values: Values) -> str:
    """An entry of a log: when, its number, and what happened. See `moment`; "entry": the entry,
    "missing_before": how many entries are missing before it."""
    entry = values["entry"]
    assert isinstance(entry, Mapping)
    said = {key: value for key, value in entry.items() if key not in ("n", "t")}
    when = moment({**values, "t": entry.get("t")})
    line = f"{when:19}  {entry.get('n', '?'):>5}  {event({'event': '?', **said})}"
    missing = values.get("missing_before")
    return f"{'':19}  {'':5}  ({entries(missing)} missing)\n{line}" if missing else line


def moment(values: Values) -> str:
    """The best that is known: "at", a date; "up_s", how long the host had been on; or "t", the
    milliseconds since the run began."""
    if at := values.get("at"):
        return str(at)[:19].replace("T", " ")
    up_s, t_ms = values.get("up_s"), values.get("t")
    if isinstance(up_s, int | float):
        return f"on for {timedelta(seconds=int(up_s))}"
    if isinstance(t_ms, int | float) and abs(t_ms) < 1e15:
        return f"{t_ms / 1000:.1f} s into a run"
    return "?"


def _log_of(values: Known) -> str:
    board = f"board {values['board']}" if values["board"] else "a board that is not known"
    parts = [f"{values[key]}" for key in ("host",) if key in values]
    return f"log of {', '.join([board, *parts])}"


def _at_second(values: Known) -> str:
    ms = values["ms"]
    return f"{ms / 1000:9.3f} s" if isinstance(ms, int | float) else "        ? s"


def _at(values: Known) -> str:
    what = values["what"]
    return f"{_at_second(values)}  {event(what) if isinstance(what, dict) else what}"


def _way_back(values: Known) -> str:
    answer = "an answer" if values["answered"] else "no answer"
    return f"             {values['what']}: {answer}"


def _counted(values: Known) -> str:
    other = values["other"]
    parts = [
        f"{values['title']}: the supply failed {values['instants']} times",
        f"{values['locked']} locked",
        f"{values['recovered']} recovered",
    ]
    if isinstance(other, dict):
        parts += [f"{how_often} {what}" for what, how_often in other.items()]
    line = ", ".join(parts)
    window, total = values["window_ms"], values["total_ms"]
    if isinstance(window, float) and isinstance(total, float):
        line += f"; dangerous for {window:.1f} of {total:.0f} ms, {window / total:.2%}"
    return f"{line}\n  again: {values['replay']}" if values["replay"] else line


def _cut(values: Known) -> str:
    at = f"{values['kind']} at {values['t']} ms"
    return f"cut: {at}, for {values['ms']} ms" if "ms" in values else f"cut: {at}"


def _cycle(values: Known) -> str:
    failure = values["failure"]
    if isinstance(failure, dict):
        return f"cycle {values['cycle']} FAILED: {failure.get('message', '?')}"
    return f"cycle {values['cycle']}: {values['version']} in {count(values['runs'], 'run')}"


def _bench(values: Known) -> str:
    kinds = values["kinds"]
    listed = ", ".join(map(str, kinds)) if isinstance(kinds, list) else ""
    return f"seed {values['seed']}; cuts: {listed or 'none'}"


def _ended_there(values: Known) -> str:
    version = f" {values['version']}" if "version" in values else ""
    why = "" if values["ok"] is True else f", {values['message']}"
    return f"the update on the board has ended: {values['status']}{version}{why}"


# How a board was left.
LEFT = {
    "started": "the board's program was started again",
    "stopped": "the board is at its REPL, its program is stopped; to start it: stm32up reset",
    "as-before": "the board is at its REPL, as before",
    "no-program": "the board is at its REPL; it has no main.py",
    "goes-on": "nothing was interrupted: the board goes on",
    "unknown": "the board does not say whether its program started: stm32up reset --hard",
    "lost": "the board is lost; its program starts when it is reset or gets power",
    "reset": "the board was reset",
}
_REFUSED = "refused: {message}"
_NOT_KEPT = (
    "it runs, but the host cannot keep it: {message}; the last good image is still the earlier "
    "one. To keep this one: stm32up update --force IMAGE"
)
EVENTS = {
    # the updater
    "run": Words(_run),
    "refused": Words(_REFUSED, _REFUSED),
    "checked": Words(_checked),
    "superseded": Words("skipped {version}: another image is newer, or as new"),
    "installing": Words(_installing("installing")),
    "resuming": Words(
        _installing("resuming the installation of"),
        "the installation of {version} was interrupted; the next start continued it",
    ),
    "loader": Words("loader V{version}, protocol V{protocol}, {chip}"),
    "retry": Words("page {page} again: {message}"),
    "written": Words(_written),
    "starting": Words(_starting),
    "rolling-back": Words(_rolling_back, "{new} did not prove itself ({reason})"),
    "not-kept": Words(_NOT_KEPT, _NOT_KEPT),
    "result": Words(_ended, _ended_later),
    "idle": Words("no update runs"),
    "begun": Words("an update has begun"),
    "ended": Words(_ended_there),  # a run that this program only watched
    # the bench
    "interrupted": Words(
        "an earlier {what} was interrupted ({stage}); waiting, then checking the target"
    ),
    "power-on-needed": Words(
        "switch the target's supply off and on once, or it may use its old option bytes"
    ),
    "sending": Words("sending {what}; do not touch the target"),
    "doubt": Words("the bus failed, so it is uncertain whether the command arrived: {message}"),
    "hands-off": Words(
        lambda values: f"waiting for {seconds(values['ms'])}: nothing is sent, reset or switched"
    ),
    "seen": Words(
        lambda values: f"after {seconds(values['ms'])} the target reports: {values['what']}"
    ),
    "unprotected": Words("readout protection is off and the flash is blank"),
    "step": Words("{step} ..."),
    "bench": Words(_bench),
    "bench-continued": Words("continuing {file} after {done} cycles"),
    "cycle": Words(_cycle),
    "cut": Words(_cut),
    "read-back": Words("read back: flash {sha256}, the application answers {answers}"),
    # this program
    "log": Words(log_line),
    "log-of": Words(_log_of),
    "output": Words("board: {text}"),
    "note": Words("note: {text}"),
    "deployed": Words("note: the simulated board got the updater; a real one needs: {needs}"),
    "stopped": Words("{text}"),
    "built": Words(_built),
    "differs": Words(_differs),
    "wire": Words(_wire),
    "i2c": Words(_transaction),
    "pushed": Words(pushed),
    # simulate
    "lane": Words("{title}"),
    "naive": Words("{what}"),
    "told": Words(_at),
    "at": Words(_at),
    "programming": Words("option bytes are being programmed for {took}"),
    "supply-fails": Words("the supply of host and target fails"),
    "supply-off": Words("the supply is switched off by hand, as requested"),
    "supply-back": Words("the supply is back"),
    "outcome": Words("outcome: {outcome}"),
    "way-back": Words(_way_back),
    "counted": Words(_counted),
}
