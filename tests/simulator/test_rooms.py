"""The rooms of stm32sim: modules import only from lower floors."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from stm32up.device import PROJECT

ROOT = PROJECT / "host_tools" / "stm32sim"
# From the lowest floor up. A name is a folder or a module of stm32sim.
FLOORS = (
    {"wires", "lock"},
    {"chip", "host"},
    {"world", "faults"},
    {"in_process"},
    {"cuts", "forum", "process"},
)
MODULES = sorted(
    path
    for path in ROOT.rglob("*.py")
    if not {"node_modules", "shims"} & set(path.parts) and path != ROOT / "__init__.py"
)


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def floor(room: str) -> int:
    (found,) = (number for number, rooms in enumerate(FLOORS) if room in rooms)
    return found


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_down(path: Path) -> None:
    names = set(imported(path))
    assert not {name.partition(".")[0] for name in names} & {"tests", "stm32up", "stm32_updater"}
    room = room_of(path)
    used = {name.split(".")[1] for name in names if name.startswith("stm32sim.")} - {room}
    assert all(floor(other) < floor(room) for other in used), used


def test_every_room_has_a_face_that_names_what_its_users_need() -> None:
    for room in ("wires", "chip", "host", "cuts"):
        face = __import__(f"stm32sim.{room}", fromlist=["_"])
        assert face.__all__ and all(hasattr(face, name) for name in face.__all__)


def test_no_two_modules_have_one_name() -> None:
    names = [path.name for path in MODULES if path.name != "__init__.py"]
    assert sorted(set(names)) == sorted(names)
