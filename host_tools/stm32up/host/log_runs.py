"""Runs of the updater in a log, and when each entry was.

A run begins with a "run" entry, which has the host's clock. Where that was overwritten, or the
updater was older, a run begins after a result, where the time goes back, or where entries are
missing.

A clock that was never set counts from the start of a year before 2024 (rp2: 2021, esp32: 2000), so
it tells how long the host has been on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from stm32up.events import Values
from stm32up.host.log_files import Life
from stm32up.host.logs import Entry

SET_SINCE = 2024  # a clock that shows an earlier year was never set
_LONGEST_MS = 1 << 40


class When(NamedTuple):
    """`at`: by the host's clock, if it was set; `up_s`: seconds since the host was switched on, if
    not; `t_ms`: since the run began."""

    at: datetime | None
    up_s: float | None
    t_ms: float | None

    @property
    def values(self) -> Values:
        """For --json: what is known."""
        if self.at is not None:
            return {"at": self.at.isoformat(timespec="milliseconds")}
        return {} if self.up_s is None else {"up_s": round(self.up_s, 3)}


@dataclass
class Run:
    """`missing`: how many entries before this run, or 0 if none are known to be missing."""

    entries: list[Entry] = field(default_factory=list)
    missing: int = 0

    @property
    def reset(self) -> object:
        """Why the host had started, as machine.reset_cause(); None if it is not known."""
        first = self.entries[0]
        return first.get("reset") if first.get("event") == "run" else None

    @property
    def result(self) -> Entry | None:
        last = self.entries[-1]
        return last if last.get("event") == "result" else None

    def when(self, entry: Entry) -> When:
        first, t_ms = self.entries[0], number(entry, "t")
        clock = _clock(first) if first.get("event") == "run" else None
        if clock is None:
            return When(None, None, t_ms)
        try:
            now = clock + timedelta(milliseconds=(t_ms or 0) - (number(first, "t") or 0))
        except OverflowError:
            return When(None, None, t_ms)
        if clock.year >= SET_SINCE:
            return When(now, None, t_ms)
        return When(None, (now - datetime(clock.year, 1, 1, tzinfo=UTC)).total_seconds(), t_ms)


def runs_of(life: Life) -> list[Run]:
    """The runs in a life of a board's log."""
    runs: list[Run] = []
    before: Entry | None = None
    for entry in life:
        missing = entry["n"] - before["n"] - 1 if before is not None else 0
        if before is None or missing or _begins(before, entry):
            runs.append(Run(missing=missing))
        runs[-1].entries.append(entry)
        before = entry
    return runs


def dated(lives: Iterable[Life]) -> Iterator[tuple[Entry, When, int]]:
    """(entry, when it was, number of entries that are missing before it)."""
    for life in lives:
        for run in runs_of(life):
            for entry in run.entries:
                yield entry, run.when(entry), run.missing if entry is run.entries[0] else 0


def number(values: Mapping[str, object], key: str) -> float | None:
    """A number in an entry, whose values come from a board; None if there is none."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and 0 <= value < _LONGEST_MS else None


def _begins(before: Entry, entry: Entry) -> bool:
    if entry.get("event") == "run" or before.get("event") == "result":
        return True
    earlier, later = number(before, "t"), number(entry, "t")
    return earlier is not None and later is not None and later < earlier


def _clock(begun: Entry) -> datetime | None:
    at = begun.get("at")
    if not isinstance(at, list) or len(at) != 6 or any(type(part) is not int for part in at):
        return None
    year, month, day, hour, minute, second = at
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except (ValueError, OverflowError, TypeError):
        return None
