"""Draws the way onto a chip as a tree of questions: docs/boot-tree.svg."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

from stm32up.report.drawing import Colours, Drawing


class Leaf(NamedTuple):
    tone: str  # "good", "once" for something to do first, "bad"
    text: str


class Question(NamedTuple):
    text: str
    yes: Question | Leaf
    no: Question | Leaf


_APPLICATION = "Does its application enter the loader when told to?"
TREE = Question(
    "Is NRST wired to the host?",
    Question(
        "Is BOOT0 (PA14) wired to the host?",
        Question(
            "Is nBOOT_SEL 0? From the factory it is 1. stm32up probe shows it",
            Leaf("good", '[enter] method = "boot0". Works whatever is in the flash'),
            Question(
                "Is its flash blank?",
                Leaf("once", "Switch it on: EMPTY starts the loader. Then stm32up provision"),
                Question(
                    _APPLICATION,
                    Leaf("once", '[enter] method = "command", then stm32up provision'),
                    Leaf("once", "STM32CubeProgrammer and an ST-LINK: set nBOOT_SEL to 0"),
                ),
            ),
        ),
        Question(
            _APPLICATION,
            Question(
                "Does a pin of the host switch its supply?",
                Leaf("good", '[enter] method = "command", [pins] supply'),
                Leaf("good", '[enter] method = "command". Some power cuts need a hand'),
            ),
            Question(
                "Is its flash blank?",
                Leaf(
                    "once",
                    "EMPTY starts the loader at power-on: good for one installation",
                ),
                Leaf("bad", "No way over the bus. Wire BOOT0"),
            ),
        ),
    ),
    Leaf("bad", "Wire it: board.toml requires [pins] nrst"),
)
_NOTES = (
    "A debugger that touched SWD since power-on makes the chip ignore BOOT0: unplug it, then "
    "switch the target off and on.",
    "Readout protection (RDP level 1) is removed by stm32up unprotect, which erases the chip. "
    "Level 2 is permanent.",
)
_COLOURS: Colours = {
    "good": ("#1a7f37", "#3fb950"),
    "once": ("#9a6700", "#d29922"),
    "bad": ("#cf222e", "#f85149"),
}
_WIDE, _HIGH, _STEP, _ROW, _TOP = 184, 62, 222, 74, 16


def svg() -> str:
    depth, leaves = _depth(TREE), _leaves(TREE)
    drawing = Drawing("Which way onto my chip?", _STEP * depth + _WIDE + 32, _COLOURS)
    _draw(drawing, TREE, 0, 0, depth)
    y = _TOP + _ROW * leaves + 14
    for number, note in enumerate(_NOTES):
        drawing.text((16, y + 20 * number), note, "dim", size=13)
    return drawing.svg(y + 20 * len(_NOTES))


def _depth(node: Question | Leaf) -> int:
    return 0 if isinstance(node, Leaf) else 1 + max(_depth(node.yes), _depth(node.no))


def _leaves(node: Question | Leaf) -> int:
    return 1 if isinstance(node, Leaf) else _leaves(node.yes) + _leaves(node.no)


def _draw(drawing: Drawing, node: Question | Leaf, column: int, row: int, last: int) -> float:
    """Draw a node whose first leaf is in this row; leaves stand in the last column. Returns the y
    of its centre."""
    if isinstance(node, Leaf):
        y = _TOP + _ROW * row + _HIGH / 2
        _box(drawing, _STEP * last + 16, y, node.text, node.tone)
        return y
    x = _STEP * column + 16
    yes = _draw(drawing, node.yes, column + 1, row, last)
    no = _draw(drawing, node.no, column + 1, row + _leaves(node.yes), last)
    y = yes  # a straight line for "yes"
    _box(drawing, x, y, node.text, "edge")
    out, turn = x + _WIDE, x + _WIDE + 14
    for answer, end, child in (("yes", yes, node.yes), ("no", no, node.no)):
        at = last if isinstance(child, Leaf) else column + 1
        points = [(out, y), (turn, y), (turn, end), (_STEP * at + 16, end)]
        drawing.line(points if end != y else [points[0], points[-1]], arrow=True)
        drawing.text((turn + 4 if end != y else out + 4, end - 6), answer, "dim", size=12)
    return y


def _box(drawing: Drawing, x: float, y: float, text: str, edge: str) -> None:
    drawing.box((x, y - _HIGH / 2), (_WIDE, _HIGH), "box", edge)
    lines = textwrap.wrap(text, 25)
    for number, line in enumerate(lines):
        down = 15 * (number - (len(lines) - 1) / 2)
        drawing.text((x + 9, y + 4 + down), line, size=12)
