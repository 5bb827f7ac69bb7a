"""The serial port of a simulated board: a TCP port of this machine, for one client at a time."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable

from . import protocol

_WRITE_LIMIT_S = 0.5
"""A client that does not read for that long is hung up on."""

_CTRL_C = 3
_STOP = re.compile(rb"[\x03\x04\r]")


class Terminal:
    """Bytes from the client are queued until the board wants them, whoever has connected when.

    What the board writes goes to the client of that moment, or nowhere.
    """

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._arrived = threading.Condition()
        self._queue = bytearray()
        self._client: socket.socket | None = None
        self._session = 0
        self._waiting = False
        self._notify: Callable[[], None] = lambda: None
        threading.Thread(target=self._accept, daemon=True).start()

    # The board's side.

    @property
    def idle(self) -> bool:
        """Whether the board waits for input and there is none."""
        return self._waiting and not self._queue

    def power_on(self, notify: Callable[[], None]) -> int:
        """The board starts; `notify` is called each time it becomes idle. Returns this session."""
        with self._arrived:
            self._notify = notify
            return self._session

    def power_off(self) -> None:
        """The session is over: who waits for input in it gets an OSError."""
        with self._arrived:
            self._session += 1
            self._waiting = False
            self._arrived.notify_all()

    def wait_input(self, session: int) -> bytes:
        """Wait for bytes, and take at most as many as can be taken without missing a Ctrl-C.

        That is: up to one that can start the execution of code (what comes after it stays in the
        queue, where `flags` finds a Ctrl-C while that code runs), and a Ctrl-C only by itself.
        """
        with self._arrived:
            self._waiting = session == self._session
            if not self._queue:
                self._notify()
            self._arrived.wait_for(lambda: self._queue or session != self._session)
            if session != self._session:
                raise OSError("the board has lost its power")
            self._waiting = False
            found = _STOP.search(self._queue)
            if found is None:
                size = len(self._queue)
            elif found[0] == b"\x03":
                size = max(1, found.start())
            else:
                size = found.end()
            taken = bytes(self._queue[:size])
            del self._queue[:size]
            return taken

    def flags(self) -> int:
        """The flags of an answer to a call."""
        return protocol.CTRL_C_WAITS if _CTRL_C in self._queue else 0

    def take_ctrl_c(self) -> None:
        """Remove the Ctrl-C that has been made a KeyboardInterrupt."""
        with self._arrived:
            at = self._queue.find(_CTRL_C)
            if at >= 0:
                del self._queue[at]

    def write(self, data: bytes) -> None:
        client = self._client
        if client is not None:
            try:
                client.sendall(data)
            except OSError:
                _hang_up(client)  # it has gone away, or does not read

    # The client's side.

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.settimeout(_WRITE_LIMIT_S)
            _acknowledge_at_once(client)
            self._client = client
            try:
                self._receive(client)
            finally:
                self._client = None
                client.close()

    def _receive(self, client: socket.socket) -> None:
        while True:
            try:
                data = client.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                return
            if not data:
                return
            _acknowledge_at_once(client)
            with self._arrived:
                self._queue += data
                self._arrived.notify_all()

    def close(self) -> None:
        """Hang up and listen no more."""
        self.power_off()
        for connection in (self._listener, self._client):
            if connection is not None:
                _hang_up(connection)
        self._listener.close()


def _acknowledge_at_once(connection: socket.socket) -> None:
    """Have Linux not delay the acknowledgement of what comes next.

    pyserial leaves Nagle's algorithm on: mpremote's second small write in a row would wait 40 ms.
    """
    option = getattr(socket, "TCP_QUICKACK", None)
    if option is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, option, 1)


def _hang_up(connection: socket.socket) -> None:
    """Wake whoever waits for this socket: close() alone does not on Linux."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
