"""Draws where the time of some measurements goes, as an SVG for light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.cases import FULL, ONE_PAGE, OVER_UART
from benchmarks.rows import CHECKSUM, LINUX, READ, Row
from benchmarks.timeline import KINDS

_WIDTH, _LEFT, _RIGHT = 860, 196, 790  # of the picture; where bars begin, and the longest ends
_BAR, _STEP, _HEAD, _GAP = 17, 24, 26, 12  # heights: of a bar, to the next one, of a title; below
_LEGEND = (  # the texts for KINDS
    "bus",
    "target programs",
    "target erases",
    "verify",
    "waiting",
    "Python",
    "host flash",
)
_GROUPS = (
    ("128 KB, all of it new, bus at 400 kHz", FULL.name, 400_000),
    ("128 KB, all of it new, bus at 1 MHz", FULL.name, 1_000_000),
    ("one page of 128 KB changed, bus at 400 kHz", ONE_PAGE.name, 400_000),
    ("128 KB, all of it new, UART at 460800 baud", OVER_UART.name, 460_800),
    ("128 KB, all of it new, UART at 1 MBd", OVER_UART.name, 1_000_000),
)
_BARS = (
    ("Pico, checksum", "rp2", CHECKSUM),
    ("Pico, read back", "rp2", READ),
    ("ESP32, checksum", "esp32", CHECKSUM),
    ("ESP32, read back", "esp32", READ),
    ("{program}, read back", LINUX, READ),
)
_TITLE = "Where the time of an update goes, in simulation"
_LIGHT = ("#0969da", "#8250df", "#cf222e", "#1a7f37", "#afb8c1", "#d4a72c", "#bc4c00")
_DARK = ("#388bfd", "#a371f7", "#f85149", "#3fb950", "#6e7681", "#e3b341", "#db6d28")


def _style() -> str:
    light = " ".join(f".k{number} {{ fill: {colour}; }}" for number, colour in enumerate(_LIGHT))
    dark = " ".join(f".k{number} {{ fill: {colour}; }}" for number, colour in enumerate(_DARK))
    return f"""
text {{ font: 13px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; }}
text {{ fill: #1f2328; }} .strong {{ font-weight: 600; }} .dim {{ fill: #59636e; }}
.floor {{ stroke: #1f2328; stroke-width: 2; }} {light}
@media (prefers-color-scheme: dark) {{
text {{ fill: #f0f6fc; }} .dim {{ fill: #b4bdc8; }} .floor {{ stroke: #f0f6fc; }} {dark}
}}
"""


def draw(rows: Sequence[Row]) -> str:
    """The picture as text."""
    parts: list[str] = []
    shown = [row for _, _, bars in _groups(rows) for _, row in bars]
    scale = (_RIGHT - _LEFT) / max(row.seconds for row in shown)
    y = 0
    for title, _, bars in _groups(rows):
        y += _HEAD
        parts.append(_text(8, y - 8, title, "strong"))
        for name, row in bars:
            parts += _bar(name, row, y, scale)
            y += _STEP
        y += _GAP
    parts += _legend(y + 6)
    height = y + 46
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
        f' aria-label="{_TITLE}">\n<title>{_TITLE}</title>\n<style>{_style()}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _groups(rows: Sequence[Row]) -> Iterator[tuple[str, int, list[tuple[str, Row]]]]:
    """(title, Hz, [(name of the bar, its row)]). Left out: rows that are missing, and those of a
    host that did not do what the bar's name says."""
    for title, case, hertz in _GROUPS:
        bars = [
            (name.format(program=row.program), row)
            for name, host, verify in _BARS
            for row in rows
            if (row.case, row.hz, row.host, row.verify) == (case, hertz, host, verify)
            if not row.read_instead
        ]
        if bars:
            yield title, hertz, bars


def _bar(name: str, row: Row, top: int, scale: float) -> list[str]:
    parts = [_text(_LEFT - 8, top + 13, name, "", "end")]
    x = float(_LEFT)
    for number, kind in enumerate(KINDS):
        width = row.split[kind] * scale
        if width >= 0.1:
            parts.append(_rect(number, x, top, width))
        x += width
    if row.floor:
        at = _LEFT + row.floor * scale
        parts.append(_mark(at, top - 3, top + _BAR + 3))
        x = max(x, at)
    parts.append(_text(x + 7, top + 13, f"{row.seconds:.1f} s"))
    return parts


def _legend(y: int) -> list[str]:
    parts, x = [], 8.0
    for number, text in enumerate(_LEGEND):
        parts.append(_rect(number, x, y, 12, 12))
        parts.append(_text(x + 17, y + 11, text))
        x += 34 + 6.9 * len(text)
    parts.append(_mark(14, y + 20, y + 36))
    parts.append(_text(25, y + 33, "the floor: wires and flash alone"))
    parts.append(_text(_RIGHT, y + 33, "Simulated: nothing here ran on hardware.", "dim", "end"))
    return parts


def _mark(x: float, top: int, bottom: int) -> str:
    return f'<line class="floor" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'


def _rect(number: int, x: float, y: int, width: float, height: int = _BAR) -> str:
    return f'<rect class="k{number}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}"/>'


def _text(x: float, y: int, text: str, kind: str = "", anchor: str = "start") -> str:
    of = f' class="{kind}"' if kind else ""
    return f'<text{of} x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
