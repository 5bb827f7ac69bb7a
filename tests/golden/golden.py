"""Renders the cases, and compares them with the files in texts/.

    python -m tests.golden.golden      writes all files again

Each case is run in a terminal of 80 and of 120 columns, with and without control codes (shown as
\\e). Renderings that are equal stand together.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from stm32up.board import boards
from stm32up.cli import main
from stm32up.cli.context import Context
from stm32up.image import keys
from tests.golden.cases import CASES, Case

TEXTS = Path(__file__).with_name("texts")
TERMINALS = [(width, term) for term in ("dumb", "xterm-256color") for width in (80, 120)]
_NAMES = {"dumb": "plain", "xterm-256color": "with codes"}
_ID = re.compile(r"\b[0-9a-f]{16}\b")  # of a key, which is made for each run


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """The files that the cases name."""
    application = boards.BOARDS / "nucleo_g071rb_app" / "app-1.0.0.hex"
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        shutil.copy(application, path / "app.hex")
        keys.new(path / "key.pem", 2048)
        (path / "bad.hex").write_text("hello\n")
        (path / "app.bin").write_bytes(bytes(64))
        with _inside(path, 80, "dumb"):
            main.run(shlex.split("image build app.hex --version 1.4.2 -o app.img"))
        (path / "torn.img").write_bytes((path / "app.img").read_bytes()[:-1])
        yield path


@contextlib.contextmanager
def _inside(path: Path, width: int, term: str, typed: str = "") -> Iterator[Terminal]:
    """A terminal whose current folder is `path`."""
    screen, typing = Terminal(), Terminal(typed)
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    environment = {
        **kept,
        "COLUMNS": str(width),
        "TERM": term,
        "GIT_CEILING_DIRECTORIES": str(path.parent),
    }
    before = Path.cwd()
    os.chdir(path)
    try:
        with (
            mock.patch.dict(os.environ, environment, clear=True),
            mock.patch.multiple(sys, stdout=screen, stderr=screen, stdin=typing),
        ):
            yield screen
    finally:
        os.chdir(before)


def rendered(case: Case, files: Path, width: int, term: str) -> str:
    """What the user sees, and the exit status."""

    def on_board(context: Context, verb: object, **options: bool) -> Any:
        for event in case.events:
            context.output.report(event)
        if isinstance(case.ends, Exception):
            raise case.ends
        return case.ends

    with tempfile.TemporaryDirectory() as name:
        work = Path(name, "work")
        shutil.copytree(files, work)
        with (
            mock.patch.object(Context, "on_board", on_board),
            mock.patch("serial.tools.list_ports.comports", list),
            contextlib.ExitStack() as patches,
            _inside(work, width, term, case.typed) as screen,
        ):
            for function, value in case.instead:
                patches.enter_context(mock.patch(function, return_value=value))
            status = main.run(shlex.split(case.arguments))
        text = screen.getvalue().replace(str(work), "FOLDER").replace("\x1b", "\\e")
    return f"{_ID.sub('<id>', text)}[exit status {status}]\n"


def text(verb: str, files: Path) -> str:
    """The file of a verb."""
    parts = []
    for case in CASES[verb]:
        seen: dict[str, list[str]] = {}
        for width, term in TERMINALS:
            shown = rendered(case, files, width, term)
            seen.setdefault(shown, []).append(f"{width} {_NAMES[term]}")
        parts.append(f"$ stm32up {case.arguments}\n")
        parts += [f"--- {', '.join(where)}\n{shown}" for shown, where in seen.items()]
        parts.append("\n")
    return "".join(parts)


def file_of(verb: str) -> Path:
    return TEXTS / f"{verb.replace(' ', '-')}.txt"


def write() -> None:
    for old in TEXTS.glob("*.txt"):
        old.unlink()
    with folder() as files:
        for verb in CASES:
            file_of(verb).write_text(text(verb, files), encoding="utf-8")


if __name__ == "__main__":
    write()
