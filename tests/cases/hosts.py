"""Hosts on which the updater cannot run: real MicroPython, with files copied by real mpremote."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from stm32up.board import boards
from stm32up.host import session, simulation
from tests.cases.case import Cases, Ran, build, expect, stm32up
from tests.host_tools.fake_board import FakeBoard
from tests.host_tools.input_files import application
from tests.simulator.host.client import mpremote

CASES = Cases()
BOARD = "pico_nucleo_g071rb"

UNMOUNT = 'import os\nos.umount("/")\n'
AGE = """
path = "/lib/stm32_updater/__init__.mpy"
with open(path, "rb") as file: data = bytearray(file.read())
data[1] = 5
with open(path, "wb") as file: file.write(data)
"""
FILL = """
import os
n = 0
try:
    while True:
        with open("/f%d" % n, "wb") as file:
            for _ in range(4): file.write(b"x" * 1024)
        n += 1
except OSError: pass
for i in range(3): os.remove("/f%d" % i)
"""


class Host:
    """A running simulated board."""

    def __init__(self, url: str) -> None:
        self.url = url

    def stm32up(self, *arguments: object) -> Ran:
        return stm32up("--port", self.url, "--board", BOARD, *arguments)

    def put(self, name: str, content: str) -> None:
        """mpremote fs cp, without a soft reset."""
        Path(name).write_text(content)
        mpremote(self.url, "resume", "fs", "cp", name, f":{name}")

    def run(self, code: str) -> None:
        """mpremote run, without a soft reset."""
        Path("script.py").write_text(code)
        mpremote(self.url, "resume", "run", "script.py")

    def files(self) -> str:
        return mpremote(self.url, "resume", "fs", "ls", ":/")


@functools.cache
def deployed() -> tempfile.TemporaryDirectory[str]:
    """The state of a board with the updater on it."""
    folder: tempfile.TemporaryDirectory[str] = tempfile.TemporaryDirectory()
    stm32up("--port", f"sim:{folder.name}", "--board", BOARD, "status").succeeds()
    return folder


@contextlib.contextmanager
def host(*, blank: bool = False) -> Iterator[Host]:
    """A separate board."""
    state = Path("board").absolute()
    if not blank:
        shutil.copytree(deployed().name, state)
    options = [session.BLANK] if blank else []
    with simulation.started(f"sim:{state}", boards.load(BOARD), options) as ports:
        yield Host(ports.url)


@CASES("boot.py unmounts /, then doctor, deploy, status and push")
def a_host_without_a_filesystem_is_named() -> str:
    with host() as board:
        board.put("boot.py", UNMOUNT)
        said = board.stm32up("deploy").refuses("mounted at /", "erase", "install the right")
        board.stm32up("status").refuses("mounted at /", "erase")
        doctor = board.stm32up("doctor").said
        right = "mounted at /" in doctor and "full" not in doctor and "no updater" not in doctor
        expect(right, f"doctor: {doctor}")
    return said


@CASES("one deployed module of .mpy version 5, then status and doctor, then deploy")
def modules_of_another_micropython_are_named_and_replaced() -> str:
    with host() as board:
        board.run(AGE)
        said = board.stm32up("status").refuses("compiled for another MicroPython", "deploy")
        doctor = board.stm32up("doctor").said
        expect("compiled for another MicroPython" in doctor or ".mpy" in doctor, doctor)
        expect("stm32up deploy" in doctor, doctor)
        board.stm32up("deploy").succeeds()
        board.stm32up("status").succeeds()
    return said


UNFIT = {
    "MicroPython 1.22 is too old": ("micropython", (1, 22, 2, ""), 0x206, "1.22.2"),
    "MicroPython 1.18 is too old": ("micropython", (1, 18, 0), 0x1F05, "1.18"),
    "another version of .mpy files is refused": ("micropython", (1, 99, 0, ""), 7, "version 7"),
    "CircuitPython is refused": ("circuitpython", (9, 2, 1, ""), 0x206, "circuitpython"),
}


def unfit(name: str, version: tuple[object, ...], mpy: int, word: str) -> str:
    root = Path("files").absolute()
    root.mkdir()
    board = FakeBoard(root)
    board.implementation = SimpleNamespace(name=name, version=version, _mpy=mpy)
    try:
        ran = stm32up("--port", board.port, "--board", BOARD, "deploy")
        expect(not board.files(), f"deployed {', '.join(sorted(board.files()))}")
    finally:
        board.close()
    return ran.refuses(word, "Install MicroPython 1.24 or newer")


for name, given in UNFIT.items():
    CASES.add(name, "deploy", unfit, *given)


@CASES("a filesystem with 3 blocks left, then deploy")
def a_full_host_is_named_with_what_is_free_and_needed_before_the_first_file() -> str:
    with host(blank=True) as board:
        board.run(FILL)
        before = board.files()
        said = board.stm32up("deploy").refuses("bytes free", "needs", "/f", "mpremote fs rm")
        expect(board.files() == before, board.files())
    return said


@CASES("a filesystem with 3 blocks left, then push")
def a_push_that_does_not_fit_is_refused_before_its_first_byte() -> str:
    build("full.bin", application(124 * 1024)).succeeds()
    with host() as board:
        board.run(FILL)
        said = board.stm32up("push", "x.img").refuses("bytes free", "needs")
        inbox = mpremote(board.url, "resume", "fs", "ls", ":/updater/inbox")
        expect("x." not in inbox, inbox)
    return said
