"""A page for people: one HTML file with figures, tables and timelines.

    phases = Table(["phase", "median"], [["write", "1.2 s"]], right=["median"])
    failure = Details("cycle 17: the bus is stuck", [Timeline(...), Lines(log)], "bad")
    facts = [Fact("1000", "cycles"), Fact("1", "failures", "bad")]
    sections = [Section("Phases", [phases]), Section("Failures", [failure])]
    Page("Bench of 1000 cycles", facts, sections).write(path)

A section holds parts: Text, Notice, Table, Timeline, Shares, Lines, and Details, which hides parts
until it is opened. All times are numbers of milliseconds. Colours follow the name of a phase: the
same `what` has the same colour on the whole page.

The file needs nothing else: no network, no fonts, no scripts. Its content security policy forbids
them too. It adapts to light and dark, to a phone's width, and to paper. Every text that a caller
passes is shown as text: the template escapes it, and `clean` shows what does not print as <HEX>.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stm32up import outputs
from stm32up.say.words import took
from stm32up.text import clean

Tone = Literal["", "good", "warn", "bad"]
COLOURS = 9  # classes c0 to c8 of page.css; further names use c8
_STEPS = 80  # of a timeline that are listed below it
_TICKS = 5  # of a time axis, at most
_NARROWEST = 0.4  # per cent: a shorter span is drawn this wide, so that it is seen


@dataclass(frozen=True)
class Fact:
    """A figure of the summary: a large value above its name."""

    value: str
    name: str
    tone: Tone = ""


@dataclass(frozen=True)
class Cell:
    """A table's cell with a tone; a plain text is a cell too. `code`: in the font of programs."""

    text: str
    tone: Tone = ""
    code: bool = False


Row = Sequence[str | int | Cell]


@dataclass(frozen=True)
class Table:
    """`right`: the names of the columns that are aligned to the right. The first cell of each row
    is its heading."""

    columns: Sequence[str]
    rows: Sequence[Row]
    right: Collection[str] = ()
    caption: str = ""

    def cells(self, row: Row) -> list[tuple[Cell, bool]]:
        """(cell, whether it is aligned to the right) for each column."""
        cells = [cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row]
        return [(cell, name in self.right) for cell, name in zip(cells, self.columns, strict=True)]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Notice:
    """Something that went wrong, or well, and what to do next."""

    text: str
    next_step: str = ""
    tone: Tone = "bad"


@dataclass(frozen=True)
class Lines:
    """Lines of a log or a program, as they are."""

    lines: Sequence[str]
    title: str = ""


@dataclass(frozen=True)
class Span:
    """A phase from `start` to `end`. `what`: its name, which sets the colour; "" is a gap, in
    which nothing is known. `text`: what came of it."""

    start: float
    end: float
    what: str
    text: str = ""


@dataclass(frozen=True)
class Mark:
    """A moment: a cut, a retry, an end."""

    at: float
    what: str
    text: str = ""
    tone: Tone = "bad"


@dataclass(frozen=True)
class Timeline:
    """Spans and marks on a time axis, and the same as a list of steps. `title`: what a reader who
    does not see the drawing is told."""

    title: str
    spans: Sequence[Span]
    marks: Sequence[Mark] = ()
    listed: bool = True

    @cached_property
    def length(self) -> float:
        ends = [span.end for span in self.spans] + [mark.at for mark in self.marks]
        return max([*ends, 1.0])

    def x(self, at: float) -> str:
        """Where a moment is, in per cent of the width."""
        return _per_cent(at / self.length * 100)

    def width(self, span: Span) -> str:
        """The width of a span in per cent; never too narrow to see."""
        width = (span.end - span.start) / self.length * 100
        return _per_cent(min(max(width, _NARROWEST), 100 - span.start / self.length * 100))

    def ticks(self) -> list[tuple[str, str]]:
        """(where, text) for each tick of the time axis."""
        step = _step(self.length / _TICKS)
        count = int(self.length / step)
        return [(self.x(n * step), _axis(n * step, step)) for n in range(count + 1)]

    def steps(self) -> list[Span | Mark]:
        """What happened, in order."""
        told = [span for span in self.spans if span.text or span.what]
        steps: list[Span | Mark] = [*told, *self.marks]
        return sorted(steps, key=_when)[:_STEPS]

    @property
    def untold(self) -> int:
        """The number of steps that the list leaves out."""
        return max(0, len(self.spans) + len(self.marks) - _STEPS)


@dataclass(frozen=True)
class Share:
    """A part of a whole. `what`: its name, which sets the colour. `text`: the value as people read
    it."""

    what: str
    value: float
    text: str


@dataclass(frozen=True)
class Shares:
    """A whole in parts, such as where the time went: a bar for each. Not `whole`: values that are
    only compared, without colours and per cent."""

    title: str
    shares: Sequence[Share]
    whole: bool = True

    def width(self, share: Share) -> str:
        return _per_cent(share.value / max([each.value for each in self.shares] + [1e-9]) * 100)

    def of_all(self, share: Share) -> str:
        total = sum(each.value for each in self.shares) if self.whole else 0
        return f"{share.value / total:.0%}" if total else ""


@dataclass(frozen=True)
class Details:
    """Parts below a title that opens and closes them."""

    title: str
    parts: Sequence[Part]
    tone: Tone = ""
    is_open: bool = False
    remark: str = ""  # beside the title


Part = Text | Notice | Table | Timeline | Shares | Lines | Details


@dataclass(frozen=True)
class Section:
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Page:
    title: str
    facts: Sequence[Fact]
    sections: Sequence[Section]
    subtitle: str = ""
    made_by: str = ""  # the command, in the last line

    def html(self) -> str:
        """The whole file."""
        environment = Environment(
            loader=PackageLoader("stm32up", "report"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        style = environment.get_template("page.css").render()
        policy = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        return environment.get_template("page.html").render(
            page=self,
            style=Markup(style),
            style_hash=policy,
            colour=_Colours(),
            kind=lambda part: type(part).__name__,
            took=took,
        )

    def write(self, path: Path) -> None:
        """Raises UsageError."""
        with outputs.written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.html(), encoding="utf-8", newline="\n")


class _Colours(dict[str, str]):
    """The class of each phase's colour: a new name gets the next free one."""

    def __call__(self, what: str) -> str:
        return self.setdefault(what, f"c{min(len(self), COLOURS - 1)}") if what else "gap"


def _shown(value: object) -> object:
    """What the template prints: no character that does not print."""
    return clean(value, keep="\n") if isinstance(value, str) and type(value) is str else value


def _when(step: Span | Mark) -> tuple[float, bool]:
    """A mark comes before the phase that begins with it."""
    return (step.at, False) if isinstance(step, Mark) else (step.start, True)


def _per_cent(value: float) -> str:
    return f"{value:.2f}%"


def _steps_of_an_axis() -> Iterator[float]:
    """1, 2, 5, 10, ... milliseconds; then parts of minutes and hours."""
    for power in range(5):
        yield from (10.0**power, 2 * 10.0**power, 5 * 10.0**power)
    for minutes in (1, 2, 5, 10, 30, 60, 120, 300, 600, 1440, 2880, 7200, 14400, 43200):
        yield minutes * 60_000.0


def _step(least: float) -> float:
    return next((step for step in _steps_of_an_axis() if step >= least), least)


def _axis(ms: float, step: float) -> str:
    if not ms:
        return "0"
    if step < 1000:
        return f"{ms / 1000:.3g} s" if ms >= 1000 else f"{ms:.0f} ms"
    return f"{ms / 1000:.0f} s" if step < 60_000 else f"{ms / 60_000:.0f} min"
