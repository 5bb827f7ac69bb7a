"""Fixtures of the tests of the desktop command."""

from __future__ import annotations

import io
import json
import random
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stm32up import device
from stm32up.cli import main
from stm32up.image import images, keys
from tests.host_tools.fake_board import FakeBoard


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STM32UP_PORT", "STM32UP_BOARD", "STM32UP_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def chip() -> device.Chip:
    return device.chip("STM32G071RB")


@pytest.fixture(scope="session")
def key_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two private keys, shared because making one is slow."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("one.pem", "two.pem"):
        keys.new(folder / name, bits=2048)
    return [folder / "one.pem", folder / "two.pem"]


@pytest.fixture
def payload() -> bytes:
    """A payload with the vectors of an application; the rest is random."""
    return struct.pack("<II", 0x2000_9000, 0x0800_00C1) + random.Random(1).randbytes(4992)


@pytest.fixture
def image(tmp_path: Path, chip: device.Chip, payload: bytes, key_files: list[Path]) -> Path:
    """A signed image of 5000 bytes."""
    (tmp_path / "app.bin").write_bytes(payload)
    path = tmp_path / "app.img"
    images.build(
        tmp_path / "app.bin", chip, "1.4.2", keys.load(key_files[0]), path, product="nucleo-demo"
    )
    return path


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeBoard]:
    """A board that answers like MicroPython with an updater."""
    root = tmp_path / "board"
    root.mkdir()
    board = FakeBoard(root)
    yield board
    board.close()


class Ran(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def result(self) -> dict[str, Any]:
        return self.events[-1]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs the command: run("--json", "status") -> exit status and output."""

    def run(*arguments: object) -> Ran:
        status = main.run([str(argument) for argument in arguments])
        return Ran(status, *capsys.readouterr())

    return run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A user at a terminal who types this line."""

    def types(line: str) -> None:
        stdin = io.StringIO(line + "\n")
        monkeypatch.setattr(stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys, "stdin", stdin)

    return types
