"""`doctor --wires`: from wire to wire with the person at the bench, then the whole examination.

For each wire the person connects it, the host reads its pin and drives it, and the person measures
at the target's end. What no multimeter shows, such as a wire to the wrong pin, the examination
shows at the end: it resets the target and talks to its loader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stm32up.board.model import Board, BoardJson
from stm32up.doctor import examine, rules_bus
from stm32up.doctor.diagnosis import Diagnosis, Severity, diagnose
from stm32up.errors import UpdateFailed
from stm32up.events import Examined, Finding, Report
from stm32up.host.paths import FOLDER
from stm32up.host.transport import Connection

Ask = Callable[[str], str]  # what the user typed, in lower case; empty for Enter
_NO, _SKIP = "n", "s"
_ALSO = {  # what belongs to a wire
    "BOOT0": ", and a resistor to ground",
    "SCL": ", and its resistor to 3.3 V",
    "SDA": ", and its resistor to 3.3 V",
}


@dataclass(frozen=True)
class Wire:
    """A wire from a pin of the host. `drive`: whether it is driven open-drain (True), push-pull
    (False), or by the target (None). `inactive`: its level while nothing is done."""

    name: str
    pin: int
    to: str
    drive: bool | None
    inactive: int = 1

    @property
    def title(self) -> str:
        return f"{self.name} (host pin {self.pin})"


def wires(settings: BoardJson) -> list[Wire]:
    """The wires of a board, in the order in which they are connected."""
    pins, i2c, uart = settings["pins"], settings["i2c"], settings["uart"]
    found = [Wire("NRST", pins["nrst"], "the target's NRST", True)]
    if pins["boot0"] is not None:
        found.append(Wire("BOOT0", pins["boot0"], "the target's BOOT0", False, 0))
    if pins["supply"] is not None:
        found.append(Wire("SUPPLY", pins["supply"], "the switch of the target's supply", False))
    if i2c is not None:
        found.append(Wire("SCL", i2c["scl"], "the target's SCL", True))
        found.append(Wire("SDA", i2c["sda"], "the target's SDA", True))
    if uart is not None:
        found.append(Wire("TX", uart["tx"], "the RX of the target's loader", False))
        found.append(Wire("RX", uart["rx"], "the TX of the target's loader", None))
    return found


def trouble(wire: Wire, seen: dict[str, int]) -> str:
    """What is wrong with a wire that reads like this; empty if nothing is."""
    bus = wire.name in ("SCL", "SDA")
    if wire.drive is not None and seen["low"]:
        return "something drives it high: the host cannot pull it low"
    if not seen["pulled_up"] and wire.name != "BOOT0":
        return "something holds it low"
    if bus and not (seen["pulled_down"] and seen["high"]):
        return "there is no resistor to 3.3 V, or it is not connected"
    if wire.name == "BOOT0" and seen["pulled_up"]:
        return "there is no resistor to ground, or it is not connected"
    if wire.drive and not seen["high"]:
        return "nothing pulls it up: it is not connected, or the target has no supply"
    if wire.drive is False and not seen["high"]:
        return "something holds it low"
    return ""


def walk(connection: Connection, board: Board, ask: Ask, report: Report) -> Examined:
    """Go through all wires, then examine the board; return the values of the result. Raises
    UpdateFailed for a target that a bench operation may have left at work."""
    return walk_on(examine.ConnectedHost(connection), board.as_json(), ask, report)


def walk_on(host: examine.Host, settings: BoardJson, ask: Ask, report: Report) -> Examined:
    """As `walk`, with a host of any kind."""
    _refuse_interrupted(host, settings)
    findings: list[Finding] = []
    ask("Connect ground of host and target, and give both their supply. Then press Enter.")
    for wire in wires(settings):
        wrong = _checked(host, wire, ask, report)
        findings += [wrong] if wrong else []
    facts = examine.examine(host, settings)
    seen = diagnose(facts, rules_bus.RULES)  # whether anything is installed is another question
    return examine.values(facts, Diagnosis(findings + seen.findings, seen.otherwise))


def _refuse_interrupted(host: examine.Host, settings: BoardJson) -> None:
    if host.facts.block and host.call("host.facts", settings, FOLDER)["hands_off"]:
        raise UpdateFailed(
            "a bench operation was interrupted, and the target may be at work: a reset could lock "
            "it permanently",
            "Run the bench verb again; it looks first. See docs/bench.md.",
            {"ok": False, "error": "hands-off"},
        )


def _checked(host: examine.Host, wire: Wire, ask: Ask, report: Report) -> Finding | None:
    """Ask for a wire and look at it, again and again until it is right or skipped."""
    also = _ALSO.get(wire.name, "")
    answer = ask(f"Connect host pin {wire.pin} to {wire.to}{also}. Enter: look, s: skip.")
    while answer != _SKIP:
        seen: dict[str, int] = host.call("walk.look", wire.pin, wire.drive, wire.inactive)
        says = trouble(wire, seen)
        report({"event": "wire", "wire": wire.title, "pin": wire.pin, **seen, "says": says})
        evidence = [f"{wire.title}: {says}"] if says else _measured(host, wire, ask)
        if not evidence:
            return None
        answer = ask("Correct it. Enter: look again, s: go on without.")
        if answer == _SKIP:
            return _finding(wire, evidence)
    return None


def _measured(host: examine.Host, wire: Wire, ask: Ask) -> list[str]:
    """Drive a wire, and let the user measure at the target's end. What was not as it must be."""
    if wire.drive is None:
        return []
    wrong = []
    try:
        for level, volts in ((0, "about 0 V"), (1, "about 3.3 V")):
            host.call("walk.hold", wire.pin, wire.drive, level)
            if ask(f"Measure at {wire.to}: {volts}? Enter: yes, n: no.") == _NO:
                wrong.append(f"{wire.title} is {'high' if level else 'low'}, and its end is not")
    finally:
        host.call("walk.hold", wire.pin, wire.drive, wire.inactive)
    return wrong


def _finding(wire: Wire, evidence: list[str]) -> Finding:
    return Finding(
        code=f"wire-{wire.name.lower()}",
        severity=Severity.WRONG,
        what=f"The wire {wire.title} is not right.",
        evidence=evidence,
        cause="It is open, at another pin, or shorted to another line.",
        next_step=f"Check the wire from host pin {wire.pin} to {wire.to}.",
    )
