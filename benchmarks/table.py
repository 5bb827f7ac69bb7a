"""Measurements as a table, for a terminal and for a document."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rows import CHECKSUM, I2C, NONE, READ, Row
from benchmarks.timeline import KINDS

COLUMNS = ("case", "speed", "host", "verified by", "seconds", "floor", "of it", *KINDS)
_TEXTS = 4  # columns of text; the others are numbers
_VERIFY = {CHECKSUM: "checksum", READ: "read back", NONE: ""}


def cells(row: Row) -> tuple[str, ...]:
    """`row`, column by column."""
    return (
        row.case,
        speed(row.hz, row.link),
        row.program if row.host == "linux" else row.host,
        "read back*" if row.read_instead else _VERIFY[row.verify],
        f"{row.seconds:.2f}",
        f"{row.floor:.2f}" if row.floor else "",
        f"{row.efficiency:.0%}" if row.efficiency is not None else "",
        *(f"{row.split[kind]:.2f}" for kind in KINDS),
    )


def speed(hertz: int, link: str = I2C) -> str:
    if link != I2C:
        return f"{hertz} baud"
    return f"{hertz // 1_000_000} MHz" if hertz % 1_000_000 == 0 else f"{hertz // 1000} kHz"


def plain(rows: Sequence[Row]) -> list[str]:
    """Lines for a terminal."""
    table = [COLUMNS, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for line in table:
        padded = [
            text.ljust(width) if number < _TEXTS else text.rjust(width)
            for number, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return lines + [f"* {note}" for note in _notes(rows)]


def markdown(rows: Sequence[Row]) -> list[str]:
    """Lines for a document."""
    rule = ("---",) * _TEXTS + ("--:",) * (len(COLUMNS) - _TEXTS)
    lines = [f"| {' | '.join(line)} |" for line in (COLUMNS, rule, *map(cells, rows))]
    return [*lines, *(part for note in _notes(rows) for part in ("", f"\\* {note}"))]


def _notes(rows: Sequence[Row]) -> list[str]:
    if any(row.read_instead for row in rows):
        return ["It was asked for the checksum, and read the image back instead."]
    return []
