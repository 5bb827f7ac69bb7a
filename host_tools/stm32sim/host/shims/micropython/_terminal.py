# mypy: ignore-errors
"""`sys.stdin` and `sys.stdout` of a simulated board: its serial port."""

import io

from _bridge import output as _output
from _bridge import read as _read
from _bridge import wait as _wait
from uctypes import addressof

# py/stream.h
_STREAM_POLL = 3
_POLL_READ = 1
_POLL_WRITE = 4


def wait_input(ms):
    """Whether there is input, after at most `ms` of real time (-1: no limit). A Ctrl-C also ends
    the wait: False."""
    return _wait(ms)


class _Stream(io.IOBase):
    ready = 0  # events that poll finds at once

    def ioctl(self, request, arg):
        return self.poll() & arg if request == _STREAM_POLL else 0

    def poll(self):
        return self.ready

    def flush(self):
        pass


class _RawInput(_Stream):
    """sys.stdin.buffer. A read waits for all requested bytes."""

    def poll(self):
        return _POLL_READ if _wait(0) else 0

    def readinto(self, buf, n=-1):
        size = len(buf) if n < 0 else min(n, len(buf))
        at = 0
        while at < size:
            at += _read(addressof(buf) + at, size - at)
        return at

    def read(self, n=-1):
        if n is None or n < 0:
            return self._until(None, n)
        data = bytearray(n)
        self.readinto(data)
        return bytes(data)

    def readline(self, limit=-1):
        return self._until(b"\n", limit)

    def _until(self, end, limit):
        data = b""
        while limit < 0 or len(data) < limit:
            char = self.read(1)
            data += char
            if char == end:
                break
        return data

    def readlines(self):
        return list(self)

    def __iter__(self):
        return self

    def __next__(self):
        return self.readline()


class _Input(_RawInput):
    """sys.stdin: text; Enter ends a line."""

    buffer = _RawInput()

    def readinto(self, buf, n=-1):
        n = _RawInput.readinto(self, buf, n)
        for i in range(n):
            if buf[i] == 13:
                buf[i] = 10
        return n

    def read(self, n=-1):
        if n is None or n < 0:
            return self._until(None, -1)
        text = ""
        for _ in range(n):
            text += self._char()
        return text

    def _char(self):
        data = _RawInput.read(self, 1)
        lead = data[0]
        if lead >= 0xC0:
            data += self.buffer.read(3 if lead >= 0xF0 else 2 if lead >= 0xE0 else 1)
        return str(data, "utf-8")

    def _until(self, end, limit):
        text = ""
        while limit < 0 or len(text) < limit:
            char = self._char()
            text += char
            if end and char == "\n":
                break
        return text


class _RawOutput(_Stream):
    """sys.stdout.buffer: bytes that reach the terminal unchanged."""

    ready = _POLL_WRITE

    def write(self, data, *args):
        size = len(data)
        if args:  # write(data, size) or write(data, offset, size)
            start = args[0] if len(args) > 1 else 0
            data = memoryview(data)[start : start + args[-1]]
            size = len(data)
        if size:
            _output(addressof(data), size)
        return size


class Output(_Stream):
    """sys.stdout: text, with the line ends of a terminal."""

    ready = _POLL_WRITE
    buffer = _RawOutput()

    def __init__(self, stream):
        self._stream = stream

    def write(self, data, *args):
        return self._stream.write(data if isinstance(data, str) else bytes(data))


stdin = _Input()


def input(prompt=""):
    """The builtin: reads a line and echoes it."""
    print(prompt, end="")
    line = ""
    while True:
        char = stdin._char()
        if char in "\r\n":
            print()
            return line
        if char == "\x04" and not line:
            raise EOFError
        if char in "\b\x7f":
            if line:
                line = line[:-1]
                print("\b \b", end="")
        elif char >= " ":
            line += char
            print(char, end="")
