"""A whole run of `bench`: its cycles, one after the other, each kept in the state file at once.

The state file is a journal: what the run is, a line for each cycle, and {"ended": true}. A run of
the same kind continues an unfinished file; only the cycle that was interrupted is repeated.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from stm32up import journal
from stm32up.errors import UsageError
from stm32up.events import Report
from stm32up.host.cycles import MOST_IN_A_ROW, Candidate, Cycle, Cycles
from stm32up.host.transport import Connection

_UNITS = {"h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?")
_CYCLE = {field.name for field in dataclasses.fields(Cycle)}  # keys of its line
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")


@dataclass(frozen=True)
class Order:
    """What is to be done. `until`: seconds since 1970."""

    board: str
    method: str  # of [confirm]
    kinds: Sequence[str]
    seed: int | None
    cycles: int | None
    until: float | None
    state: Path


class Kept:
    """The state file of a run."""

    def __init__(self, path: Path, first: dict[str, Any], cycles: list[dict[str, Any]]) -> None:
        self.path = path
        self.board = str(first["board"])
        self.host = str(first.get("host", ""))  # its unique ID; empty if that is not known
        self.began = str(first.get("began", ""))  # see `minute`
        self.seed = int(first["seed"])
        self.kinds = list(first["kinds"])
        self.versions = list(first["versions"])
        self.span_ms = int(first["span_ms"])
        self.cycles = cycles

    @classmethod
    def read(cls, path: Path) -> tuple[Kept | None, bool]:
        """(the run in this file, whether it has ended). Raises UsageError."""
        lines = journal.read(path)
        if not lines:
            return None, True
        ended = lines[-1] == {"ended": True}
        cycles = lines[1:-1] if ended else lines[1:]
        try:
            if not all(line.keys() >= _CYCLE for line in cycles):
                raise ValueError
            return cls(path, lines[0], cycles), ended
        except (KeyError, TypeError, ValueError):
            raise UsageError(
                f"{path} is not the state of a bench run", "Give another --state FILE."
            ) from None


def deadline(text: str, now: datetime) -> float:
    """Seconds since 1970 of "07:00", the next one, or of "8h", "90m", "1h30m" from now. Raises
    UsageError."""
    clock = _CLOCK.fullmatch(text)
    if clock and int(clock[1]) < 24 and int(clock[2]) < 60:
        at = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        return (at if at > now else at + timedelta(days=1)).timestamp()
    parts = _DURATION.fullmatch(text)
    if parts and text:
        units = zip(parts.groups(), _UNITS.values(), strict=True)
        if lasts := sum(int(number or 0) * unit for number, unit in units):
            return now.timestamp() + lasts
    raise UsageError(f"--until {text} is neither a time of day nor a duration", "As 07:00 or 8h.")


def check(order: Order) -> None:
    """Raise UsageError, before a board is looked for, if the state file is one of another run, or
    cannot be written."""
    if not order.state.absolute().parent.is_dir():
        raise UsageError(
            f"there is no folder for {order.state}", "Make it, or give another --state."
        )
    _continued(order, {"board": order.board, "kinds": list(order.kinds)})


def run(
    connection: Connection,
    pair: Sequence[Candidate],
    order: Order,
    report: Report,
    *,
    host: str = "",
) -> Kept:
    """Do the cycles that are missing; return the whole run. Ends early if cycle after cycle
    fails. `host`: its unique ID, for the page."""
    first: dict[str, Any] = {
        "board": order.board,
        "kinds": list(order.kinds),
        "versions": [image.version for image in pair],
        "content": [image.content for image in pair],
    }
    kept = _continued(order, first)
    seed = kept.seed if kept else order.seed if order.seed is not None else _new_seed()
    cycles = Cycles(connection, pair, order.kinds, seed, order.method)
    if kept is None:
        began = minute()
        first |= {"seed": seed, "span_ms": cycles.prepare(), "host": host, "began": began}
        order.state.unlink(missing_ok=True)
        journal.append(order.state, first)
        kept = Kept(order.state, first, [])
    else:
        report({"event": "bench-continued", "file": str(order.state), "done": len(kept.cycles)})
    report({"event": "bench", "seed": seed, "kinds": list(order.kinds), "span_ms": kept.span_ms})
    started, done_before = time.monotonic(), len(kept.cycles)
    while not _is_over(kept, order):
        cycle = cycles.one(len(kept.cycles) + 1, kept.span_ms).as_json()
        journal.append(order.state, cycle)
        kept.cycles.append(cycle)
        report({"event": "cycle", **cycle})
        each = (time.monotonic() - started) / (len(kept.cycles) - done_before)
        report(_progress(len(kept.cycles), each, order))
    journal.append(order.state, {"ended": True})
    return kept


def _continued(order: Order, first: dict[str, Any]) -> Kept | None:
    """The unfinished run in the state file. Raises UsageError if it is another one."""
    kept, ended = Kept.read(order.state)
    if kept is None or ended:
        return None
    before = journal.read(order.state)[0]
    same = all(before.get(key) == value for key, value in first.items())
    if not same or order.seed not in (None, kept.seed):
        raise UsageError(
            f"{order.state} holds an unfinished run with other options (seed {kept.seed}, "
            f"{len(kept.cycles)} cycles)",
            "Give its options to continue it; or remove the file, or name another with --state.",
        )
    return kept


def minute() -> str:
    """This computer's time, as 2026-11-27 22:10."""
    return datetime.now().strftime("%Y-%m-%d %H:%M")


def _new_seed() -> int:
    return time.time_ns() // 1_000_000 % 1_000_000


def _is_over(kept: Kept, order: Order) -> bool:
    done = len(kept.cycles)
    last = kept.cycles[-MOST_IN_A_ROW:]
    if len(last) == MOST_IN_A_ROW and all(cycle["failure"] for cycle in last):
        return True
    if order.cycles is not None and done >= order.cycles:
        return True
    return order.until is not None and time.time() >= order.until


def _progress(done: int, each_s: float, order: Order) -> dict[str, object]:
    """`each_s`: how long a cycle takes."""
    left_s = [(order.cycles - done) * each_s] if order.cycles is not None else []
    left_s += [order.until - time.time()] if order.until is not None else []
    left = max(0.0, min(left_s))
    total = done + round(left / each_s)
    pace = {"each_ms": round(each_s * 1000), "left_s": round(left)}
    return {"event": "progress", "phase": "bench", "done": done, "total": total, **pace}
