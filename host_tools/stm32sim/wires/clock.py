"""The one clock of a simulated world: integer nanoseconds and scheduled actions.

Nothing in a simulated world reads real time. Everything that takes time (a bit on the bus, a page
erase, a sleeping host) advances this clock, and all actions that become due are executed in order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Alarm:
    """An action at an instant, unless cancelled."""

    __slots__ = ("action", "at")

    def __init__(self, at: int, action: Callable[[], None]) -> None:
        self.at = at
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class Clock:
    """Virtual time. `now` is in nanoseconds since the world began."""

    def __init__(self) -> None:
        self.now = 0
        self._order = 0
        self._alarms: list[tuple[int, int, Alarm]] = []

    def at(self, instant: int, action: Callable[[], None]) -> Alarm:
        """Call `action` when the clock reaches `instant` (ns); at once if it is in the past."""
        alarm = Alarm(max(instant, self.now), action)
        self._order += 1
        heapq.heappush(self._alarms, (alarm.at, self._order, alarm))
        return alarm

    def after(self, delay: int, action: Callable[[], None]) -> Alarm:
        """Call `action` in `delay` ns."""
        return self.at(self.now + delay, action)

    def advance(self, duration: int) -> None:
        """Advance by `duration` ns."""
        instant = self.now + duration
        if self._alarms and self._alarms[0][0] <= instant:
            self.advance_to(instant)
        elif duration > 0:
            self.now = instant

    def advance_to(self, instant: int) -> None:
        """Advance to `instant` (ns) and execute everything that becomes due."""
        alarms = self._alarms
        while alarms and alarms[0][0] <= instant:
            self._next_alarm()
        if instant > self.now:
            self.now = instant

    def quiet_until(self, instant: int) -> bool:
        """Whether nothing is due up to `instant` (ns)."""
        return not self._alarms or self._alarms[0][0] > instant

    @property
    def next_due(self) -> int | None:
        """The instant of the next action; None if there is none."""
        return self._alarms[0][0] if self._alarms else None

    def advance_until(self, happened: Callable[[], bool], limit: int) -> bool:
        """Advance from alarm to alarm until `happened()`; False if it is not true by `limit`
        (ns)."""
        alarms = self._alarms
        while not happened():
            if not alarms or alarms[0][0] > limit:
                self.now = max(self.now, limit)
                return False
            self._next_alarm()
        return True

    def _next_alarm(self) -> None:
        at, _, alarm = heapq.heappop(self._alarms)
        if at > self.now:
            self.now = at
        if alarm.action is not None:
            alarm.action()
