"""The serial port of a simulated board, for one client at a time: a TCP port of this computer and,
if the system has them, a pseudo-terminal.

Input from the client goes to the board's current interpreter, or waits for the next one. Output of
the board goes to the current client, or is lost.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from typing import IO, Protocol

from . import protocol

try:
    import termios
    import tty
except ImportError:  # Windows
    _HAS_PTY = False
else:
    _HAS_PTY = hasattr(os, "openpty")

_CTRL_C = 3
_WRITE_LIMIT_S = 0.5
"""A client that does not read for this long is disconnected, or loses output of the board."""

_BUFFER = 4096
"""The board's output must not pile up: a client reads all of it before it sees a prompt."""

_CHANGE_S = 1.0
"""How long a client waits until the previous one has disconnected."""

_LOOK_S = 0.05
"""How often to check a pseudo-terminal that no program has opened."""


class _Client(Protocol):
    name: str

    def write(self, data: bytes) -> None: ...

    def hang_up(self) -> None: ...


class Terminal:
    """`changed` is called when `idle` may have changed."""

    def __init__(
        self, port: int, changed: Callable[[], None] = lambda: None, *, with_pty: bool = False
    ) -> None:
        self._changed = changed
        self._lock = threading.Condition()
        self._client: _Client | None = None
        self._closed = False
        self._line: IO[bytes] | None = None  # to the interpreter
        self._input = bytearray()  # not known to be consumed yet
        self._consumed = 0  # bytes that this interpreter has consumed
        self._waiting = False
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        self._pty = _Pty(self) if with_pty and _HAS_PTY else None
        self.pty = self._pty.path if self._pty is not None else None

    # The board's side.

    @property
    def idle(self) -> bool:
        """Whether the board waits for input and there is none."""
        return self._waiting and not self._input

    @property
    def sent(self) -> int:
        """How many bytes were sent to this interpreter."""
        return self._consumed + len(self._input)

    def wait_ctrl_c(self, limit_s: float) -> bool:
        with self._lock:
            return self._lock.wait_for(lambda: _CTRL_C in self._input, limit_s)

    def attach(self, line: IO[bytes]) -> None:
        """An interpreter starts and reads from this pipe."""
        with self._lock:
            self._line = line
            self._consumed = 0
            if self._input:
                self._tell(protocol.INPUT, bytes(self._input))

    def detach(self, *, keep_input: bool) -> None:
        """The interpreter has ended; unread input goes to the next one, or is lost."""
        with self._lock:
            line, self._line = self._line, None
            self._waiting = False
            if not keep_input:
                self._input.clear()
        if line is not None:
            line.close()

    def consumed(self, count: int) -> None:
        """The interpreter has consumed `count` bytes and waits for more."""
        with self._lock:
            del self._input[: count - self._consumed]
            self._consumed = count
            self._waiting = True

    def write(self, data: bytes) -> None:
        client = self._client
        if client is not None:
            client.write(data)

    def close(self) -> None:
        """Disconnect and stop listening."""
        self._closed = True
        self.detach(keep_input=False)
        client = self._client
        if client is not None:
            client.hang_up()
        _shut_down(self._listener)
        self._listener.close()
        if self._pty is not None:
            self._pty.close()

    # The clients' side.

    def connect(self, client: _Client) -> str | None:
        """Give the port to the client. If it is in use, return the name of its client."""
        with self._lock:
            self._lock.wait_for(lambda: self._client is None, _CHANGE_S)
            if self._client is not None:
                return self._client.name
            self._client = client
            return None

    def receive(self, data: bytes) -> None:
        with self._lock:
            self._input += data
            self._tell(protocol.INPUT, data)
            self._lock.notify_all()
        self._changed()

    def disconnect(self) -> None:
        with self._lock:
            self._client = None
            self._tell(protocol.HUNG_UP, b"")
            self._lock.notify_all()

    def _tell(self, letter: bytes, data: bytes) -> None:
        if self._line is not None:
            with contextlib.suppress(BrokenPipeError):
                self._line.write(protocol.frame(letter, data))

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            client = _Socket(self, connection)
            threading.Thread(target=client.serve, daemon=True).start()


def _in_use(holder: str) -> bytes:
    return f"This simulated board is in use by another program ({holder}).\r\n".encode()


class _Socket:
    """A connection to the TCP port."""

    def __init__(self, terminal: Terminal, connection: socket.socket) -> None:
        self.name = f"over socket://127.0.0.1:{terminal.port}"
        self._terminal = terminal
        self._connection = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        connection.settimeout(_WRITE_LIMIT_S)
        self._acknowledge_at_once()

    def serve(self) -> None:
        with self._connection:
            holder = self._terminal.connect(self)
            if holder is not None:
                self.write(_in_use(holder))
                while self._read():  # to the end, or the client would never see the message
                    pass
                return
            try:
                while data := self._read():
                    self._acknowledge_at_once()
                    self._terminal.receive(data)
            finally:
                self._terminal.disconnect()

    def _read(self) -> bytes:
        while True:
            try:
                return self._connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                return b""

    def write(self, data: bytes) -> None:
        try:
            while data:
                data = data[self._connection.send(data) :]
        except OSError:
            self.hang_up()  # it has disconnected, or does not read

    def hang_up(self) -> None:
        _shut_down(self._connection)

    def _acknowledge_at_once(self) -> None:
        """Make Linux not delay its next acknowledgement.

        pyserial leaves Nagle's algorithm on: mpremote's second small write in a row would wait
        40 ms.
        """
        option = getattr(socket, "TCP_QUICKACK", None)
        if option is not None:
            with contextlib.suppress(OSError):
                self._connection.setsockopt(socket.IPPROTO_TCP, option, 1)


class _Pty:
    """A pseudo-terminal: a client is connected while a program has opened it."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._end, program_end = os.openpty()
        self.path = self.name = os.ttyname(program_end)
        tty.setraw(program_end)  # the board echoes what is typed
        os.close(program_end)  # from now on the system shows whether a program has opened it
        os.set_blocking(self._end, False)
        self._poll = select.poll()
        self._poll.register(self._end, select.POLLIN)
        self._closing = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while not self._closing.wait(_LOOK_S):
            if not self._is_open():
                continue
            holder = self._terminal.connect(self)
            if holder is not None:
                self.write(_in_use(holder))
                while self._is_open() and not self._closing.wait(_LOOK_S):
                    self._read()
                continue
            try:
                while self._is_open() and not self._closing.is_set():
                    if data := self._read():
                        self._terminal.receive(data)
            finally:
                self._forget_output()
                self._terminal.disconnect()
        os.close(self._end)

    def _is_open(self) -> bool:
        """Wait briefly for input. False if no program has opened it."""
        return not any(event & select.POLLHUP for _, event in self._poll.poll(_LOOK_S * 1000))

    def _read(self) -> bytes:
        try:
            return os.read(self._end, 65536)
        except OSError:
            return b""  # no input, or the program has just closed it

    def write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._end, data) :]
            except BlockingIOError:
                if not select.select((), (self._end,), (), _WRITE_LIMIT_S)[1]:
                    return
            except OSError:
                return

    def _forget_output(self) -> None:
        """Discard unread output, so that the next program does not get it."""
        with contextlib.suppress(OSError):
            termios.tcflush(self._end, termios.TCIOFLUSH)

    def hang_up(self) -> None:
        self._closing.set()

    close = hang_up


def _shut_down(connection: socket.socket) -> None:
    """Wake the thread that waits for this socket; close() alone does not on Linux."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
