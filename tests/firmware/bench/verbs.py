"""The bench verbs on a simulated board, called as by the desktop: plan, then apply."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.chip.option_bytes import OPTION_START, OPTR, RDP_LEVEL_1
from stm32sim.chip.quirks import Quirks, quirks_of
from stm32sim.in_process import Bench, Event
from stm32sim.wires.clock import NS_PER_S

FACTORY_OPTR = 0xFFFF_FEAA
WANTED_OPTR = 0xFEFF_FEAA
PROTECTED = {OPTR: WANTED_OPTR & ~0xFF | RDP_LEVEL_1}
NOTE = "/updater/hands-off"
SMALL = {"chip": "STM32G071R4"}  # 16 KB to look at instead of 128
OPTION_ACKS = ("before", "early", "lost")


def quirks(version: int = 4, **what: Any) -> Quirks:
    return replace(quirks_of(version), **what)


def procedure(bench: Bench, verb: str) -> Any:
    """A Provision or Unprotect in the current boot."""
    return getattr(bench.device.imports("stm32_bench"), verb).from_board("/board.json")


def plan(bench: Bench, verb: str, **wishes: Any) -> list[Event]:
    """All events of the read-only half; the plan last, after a round trip through JSON."""
    events = list(procedure(bench, verb).plan(**wishes))
    again: list[Event] = json.loads(json.dumps(events))
    return again


def apply(bench: Bench, verb: str, planned: Event) -> list[Event]:
    return list(procedure(bench, verb).apply(planned))


def run(bench: Bench, verb: str, **wishes: Any) -> Event:
    """Both halves, or only the first if there is nothing to do; the result."""
    planned = plan(bench, verb, **wishes)[-1]
    if not planned["ok"] or planned["status"] != "planned":
        return planned
    return apply(bench, verb, planned)[-1]


def sent(bench: Bench) -> list[bytes]:
    """Frames to the loader."""
    return [
        data
        for address, reading, data in bench.trace.transactions
        if address == I2C_ADDRESS and not reading
    ]


def option_writes(bench: Bench) -> list[bytes]:
    """Data frames of Write Memory at the option bytes: all frames after that address that are not
    commands."""
    address = OPTION_START.to_bytes(4, "big")
    frames = sent(bench)
    return [
        data
        for command, at, data in zip(frames, frames[1:], frames[2:], strict=False)
        if command in (b"\x32\xcd", b"\x31\xce") and at[:4] == address
    ]


def commands(bench: Bench, *codes: int) -> list[int]:
    """The command codes among these that were sent."""
    return [
        data[0]
        for data in sent(bench)
        if len(data) == 2 and data[0] ^ data[1] == 0xFF and data[0] in codes
    ]


class Moments:
    """The instants of everything that a target can notice: a byte on the bus, a pin, its
    supply."""

    def __init__(self, bench: Bench) -> None:
        self.instants: list[tuple[float, str]] = []
        self._bench = bench
        trace = bench.trace.tap
        serve = bench.world.call

        def tap(what: str, value: int) -> None:
            trace(what, value)
            self._note(what)

        def call(name: str, *args: Any) -> Any:
            if name in ("pin_init", "pin_write"):
                self._note(name)
            return serve(name, *args)

        bench.world.bus.tap = tap
        bench.world.call = call  # type: ignore[method-assign]
        bench.boot()

    def _note(self, what: str) -> None:
        self.instants.append((self._bench.clock.now / NS_PER_S, what))

    def longest_silence_after(self, instant: float) -> float:
        """Seconds until the next one."""
        return next(at for at, _ in self.instants if at > instant) - instant
