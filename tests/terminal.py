"""A terminal for tests, and for the picture of the demo."""

from __future__ import annotations

import os
import re
import select
import struct
import subprocess
import sys
import time
from collections.abc import Sequence

LONGEST_S = 180.0


def printed(
    command: Sequence[str], width: int, *, typed: str = "", **environment: str
) -> tuple[int, str]:
    """The exit status of a command, and what it prints in a terminal of this width, with its
    control sequences. `typed`: its input. Raises TimeoutError after LONGEST_S."""
    import pty
    import termios
    from fcntl import ioctl

    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    variables = {**os.environ, "TERM": "xterm", **environment}
    if "COLUMNS" not in environment:
        variables.pop("COLUMNS", None)
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=variables)
    os.close(theirs)
    os.write(ours, typed.encode())
    drawn = b""
    limit = time.monotonic() + LONGEST_S
    while (left := limit - time.monotonic()) > 0 and select.select([ours], [], [], left)[0]:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # it has ended
            break
        if not piece:
            break
        drawn += piece
    else:
        process.kill()
        raise TimeoutError(f"it has not ended after {LONGEST_S:.0f} s: {drawn[-500:]!r}")
    os.close(ours)
    return process.wait(), drawn.decode().replace("\r\n", "\n")


def on_a_terminal(width: int, program: str, *, typed: str = "", **environment: str) -> list[str]:
    """The lines that a Python program prints in a terminal of this width, before the terminal
    wraps them and without colours. `typed`: its input. It must end with status 0."""
    command = [sys.executable, "-c", program]
    status, drawn = printed(command, width, typed=typed, **environment)
    assert status == 0
    return re.split("[\r\n]", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn))
