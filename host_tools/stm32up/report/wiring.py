"""How a board is wired, from its board.toml; wiring_picture.py draws it.

Which pins are used is in board.toml, and where they are on the boards is in headers.py.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stm32up.board import boards
from stm32up.errors import UsageError
from stm32up.report.headers import HOSTS, TARGETS, Host, Pin, Target

# AN2606: 1.8 kOhm pull-ups for the loader's I2C. The others: boards/nucleo_g071rb.md.
PULL_UPS = {  # to 3.3 V of the target
    "SDA": "1.8 kOhm",
    "SCL": "1.8 kOhm",
    "RX": "10 kOhm",
    "NRST": "10 kOhm",
}
IN_SERIES = {"BOOT0": "1 kOhm"}
PULL_DOWNS = {"BOOT0": "10 kOhm"}  # on the side of the target

_SIGNALS = ("SDA", "SCL", "RX", "TX", "NRST", "BOOT0")
_CROSSED = {"tx": "RX", "rx": "TX"}  # the host sends to the pin where the target receives
_ENDS = {  # keys whose wire ends at something that is not on the NUCLEO: in short, and in full
    ("pins", "supply"): ("supply switch", "enable of the target's supply switch, active high"),
    ("bench", "supply_adc"): ("supply divider", "the target's supply, through a divider"),
}
NAMES = {  # in the picture and the table; otherwise that of the signal
    "3V3": "3.3 V of the target",
    "RX": "target's RX",
    "TX": "target's TX",
    "LED": "heartbeat",  # the application of boards/nucleo_g071rb_app toggles it
}


@dataclass(frozen=True)
class Wire:
    """`host`: the name of its pin. `target`: "CN7-21", or where else it ends; `short`: that in
    the picture."""

    signal: str
    host: str
    target: str
    short: str = ""


class Wiring:
    """The wires between two boards."""

    def __init__(self, toml: Mapping[str, Any], target: Target, named: str) -> None:
        """`toml`: a valid board.toml. `named`: its path, for a note in the picture."""
        self.host, self.target, self.named = HOSTS[toml["host"]], target, named
        self.wires = self._wires(toml)
        used = [wire.host for wire in self.wires]
        on_left = sum(pin.name in used for pin in self.host.left if pin.name != "GND")
        # The side with more of the used pins faces the target.
        self.turned = 2 * on_left > len([name for name in used if name != "GND"])
        left, right = self.host.left, self.host.right
        if self.turned:
            left, right = right[::-1], left[::-1]
        self.columns = left, right

    def _wires(self, toml: Mapping[str, Any]) -> list[Wire]:
        def wire(signal: str, pin: int) -> Wire:
            return Wire(signal, self.host.gpio.format(pin), self.target.signals[signal])

        bus = toml.get("i2c") or toml["uart"]
        pins = toml["pins"]
        found = [wire(line.upper(), bus[line]) for line in ("sda", "scl") if line in bus]
        found += [wire(_CROSSED[line], bus[line]) for line in ("tx", "rx") if line in bus]
        found += [wire(line.upper(), pins[line]) for line in ("nrst", "boot0") if line in pins]
        if "pin" in toml.get("confirm", {}):
            found.append(wire("LED", toml["confirm"]["pin"]))
        for (name, key), (short, end) in _ENDS.items():
            if key in toml.get(name, {}):
                pin = self.host.gpio.format(toml[name][key])
                found.append(Wire(f"[{name}] {key}", pin, end, short))
        found.append(Wire("GND", "GND", self.target.signals["GND"]))
        found.append(Wire("3V3", self.host.power, self.target.signals["3V3"]))
        return found

    # Where things are

    def place(self, wire: Wire) -> tuple[int, int]:
        """(column, row) of its pin of the host. Of several grounds: on the side of the target, the
        next below the other wires, or the nearest."""
        found = self._places(wire.host)
        if wire.signal != "GND" or len(found) == 1:
            return found[0]
        lowest = max(self.place(other)[1] for other in self.wires if other.signal in _SIGNALS)
        near = [at for at in found if at[0] == 1] or found
        return min(near, key=lambda at: (at[1] < lowest, abs(at[1] - lowest)))

    def _places(self, name: str) -> list[tuple[int, int]]:
        return [
            (column, row)
            for column, pins in enumerate(self.columns)
            for row, pin in enumerate(pins)
            if pin.name == name
        ]

    def pin(self, wire: Wire) -> Pin:
        column, row = self.place(wire)
        return self.columns[column][row]

    def end(self, wire: Wire) -> tuple[str, int] | None:
        """(connector, number of the pin), or None if the wire ends elsewhere."""
        name, _, number = wire.target.partition("-")
        return (name, int(number)) if name in self.target.connectors else None

    # The table

    def rows(self) -> list[tuple[str, str, str]]:
        """What each wire is, where it begins on the host, and where it ends."""
        titles = ("signal", self.host.title, self.target.title)
        return [
            titles,
            *(
                (NAMES.get(wire.signal, wire.signal), self._here(wire), self._there(wire))
                for wire in self.wires
            ),
        ]

    def table(self) -> str:
        """In Markdown."""
        titles, *rows = (f"| {' | '.join(row)} |" for row in self.rows())
        return "\n".join([titles, "|---|---|---|", *rows]) + "\n"

    def _here(self, wire: Wire) -> str:
        pin = self.pin(wire)
        return f"{pin.name} ({pin.label if '-' in pin.label else f'pin {pin.label}'})"

    def _there(self, wire: Wire) -> str:
        if (end := self.end(wire)) is None:
            return wire.target
        name = self.target.connectors[end[0]][end[1] - 1]
        there = wire.target if name == wire.signal else f"{name}, {wire.target}"
        if wire.signal in IN_SERIES:
            there += f", through {IN_SERIES[wire.signal]}"
        if wire.signal == "3V3":
            there += f", only if the {short_name(self.host)} feeds the NUCLEO"
        return there


def of(path: Path, named: str = "") -> Wiring:
    """The wiring of a board.toml. Raises BoardFileError, UsageError."""
    chip = boards.load(str(path)).chip.name
    if chip not in TARGETS:
        raise UsageError(
            f"{path} is for a {chip}, and where its pins are on a board is not known here",
            f"Known: {', '.join(TARGETS)}. Add others to host_tools/stm32up/report/headers.py.",
        )
    toml = tomllib.loads(path.read_text(encoding="utf-8"))
    wiring = Wiring(toml, TARGETS[chip], named or path.name)
    pins = {pin.name for column in wiring.columns for pin in column}
    for wire in wiring.wires:
        if wire.host not in pins:
            raise UsageError(
                f"{path} uses {wire.host}, and a {wiring.host.title} has no such pin to wire"
            )
    return wiring


def short_name(host: Host) -> str:
    return {"Raspberry Pi Pico": "Pico"}.get(host.title, "ESP32")
