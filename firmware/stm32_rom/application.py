"""The target's application, as the host sees it: whether it runs, its version, and its command to
enter the loader."""

import time

from micropython import const

from .errors import BusError

_SAMPLES = const(5)  # of the line, for one level
_BETWEEN_SAMPLES_US = const(500)
VERSION_LENGTH = 8  # as MCUboot's image_version: major, minor, revision u16, build u32


class Application:
    """An application at `address` of an I2CBus.

    `register`: one byte that is written before the 8 bytes of version are read; None if the
    application has no version register. `enter_command`: the frame that makes it enter the loader,
    or None."""

    def __init__(self, bus, address, register, enter_command=None):
        self._bus = bus
        self._address = address
        self._register = None if register is None else bytes([register])
        self._enter_command = enter_command
        self._version = bytearray(VERSION_LENGTH)

    def version(self):
        """The 8 bytes of version, or None if there is no answer."""
        if self._register is None:
            return None
        try:
            self._bus.send(self._address, self._register)
            self._bus.receive_into(self._address, self._version)
        except BusError:
            return None
        return bytes(self._version)

    def answers(self):
        """Whether an application of any version answers."""
        return self.version() is not None

    def runs(self, image):
        """Whether the application answers with the version of `image`: the default proof of an
        installation."""
        return self.version() == image.version_bytes

    def enter_loader(self):
        """Send the command to enter the loader. Errors are ignored: whether the loader answers
        afterwards is what counts."""
        if self._enter_command is None:
            return
        try:
            self._bus.send(self._address, self._enter_command)
        except BusError:
            pass


class Heartbeat:
    """An application that toggles a line to the host; `pin()` reads it as 0 or 1.

    This shows that an application runs, but not which one; that follows from the verified flash.
    Every 0.5 ms the line is sampled several times, and the majority is its level. A level counts
    when it is seen twice in a row. So each level must last 2 ms, and a spike is not an edge."""

    def __init__(self, pin, edges, timeout_ms, clock):
        self._pin = pin
        self._edges = edges
        self._timeout_ms = timeout_ms
        self._clock = clock

    def answers(self):
        """Whether the line changes `edges` times within `timeout_ms`."""
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
        """The default proof of an installation for an application without I2C."""
        return self.answers()
