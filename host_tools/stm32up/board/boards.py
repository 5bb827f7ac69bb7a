"""Finds and loads boards/NAME/board.toml."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import stm32assets
from stm32up.board import toml_file
from stm32up.board.model import Board, I2c, Uart
from stm32up.board.reader import BoardReader
from stm32up.errors import BoardFileError, UsageError

BOARDS = stm32assets.BOARDS
LOCAL = Path("boards")  # in the current folder: where `boards new` puts its own


def names() -> list[str]:
    """The names of the boards of this project."""
    return sorted(path.parent.name for path in BOARDS.glob("*/board.toml"))


class Known(TypedDict, total=False):
    """A board for people: `trouble` if its board.toml has a mistake, else the other keys."""

    name: str
    title: str
    host: str
    chip: str
    link: str
    pins: dict[str, int | None]
    trouble: str


def _own() -> list[Path]:
    """The folders of the boards in LOCAL."""
    if LOCAL.resolve() == BOARDS.resolve():
        return []
    return sorted(path.parent for path in LOCAL.glob("*/board.toml"))


def known() -> list[Known]:
    """The boards of this project and those in LOCAL, in this order."""
    found: list[Known] = []
    for name in [*names(), *map(str, _own())]:
        try:
            board = load(name)
        except UsageError as error:
            found.append({"name": name, "trouble": error.lines[0]})
            continue
        link, pins = _link(board.link)
        found.append(
            {
                "name": name,
                "title": board.title,
                "host": board.host,
                "chip": board.chip.name,
                "link": link,
                "pins": {**pins, "nrst": board.nrst, "boot0": board.boot0},
            }
        )
    return found


def _link(link: I2c | Uart) -> tuple[str, dict[str, int | None]]:
    """The bus to the target in words, and its pins."""
    if isinstance(link, Uart):
        return f"UART, {link.baudrate} baud", {"tx": link.tx, "rx": link.rx}
    return f"I2C, {link.freq // 1000} kHz", {"sda": link.sda, "scl": link.scl}


def load(name: str, chip: str | None = None) -> Board:
    """The board with this name, or at this path: a board.toml or a folder with one; then the one
    with this name in LOCAL. `chip`: the part that was identified, if the file says "auto".

    Raises BoardFileError, UsageError."""
    path = _find(name)
    shown, content, lines = toml_file.parsed(path, BoardFileError)
    return BoardReader(shown, content, lines, chip).board(path.resolve().parent.name)


def _find(name: str) -> Path:
    if name in names():
        return BOARDS / name / "board.toml"
    for path in (Path(name), LOCAL / name):
        for file in (path, path / "board.toml"):
            if file.is_file():
                return file
    if Path(name).is_dir():
        raise UsageError(
            f"there is no board.toml in {name}", f"Make one: stm32up boards new {Path(name).name}."
        )
    if not names():
        raise UsageError(
            f"there is no board {name}: this stm32up was installed without its boards ({BOARDS})",
            "Install stm32up again, or give a path to a board.toml.",
        )
    there = ", ".join([*names(), *map(str, _own())])
    raise UsageError(
        f"there is no board {name}",
        f"Known boards: {there}. Make another one: stm32up boards new {Path(name).name}.",
    )
