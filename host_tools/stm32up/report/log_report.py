"""The page of one or many boards: the firmware inventory, and for each board its updates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from stm32up.host.log_files import Files, History, missing
from stm32up.host.log_runs import dated
from stm32up.host.logs import Entry
from stm32up.report import updates
from stm32up.report.page import (
    Cell,
    Details,
    Fact,
    Lines,
    Notice,
    Page,
    Part,
    Row,
    Section,
    Share,
    Shares,
    Table,
    Text,
    Timeline,
    Tone,
)
from stm32up.report.updates import Update
from stm32up.say import words
from stm32up.say.words import took

_DRAWN = 40  # updates of a board that are drawn: the newest, and of those that failed
_LISTED = 500  # updates of a board in its table
_LINES = 3000  # lines of a board's log


def page(files: Files) -> tuple[Page, int]:
    """The page of all boards in these files, and the number of updates on it."""
    boards = [(history, updates.updates_of(history)) for history in files.histories]
    every = [update for _, found in boards for update in found]
    statuses = Counter(update.status for update in every)
    many = len(boards) != 1
    facts = [
        *([Fact(str(len(boards)), "boards")] if many else []),
        Fact(str(statuses["installed"]), "updates installed"),
        _fault(statuses["rolled back"], "rolled back"),
        _fault(statuses["failed"] + statuses[updates.REFUSED], "failed or refused"),
        _fault(sum(update.cuts for update in every), "interruptions", "warn"),
        _fault(sum(update.retries for update in every), "pages written again", "warn"),
    ]
    sections = [_inventory(boards), *_errors(every)]
    for history, found in boards:
        sections += _board(history, found)
    if files.damaged:
        torn = f"{words.count(files.damaged, 'line')} of the files could not be read."
        sections.append(Section("Damaged lines", [Notice(torn, tone="warn")]))
    title = "Updater logs" if many else f"Updater log of {name_of(boards[0][0])}"
    made = "Made by stm32up logs report."
    return Page(title, facts, sections, _period(every), made), len(every)


def name_of(history: History) -> str:
    return f"board {history.board}" if history.board else "an unknown board"


def _fault(count: int, name: str, tone: Tone = "bad") -> Fact:
    return Fact(str(count), name, tone if count else "")


def _period(found: Sequence[Update]) -> str:
    at = sorted(update.at for update in found if update.at is not None)
    if not at:
        return "The clocks of the hosts were not set, so there are no dates."
    return f"From {at[0]:%Y-%m-%d %H:%M} to {at[-1]:%Y-%m-%d %H:%M}, by the clocks of the hosts."


# The firmware on each board


def _inventory(boards: Sequence[tuple[History, list[Update]]]) -> Section:
    columns = ["board", "host", "MicroPython", "updater", "application", "last update", "pulled"]
    rows: list[Row] = []
    for history, found in boards:
        facts, last = history.facts, next(reversed(found), None)
        rows.append(
            [
                Cell(history.board or "unknown", code=True),
                str(facts.get("host", "")),
                str(facts.get("micropython", "")),
                str(facts.get("updater", "")),
                _application(found),
                Cell(last.status, last.tone) if last else "",
                f"{words.moment(facts)[:16]} UTC" if "at" in facts else "",
            ]
        )
    return Section("Firmware inventory", [Table(columns, rows)])


def _application(found: Sequence[Update]) -> str:
    """The version that runs on the target, as the log says."""
    for update in reversed(found):
        result = update.result
        if result is not None and result.get("status") in (
            "installed",
            "rolled-back",
            "up-to-date",
        ):
            return str(result.get("version", "?"))
    return "?"


# What went wrong


def _errors(found: Sequence[Update]) -> Iterator[Section]:
    """Each error with its next step, the most frequent first."""
    causes: Counter[tuple[str, str, str]] = Counter()
    for update in found:
        for entry in update.named("refused", "result", "not-kept"):
            if "error" in entry and not _repeats(entry, update):
                causes[_error(entry)] += 1
    if not causes:
        return
    rows: list[Row] = [
        [Cell(code, "bad", True), text, next_step, count]
        for (code, text, next_step), count in causes.most_common()
    ]
    yield Section(
        "Errors", [Table(["error", "what is wrong", "next step", "times"], rows, right=["times"])]
    )


def _repeats(entry: Entry, update: Update) -> bool:
    """Whether a result only repeats a refusal."""
    refusals = [refused.get("message") for refused in update.named("refused")]
    return entry.get("event") == "result" and entry.get("message") in refusals


def _error(entry: Entry) -> tuple[str, str, str]:
    return (
        str(entry.get("error", "?")),
        str(entry.get("message", "?")),
        str(entry.get("next_step", "")),
    )


# One board


def _board(history: History, found: list[Update]) -> Iterator[Section]:
    title = name_of(history)
    parts: list[Part] = list(_gaps(history))
    if not found:
        parts.append(Text("The log is empty."))
    if len(found) > 1:
        parts.append(_table(found))
    parts += _times(found)
    newest = list(reversed(found))
    drawn = {id(update) for update in newest[:_DRAWN]}
    drawn |= {id(update) for update in [u for u in newest if u.tone != "good"][:_DRAWN]}
    for index, update in enumerate(newest):
        if id(update) in drawn:
            parts.append(_update(update, is_open=index == 0))
    if found:
        parts.append(_log(history))
    yield Section(title[0].upper() + title[1:], parts)


def _gaps(history: History) -> Iterator[Part]:
    lost = sum(missing(life) for life in history.lives)
    first = history.lives[0][0]["n"] if history.lives else 0
    if first:
        yield Notice(
            f"The log begins with number {first}: earlier entries were overwritten before it was "
            "pulled.",
            tone="",
        )
    if lost:
        yield Notice(
            f"{words.entries(lost)} between these were overwritten on the board before they were "
            "pulled, or could not be written.",
            "Pull the log more often.",
            "warn",
        )
    if len(history.lives) > 1:
        yield Notice(
            f"The log of this board began again {len(history.lives) - 1} times: its filesystem "
            "was erased, or a file of the log was lost.",
            tone="warn",
        )


def _table(found: list[Update]) -> Table:
    rows: list[Row] = []
    for update in reversed(found[-_LISTED:]):
        rows.append(
            [
                _moment(update),
                update.change,
                Cell(update.status, update.tone),
                took(update.took_ms),
                update.cuts,
                update.retries,
            ]
        )
    columns = ["when", "update", "result", "took", "interruptions", "retries"]
    left_out = len(found) - len(rows)
    caption = f"The newest {len(rows)} of {len(found)} updates" if left_out else "Updates"
    return Table(columns, rows, columns[3:], caption)


def _moment(update: Update) -> str:
    run = update.runs[0]
    return words.moment({**run.when(run.entries[0]).values, "t": None})


def _times(found: Sequence[Update]) -> Iterator[Part]:
    """Where the time of all updates went."""
    spent: Counter[str] = Counter()
    for update in found:
        if update.named("loader"):
            spent += updates.phases(update)
    if spent:
        shares = [Share(what, ms, took(ms)) for what, ms in spent.items()]
        yield Shares("Where the time of the updates went", shares)


def _update(update: Update, *, is_open: bool) -> Details:
    spans, marks = updates.drawn(update)
    parts: list[Part] = [
        Notice(*_error(entry)[1:])
        for entry in update.named("refused", "result", "not-kept")
        if "error" in entry and not _repeats(entry, update)
    ]
    parts.append(Timeline(f"Timeline of {update.title}", spans, marks))
    numbers = [entry["n"] for entry in update.entries]
    remarks = [_moment(update), took(update.took_ms)]
    if update.cuts:
        remarks.append(words.count(update.cuts, "interruption"))
    if update.retries:
        remarks.append(words.count(update.retries, "page") + " written again")
    remarks.append(f"log {numbers[0]} to {numbers[-1]}")
    remark = " \N{MIDDLE DOT} ".join(remarks)
    return Details(update.title, parts, update.tone, is_open, remark)


def _log(history: History) -> Details:
    lines = list(_lines(history))
    left_out = len(lines) - _LINES
    if left_out > 0:
        lines = [f"({left_out} earlier lines are left out)", *lines[-_LINES:]]
    return Details("The log", [Lines(lines)], remark=f"{len(history.entries)} entries")


def _lines(history: History) -> Iterator[str]:
    for number, life in enumerate(history.lives):
        if number:
            yield "--- the log of this board began again ---"
        for entry, when, lost in dated([life]):
            said = {**when.values, "entry": entry, "missing_before": lost}
            yield from words.log_line(said).split("\n")
