"""Time and deadlines. Every wait has one deadline and feeds the watchdog."""

import time

from micropython import const

_LONGEST_NAP_MS = const(100)


def _nothing():
    pass


class Clock:
    """Milliseconds of this host, and the product's watchdog.

    `feed` is called at least every 100 ms of any wait."""

    def __init__(self, feed=None):
        self.feed = feed or _nothing

    def now(self):
        """Ticks in ms. They wrap around: use them only with `since`."""
        return time.ticks_ms()

    def since(self, then):
        """Milliseconds since `then = now()`."""
        return time.ticks_diff(time.ticks_ms(), then)

    def sleep(self, ms):
        """Sleep `ms` milliseconds in parts of at most 100 ms; feed the watchdog before each."""
        while ms > 0:
            self.feed()
            nap = min(ms, _LONGEST_NAP_MS)
            time.sleep_ms(nap)
            ms -= nap
        self.feed()

    def sleep_us(self, us):
        """As `sleep`, in microseconds; 0 or less: only feed the watchdog."""
        self.feed()
        while us > 0:
            nap = min(us, _LONGEST_NAP_MS * 1000)
            time.sleep_us(nap)
            us -= nap
            if us > 0:
                self.feed()

    def deadline(self, ms):
        """A Deadline `ms` milliseconds from now."""
        return Deadline(self, ms)


class Deadline:
    """The end of one wait."""

    def __init__(self, clock, ms):
        self._clock = clock
        self._end = time.ticks_add(time.ticks_ms(), ms)
        self.limit_ms = ms

    def left(self):
        """Milliseconds left; 0 or less when the deadline has passed."""
        return time.ticks_diff(self._end, time.ticks_ms())

    def expired(self):
        return self.left() <= 0

    def sleep(self, ms):
        """Sleep `ms` milliseconds, or less if the deadline comes first."""
        self._clock.sleep(min(ms, self.left()))
