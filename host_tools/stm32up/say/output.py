"""The output of the command: for people (lines, progress bars, tables) or, with --json, for
programs.

Text from a board is cleaned where it is received, and all text once more here, where it is
printed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence

from rich import progress as bars
from rich.console import Console
from rich.progress import (
    BarColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from stm32up.errors import Stm32upError, UpdateFailed
from stm32up.events import (
    Event,
    Progress,
    Values,
    failure,
    in_order,
    is_plan,
    is_progress,
    result,
)
from stm32up.say import endings, stages, tables, words
from stm32up.say.several import Several, SeveralForPeople, SeveralInJson
from stm32up.say.wrapping import PAGE, width_of, wrapped
from stm32up.text import clean, clean_all

_TABLES: dict[str, Callable[..., list[str]]] = {
    "status": tables.status,
    "probe": tables.probe_in_short,
    "probe --all": tables.probe,
    "doctor": tables.doctor,
    "image show": tables.image,
    "boards list": tables.boards,
    "devices": tables.devices,
    "bench": tables.bench,
}


class _Output:
    """What both have: the stage of the work, for a Ctrl-C."""

    stage = stages.NOTHING

    def report(self, event: Event) -> None:
        self.stage = stages.after(self.stage, event)

    def interrupted(self) -> None:
        """Say what a Ctrl-C has left."""
        if self.stage:
            self.report({"event": "stopped", "stage": self.stage, "text": stages.LEFT[self.stage]})


class JsonOutput(_Output):
    """One JSON object per line on standard output, and nothing else there. The result also says
    how the board was left."""

    def __init__(self) -> None:
        self._left: dict[str, object] = {}

    def report(self, event: Event) -> None:
        super().report(event)
        if event["event"] == "left":
            self._left = {"left": event["state"]}
            return
        if event["event"] == "result":
            event = {**event, **self._left}
        values = clean_all(event)
        print(json.dumps(in_order(values, "event", "ok", "status")), flush=True)

    def result(self, verb: str, values: Values) -> None:
        self.report(result(values))

    def error(self, error: Stm32upError) -> None:
        event = failure(error.code, error.message, error.next_step)
        if isinstance(error, UpdateFailed):
            event = {**event, **error.result}  # the updater's own code stays
        self.report(event)
        _say_error(error)

    def several(self, verb: str, ports: Sequence[str]) -> Several:
        """The output of this verb on several boards."""
        return SeveralInJson(self.report)

    def end(self) -> None:
        pass

    def close(self) -> None:
        pass


LINE_EVERY_S = 60.0  # of progress, without a terminal


class HumanOutput(_Output):
    """Everything on standard output, in the order in which it happens; only errors on standard
    error. Progress bars are for terminals, and the line with the result replaces them; a file
    gets a line of progress once a minute. With `aside` everything goes to standard error, because
    the verb writes its data to standard output.
    """

    def __init__(self, *, aside: bool = False) -> None:
        self._console = Console(
            highlight=False, markup=False, emoji=False, soft_wrap=True, stderr=aside
        )
        self._bar: _Bar | None = None
        self._last: Progress | None = None  # set while no other event has followed
        self._line_at = time.monotonic()  # when the last line of progress was due
        self._refused: Event | None = None  # a refusal that the result may repeat
        self._left = ""  # how the board was left: the last line

    def report(self, event: Event) -> None:
        super().report(event)
        if event["event"] == "left":
            self._left = words.LEFT[str(event["state"])]
            return
        self._tell_refused()
        if is_progress(event):
            self._show(event)
        elif event["event"] == "refused":
            self._refused = event
        else:
            self.close()
            for line in tables.plan(event) if is_plan(event) else [words.event(event)]:
                self._line(line)

    def result(self, verb: str, values: Values) -> None:
        self._tell_refused()
        self.close()
        if verb in _TABLES:
            width = width_of(self._console.file) or PAGE
            for line in _TABLES[verb](values):
                for part in wrapped(line, width):
                    self._line(part)
            return
        *lines, last = endings.ending(verb, values)
        for line in lines:
            self._line(line)
        self._line(last, style="bold")

    def error(self, error: Stm32upError) -> None:
        last = self._last
        if self._refused and self._refused.get("message") != error.message:
            self._tell_refused()
        self.end()
        if last is not None and last["done"] < last["total"]:
            self._line(words.stopped(last))
        _say_error(error)

    def several(self, verb: str, ports: Sequence[str]) -> Several:
        """The output of this verb on several boards."""
        return SeveralForPeople(self._console, verb, ports)

    def _tell_refused(self) -> None:
        refused, self._refused = self._refused, None
        if refused is not None:
            self.close()
            self._line(words.event(refused))

    def _line(self, line: str, style: str | None = None) -> None:
        """Print a line, wrapped only on a terminal."""
        for part in wrapped(clean(line, keep="\n"), width_of(self._console.file)):
            self._console.print(part, style=style)

    def end(self) -> None:
        """The board was left: say how, if it was not said yet."""
        self.close()
        left, self._left = self._left, ""
        if left:
            self._line(left)

    def close(self) -> None:
        """Remove the progress bar, also after an error."""
        self._last = None
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, event: Progress) -> None:
        if self._last is not None and self._last["phase"] != event["phase"]:
            self.close()
        self._last = event
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            if time.monotonic() - self._line_at >= LINE_EVERY_S:
                self._line_at = time.monotonic()
                self._line(words.so_far(event))
            return
        if self._bar is None:
            self._bar = _Bar(self._console, event)
        else:
            self._bar.update(event)


class _Bar:
    """The bar of one phase: name, bar, per cent, count, and time."""

    def __init__(self, console: Console, event: Progress) -> None:
        what, self._unit = map(clean, words.phase(event))
        self._progress = bars.Progress(
            TextColumn("{task.description:19}", markup=False),
            BarColumn(bar_width=max(4, min(20, console.width - 54 - len(words.pace(event))))),
            TaskProgressColumn(),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task(what, count="")
        self.update(event)
        self._progress.start()

    def update(self, event: Progress) -> None:
        done, total = event["done"], event["total"]
        count = f"{done}/{total} {self._unit}{words.pace(event)}"
        self._progress.update(self._task, completed=done, total=total, count=count)

    def close(self) -> None:
        self._progress.stop()


def _say_error(error: Stm32upError) -> None:
    if sys.stderr is None:  # it is closed
        return
    for said in error.lines:
        for line in wrapped(clean(f"error: {said}"), width_of(sys.stderr)):
            print(line, file=sys.stderr)
