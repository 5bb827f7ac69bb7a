# mypy: ignore-errors
"""MicroPython's `select` of a simulated board, for streams in Python code, mainly its serial port
(sys.stdin and sys.stdout).

Waiting for input means waiting for a person or a program, in real time. If no input came, virtual
time advances by the same amount.
"""

from _host import call
from _terminal import wait_input

POLLIN = 1
POLLOUT = 4
POLLERR = 8
POLLHUP = 16

_EINVAL = 22
_ENOENT = 2
_STREAM_POLL = 3  # py/stream.h
_LOOK_MS = 10


class _Poll:
    def __init__(self):
        self._registered = []  # [object, its events, whether only once]

    def register(self, obj, eventmask=POLLIN | POLLOUT):
        if not hasattr(obj, "ioctl"):
            raise OSError(_EINVAL)
        for entry in self._registered:
            if entry[0] is obj:
                entry[1] = eventmask
                return
        self._registered.append([obj, eventmask])

    def modify(self, obj, eventmask):
        for entry in self._registered:
            if entry[0] is obj:
                entry[1] = eventmask
                return
        raise OSError(_ENOENT)

    def unregister(self, obj):
        self._registered = [entry for entry in self._registered if entry[0] is not obj]

    def _ready(self):
        found = []
        for obj, mask in self._registered:
            events = obj.ioctl(_STREAM_POLL, mask | POLLERR | POLLHUP)
            if events:
                found.append((obj, events))
        return found

    def poll(self, timeout=-1):
        left = -1 if timeout is None or timeout < 0 else int(timeout)
        while True:
            found = self._ready()
            if found or left == 0:
                return found
            part = _LOOK_MS if left < 0 else min(left, _LOOK_MS)
            if len(self._registered) == 1:
                part = left
            if not wait_input(part) and part > 0:
                call("sleep_us", part * 1000)
                left = left if left < 0 else left - part

    def ipoll(self, timeout=-1, flags=0):
        for entry in self.poll(timeout):
            if flags & 1:
                self.modify(entry[0], 0)
            yield entry


def poll():
    return _Poll()


def select(rlist, wlist, xlist, timeout=None):
    poller = _Poll()
    for objects, mask in ((rlist, POLLIN), (wlist, POLLOUT), (xlist, POLLERR | POLLHUP)):
        for obj in objects:
            for entry in poller._registered:
                if entry[0] is obj:
                    mask |= entry[1]
            poller.register(obj, mask)
    found = poller.poll(-1 if timeout is None else int(timeout * 1000))
    return (
        [obj for obj, events in found if events & POLLIN],
        [obj for obj, events in found if events & POLLOUT],
        [obj for obj, events in found if events & (POLLERR | POLLHUP)],
    )
