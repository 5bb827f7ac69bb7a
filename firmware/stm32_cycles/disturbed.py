"""Runs the updater once while the lines to the target, or the host itself, are disturbed.

The updater waits and feeds its watchdog through its clock. The clock here strikes too: at the very
instant if that is within a wait, such as that for a flash operation, else at the next feed, which
is between two frames. A line that is held low while the updater goes on spoils the frames that
follow. Only the watchdog resets the host in the middle of a frame, or of a write to its own flash.

No machine.Timer: its callbacks run between two bytecodes, so they come no closer.
"""

import time

import machine
from micropython import const

from stm32_rom import pins
from stm32_rom.clock import Clock
from stm32_updater.board import Board
from stm32_updater.settings import Section
from stm32_updater.updater import Updater

_WATCHDOG_US = const(1_000_000)  # the shortest of an esp32; an rp2 takes any up to 8388 ms
_AT_ONCE_US = const(2000)  # a line is held for so long without going on


class Disturber(Clock):
    """A clock that strikes. `strikes`: [kind, at_us, for_us] in order, since `begin`; no later
    than some minutes. Kinds: "watchdog", "reset", "soft-reset" of the host, or the name of a line,
    which is pulled low."""

    def __init__(self, feed, tell, strikes):
        super().__init__(self._feed_and_strike)
        self._feed = feed
        self._tell = tell
        self._strikes = list(strikes)
        self._lines = {}  # until `begin`
        self._low = None  # the line that is held low
        self._low_until = 0  # us since `begin`
        self._bites = False  # a watchdog runs, and is not fed

    def begin(self, lines):
        """`lines`: name -> callable that takes 0 or 1."""
        self._lines = lines
        self._began = time.ticks_us()

    def release(self):
        """Let go of the line that is held low, if one is."""
        line, self._low = self._low, None
        if line is not None:
            line(1)

    def sleep(self, ms):
        self._sleep(ms * 1000)
        self.feed()

    def sleep_us(self, us):
        self._sleep(us)

    def _sleep(self, us):
        """Sleep, and act in between when it is time."""
        left = self._left()
        while left is not None and 0 < left < us:
            Clock.sleep_us(self, left)
            self.feed()
            us -= left
            left = self._left()
        Clock.sleep_us(self, us)

    def _left(self):
        """us until the next action; None if there is none."""
        if not self._lines or self._bites:
            return None
        due = None
        if self._strikes:
            kind, due, _ = self._strikes[0]
            if kind == "watchdog":
                due -= _WATCHDOG_US
        if self._low is not None and (due is None or self._low_until < due):
            due = self._low_until
        return None if due is None else due - self._now()

    def _now(self):
        return time.ticks_diff(time.ticks_us(), self._began)

    def _feed_and_strike(self):
        if self._bites:
            return
        self._feed()
        left = self._left()
        if left is None or left > 0:
            return
        if self._low is not None and self._low_until <= self._now():
            self.release()
            return
        kind, at_us, for_us = self._strikes.pop(0)
        if kind == "watchdog":
            self._bites = True
            self._tell({"event": "cut", "kind": kind, "t": at_us // 1000})
            _start_watchdog(at_us - self._now())
        elif kind == "reset":
            machine.reset()
        elif kind == "soft-reset":
            machine.soft_reset()
        else:
            self._pull(kind, for_us)

    def _pull(self, kind, for_us):
        self.release()
        self._low = self._lines[kind]
        at = self._now()
        self._low(0)
        if for_us <= _AT_ONCE_US:
            time.sleep_us(for_us)
            self.release()
        else:
            self._low_until = at + for_us
        self._tell({"event": "cut", "kind": kind, "t": at // 1000, "ms": for_us // 1000})


def run(strikes, feed, tell, force=False, path="/board.json"):
    """Run the updater, and `tell` each event with "t", the ms since the start. Raises BoardError,
    and whatever ends the run."""
    clock = Disturber(feed, tell, strikes)
    board = Board.load(path, clock)
    clock.begin(_lines(board, path))
    began = clock.now()
    try:
        for event in Updater(board, clock).events(force):
            event["t"] = clock.since(began)
            tell(event)
            clock.feed()
    finally:
        clock.release()


def _lines(board, path):
    wired = board.target.pins
    return {"nrst": wired.nrst, "supply": wired.supply, "short": _short(path)}


def _short(path):
    """The pin that can pull SDA low, or None."""
    import json

    with open(path) as file:
        wired = Section(json.load(file)).section("pins")
    number = wired.pin("short", True)
    if number is None:
        return None
    pin = pins.unconfigured(number)
    pin.init(pin.OPEN_DRAIN, value=1)
    return pin


def _start_watchdog(us):
    """Let a watchdog bite in `us`. Where it cannot be so soon, wait first."""
    ms = max(us // 1000, 1)
    try:
        machine.WDT(timeout=ms)
    except ValueError:
        machine.WDT(timeout=_WATCHDOG_US // 1000)
        time.sleep_us(_WATCHDOG_US - ms * 1000)
