"""The output of one command on several boards: a line of progress for each, then one table. With
--json, the lines of all boards, each with its "port", then a result for all.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from rich import progress as bars
from rich.console import Console
from rich.progress import BarColumn, TextColumn

from stm32up.errors import Stm32upError
from stm32up.events import Event, Values, in_order, is_progress
from stm32up.say import endings, words
from stm32up.say.tables import aligned
from stm32up.say.wrapping import PAGE, width_of, wrapped
from stm32up.text import clean


class Several(Protocol):
    """`report` gets each event, `end` the last event of each board."""

    def report(self, port: str, event: Event) -> None: ...

    def end(self, results: Mapping[str, Values]) -> None: ...


class SeveralInJson:
    def __init__(self, show: Callable[[Event], None]) -> None:
        self._show = show

    def report(self, port: str, event: Event) -> None:
        self._show(in_order({**event, "port": port}, "event", "port"))

    def end(self, results: Mapping[str, Values]) -> None:
        failed = [port for port, values in results.items() if not values.get("ok")]
        told: dict[str, object] = {"event": "result", "ok": not failed, "boards": len(results)}
        if failed:
            told |= {"status": "failed", "failed": failed, **_of_all(failed, results)}
        else:
            told["status"] = "done"
        self._show(told)


class SeveralForPeople:
    def __init__(self, console: Console, verb: str, ports: Sequence[str]) -> None:
        self._console = console
        self._verb = verb
        self._lines: _Lines | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._lines = _Lines(console, ports)

    def report(self, port: str, event: Event) -> None:
        if event["event"] == "log":  # the data of logs pull
            entry = event.get("entry")
            line = {"port": port, **entry} if isinstance(entry, dict) else {"port": port}
            print(json.dumps(line), flush=True)
        elif event["event"] == "result":
            if self._lines is not None:  # else the table says it
                self._lines.say(port, clean(self._brief(event)))
        elif is_progress(event):
            if self._lines is not None:
                self._lines.progress(port, event["done"], event["total"], words.phase(event)[0])
        else:
            self._say(port, words.event(event))

    def end(self, results: Mapping[str, Values]) -> None:
        if self._lines is not None:
            self._lines.close()
        rows = [
            (port, "ok" if values.get("ok") else "FAILED", self._brief(values))
            for port, values in results.items()
        ]
        width = width_of(self._console.file) or PAGE
        for line in aligned(rows):
            for part in wrapped(clean(line), width):
                self._console.print(part)
        failed = [port for port, values in results.items() if not values.get("ok")]
        if failed:
            print(clean(f"error: {_of_all(failed, results)['message']}"), file=sys.stderr)

    def _say(self, port: str, text: str) -> None:
        if self._lines is not None:
            self._lines.say(port, clean(text))
        else:
            self._console.print(clean(f"{port}: {text}"))

    def _brief(self, values: Values) -> str:
        if values.get("ok"):
            return endings.brief(self._verb, values)
        left = words.LEFT.get(str(values.get("left")), "")
        error = str(
            Stm32upError(str(values.get("message", "?")), str(values.get("next_step", "")))
        )
        return f"{error} ({left})" if left else error


def _of_all(failed: Sequence[str], results: Mapping[str, Values]) -> dict[str, object]:
    message = f"{len(failed)} of {words.count(len(results), 'board')} failed: {', '.join(failed)}"
    return {"error": "boards", "message": message, "next_step": ""}


class _Lines:
    """A line for each board: port, bar, and what it does."""

    def __init__(self, console: Console, ports: Sequence[str]) -> None:
        self._progress = bars.Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=max(4, min(20, console.width - 60))),
            TextColumn("{task.fields[what]}", markup=False),
            console=console,
            transient=True,
        )
        self._tasks = {
            port: self._progress.add_task(clean(port), total=None, what="") for port in ports
        }
        self._progress.start()

    def progress(self, port: str, done: int, total: int, what: str) -> None:
        self._progress.update(
            self._tasks[port], completed=done, total=total, what=f"{what} {done}/{total}"
        )

    def say(self, port: str, text: str) -> None:
        self._progress.update(self._tasks[port], what=text)

    def close(self) -> None:
        self._progress.stop()
