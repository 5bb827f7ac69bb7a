"""Looks, before a board is interrupted, whether it updates its target.

Nothing that is sent here can stop a program. firmware/stm32_updater/answers.py answers for a
program; an earlier stm32up whose process was killed is recognised by what its code on the board
still prints.
"""

from __future__ import annotations

import time
from enum import Enum

from stm32up.errors import DeviceError, UpdateRuns
from stm32up.events import Event, Report, from_board
from stm32up.host.raw_repl import ALIVE, DONE, OUTPUT, UPDATE, RawRepl

# A program answers while it feeds its watchdog: every 0.5 s at most (docs/product.md).
LOOK_S = 1.0
SIMULATED_LOOK_S = 4.0  # a simulated board on a busy computer takes longer than a real one
SILENCE_S = 10.0  # a board that was reset meanwhile goes on within a few seconds
_AGAIN_S = 0.3


class Program(Enum):
    """What a board does."""

    NONE = "none"  # it is at its prompt
    WORKS = "works"  # its program says that no update runs
    UNKNOWN = "unknown"  # it does not answer
    UPDATES = "updates"
    BUSY = "busy"  # code of an earlier stm32up runs


UNDER_WAY = {
    Program.UPDATES: "an update runs on the board",
    Program.BUSY: "an earlier stm32up still works on the board",
}


class Running:
    """What the program on a board says about itself. `simulated`: it may be a simulated one."""

    def __init__(self, repl: RawRepl, *, simulated: bool) -> None:
        self._repl = repl
        self._look_s = SIMULATED_LOOK_S if simulated else LOOK_S
        self._line = b""  # of the code of an earlier stm32up
        self._told: int | None = None  # number of the last event that was reported
        self._asked = float("-inf")

    def look(self) -> Program:
        """What the board does now."""
        end = time.monotonic() + self._look_s
        while time.monotonic() < end:
            found = self._hear(lambda event: None)
            if found is not Program.UNKNOWN:
                self._told = None
                return found
        return Program.UNKNOWN

    def follow(self, report: Report) -> None:
        """Report the events of the update until it has ended. Raises UpdateRuns if the board does
        not answer any more."""
        last = time.monotonic()
        while True:
            found = self._hear(report)
            if found in (Program.NONE, Program.WORKS):
                return
            if found in UNDER_WAY:
                last = time.monotonic()
            elif time.monotonic() - last > SILENCE_S:
                raise UpdateRuns(
                    f"the board was updating its target, and is silent for {SILENCE_S:.0f} s now",
                    "Wait for its end, or interrupt it: --interrupt.",
                )

    def _hear(self, report: Report) -> Program:
        """Ask, if it is time to, and listen for a moment."""
        now = time.monotonic()
        if now - self._asked >= _AGAIN_S:
            self._asked = now
            self._repl.ask()
        found = Program.UNKNOWN
        for number, kind, data in self._repl.heard():
            if kind == UPDATE:
                found = self._answered(number, _event(data), report)
            elif kind in (OUTPUT, ALIVE):
                self._overheard(data if kind == OUTPUT else b"", report)
                found = Program.BUSY
            elif kind == DONE:
                found = Program.NONE
        if found is Program.UNKNOWN and self._repl.shows_prompt:
            return Program.NONE
        return found

    def _answered(self, number: int, event: Event, report: Report) -> Program:
        if event["event"] == "idle":
            return Program.WORKS
        if number != self._told:
            self._told = number
            _report(event, report)
        return Program.WORKS if event["event"] in ("result", "ended") else Program.UPDATES

    def _overheard(self, data: bytes, report: Report) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            _report(_event(line), report)


def _report(event: Event, report: Report) -> None:
    """The result is that of the update, not of this command."""
    if event["event"] == "result":
        report({**event, "event": "ended"})
    elif event["event"] not in ("begun", "ended", "output"):
        report(event)


def _event(data: bytes) -> Event:
    try:
        return from_board(data.decode(errors="replace"))
    except DeviceError:
        return {"event": "output"}
