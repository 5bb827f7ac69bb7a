"""A serial line in front of a simulated board: TCP with the speed of a UART."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

BYTES_PER_S = 11_520  # 115200 baud, 8N1
_STEP_S = 0.003


@contextlib.contextmanager
def line_to(
    port: int,
    bytes_per_s: float = BYTES_PER_S,
    change: Callable[[int, bytes], bytes] = lambda at, data: data,
) -> Iterator[str]:
    """The address of a line to this TCP port, for one client after the other. `change` gets what
    goes to the board, and its position among all such bytes."""
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve, args=(server, port, bytes_per_s, change), daemon=True).start()
    try:
        yield f"socket://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def _serve(
    server: socket.socket, port: int, bytes_per_s: float, change: Callable[[int, bytes], bytes]
) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        board = socket.create_connection(("127.0.0.1", port))
        with client, board:
            for end in (client, board):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(
                target=_carry, args=(board, client, bytes_per_s, lambda at, data: data)
            )
            back.start()
            _carry(client, board, bytes_per_s, change)
            back.join()


def _carry(
    source: socket.socket,
    sink: socket.socket,
    bytes_per_s: float,
    change: Callable[[int, bytes], bytes],
) -> None:
    at, free = 0, time.monotonic()  # when the line is free again
    step = int(bytes_per_s * _STEP_S)
    with contextlib.suppress(OSError):
        while data := source.recv(step):
            now = time.monotonic()
            free = max(free, now) + len(data) / bytes_per_s
            time.sleep(free - now)
            sink.sendall(change(at, data))
            at += len(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
