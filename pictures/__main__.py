"""Draws the pictures of the documents that are made of the code and of board.toml.

    python -m pictures           # all of them but the next
    python -m pictures demo      # docs/demo.svg; runs the demo
    python -m pictures FOLDER    # the wiring of the board.toml in this folder, as wiring.svg there

Those that show measurements are made with these: `make bench-sim`, `stm32up simulate`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from pictures import boot_tree, terminal
from stm32up import device
from stm32up.board import boards
from stm32up.errors import Stm32upError
from stm32up.report import wiring, wiring_picture

DOCS = device.PROJECT / "docs"
DEMO = DOCS / "demo.svg"
_TABLE = re.compile(r"(<!-- wiring: begin -->\n).*?(?=<!-- wiring: end -->)", re.DOTALL)


def current() -> Iterator[tuple[Path, str]]:
    """Each file of this project that has a picture or a table made here, and its content now."""
    from pictures import states

    yield DOCS / "boot-tree.svg", boot_tree.svg()
    yield DOCS / "states.svg", states.svg()
    for name in boards.names():
        folder = boards.BOARDS / name
        drawn = wiring.of(folder / "board.toml", f"boards/{name}/board.toml")
        yield folder / "wiring.svg", wiring_picture.svg(drawn)
        page = folder / "wiring.md"
        yield page, with_table(page.read_text(encoding="utf-8"), drawn.table())


def with_table(page: str, table: str) -> str:
    """The page with this table between the comments for it."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{table}\n", page, count=1)


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["demo"]:
            found = [(DEMO, terminal.svg(terminal.record()))]
        elif arguments:
            folder = Path(arguments[0])
            found = [(folder / "wiring.svg", wiring_picture.svg(wiring.of(folder / "board.toml")))]
        else:
            found = list(current())
    except Stm32upError as error:
        for line in error.lines:
            print(f"error: {line}", file=sys.stderr)
        return error.exit_status
    for path, content in found:
        path.write_text(content, encoding="utf-8")
        print(path.relative_to(device.PROJECT) if path.is_relative_to(device.PROJECT) else path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
