"""Draws a wiring: both boards with all pins, the wires between them, and the resistors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stm32up.report.drawing import Colours, Drawing, Point
from stm32up.report.wiring import (
    IN_SERIES,
    NAMES,
    PULL_DOWNS,
    PULL_UPS,
    Wire,
    Wiring,
    short_name,
)

_COLOURS: Colours = {
    "3V3": ("#cf222e", "#ff7b72"),
    "GND": ("#1f2328", "#f0f6fc"),
    "SDA": ("#0969da", "#58a6ff"),
    "RX": ("#0969da", "#58a6ff"),
    "SCL": ("#bc4c00", "#f0883e"),
    "TX": ("#bc4c00", "#f0883e"),
    "NRST": ("#8250df", "#bc8cff"),
    "BOOT0": ("#1a7f37", "#3fb950"),
    "other": ("#57606a", "#9198a1"),
    "pin": ("#ffffff", "#21262d"),
    "on": ("#ffffff", "#0d1117"),  # text on a pin that is used
}

_WIDTH, _HEIGHT, _TOP, _PITCH, _SQUARE = 1096, 668, 96, 23, 17
_HOST_LEFT, _HOST_RIGHT = 30, 214  # edges of the host's board
_TARGET_LEFT, _TARGET_RIGHT = 692, 1066
_CONNECTORS = (726, 906)  # the first column of each connector
_LANES = (232, 676)  # where wires run up or down, beside each board
_LANE = 10  # from one of them to the next
_MIDDLE = (304, 606)  # between them each wire has a row of its own
_RAILS = (118, 548)  # the rows of 3.3 V and ground
_ROWS = (190, 470)  # the first and the last of the others


def svg(wiring: Wiring) -> str:
    return _Picture(wiring).svg()


class _Picture:
    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    def svg(self) -> str:
        host, target = self._wiring.host.title, self._wiring.target.title
        drawing = Drawing(f"Wiring: {host} and {target}", _WIDTH, _COLOURS)
        self._boards(drawing)
        middle = sorted(
            (wire for wire in self._wiring.wires if wire.signal not in ("3V3", "GND")),
            key=self._exit,
        )
        rows: dict[str, float] = dict(zip(("3V3", "GND"), _RAILS, strict=True))
        step = (_ROWS[1] - _ROWS[0]) / max(1, len(middle) - 1)
        rows |= {wire.signal: _ROWS[0] + step * number for number, wire in enumerate(middle)}
        self._from_host(drawing, rows)
        self._rows(drawing, rows)
        self._to_target(drawing, rows)
        self._pins(drawing)
        for number, note in enumerate(self._notes()):
            drawing.text((_HOST_LEFT, 606 + 19 * number), note, "dim", size=13)
        return drawing.svg(_HEIGHT)

    def _notes(self) -> list[str]:
        host = short_name(self._wiring.host)
        return [
            f"Dashed: only if the {host} feeds the NUCLEO. Then connect no USB cable to the "
            "NUCLEO, and read how to set its supply. Never connect two sources.",
            "Always connect the grounds. Remove the two jumpers between ST-LINK and STM32 that "
            "carry SWD, or BOOT0 does not work.",
            f"Both boards seen from above. Drawn from {self._wiring.named}. Nothing here was "
            "tried on hardware.",
        ]

    def _boards(self, drawing: Drawing) -> None:
        for left, right, title, top in (
            (_HOST_LEFT, _HOST_RIGHT, self._wiring.host.title, self._wiring.host.top),
            (_TARGET_LEFT, _TARGET_RIGHT, self._wiring.target.title, "ST-LINK, USB"),
        ):
            centre = (left + right) / 2
            drawing.text((centre, 40), title, size=17, anchor="middle", bold=True)
            drawing.box((left, 56), (right - left, 526))
            turned = self._wiring.turned and left == _HOST_LEFT
            drawing.text((centre, 576 if turned else 73), top, "dim", size=12, anchor="middle")

    def _exit(self, wire: Wire) -> float:
        """Where it leaves the host's board: in the row of its pin, or above that if the other
        column is in its way."""
        column, row = self._wiring.place(wire)
        return _y(row) - (0 if column else _PITCH / 2)

    def _from_host(self, drawing: Drawing, rows: Mapping[str, float]) -> None:
        ways = [(wire.signal, self._exit(wire), rows[wire.signal]) for wire in self._wiring.wires]
        lanes = _lanes(ways)
        for wire in self._wiring.wires:
            (column, row), leaves = self._wiring.place(wire), self._exit(wire)
            lane = _LANES[0] + _LANE * lanes[wire.signal]
            start = (_host_x(column), _y(row))
            points = [start, (start[0], leaves), (lane, leaves), (lane, rows[wire.signal])]
            points.append((_MIDDLE[0], rows[wire.signal]))
            drawing.line(points, _colour(wire.signal), width=2.2, dashed=wire.signal == "3V3")

    def _rows(self, drawing: Drawing, rows: Mapping[str, float]) -> None:
        for wire in self._wiring.wires:
            y, colour = rows[wire.signal], _colour(wire.signal)
            ends = self._wiring.end(wire) is None
            right = _MIDDLE[0] + 12 if ends else _MIDDLE[1]
            drawing.line([(_MIDDLE[0], y), (right, y)], colour, width=2.2)
            if ends:
                drawing.text((right + 8, y + 4), wire.short, size=13)
            else:
                name = NAMES.get(wire.signal, wire.signal)
                drawing.text((_MIDDLE[0] + 4, y - 7), name, colour, bold=True)
        present = [wire.signal for wire in self._wiring.wires]
        x = _MIDDLE[0] + 120
        for signal, value in PULL_UPS.items():
            if signal in present:
                _resistor(drawing, (x, rows["3V3"]), (x, rows[signal]), value, "3V3", near=True)
                x += 54
        for signal, value in IN_SERIES.items():
            if signal in present:
                at = _MIDDLE[1] - 56
                drawing.box((at, rows[signal] - 6), (34, 12), "paper", _colour(signal), radius=0)
                drawing.text((at + 17, rows[signal] - 11), _ohms(value), size=11, anchor="middle")
        for signal, value in PULL_DOWNS.items():
            if signal in present:
                x = _MIDDLE[1] - 14
                _resistor(drawing, (x, rows[signal]), (x, rows["GND"]), value, "GND", near=False)

    def _to_target(self, drawing: Drawing, rows: Mapping[str, float]) -> None:
        arrives = {}
        for wire in self._wiring.wires:
            if (end := self._wiring.end(wire)) is not None:
                direct = end[0] == next(iter(self._wiring.target.connectors)) and end[1] % 2
                arrives[wire] = self._target_at(end)[1] - (0 if direct else _PITCH / 2)
        lanes = _lanes([(wire.signal, y, rows[wire.signal]) for wire, y in arrives.items()])
        for wire, y in arrives.items():
            lane = _LANES[1] - _LANE * lanes[wire.signal]
            pin = self._target_at(self._wiring.end(wire))
            points: list[Point] = [
                (_MIDDLE[1], rows[wire.signal]),
                (lane, rows[wire.signal]),
                (lane, y),
            ]
            points += [(pin[0], y), pin]
            drawing.line(points, _colour(wire.signal), width=2.2)

    def _target_at(self, end: tuple[str, int] | None) -> Point:
        assert end is not None
        connector = list(self._wiring.target.connectors).index(end[0])
        column, row = (end[1] - 1) % 2, (end[1] - 1) // 2
        return _CONNECTORS[connector] + _PITCH * column, _y(row)

    def _pins(self, drawing: Drawing) -> None:
        used = {self._wiring.place(wire): wire.signal for wire in self._wiring.wires}
        for column, pins in enumerate(self._wiring.columns):
            for row, pin in enumerate(pins):
                x, y = _host_x(column), _y(row)
                signal = used.get((column, row))
                _square(drawing, (x, y), pin.label.rpartition("-")[2], signal)
                side = 15 if column == 0 else -15
                drawing.text(
                    (x + side, y + 4),
                    pin.name,
                    "ink" if signal else "dim",
                    size=12,
                    anchor="start" if column == 0 else "end",
                    bold=signal is not None,
                )
        ends = {self._wiring.end(wire): wire.signal for wire in self._wiring.wires}
        for connector, names in self._wiring.target.connectors.items():
            first = self._target_at((connector, 1))
            drawing.text((first[0] - 8, 90), connector, size=13, bold=True)
            for number, name in enumerate(names, 1):
                at = self._target_at((connector, number))
                signal = ends.get((connector, number))
                _square(drawing, at, str(number), signal)
                if signal:
                    text = name if name == signal else f"{name} = {signal}"
                    right = first[0] + _PITCH + 16
                    drawing.text((right, at[1] + 4), f"{number}: {text}", size=12, bold=True)


def _ohms(value: str) -> str:
    return value.replace("Ohm", "Ω")


def _colour(signal: str) -> str:
    return signal if signal in _COLOURS else "other"


def _y(row: int) -> float:
    return _TOP + 8 + _PITCH * row


def _host_x(column: int) -> float:
    return (_HOST_LEFT + 14, _HOST_RIGHT - 14)[column]


def _lanes(ways: Sequence[tuple[str, float, float]]) -> dict[str, int]:
    """The lane of each (signal, y of its pin, y of its row), from the pins: so that wires that go
    the same way do not cross."""
    ups = sorted((pin, name) for name, pin, row in ways if row < pin)
    downs = sorted(((-pin, name) for name, pin, row in ways if row >= pin))
    lanes = {name: number for number, (_, name) in enumerate(ups)}
    return lanes | {name: number for number, (_, name) in enumerate(downs, len(ups))}


def _square(drawing: Drawing, at: Point, number: str, signal: str | None) -> None:
    corner = (at[0] - _SQUARE / 2, at[1] - _SQUARE / 2)
    colour = _colour(signal) if signal else "pin"
    drawing.box(
        corner, (_SQUARE, _SQUARE), colour, _colour(signal) if signal else "edge", radius=2
    )
    text = "on" if signal else "dim"
    drawing.text((at[0], at[1] + 3.5), number, text, size=10, anchor="middle", bold=bool(signal))


def _resistor(
    drawing: Drawing, top: Point, bottom: Point, value: str, colour: str, *, near: bool
) -> None:
    """Between two rows; `near` the upper one, or the lower one."""
    middle = top[1] + 34 if near else bottom[1] - 34
    drawing.line([top, bottom], colour)
    drawing.box((top[0] - 6, middle - 17), (12, 34), "paper", colour, radius=0)
    side, anchor = (10, "start") if near else (-10, "end")
    drawing.text((top[0] + side, middle + 4), _ohms(value), size=11, anchor=anchor)
    drawing.dot(top, colour)
    drawing.dot(bottom, colour)
