"""`torture`: the power fails at every event of an update, on the simulated board."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from stm32sim import cuts
from stm32sim.cuts import command
from stm32sim.cuts.outcome import Row
from stm32sim.cuts.rig import NEVER_REACHED
from stm32up.board.model import Board
from stm32up.errors import Stm32upError, UpdateFailed, UsageError
from stm32up.events import Event, Report, Values, note, progress
from stm32up.host.paths import KEYS
from stm32up.image.keys import DeviceKey

NAME = "update"  # of the scenario; a case is update/both@1411


def product_of(
    board: Board, main: Path, old: bytes, new: bytes, trusted: Sequence[DeviceKey]
) -> cuts.Scenario:
    """An update of this product from image `old` to `new`. Raises UsageError for a chip that is
    not simulated, or a program that is not there."""
    if not main.is_file():
        raise UsageError(f"there is no program {main}", "Give it with --main.")
    files = {f"{KEYS}/{key.name}": key.content for key in trusted}
    try:
        return cuts.product(NAME, main, board.as_json(), old, new, files=files)
    except ValueError as error:
        raise UsageError(f"{board.name}: {error}", "Name another board: --board.") from None


def every(product: cuts.Scenario, nth: int, jobs: int, report: Report) -> Values:
    """Cut at every N-th event; return the sums. Raises UpdateFailed with them if there is a
    violation, Stm32upError if the product does not work without a cut."""
    row = Row(NAME, 1)
    report(progress("torture", 0, command.PARTS))
    parts = command.each_part({NAME: product}, nth, jobs)
    for done, (_, part) in enumerate(parts, 1):
        if isinstance(part, Exception):
            raise _failed(part)
        row.merge(part)
        report(progress("torture", done, command.PARTS))
    found: Values = {
        "cuts": row.cases,
        "new": row.settled_on["new"],
        "old": row.settled_on["old"],
        "slowest_ms": row.slowest_ms,
        "violations": [{"cut": _cut(case), "text": text} for case, text in row.violations],
    }
    if not row.violations:
        return {"status": "done", **found}
    wrong, (case, text) = sum(row.violated.values()), row.violations[0]
    raise _violated(
        f"{wrong} violations in {row.cases} cuts; the first, at {_cut(case)}: {text}",
        f"Repeat that one: {_again(_cut(case))}",
        found,
    )


def one(product: cuts.Scenario, cut: str, report: Report) -> Values:
    """Repeat this cut, such as both@1411, or two, both@1411/host@20. Raises UsageError,
    UpdateFailed."""
    heard: list[Event] = []
    try:
        parsed = [cuts.Cut.parse(text) for text in cut.split("/")]
        case = cuts.replay(product, parsed, heard.append)
    except ValueError as error:
        raise UsageError(f"--only: {error}") from None
    except cuts.CannotBegin as error:
        raise _failed(error) from None
    if case.place == NEVER_REACHED:
        raise UsageError(f"--only {cut}: the update ended before that event")
    for event in heard:
        report(_told(event))
    verdict = case.verdict
    found: Values = {
        "cuts": len(parsed),
        "settled_on": verdict.settled_on,
        "slowest_ms": verdict.recovery_ms,
        "violations": [{"cut": cut, "text": wrong.text} for wrong in verdict.violations],
    }
    if not verdict.violations:
        return {"status": "done", **found}
    raise _violated("; ".join(wrong.text for wrong in verdict.violations), "", found)


def _told(event: Event) -> Event:
    """A cut, or the result of a run."""
    if event["event"] == "cut":
        return note(f"the power fails at {event['cut']} ({event['place']})")
    return note(f"the host ends a run: {event.get('status')}")


def _violated(message: str, next_step: str, found: Values) -> UpdateFailed:
    told = {"error": "power-cuts", "message": message, "next_step": next_step}
    return UpdateFailed(message, next_step, {"ok": False, "status": "failed", **told, **found})


def _failed(error: Exception) -> Stm32upError:
    """For an exception of the rig: the product fails without a cut, or there is a bug."""
    if isinstance(error, cuts.CannotBegin):
        return Stm32upError(
            f"without any cut: {error}", "Correct the images, main.py or board.toml first."
        )
    return Stm32upError(f"a cut could not be judged: {error}", "Please report it.")


def _cut(case: str) -> str:
    return case.partition("/")[2]


def _again(cut: str) -> str:
    """The same command for this cut alone."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    return shlex.join(["stm32up", *arguments, "--only", cut])
