"""The command against a simulated board: real MicroPython, real mpremote, the application
executed."""

from __future__ import annotations

import functools
import json
import random
import shlex
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stm32up import device
from stm32up.cli import main
from stm32up.image import inputs

BOARDS = {"rp2": "pico_nucleo_g071rb", "esp32": "esp32_nucleo_g071rb"}
APPLICATION = device.PROJECT / "boards" / "nucleo_g071rb_app"
FLASH_SIZE = 128 * 1024
ON_BOTH_HOSTS = pytest.mark.parametrize("host", BOARDS)


@dataclass
class Ran:
    """The result of a command."""

    status: int
    events: list[dict[str, Any]]
    errors: list[str]  # lines on stderr

    @property
    def result(self) -> dict[str, Any]:
        return self.events[-1]


class Commands:
    """Runs stm32up on one simulated board whose state is kept in `folder`. `typed`: the same
    commands as a user would type them."""

    def __init__(self, folder: Path, board: str, capfd: pytest.CaptureFixture[str] | None) -> None:
        self.folder = folder
        self.board = board
        self.typed: list[str] = []
        self._capfd = capfd

    def __call__(self, *arguments: str | Path, sim: tuple[str, ...] = ()) -> Ran:
        options = [part for option in sim for part in ("--sim-option", option)]
        return self.at(f"sim:{self.folder}", *options, *arguments)

    def at(self, port: str, *arguments: str | Path) -> Ran:
        """The same on a board that is already running."""
        command = ["--port", port, "--board", self.board, "--json", *map(str, arguments)]
        self.typed.append(shlex.join(["stm32up", *command]))
        status = main.run(command)
        if self._capfd is None:
            return Ran(status, [], [])
        out, err = self._capfd.readouterr()
        return Ran(status, [json.loads(line) for line in out.splitlines()], err.splitlines())

    def flash(self) -> bytes:
        """The target's main flash."""
        return (self.folder / "target.flash").read_bytes()[:FLASH_SIZE]

    def target(self) -> bytes:
        """The target's non-volatile memory; empty for a target that was never used."""
        path = self.folder / "target.flash"
        return path.read_bytes() if path.exists() else b""


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with app-1.0.0.img, app-1.1.0.img, and full.img: 1.1.0 padded to 128 KB."""
    folder = tmp_path_factory.mktemp("images")
    for version in ("1.0.0", "1.1.0"):
        source = APPLICATION / f"app-{version}.hex"
        build(source, folder / f"app-{version}.img", version)
    application = inputs.read(APPLICATION / "app-1.1.0.hex", device.chip("STM32G071RB"), None)
    rest = random.Random(0).randbytes(FLASH_SIZE - len(application.data))
    (folder / "full.bin").write_bytes(application.data + rest)
    build(folder / "full.bin", folder / "full.img", "1.1.0")
    return folder


def build(source: Path, target: Path, version: str, *more: str) -> None:
    command = ["--json", "image", "build", str(source), "--version", version, "-o", str(target)]
    assert main.run([*command, *more]) == 0


# The history of a board before a test: that of another state, and one more command.
STATES = {
    "deployed": ("", ["deploy"]),
    "updated": ("deployed", ["update", "app-1.0.0.img"]),
    "with-main": ("deployed", ["deploy", "--main"]),
    "pushed": ("with-main", ["push", "full.img"]),
    "with-bench": ("deployed", ["deploy", "--bench"]),
}


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Callable[[str, str], Path]:
    """The folder of a board with this host in one of STATES, made once and then copied."""

    @functools.cache
    def made(host: str, name: str) -> Path:
        before, command = STATES[name]
        folder = tmp_path_factory.mktemp(host) / name
        if before:
            shutil.copytree(made(host, before), folder)
        given = [images / word if word.endswith(".img") else word for word in command]
        assert Commands(folder, BOARDS[host], None)(*given).status == 0
        return folder

    return made


TYPED = pytest.StashKey[list[str]]()


@pytest.fixture
def host() -> str:
    """The host of the board; another one only where a test says so."""
    return "rp2"


@pytest.fixture
def board_in(
    host: str,
    state: Callable[[str, str], Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Callable[[str], Commands]:
    """The command, on a separate board with this host."""

    def copied(name: str) -> Commands:
        folder = tmp_path / "state"
        shutil.copytree(state(host, name), folder)
        capfd.readouterr()
        board = Commands(folder, BOARDS[host], capfd)
        board.typed.append(shlex.join(["rm", "-r", str(folder)]))
        board.typed.append(shlex.join(["cp", "-r", str(state(host, name)), str(folder)]))
        request.node.stash[TYPED] = board.typed
        return board

    return copied


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failing test shows the commands that replay it."""
    report = yield
    if report.failed and TYPED in item.stash:
        typed = item.stash[TYPED]
        report.sections.append(("Commands that replay it", "\n".join(typed)))
    return report


@pytest.fixture
def stm32up(board_in: Callable[[str], Commands]) -> Commands:
    """The command, on a board with the updater and a blank target."""
    return board_in("deployed")


@pytest.fixture
def updated(board_in: Callable[[str], Commands]) -> Commands:
    """The command, on a board whose target runs 1.0.0."""
    return board_in("updated")
