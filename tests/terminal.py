"""A terminal for tests."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys


def on_a_terminal(width: int, program: str, *, typed: str = "", **environment: str) -> list[str]:
    """The lines that a program prints in a terminal of this width, before the terminal wraps them
    and without colours. `typed`: its input. It must end with status 0."""
    import pty
    import termios
    from fcntl import ioctl

    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    variables = {**os.environ, "TERM": "xterm", **environment}
    variables.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs, env=variables
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    drawn = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        drawn += piece
    os.close(ours)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn.decode()).replace("\r\n", "\n")
    return re.split("[\r\n]", text)
