"""Files that a command writes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stm32up.errors import UsageError


def refuse_inputs(output: Path, inputs: Iterable[Path]) -> None:
    """Raise UsageError if the output would replace one of the inputs. An input need not exist."""
    for source in inputs:
        if output.exists() and source.exists() and output.samefile(source):
            raise UsageError(
                f"{output} is the input itself and would be overwritten", "Give it another name."
            )
