"""Files that a command writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from stm32up.errors import UsageError


def check(output: Path, *, makes_folder: bool = False) -> None:
    """Raise UsageError, before the work begins, if this file cannot be written at its end.
    `makes_folder`: its folder is made then."""
    folder = output.absolute().parent
    while makes_folder and not folder.exists():
        folder = folder.parent
    if output.is_dir():
        why = "it is a folder"
    elif not folder.is_dir():
        why = "it has no folder"
    elif not os.access(output if output.exists() else folder, os.W_OK):
        why = "no permission"
    else:
        return
    raise UsageError(f"cannot write {output}: {why}", "Give another name.")


@contextlib.contextmanager
def written(output: Path) -> Iterator[None]:
    """Raise UsageError if what this block does to write the file fails."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from None


def refuse_inputs(output: Path, inputs: Iterable[Path]) -> None:
    """Raise UsageError if the output would replace one of the inputs. An input need not exist."""
    for source in inputs:
        if output.exists() and source.exists() and output.samefile(source):
            raise UsageError(
                f"{output} is the input itself and would be overwritten", "Give it another name."
            )
