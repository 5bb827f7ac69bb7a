"""A picture of lines, boxes and text, as an SVG for light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

Colours = Mapping[str, tuple[str, str]]  # name of a colour: on a light page, on a dark one
Point = tuple[float, float]

_PLAIN: Colours = {
    "paper": ("#ffffff", "#0d1117"),
    "ink": ("#1f2328", "#f0f6fc"),
    "dim": ("#59636e", "#b4bdc8"),
    "box": ("#f6f8fa", "#161b22"),
    "edge": ("#818b98", "#6e7681"),
}
_FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


class Drawing:
    """`colours`: more colours than ink, dim, box, edge and paper."""

    def __init__(self, title: str, width: int, colours: Colours | None = None) -> None:
        self._title = title
        self._width = width
        self._colours = {**_PLAIN, **(colours or {})}
        self._parts: list[str] = []

    def text(
        self,
        at: Point,
        text: str,
        colour: str = "ink",
        *,
        size: int = 14,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        weight = ' font-weight="600"' if bold else ""
        where = f'x="{at[0]:g}" y="{at[1]:g}" text-anchor="{anchor}"'
        self._parts.append(
            f'<text class="f-{colour}" {where} font-size="{size}"{weight}>{escape(text)}</text>'
        )

    def box(
        self, at: Point, size: Point, fill: str = "box", edge: str = "edge", *, radius: int = 6
    ) -> None:
        where = f'x="{at[0]:g}" y="{at[1]:g}" width="{size[0]:g}" height="{size[1]:g}"'
        self._parts.append(f'<rect class="f-{fill} s-{edge}" {where} rx="{radius}"/>')

    def line(
        self,
        points: Sequence[Point],
        colour: str = "edge",
        *,
        width: float = 1.5,
        dashed: bool = False,
        arrow: bool = False,
    ) -> None:
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        head = ' marker-end="url(#arrow)"' if arrow else ""
        self._parts.append(
            f'<path class="s-{colour} line" d="{path}" stroke-width="{width:g}"{dashes}{head}/>'
        )

    def dot(self, at: Point, colour: str = "edge", radius: float = 3.5) -> None:
        self._parts.append(
            f'<circle class="f-{colour}" cx="{at[0]:g}" cy="{at[1]:g}" r="{radius:g}"/>'
        )

    def svg(self, height: int) -> str:
        title = escape(self._title, quote=True)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self._width} {height}"'
            f' role="img" aria-label="{title}">\n<title>{title}</title>\n'
            f"<style>\n{self._style()}</style>\n"
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
            ' markerHeight="7" orient="auto"><path class="f-dim" d="M0 0L8 4L0 8z"/></marker>'
            f'</defs>\n<rect class="f-paper" width="{self._width}" height="{height}"/>\n'
            + "\n".join(self._parts)
            + "\n</svg>\n"
        )

    def _style(self) -> str:
        def rules(page: int) -> str:
            return "\n".join(
                f".f-{name} {{ fill: {shades[page]}; }} .s-{name} {{ stroke: {shades[page]}; }}"
                for name, shades in self._colours.items()
            )

        dark = f"@media (prefers-color-scheme: dark) {{\n{rules(1)}\n}}"
        return f"text {{ font-family: {_FONT}; }} .line {{ fill: none; }}\n{rules(0)}\n{dark}\n"
