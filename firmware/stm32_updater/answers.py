"""Answers a desktop that asks on the REPL's serial port whether an update runs.

stm32up asks before it interrupts a program (Ctrl-C). If an update runs, it shows its events and
waits for its end.

    question  14             Ctrl-T, which a REPL ignores
    answer    F5 digits F6   three octal digits (F8 + digit) for each byte of: number of the event,
                             "u", the event as JSON, CRC-32 of all these

The bytes of an answer occur in no text, so other output on the port does no harm. Nothing is sent
unless it was asked for. All other input is dropped, so this is not for a program that reads its
serial port itself.
"""

import json
import select
import sys
from binascii import crc32

from micropython import const

_QUESTION = b"\x14"
_KIND = const(0x75)  # "u"
_MOST = const(64)  # bytes that are read at once
_LOOK_MS = const(50)
_FOLLOWS_MS = const(3000)  # who asks every second gets all events
_input = select.poll()
_input.register(sys.stdin, select.POLLIN)
_last = {"event": "idle"}, 0  # the last event of the last run, and its number


def answer():
    """Answer if the question has arrived; return whether it has. A program without a run calls
    this in its loop, so that stm32up need not wait to see that no update runs, and hears the
    result even if it asks late."""
    return _answer(*_last)


def _answer(event, number):
    asked = False
    for _ in range(_MOST):
        if not _input.poll(0):
            break
        if sys.stdin.buffer.read(1) == _QUESTION:
            asked = True
    if asked:
        _send(event, number)
    return asked


class Answers:
    """The answers during a run. Listens when `clock` feeds the watchdog."""

    def __init__(self, clock):
        self._clock = clock
        self._feed = clock.feed
        clock.feed = self._listen
        self._event, self._number = {"event": "begun"}, 0
        self._looked = self._asked = clock.now()
        self._is_followed = False

    def tell(self, event):
        """The run reports this event."""
        self._event = event
        self._number += 1
        if self._is_followed and self._clock.since(self._asked) < _FOLLOWS_MS:
            _send(event, self._number)

    def close(self):
        """The run has ended."""
        global _last
        self._clock.feed = self._feed
        if self._event["event"] != "result":
            self.tell({"event": "ended"})
        _last = self._event, self._number

    def _listen(self):
        self._feed()
        if self._clock.since(self._looked) < _LOOK_MS:
            return
        self._looked = self._clock.now()
        if _answer(self._event, self._number):
            self._is_followed, self._asked = True, self._looked


def _send(event, number):
    """Send an answer, or none if there is no memory for it."""
    try:
        body = bytes((number & 0xFF, _KIND)) + json.dumps(event).encode()
        body += crc32(body).to_bytes(4, "big")
        frame = bytearray(3 * len(body) + 2)
        frame[0] = 0xF5
        at = 1
        for byte in body:
            frame[at] = 0xF8 | byte >> 6
            frame[at + 1] = 0xF8 | byte >> 3 & 7
            frame[at + 2] = 0xF8 | byte & 7
            at += 3
        frame[at] = 0xF6
        sys.stdout.buffer.write(frame)
    except (MemoryError, OSError):
        pass
