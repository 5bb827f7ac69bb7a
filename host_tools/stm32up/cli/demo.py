"""A first demonstration: from nothing to an updated target, with the commands to type.

    python -m stm32up.cli.demo [FOLDER]

Everything runs on a simulated board, that of STM32UP_BOARD: real MicroPython, reached by mpremote,
wired to a simulated STM32 that executes its application. The state of the board is kept in a
folder, so each command continues where the one before ended. With FOLDER all of it stays there:
the board, its log, the key, the applications and their images.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from stm32assets import DEMO_APPLICATIONS
from stm32up.board import boards
from stm32up.board.model import Board
from stm32up.cli.context import DEFAULT_BOARD
from stm32up.device import Chip
from stm32up.errors import FAILED, NO_BOARD, Stm32upError, UsageError
from stm32up.host import logs, simulation
from stm32up.image import inputs
from stm32up.report import headers, wiring
from stm32up.say import words
from stm32up.say.wrapping import PAGE, typed, width_of, wrapped

PORT = "sim:board"


class Step(NamedTuple):
    headline: str
    commands: tuple[str, ...]  # as typed, after "stm32up"
    status: int = 0  # the expected exit status


def _steps(host: str, flash_size: int, pages: int) -> tuple[Step, ...]:
    """`host`: as people call it. The flash size is that of the target, in bytes."""
    return (
        Step("A key to sign with", ("keys new demo.pem",)),
        Step(
            "Three images: an application, its next version "
            f"({flash_size // 1024} KB), a broken one",
            (
                "image build app-1.0.0.hex --version 1.0.0 --key demo.pem -o app-1.0.0.img",
                "image build app-1.1.0.bin --version 1.1.0 --key demo.pem -o app-1.1.0.img",
                "image build broken.bin --version 2.0.0 --key demo.pem -o broken.img",
            ),
        ),
        Step(f"Deploy the updater to the {host}", ("deploy --key demo.pem",)),
        Step("Probe the bus: a blank chip", ("probe",)),
        Step("The first installation", ("update app-1.0.0.img",)),
        Step(
            "An update of the whole flash, with a power cut in the middle",
            (f"--sim-option cut={pages // 2} update app-1.1.0.img",),
            status=NO_BOARD,
        ),
        Step(f"Power is back, and the {host} knows about the interrupted update", ("status",)),
        Step("The updater continues, as it does at every start of a product", ("run",)),
        Step(
            "The broken image: written and verified, but silent, so the last good one returns",
            ("update broken.img",),
            status=FAILED,
        ),
        Step(f"The log on the {host}", ("status", "logs pull -o log.jsonl")),
    )


STEPS = _steps("Pico", 128 * 1024, 64)  # on the default board


def main(arguments: Sequence[str] = ()) -> int:
    """Run all steps; exit status 0 if each ends as expected."""
    parser = argparse.ArgumentParser(prog="python -m stm32up.cli.demo")
    parser.add_argument("folder", nargs="?", help="a new folder in which everything is kept")
    kept = parser.parse_args(arguments).folder
    try:
        simulation.check_installed()
        board = _board()
        with _folder(kept) as folder:
            return _demo(board, folder, kept)
    except Stm32upError as error:
        for line in error.lines:
            print(f"error: {line}", file=sys.stderr)
        return error.exit_status


def _board() -> Board:
    """That of STM32UP_BOARD. Raises UsageError if there is no application for it."""
    board = boards.load(os.environ.get("STM32UP_BOARD", DEFAULT_BOARD))
    if board.chip.name not in DEMO_APPLICATIONS:
        raise UsageError(
            f"there is no demo application for {board.chip.name}, the chip of {board.name}",
            f"There is one for {' and '.join(DEMO_APPLICATIONS)}.",
        )
    return board


@contextlib.contextmanager
def _folder(name: str | None) -> Iterator[Path]:
    """A new one; without a name one that is removed afterwards. Raises UsageError."""
    if name is None:
        with tempfile.TemporaryDirectory(prefix="stm32up-demo-") as temporary:
            yield Path(temporary)
        return
    try:
        Path(name).mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"cannot make {name}: {error.strerror}", "Name a new folder.") from error
    yield Path(name)


def _demo(board: Board, folder: Path, kept: str | None) -> int:
    began = time.monotonic()
    host, target = headers.HOSTS[board.host], headers.TARGETS[board.chip.name]
    size = board.chip.flash_size
    steps = _steps(wiring.short_name(host), size, size // board.chip.page_size)
    page = _Page()
    _prepare(folder, board.chip)
    article = "An" if host.title[0] in "AEIO" else "A"
    page.text(
        f"{article} {host.title} with MicroPython, wired to a {target.title}. Both are "
        "simulated: times that the board reports are those of the wires and the flash, in "
        "virtual time."
    )
    page.text()
    page.command(f"export STM32UP_PORT={PORT}")
    for number, step in enumerate(steps, 1):
        page.headline(f"{number}. {step.headline}")
        for command in step.commands:
            page.command(f"stm32up {command}")
            if _run(command, folder).returncode != step.status:
                return 1
    page.headline(f"{len(steps) + 1}. The events in that log")
    for line in words.story(logs.merge([(folder / "log.jsonl").read_bytes()]).entries):
        page.text(line)
    probed = _run("--json probe", folder, stdout=subprocess.PIPE)
    if probed.returncode:
        return 1
    runs = json.loads(probed.stdout.splitlines()[-1])["application_version"]
    page.text(
        f"The application now running, read over I2C: {runs}."
        if runs
        else "The application runs: it toggles its line to the host.",
        style="bold",
    )
    page.text()
    page.text(
        f"That was the whole path, in {time.monotonic() - began:.0f} s and without hardware. "
        + (f"All of it is in {kept}." if kept else "README.md describes the next steps.")
    )
    return 0


class _Page:
    """The output of the demo itself."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._width = width_of(sys.stdout) or PAGE

    def text(self, text: str = "", style: str | None = None) -> None:
        for line in wrapped(text, self._width, indent=0):
            self._console.print(line, style=style)

    def headline(self, text: str) -> None:
        self.text()
        self.text(text, style="bold")

    def command(self, command: str) -> None:
        for line in typed(f"$ {command}", self._width):
            self._console.print(line, style="cyan")


def _run(
    command: str, folder: Path, stdout: int | None = None
) -> subprocess.CompletedProcess[bytes]:
    arguments = [sys.executable, "-P", "-m", "stm32up", *command.split()]
    environment = {**os.environ, "STM32UP_PORT": PORT}
    return subprocess.run(arguments, cwd=folder, env=environment, stdout=stdout)


def _prepare(folder: Path, chip: Chip) -> None:
    """Make the inputs: two versions of the application, the second padded to the end of flash with
    random bytes, and one that does nothing.
    """
    application_folder = DEMO_APPLICATIONS[chip.name]
    shutil.copy(application_folder / "app-1.0.0.hex", folder)
    application = inputs.read(application_folder / "app-1.1.0.hex", chip, None).data
    rest = random.Random(0).randbytes(chip.flash_size - len(application))
    (folder / "app-1.1.0.bin").write_bytes(application + rest)
    branch_to_itself = b"\xfe\xe7"
    (folder / "broken.bin").write_bytes(application[:8] + branch_to_itself * 2000)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
