"""Draws the phases of an update, and what leads from one to the next: docs/states.svg.

What a start does in a phase, and where an update that is given up ends, is asked of decide.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from stm32up import device
from stm32up.report.drawing import Colours, Drawing, Point

_decide: Any = device.module("stm32_updater.decide")
_record: Any = device.module("stm32_updater.record")


class Edge(NamedTuple):
    begin: str
    end: str
    why: str  # "\n" between lines
    points: tuple[Point, ...]
    at: Point  # of the text
    anchor: str = "start"


def _given_up(untouched: bool) -> str:
    phase: str = _decide.after_failed_writing(
        untouched=untouched, runs=True, image_unfit=False, permanent=True, too_often=False
    )
    return phase


_I, _C, _R = _record.INSTALLING, _record.CONFIRMING, _record.ROLLING_BACK
_IDLE, _UNKNOWN = _record.IDLE, _record.UNKNOWN
EDGES = (
    Edge(_IDLE, _I, "an image\nwas pushed", ((236, 218), (300, 218), (300, 100), (372, 100)),
         (294, 156), "end"),
    Edge(_I, _C, "written, verified", ((592, 100), (724, 100)), (656, 92), "middle"),
    Edge(_C, _IDLE, "the application has proved itself: installed",
         ((834, 60), (834, 28), (126, 28), (126, 190)), (482, 20), "middle"),
    Edge(_C, _R, "it has not: write\nthe earlier image", ((850, 150), (850, 310)), (858, 226)),
    Edge(_C, _UNKNOWN, "it has not, and\nthere is no\nearlier image",
         ((724, 132), (660, 132), (660, 340), (592, 340)), (668, 226)),
    Edge(_R, _IDLE, "the earlier one has proved itself: rolled back",
         ((834, 400), (834, 432), (126, 432), (126, 280)), (482, 424), "middle"),
    Edge(_I, _given_up(untouched=True), "given up\nbefore any erase",
         ((372, 132), (330, 132), (330, 250), (236, 250)), (338, 180)),
    Edge(_I, _given_up(untouched=False), "given up\nafter an erase",
         ((560, 150), (560, 310)), (568, 226)),
    Edge(_UNKNOWN, _I, "an image was\npushed or kept",
         ((480, 310), (480, 150)), (472, 250), "end"),
    Edge(_UNKNOWN, _IDLE, "an application runs", ((372, 370), (180, 370), (180, 280)), (190, 362)),
)  # fmt: skip
_PLACES: dict[str, Point] = {
    _IDLE: (16, 190),
    _I: (372, 60),
    _C: (724, 60),
    _UNKNOWN: (372, 310),
    _R: (724, 310),
}
_MEANS = {
    _IDLE: "nothing is under way",
    _I: "flash may be anything",
    _C: "verified, not proved yet",
    _UNKNOWN: "the host knows nothing",
    _R: "the earlier image is written",
}
_STARTS = {_decide.NOTHING: "returns at once", _decide.RESUME: "continues"}
_COLOURS: Colours = {"phase": ("#0969da", "#58a6ff")}
_SIZE = (220, 90)


def at_start(phase: str) -> str:
    """What a start does in this phase if nothing was pushed."""
    return _STARTS[_decide.at_start(phase, pushed=False, runs_already=False, refused=False)]


def svg() -> str:
    drawing = Drawing("The phases of an update", 960, _COLOURS)
    for edge in EDGES:
        drawing.line(edge.points, "dim", arrow=True)
        for number, line in enumerate(edge.why.split("\n")):
            at = (edge.at[0], edge.at[1] + 16 * number)
            drawing.text(at, line, size=12, anchor=edge.anchor)
    for phase, place in _PLACES.items():
        drawing.box(place, _SIZE, "box", "phase")
        x, y = place
        drawing.text((x + 14, y + 28), phase, "phase", size=16, bold=True)
        drawing.text((x + 14, y + 52), _MEANS[phase], size=13)
        drawing.text((x + 14, y + 74), f"a start {at_start(phase)}", "dim", size=13)
    notes = (
        "The phase is on the host's filesystem, and survives a power cut.",
        "An error that may go away changes no phase; eight runs without progress lead to unknown.",
        "From every phase: a pushed image leads to installing; an image that is gone, while an "
        "application runs, to idle.",
    )
    for number, note in enumerate(notes):
        drawing.text((16, 466 + 20 * number), note, "dim", size=13)
    return drawing.svg(520)
