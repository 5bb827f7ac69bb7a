"""From the runs in a log to updates: what was installed over what, where the time went, what
interrupted it, and how it ended.

An update is the run that recorded the intent ("installing"), and the runs that went on with it
("resuming", or a proof that was still missing) until one ended with a result. Other runs, such as
that of a refused image, are updates of one run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from stm32up.host.log_files import History
from stm32up.host.log_runs import Run, number, runs_of
from stm32up.host.logs import Entry
from stm32up.report.page import Mark, Span, Tone
from stm32up.say import words
from stm32up.say.words import took

INTERRUPTED, REFUSED = "not finished", "refused"
_LASTING = ("installed", "rolled-back")  # results that end an update; after others it goes on
_INTENT = ("installing", "resuming", "rolling-back")
_GAP = 0.05  # of the drawn time: the width of the time between two runs
# What the updater does after an entry, until the next one.
_AFTER = {
    "run": "check",
    "refused": "check",
    "checked": "record",
    "superseded": "record",
    "installing": "enter the loader",
    "resuming": "enter the loader",
    "rolling-back": "enter the loader",
    "loader": "write",
    "written": "start and prove",
    "starting": "start and prove",
    "not-kept": "record",
}
_WITHIN = ("retry", "refused", "not-kept")  # entries that do not end a phase


@dataclass
class Update:
    runs: list[Run] = field(default_factory=list)
    is_last: bool = False  # nothing follows it in the log

    @property
    def entries(self) -> list[Entry]:
        return [entry for run in self.runs for entry in run.entries]

    def named(self, *names: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.get("event") in names]

    @property
    def result(self) -> Entry | None:
        return self.runs[-1].result

    @property
    def status(self) -> str:
        """How it ended: as the result says, REFUSED, or INTERRUPTED."""
        if self.result is None:
            return INTERRUPTED
        if self.named("refused") and not self.named(*_INTENT):
            return REFUSED
        return words.words(str(self.result.get("status", "?")))

    @property
    def tone(self) -> Tone:
        if self.result is None:
            return "warn"
        return "good" if self.result.get("ok") is True else "bad"

    @property
    def version(self) -> str:
        """The version that was to be installed, or that the result is about; the file of a refused
        image."""
        for entry in (*self.named("installing", "resuming"), *self.named("checked", "result")):
            if "version" in entry:
                return str(entry["version"])
        return ", ".join(str(entry.get("image")) for entry in self.named("refused")[:1])

    @property
    def replaced(self) -> str:
        """The version that was installed before; empty if there was none, or it is not known."""
        for entry in self.named("installing", "resuming"):
            if before := dict(entry).get("from"):
                return str(before)
        return ""

    @property
    def title(self) -> str:
        return f"{self.change}: {self.status}" if self.version else self.status

    @property
    def change(self) -> str:
        """From which version to which, as far as it is known."""
        return f"{self.replaced} \N{RIGHTWARDS ARROW} {self.version}".removeprefix(
            " \N{RIGHTWARDS ARROW} "
        )

    @property
    def at(self) -> datetime | None:
        return self.runs[0].when(self.runs[0].entries[0]).at

    @property
    def cuts(self) -> int:
        """How often it was interrupted: runs that ended without a result, but for one that may
        still be under way."""
        return sum(run.result is None for run in self.runs[:-1]) + (
            self.result is None and not self.is_last
        )

    @property
    def retries(self) -> int:
        return len(self.named("retry"))

    @property
    def took_ms(self) -> float:
        """The time of all runs, without the time between them."""
        return sum(_length(run) for run in self.runs)


def updates_of(history: History) -> list[Update]:
    """The updates of a board, in order."""
    updates: list[Update] = []
    for life in history.lives:
        open_one: Update | None = None  # goes on if the next run does
        for run in runs_of(life):
            names = {str(entry.get("event")) for entry in run.entries}
            if open_one is None or not _goes_on(open_one, run, names):
                open_one = Update()
                updates.append(open_one)
            open_one.runs.append(run)
            if run.result is not None and (
                run.result.get("status") in _LASTING or not open_one.named(*_INTENT)
            ):
                open_one = None
    if updates:
        updates[-1].is_last = True
    return updates


def _goes_on(update: Update, run: Run, names: set[str]) -> bool:
    """Whether the run goes on with an update that has not ended."""
    if "installing" in names:  # a pushed image wins over an update under way
        return not update.named(*_INTENT)
    return bool(names & {*_INTENT, "loader", "starting"}) or run.result is None


def drawn(update: Update) -> tuple[list[Span], list[Mark]]:
    """The timeline. The time between two runs is drawn as a gap of one width, because nothing of
    it may be known."""
    spans: list[Span] = []
    marks: list[Mark] = []
    gap = max(update.took_ms * _GAP, 1.0)
    start = 0.0
    for index, run in enumerate(update.runs):
        if index:
            spans.append(Span(start, start + gap, "", _between(update.runs[index - 1], run)))
            start += gap
        spans += _spans(run, start)
        marks += _marks(run, start)
        start += _length(run)
        is_last = index == len(update.runs) - 1
        if run.result is None and not (is_last and update.is_last):
            marks.append(Mark(start, "cut", _cut(run)))
        elif run.result is None:
            marks.append(Mark(start, "end", "the log ends here, without a result", "warn"))
    return spans, marks


def phases(update: Update) -> Counter[str]:
    """The milliseconds of each phase."""
    spent: Counter[str] = Counter()
    for span in drawn(update)[0]:
        if span.what:
            spent[span.what] += round(span.end - span.start)
    return spent


def _length(run: Run) -> float:
    return max([number(entry, "t") or 0.0 for entry in run.entries] + [0.0])


def _spans(run: Run, start: float) -> Iterator[Span]:
    """The phases of a run."""
    entries = [entry for entry in run.entries if entry.get("event") not in _WITHIN]
    begin, what, text = 0.0, "check", ""
    for entry in entries:
        name = str(entry.get("event"))
        if name == "run":
            continue
        end = max(begin, number(entry, "t") or 0.0)
        if what == "write":
            yield from _writing(entry, start + begin, start + end)
        elif end > begin:
            yield Span(start + begin, start + end, what, _came_of(what, entry) or text)
        begin, what = end, _AFTER.get(name, what)
        again = name == "starting" and number(entry, "try") not in (None, 1)
        text = f"try {entry.get('try')}" if again else ""
    if (last := _length(run)) > begin:
        yield Span(start + begin, start + last, what, text)


def _writing(written: Entry, start: float, end: float) -> Iterator[Span]:
    """The phases between "loader" and "written", as long as the updater says. They are drawn in
    order, also if pages were written again after the verification."""
    parts = [(name, number(written, key) or 0.0) for name, key in words.WRITING.items()]
    total = sum(ms for _, ms in parts)
    if not total:
        yield Span(start, end, "write")
        return
    scale = min(1.0, (end - start) / total)
    for name, ms in parts:
        if ms:
            text = _without_times(words.event(_said(written))) if name == "write" else ""
            yield Span(start, start + ms * scale, name, text)
            start += ms * scale
    if end - start >= 1:
        yield Span(start, end, "record")


def _without_times(text: str) -> str:
    """What "written" says; the drawing shows the times."""
    text = text.removeprefix("written: ")
    return text.rpartition("; compare")[0] or text.rpartition("; write")[0] or text


def _came_of(what: str, entry: Entry) -> str:
    """What came of a phase: the entry that ended it, if it is about that phase."""
    about = {"check": ("checked", "superseded"), "enter the loader": ("loader",)}
    return words.event(_said(entry)) if entry.get("event") in about.get(what, ()) else ""


def _marks(run: Run, start: float) -> Iterator[Mark]:
    for entry in run.entries:
        name, at = entry.get("event"), start + (number(entry, "t") or 0.0)
        if name in ("retry", "not-kept"):
            yield Mark(at, "retry", words.event(_said(entry)), "warn")
        elif name in ("refused", "rolling-back"):
            yield Mark(at, str(name), words.event(_said(entry)), "bad")
        elif name == "result":
            tone: Tone = "good" if entry.get("ok") is True else "bad"
            yield Mark(at, "result", words.event(_said(entry)), tone)


def _said(entry: Entry) -> dict[str, object]:
    """The entry as an event: its number and time are shown beside it."""
    return {key: value for key, value in entry.items() if key not in ("n", "t")}


def _cut(run: Run) -> str:
    """The last phase of a run without a result; the log does not say how long it lasted."""
    known = [entry for entry in run.entries if entry.get("event") not in _WITHIN]
    what = _AFTER.get(str(known[-1].get("event")), "?") if known else "check"
    return f"interrupted in the phase: {what}"


def _between(before: Run, after: Run) -> str:
    """What is known of the time between two runs."""
    cause = ""
    if before.result is None and after.reset is not None:
        cause = f"; the host's last reset: {words.reset(after.reset)}"
    end, begin = before.when(before.entries[-1]).at, after.when(after.entries[0]).at
    if end is None or begin is None or begin < end:
        return f"until the next run: not known{cause}"
    return f"until the next run: {took((begin - end).total_seconds() * 1000)}{cause}"
