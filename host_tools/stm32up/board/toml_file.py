"""Reads a TOML file so that every mistake in it can be reported with file, line and key."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Collection
from pathlib import Path

from stm32up.board.toml_lines import Lines, of_syntax_error
from stm32up.errors import FileMistakes, UsageError


def parsed(path: Path, mistake: type[FileMistakes]) -> tuple[str, dict[str, object], Lines]:
    """(name of the file for messages, content, line numbers). Raises UsageError if it cannot be
    read, `mistake` if it is not TOML."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors begin with a mark
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"cannot read {path}: {reason}") from None
    shown = relative(path)
    try:
        return shown, tomllib.loads(text), Lines(text)
    except tomllib.TOMLDecodeError as error:
        line, what = of_syntax_error(str(error), text)
        raise mistake(f"{shown}:{line}: {what}") from None
    except (ValueError, RecursionError):  # Python's limits for integers and for nested lists
        raise mistake(f"{shown}:1: it holds a number or list that is too large") from None


def relative(path: Path) -> str:
    """The path from the current folder."""
    try:
        return os.path.relpath(path)
    except ValueError:  # Windows: it is on another drive
        return str(path)


def meant(name: str, known: Collection[str]) -> tuple[str, list[str]]:
    """What is wrong with an unknown key, and the known key that it probably stands for."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(sorted(known))}"
    return f"is not a known key; {hint}", close
