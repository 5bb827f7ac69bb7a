"""What the command prints: for people (progress bars, tables) or, with --json, for programs."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from stm32up.errors import Stm32upError, UpdateFailed
from stm32up.events import Event, failure, result

_WIDE = 1000
_PHASES = {
    "deploy": "copying the updater",
    "push": "pushing the image",
    "compare": "comparing flash",
    "erase": "erasing",
    "write": "writing",
    "verify": "verifying",
}


class JsonOutput:
    """One JSON object a line on standard output, and nothing else there."""

    def report(self, event: Event) -> None:
        print(json.dumps(event), flush=True)

    def result(self, values: dict[str, Any]) -> None:
        self.report(result(values))

    def error(self, error: Stm32upError) -> None:
        event = failure(error.code, error.message, error.next_step)
        if isinstance(error, UpdateFailed):
            event.update(error.result)  # the updater's own code stays
        self.report(event)
        print(f"error: {error}", file=sys.stderr)

    def close(self) -> None:
        pass


class HumanOutput:
    """Progress on standard error, results on standard output."""

    def __init__(self) -> None:
        self._errors = Console(stderr=True, highlight=False)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def report(self, event: Event) -> None:
        if event["event"] == "progress":
            self._show_progress(event)
        else:
            self._errors.print(_sentence(event), style="dim", markup=False, soft_wrap=True)

    def result(self, values: dict[str, Any]) -> None:
        self.close()
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = _WIDE  # nothing is folded in a file or a pipe
        console.print(_table(values))

    def error(self, error: Stm32upError) -> None:
        self.close()
        print(f"error: {error}", file=sys.stderr)

    def close(self) -> None:
        """Ends the progress bars; also on the way out of an error."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _show_progress(self, event: Event) -> None:
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description:20}"),
                BarColumn(),
                TaskProgressColumn(),  # per cent: some phases count bytes, others pages
                TimeElapsedColumn(),
                console=self._errors,
                disable=not self._errors.is_terminal,
            )
            self._progress.start()
        phase = str(event["phase"])
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(_PHASES.get(phase, phase))
        task = self._tasks[phase]
        self._progress.update(task, completed=event["done"], total=event["total"])


def write_line(text: str, stream: TextIO = sys.stdout) -> None:
    print(text, file=stream, flush=True)


def _sentence(event: Event) -> str:
    """An event in one line: its name, then what it carries."""
    if event["event"] == "output":
        return f"board: {event.get('text', '')}"
    values = ", ".join(
        f"{_words(key)} {_text(key, v)}" for key, v in event.items() if key != "event"
    )
    return f"{_words(event['event'])}: {values}" if values else _words(event["event"])


def _table(values: dict[str, Any]) -> Table:
    """Two columns: what, and its value. Nested values become "outer inner" rows."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in _rows(values):
        table.add_row(key, value)
    return table


def _rows(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{_words(key)}"
        if isinstance(value, dict):
            rows += _rows(value, f"{name} ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                rows.append(
                    (name, ", ".join(f"{_words(k)} {_text(k, v)}" for k, v in item.items()))
                )
        else:
            rows.append((name, _text(key, value)))
    return rows


_HEX = {"address": 8, "product_id": 3, "flags_raw": 8}  # digits


def _text(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and key in _HEX:
        return f"0x{value:0{_HEX[key]}X}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return str(value)


def _words(key: str) -> str:
    """A key as words; names that a manual gives, such as nBOOT_SEL, stay as they are."""
    return key.replace("_", " ").replace("-", " ") if key.islower() else key
