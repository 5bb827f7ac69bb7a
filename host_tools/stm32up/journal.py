"""A file of lines that only grows. Each line is there whole or not at all, whatever ends the
program in between."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stm32up import outputs, plain_json
from stm32up.errors import UsageError

_LOCKED_S = 10.0  # a lock is held for as long as it takes to write a row
_AGAIN_S = 0.02


def read(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a journal, in order; empty if there is no file. A last line without an
    end is torn and left out. Raises UsageError for a file of another kind."""
    if path.exists() and not path.is_file():
        raise not_ours(path)
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    whole = content.rfind(b"\n") + 1
    try:
        values = [plain_json.parse(line) for line in content[:whole].splitlines()]
    except ValueError:
        values = [None]
    torn = content[whole:]
    if torn[:1] not in (b"", b"{") or not all(isinstance(value, dict) for value in values):
        raise not_ours(path)
    return values


def not_ours(path: Path) -> UsageError:
    """A file of another kind."""
    return UsageError(f"{path} is not a journal of stm32up", "Give the name of another file.")


def append(path: Path, *values: object) -> None:
    """Append JSON objects, and wait until they are on the disk. Raises UsageError."""
    append_text(path, "".join(f"{json.dumps(value)}\n" for value in values))


def append_text(path: Path, lines: str) -> None:
    """Append whole lines, after removing a torn last one. Raises UsageError."""
    with outputs.written(path), path.open("ab+") as file:
        end = _end_of_whole_lines(path)
        if end < file.seek(0, os.SEEK_END):
            file.truncate(end)
        file.write(lines.encode())
        file.flush()
        os.fsync(file.fileno())


def _end_of_whole_lines(path: Path) -> int:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        back = 0
        while back < size:
            back = min(size, 2 * back + 4096)
            file.seek(size - back)
            found = file.read(back).rfind(b"\n")
            if found >= 0:
                return size - back + found + 1
    return 0


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time is in this block with this journal. Raises UsageError."""
    beside = path.with_name(f"{path.name}.lock")
    end = time.monotonic() + _LOCKED_S
    while True:
        try:
            beside.open("x").close()
            break
        except FileExistsError:
            if time.monotonic() >= end:
                raise UsageError(
                    f"{path} is locked by another program, or one was interrupted",
                    f"If no other one runs, remove {beside}.",
                ) from None
            time.sleep(_AGAIN_S)
        except OSError as error:
            raise UsageError(f"cannot lock {path}: {error.strerror}") from None
    try:
        yield
    finally:
        beside.unlink(missing_ok=True)
