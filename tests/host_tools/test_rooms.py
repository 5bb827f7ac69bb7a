"""The rooms of stm32up: imports run downwards, and each room is entered by what its face names."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stm32up import device

HOME = device.PROJECT / "host_tools" / "stm32up"
# From the top; "" is what lies beside the rooms, and every room may use it.
FLOORS = (("cli",), ("doctor", "report"), ("host",), ("board",), ("image", "say"), ("",))
ROOMS = [room for floor in FLOORS for room in floor if room]


def room_of(path: Path) -> str:
    folder = path.relative_to(HOME).parent
    return "" if folder == Path(".") else folder.name


def imports() -> Iterator[tuple[Path, str, str]]:
    """(file, room, module in it) of everything that is imported from a room."""
    for path in sorted(HOME.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    names = [*node.module.split("."), alias.name]
                    if names[0] == "stm32up" and names[1] in ROOMS:
                        yield path, names[1], names[2]


def height(room: str) -> int:
    return next(-number for number, floor in enumerate(FLOORS) if room in floor)


def test_every_folder_has_its_floor():
    folders = {path.parent.name for path in HOME.glob("*/__init__.py")}
    assert folders == set(ROOMS)


def test_imports_run_downwards():
    climbing = [
        f"{path.relative_to(HOME)} imports {room}.{module}"
        for path, room, module in imports()
        if room != room_of(path) and height(room) >= height(room_of(path))
        if path.name != "__main__.py"
    ]
    assert climbing == []


@pytest.mark.parametrize("room", ROOMS)
def test_what_others_import_of_a_room_its_face_names(room):
    face = importlib.import_module(f"stm32up.{room}")
    named = {*re.findall(r"`(\w+)`", face.__doc__ or "")} - {*ROOMS}
    entered = {
        module for path, where, module in imports() if where == room and room_of(path) != room
    }
    assert entered - {*vars(face)} <= named
    assert all((HOME / room / f"{name}.py").is_file() for name in named)


def test_no_two_modules_share_a_name():
    names = [path.stem for path in HOME.rglob("*.py") if not path.stem.startswith("__")]
    assert len(names) == len(set(names))
