"""The target's application as far as the updater knows it: does it answer, which version, and will
it enter the loader."""

import time

from micropython import const

from .errors import BusError

_SAMPLES = const(5)  # of a line, at once
_BETWEEN_SAMPLES_US = const(500)
VERSION_LENGTH = 8  # as MCUboot's image_version: major, minor, revision u16, build u32


class Application:
    """An application that answers at `address` of an I2CBus.

    `register` is written, then 8 bytes of version are read; None: it cannot be asked.
    `enter_command` is the frame that makes it enter the loader, or None."""

    def __init__(self, bus, address, register, enter_command=None):
        self._bus = bus
        self._address = address
        self._register = None if register is None else bytes([register])
        self._enter_command = enter_command
        self._version = bytearray(VERSION_LENGTH)

    def version(self):
        """The 8 bytes it answers, or None."""
        if self._register is None:
            return None
        try:
            self._bus.send(self._address, self._register)
            self._bus.receive_into(self._address, self._version)
        except BusError:
            return None
        return bytes(self._version)

    def answers(self):
        """Whether any version runs."""
        return self.version() is not None

    def runs(self, image):
        """Whether it answers the version of `image`: the built-in proof of an installation."""
        return self.version() == image.version_bytes

    def enter_loader(self):
        """Ask it to enter the loader. Nobody may answer: the loader tells whether it worked."""
        if self._enter_command is None:
            return
        try:
            self._bus.send(self._address, self._enter_command)
        except BusError:
            pass  # no application: whether the loader answers is asked next


class Heartbeat:
    """An application that toggles a line to the host, as seen through `pin()` -> 0 or 1.

    It shows that an application runs, not which: that follows from what was verified. The line is
    sampled every half a millisecond, several times; a level counts when most samples agree, twice
    in a row. So each level must last for 2 ms, and a spike is no edge."""

    def __init__(self, pin, edges, timeout_ms, clock):
        self._pin = pin
        self._edges = edges
        self._timeout_ms = timeout_ms
        self._clock = clock

    def answers(self):
        """Whether the line changes `edges` times before the time is over."""
        deadline = self._clock.deadline(self._timeout_ms)
        before = level = self._level()
        left = self._edges
        while not deadline.expired():
            self._clock.feed()
            time.sleep_us(_BETWEEN_SAMPLES_US)
            seen = self._level()
            if seen == before and seen != level:
                level = seen
                left -= 1
                if not left:
                    return True
            before = seen
        return False

    def _level(self):
        ones = 0
        for _ in range(_SAMPLES):
            ones += self._pin()
        return int(ones > _SAMPLES // 2)

    def runs(self, image):
        """The built-in proof of an installation where the application has no I2C."""
        return self.answers()
