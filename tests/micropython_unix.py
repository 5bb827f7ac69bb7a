"""MicroPython's port for Unix: real sockets, and the `requests` and `mip` that it brings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stm32up import device

FOLDER = device.PROJECT / ".venv" / "micropython_unix"


def run(folder: Path, program: str, limit_s: float = 60) -> str:
    """What a program prints that imports from `folder`/lib. Skips the test where there is no such
    MicroPython."""
    if not (FOLDER / "micropython_unix.py").exists():
        pytest.skip("`make test` installs MicroPython for Unix, where it has a wheel")
    path = folder / "program.py"
    path.write_text(program)
    ran = subprocess.run(
        [sys.executable, "-c", "import micropython_unix; micropython_unix.main()", path],
        env={
            **os.environ,
            "PYTHONPATH": str(FOLDER),
            "MICROPYPATH": f"{folder / 'lib'}:.frozen",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit_s,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout
