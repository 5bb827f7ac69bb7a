"""Draws recorded runs below each other, as an SVG for light and dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from stm32sim.forum.recording import Recording, Span
from stm32sim.wires.clock import NS_PER_S
from stm32up.say import words

_WIDTH, _LEFT, _RIGHT = 1000, 64, 984  # width of the picture; where the time axis begins and ends
_ROW, _TOP = 118, 12  # height of a row; where the first begins
_BUS, _FLASH, _BAR = 30, 54, 18  # where the bars are in a row, and how high they are
_NEAR = 1.2  # bars closer than this become one
_TICK_S = 5
_WIDE = 300  # a window that is wide enough for text
_SERIF_FREE = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
_STYLE = f"""
svg {{ font: 14px {_SERIF_FREE}; }}
.paper {{ fill: #ffffff; }} .ink {{ fill: #1f2328; }} .dim {{ fill: #59636e; }}
.line {{ stroke: #8c959f; stroke-width: 1; }} .track {{ fill: #eff2f5; }}
.bus {{ fill: #6e7781; }} .flash {{ fill: #0969da; }}
.option {{ fill: #cf222e; }} .danger {{ fill: #cf222e; fill-opacity: 0.14; }}
.off {{ fill: #afb8c1; fill-opacity: 0.5; }}
.cut {{ stroke: #bc4c00; stroke-width: 2.5; }} .cut-text {{ fill: #bc4c00; }}
.well {{ fill: #1a7f37; }} .ill {{ fill: #cf222e; }} .strong {{ font-weight: 600; }}
.small {{ font-size: 12.5px; }}
@media (prefers-color-scheme: dark) {{
.paper {{ fill: #0d1117; }} .ink {{ fill: #e6edf3; }} .dim {{ fill: #9198a1; }}
.line {{ stroke: #6e7681; }} .track {{ fill: #1c2129; }}
.bus {{ fill: #9198a1; }} .flash {{ fill: #388bfd; }}
.option {{ fill: #f85149; }} .danger {{ fill: #f85149; fill-opacity: 0.22; }}
.off {{ fill: #6e7681; fill-opacity: 0.45; }}
.cut {{ stroke: #f0883e; }} .cut-text {{ fill: #f0883e; }}
.well {{ fill: #3fb950; }} .ill {{ fill: #ff7b72; }}
}}
"""


@dataclass(frozen=True)
class Row:
    """One lane: its title, what it sends, what was recorded, how it ended, and whether that is
    good."""

    title: str
    sends: str
    recording: Recording
    end: str
    well: bool


def draw(rows: Sequence[Row]) -> str:
    """The picture as text."""
    longest = max(row.recording.end for row in rows) / NS_PER_S
    scale = (_RIGHT - _LEFT) / (-(-longest // _TICK_S) * _TICK_S)  # pixels a second
    axis = _TOP + _ROW * len(rows)
    parts = [_rect("paper", 0, 0, _WIDTH, axis + 74)]
    for index, row in enumerate(rows):
        parts += _row(row, _TOP + index * _ROW, scale)
    parts += _axis(axis, scale)
    parts += _legend(axis + 52)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {axis + 74}" role="img">'
        f"<title>The forum case: {escape('; '.join(row.title for row in rows))}</title>"
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _row(row: Row, top: int, scale: float) -> list[str]:
    bus, flash, bottom = top + _BUS, top + _FLASH, top + _FLASH + _BAR
    parts = [
        _title(row, top + 16),
        _text("well strong" if row.well else "ill strong", _RIGHT, top + 16, row.end, "end"),
        _text("dim small", _LEFT - 8, bus + 14, "bus", "end"),
        _text("dim small", _LEFT - 8, flash + 14, "flash", "end"),
        _rect("track", _LEFT, bus, _RIGHT - _LEFT, _BAR),
        _rect("track", _LEFT, flash, _RIGHT - _LEFT, _BAR),
    ]
    recording = row.recording
    for span in recording.of("option"):
        start, end = _ends(span, scale)
        parts.append(_rect("danger", start, bus - 4, end - start, bottom - bus + 8))
    for kind, whats, y in (
        ("bus", ("bus",), bus),
        ("flash", ("erase", "program"), flash),
        ("option", ("option",), flash),
    ):
        for start, end in _merged(recording.of(*whats), scale):
            parts.append(_rect(kind, start, y, end - start, _BAR))
    for span in recording.of("option"):
        parts += _window_text(span, scale, bottom)
    for span in recording.of("off"):
        parts += _cut(row, span, scale, bus, bottom)
    return parts


def _title(row: Row, y: int) -> str:
    title = f'<tspan class="ink strong">{escape(row.title)}</tspan>'
    sends = f'<tspan class="dim small" dx="12">{escape(row.sends)}</tspan>'
    return f'<text x="{_LEFT}" y="{y}">{title}{sends}</text>'


def _window_text(span: Span, scale: float, bottom: int) -> list[str]:
    start, end = _ends(span, scale)
    if end - start > _WIDE:
        text = f"danger: {words.event({'event': 'programming', 'took': took(span)})}"
    else:
        text = f"danger for {took(span)}, drawn wider than it is"
    return [_text("ill small", start, bottom + 18, text)]


def took(span: Span) -> str:
    ms = (span.end - span.start) / 1e6
    return f"{ms / 1000:.1f} s" if ms >= 1000 else f"{ms:.1f} ms"


def _cut(row: Row, span: Span, scale: float, bus: int, bottom: int) -> list[str]:
    start, end = _ends(span, scale)
    text, x, anchor = "supply cut", start, "start"
    if not row.recording.outcome:
        text = "off and on, by hand"
    elif not row.well:
        text, x, anchor = "supply cut, then nothing answers", _RIGHT, "end"
    return [
        _rect("off", start, bus, end - start, bottom - bus),
        f'<line class="cut" x1="{start:.1f}" x2="{start:.1f}" y1="{bus - 7}" y2="{bottom + 7}"/>',
        _text("cut-text small", x, bottom + 18, text, anchor),
    ]


def _axis(y: int, scale: float) -> list[str]:
    parts = [f'<line class="line" x1="{_LEFT}" x2="{_RIGHT}" y1="{y}" y2="{y}"/>']
    seconds = round((_RIGHT - _LEFT) / scale)
    for second in range(0, seconds + 1, _TICK_S):
        x = _LEFT + second * scale
        parts.append(f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 5}"/>')
        unit = " s" if second == 0 else ""
        parts.append(_text("dim small", x, y + 19, f"{second}{unit}", "middle"))
    return parts


def _legend(y: int) -> list[str]:
    parts, x = [], float(_LEFT)
    for kind, text in (
        ("bus", "bytes on the bus"),
        ("flash", "main flash is erased, programmed"),
        ("option", "option bytes are programmed: a cut locks the chip"),
        ("off", "no supply"),
    ):
        parts.append(_rect(kind, x, y - 11, 12, 12))
        parts.append(_text("ink small", x + 17, y, text))
        x += 40 + 6.6 * len(text)
    return parts


def _ends(span: Span, scale: float) -> tuple[float, float]:
    """Where a bar begins and ends; never too narrow to see."""
    start = _LEFT + span.start / NS_PER_S * scale
    end = _LEFT + span.end / NS_PER_S * scale
    return start, max(end, start + (3 if span.what == "option" else 0.8))


def _merged(spans: Iterable[Span], scale: float) -> list[tuple[float, float]]:
    """Bars in order; those too close to distinguish are merged."""
    bars: list[tuple[float, float]] = []
    for start, end in (_ends(span, scale) for span in spans):
        if bars and start - bars[-1][1] < _NEAR:
            bars[-1] = (bars[-1][0], max(end, bars[-1][1]))
        else:
            bars.append((start, end))
    return bars


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}"/>'


def _text(kind: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    where = f'x="{x:.1f}" y="{y}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {where}>{escape(text)}</text>'
