"""What the documents show works: each page's commands, one after the other, as a reader would type
them. tests/documents.py says what is run and what is not.

All pages share one simulated board of each kind, and the commands run in this process, so that it
takes seconds. A page begins with an updater and with app-1.0.0 on the target.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stm32up import device
from stm32up.board import boards
from stm32up.cli import main
from stm32up.cli.context import DEFAULT_BOARD
from stm32up.cli.keys_verbs import PASSPHRASE
from stm32up.host import session
from stm32up.image import inputs
from tests.documents import DOCUMENTS, Block, blocks, name_of, words
from tests.end_to_end.conftest import APPLICATION
from tests.host_tools.input_files import hex_file, text

pytestmark = [
    pytest.mark.slow,
    pytest.mark.posix,
    pytest.mark.skipif(
        not all(map(shutil.which, ("bash", "git", "openssl"))), reason="the blocks use these"
    ),
]
SECRET = "a passphrase"
# What a reader has done before.
NEW_KEY = ["keys", "new", "--bits", "2048"]
PUBLIC_KEY = [
    [*NEW_KEY, "product.pem"],
    ["keys", "public", "product.pem", "-o", "product.pub.pem"],
]
GIVEN = {
    "docs/images.md": [[*NEW_KEY, "key.pem"], [*NEW_KEY, "rsa.pem"]],
    "docs/installing.md": PUBLIC_KEY,
    "docs/production.md": PUBLIC_KEY,
    "docs/security.md": [["boards", "new", "product", "--yes"]],
}
# On the board, before a page: nothing is installed, and no program starts.
FORGET = """
import os
def remove(path):
    for name, kind, *_ in os.ilistdir(path):
        remove(path + '/' + name) if kind == 0x4000 else os.remove(path + '/' + name)
    os.rmdir(path)
for path in ('/updater', '/main.py'):
    try: remove(path) if os.stat(path)[0] & 0x4000 else os.remove(path)
    except OSError: pass
"""


@pytest.fixture(scope="module")
def address_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The port of a simulated board with this wiring, which is started once."""
    running: dict[str, str] = {}
    with contextlib.ExitStack() as stack:

        def address_of(name: str) -> str:
            if name not in running:
                board = boards.load(name)
                port = f"sim:{tmp_path_factory.mktemp('board') / name}"
                started = session.simulated(port, board, lambda event: None)
                running[name] = stack.enter_context(started).url
            return running[name]

        yield address_of


class Reader:
    """Types what a page says, in a folder that looks like a clone."""

    def __init__(
        self,
        folder: Path,
        address_of: Callable[[str], str],
        patch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        self._folder = folder
        self._address_of = address_of
        self._patch = patch
        self._capfd = capfd

    @property
    def address(self) -> str:
        return self._address_of(os.environ.get("STM32UP_BOARD", DEFAULT_BOARD))

    def reads(self, block: Block) -> None:
        if block.language == "python":
            self._on_the_board(block.text)
            return
        for command in block.commands:
            self._capfd.readouterr()
            status = self._types(command)
            out, err = self._capfd.readouterr()
            fails = block.how == "fails" and command == block.commands[-1]
            assert bool(status) == fails, f"{command}\n{out}{err}"
            if block.language == "console":
                printed = {shape(line) for line in out.splitlines()}
                shown = [line for line in block.text.splitlines() if not line.startswith("$ ")]
                assert [line for line in shown if shape(line) not in printed] == [], out

    def _types(self, command: str) -> int:
        name, *arguments = words(command)
        if name in ("export", "unset"):
            variable, _, value = arguments[0].partition("=")
            if variable != "STM32UP_PORT":  # the boards are here
                self._patch.setenv(variable, value)
            return 0
        if name == "stm32up":
            return self.runs(*arguments)
        if name == "mpremote":
            command = command.replace(name, f"{name} connect {self.address}", 1)
        ran = subprocess.run(
            ["bash", "-e", "-c", command],
            cwd=self._folder,
            input=f"{SECRET}\n".encode(),
            start_new_session=True,  # without a terminal openssl asks on its input
        )
        return ran.returncode

    def runs(self, *arguments: str) -> int:
        if {"--port", "keys", "image", "boards"}.isdisjoint(arguments):
            arguments = ("--port", self.address, *arguments)
        return main.run(arguments)

    def _on_the_board(self, code: str) -> None:
        with session.opened(
            self.address, boards.load(DEFAULT_BOARD), lambda event: None
        ) as connection:
            connection.exec(code)

    def begins(self) -> None:
        self._on_the_board(FORGET)
        assert self.runs("deploy") == 0
        assert self.runs("update", "app.hex", "--version", "1.0.0") == 0


def shape(line: str) -> str:
    """Without numbers and columns."""
    return " ".join(re.sub(r"0x[0-9A-F]+|\d+(\.\d+)*", "#", line).split())


def furnish(folder: Path, given: list[list[str]]) -> None:
    """What a reader has: a clone, an application in git, and what was done before."""
    shutil.copytree(device.PROJECT / "boards", folder / "boards")
    (folder / "examples").symlink_to(device.PROJECT / "examples")
    (folder / "build").mkdir()
    source = APPLICATION / "app-1.0.0.hex"
    shutil.copy(source, folder / "app.hex")
    shutil.copy(source, folder / "build" / "app.hex")
    payload = inputs.read(source, device.chip("STM32G071RB"), None).data[:1092]
    (folder / "app.bin").write_bytes(payload)
    gaps = hex_file((0, payload), (0x8000, b"\xab" * 512))
    (folder / "gaps.hex").write_bytes(text(gaps))
    git = "git -c user.name=n -c user.email=e"
    commit = f"git init -q && git add build && {git} commit -qm '1' && git tag v1.0.0"
    subprocess.run(commit, shell=True, cwd=folder, check=True)
    for command in (["image", "build", "app.hex", "--version", "1.0.0", "-o", "app.img"], *given):
        assert main.run(command) == 0


@pytest.fixture
def reader(
    tmp_path: Path,
    address_of: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Reader:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(PASSPHRASE, SECRET)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for variable in ("STM32UP_PORT", "STM32UP_BOARD", "STM32UP_KEY"):
        monkeypatch.delenv(variable, raising=False)
    return Reader(tmp_path, address_of, monkeypatch, capfd)


def runnable(document: Path) -> list[Block]:
    return [
        block
        for block in blocks(document)
        if (block.language in ("sh", "console") and block.how != "unrun") or block.how == "host"
    ]


@pytest.mark.parametrize("page", [page for page in DOCUMENTS if runnable(page)], ids=name_of)
def test_what_the_page_shows_works(page: Path, reader: Reader, tmp_path: Path) -> None:
    furnish(tmp_path, GIVEN.get(name_of(page), []))
    reader.begins()
    for block in runnable(page):
        reader.reads(block)


def test_the_settings_that_are_shown_count(reader, tmp_path, capfd):
    (block,) = (block for page in DOCUMENTS for block in blocks(page) if block.language == "toml")
    assert main.run(["boards", "new", "kettle", "--yes"]) == 0
    (tmp_path / "stm32up.toml").write_text(block.text)
    assert main.run(["status"]) == 3
    assert "/dev/ttyACM0" in capfd.readouterr().err
