"""Reads files with a limit, because a wrong file may have any size."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO


def read_up_to(file: BinaryIO, limit: int) -> tuple[bytes, int]:
    """The content of an open file, and its size. A file of more than `limit` bytes is not read."""
    status = os.fstat(file.fileno())
    known = stat.S_ISREG(status.st_mode)  # the size of a pipe or a device is not known
    if known and status.st_size > limit:
        return b"", status.st_size
    content = file.read(status.st_size if known else limit + 1)
    return content, len(content)
