"""Mutants that need not be noticed: survivors.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.operators import Mutant

EQUIVALENT, ACCEPTED = "equivalent", "accepted"


@dataclass(frozen=True)
class Listed:
    """An entry of survivors.toml. Without `new` it covers every change of the line."""

    module: str  # the file's name without .py
    function: str
    old: str
    kind: str
    reason: str
    new: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in (EQUIVALENT, ACCEPTED) or not self.reason.strip():
            raise ValueError(f"no kind or no reason: {self.module} {self.function}: {self.old}")

    def covers(self, mutant: Mutant) -> bool:
        return (
            self.module == Path(mutant.module).stem
            and self.function == mutant.function
            and self.old == mutant.old
            and self.new in (None, mutant.new)
        )


def listed(path: Path) -> list[Listed]:
    if not path.exists():
        return []
    return [Listed(**entry) for entry in tomllib.loads(path.read_text()).get("survivor", [])]
