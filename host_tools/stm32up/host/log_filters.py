"""Which entries of a log a person wants to see."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from stm32up.errors import UsageError
from stm32up.host.log_runs import When
from stm32up.host.logs import Entry

_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Wanted:
    """`since`: no earlier entry, and none whose time is not known. `events`: only these."""

    since: datetime | None = None
    errors: bool = False
    events: Collection[str] = ()

    def __call__(self, entry: Entry, when: When) -> bool:
        if self.since is not None and (when.at is None or when.at < self.since):
            return False
        if self.events and entry.get("event") not in self.events:
            return False
        return not self.errors or is_error(entry)


def is_error(entry: Entry) -> bool:
    """Whether an entry says that something went wrong."""
    return "error" in entry or entry.get("ok") is False or entry.get("event") == "rolling-back"


def since(text: str, now: datetime) -> datetime:
    """The moment that --since gives: "90min", "2h", "3d", or a date with or without a time. Raises
    UsageError."""
    try:
        if ago := re.fullmatch(r"(\d{1,6})\s*(s|min|h|d)", text.strip()):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        at = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {text} is not a time", "Write 90min, 2h, 3d, 2026-11-26 or 2026-11-26T15:47."
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
