"""Lets only one process at a time use the folder of a simulated board.

The operating system holds the lock and releases it when the process ends, however it ends. So a
file left behind by a dead process locks nothing. The file contains the holder's name.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from types import TracebackType

try:
    import fcntl
except ImportError:  # Windows: there is no lock
    fcntl = None  # type: ignore[assignment]

NAME = "board.lock"
_LIMIT_S = 2.0
"""The board of a killed command needs a moment to end."""
_AGAIN_S = 0.05


class Taken(Exception):
    """Another process uses the folder; the text says which one."""


class Lock:
    """Held in a `with` block. Without a folder it locks nothing. Raises Taken."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file = -1

    def __enter__(self) -> Lock:
        if self._folder is None or fcntl is None:
            return self
        self._file = os.open(self._folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
        limit = time.monotonic() + _LIMIT_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except BlockingIOError:
                if time.monotonic() > limit:
                    holder = os.read(self._file, 4096).decode(errors="replace").strip()
                    os.close(self._file)
                    raise Taken(holder or "another process") from None
            time.sleep(_AGAIN_S)

    def tell(self, holder: str) -> None:
        """Write the holder's name, for other processes."""
        if self._file >= 0:
            os.truncate(self._file, 0)
            os.pwrite(self._file, holder.encode(errors="backslashreplace"), 0)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.truncate(self._file, 0)
            os.close(self._file)
