"""Clients of a simulated board in these tests: a terminal program, and mpremote itself."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from stm32sim.host.micropython import MicroPythonHost

SAFETY_NET_S = 60.0


class Client:
    """A terminal program."""

    def __init__(self, host: MicroPythonHost | int) -> None:
        port = host if isinstance(host, int) else host.port
        self.socket = socket.create_connection(("127.0.0.1", port), SAFETY_NET_S)
        self._ahead = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def until(self, ending: bytes) -> bytes:
        """The output up to and including the first `ending`."""
        while ending not in self._ahead:
            more = self.socket.recv(65536)
            assert more, f"hung up after {self._ahead!r}"
            self._ahead += more
        at = self._ahead.index(ending) + len(ending)
        data, self._ahead = self._ahead[:at], self._ahead[at:]
        return data

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *args: object) -> None:
        self.socket.close()


def execute(client: Client, code: str) -> bytes:
    client.send(code.encode() + b"\x04")
    answer = client.until(b"\x04>")
    assert answer.startswith(b"OK"), answer
    return answer[2:-2].replace(b"\x04", b"", 1)


def mpremote_command(port: str, *args: str | Path) -> list[str]:
    return [sys.executable, "-m", "mpremote", "connect", port, *map(str, args)]


def mpremote(host: MicroPythonHost | str, *args: str | Path) -> str:
    """The output of mpremote. `host` can also be the name of a port."""
    command = mpremote_command(host if isinstance(host, str) else host.url, *args)
    done = subprocess.run(command, capture_output=True, text=True, timeout=SAFETY_NET_S)
    assert done.returncode == 0, done
    return done.stdout
