"""Files that are read only as far as they can make sense: a wrong file may be of any size."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO


def read_up_to(file: BinaryIO, limit: int) -> tuple[bytes, int]:
    """The content of an open file, and its size; a file of more than `limit` bytes is not read."""
    status = os.fstat(file.fileno())
    known = stat.S_ISREG(status.st_mode)  # of a pipe or a device no size is known
    if known and status.st_size > limit:
        return b"", status.st_size
    content = file.read(status.st_size if known else limit + 1)
    return content, len(content)
