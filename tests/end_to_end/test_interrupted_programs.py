"""What runs on a host when stm32up connects: programs that do not end, and their watchdogs.

In real MicroPython. The tests of host_tools have every kind of it on a stand-in.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stm32up.board import boards
from stm32up.host import session, transport

from .conftest import BOARDS, Commands

ENDLESS = b"import time\nwhile True:\n    time.sleep_ms(10)\n"
SWALLOWS = (
    b"import time\nwhile True:\n    try:\n        time.sleep_ms(10)\n    except:\n        pass\n"
)
PRODUCT = b"""\
import time
from machine import WDT
from stm32_updater import Updater
wdt = WDT(timeout=5000)
Updater.from_board("/board.json", feed=wdt.feed).run()
while True:
    wdt.feed()
    time.sleep_ms(50)
"""
HIDDEN = (
    b"""\
def main():
"""
    + b"".join(b"    " + line + b"\n" for line in PRODUCT.splitlines())
    + b"main()\n"
)


@pytest.fixture(params=list(BOARDS))
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(stm32up: Commands) -> Iterator[str]:
    """The port of a board that runs."""
    board = boards.load(stm32up.board)
    with session.simulated(f"sim:{stm32up.folder}", board, lambda event: None) as ports:
        yield ports.url


def start(url: str, files: dict[str, bytes]) -> None:
    """Puts files on the board, and has it start as at power-on."""
    with transport.connected(url) as connection:
        for path, content in files.items():
            connection.replace_file(path, content)
    address, _, port = url.removeprefix("socket://").partition(":")
    with socket.create_connection((address, int(port))) as line:
        line.sendall(b"\x02\x04")
        time.sleep(1)


def test_a_boot_py_that_never_ends_is_interrupted_and_named(stm32up: Commands, url: str) -> None:
    start(url, {"/boot.py": ENDLESS})
    ran = stm32up.at(url, "status")
    assert ran.status == 0
    assert any("rm :boot.py" in event.get("text", "") for event in ran.events)


@pytest.mark.parametrize("name", ["boot.py", "main.py"])
def test_a_program_that_swallows_ctrl_c_is_named(stm32up: Commands, url: str, name: str) -> None:
    start(url, {f"/{name}": SWALLOWS})
    ran = stm32up.at(url, "status")
    assert ran.status == 3 and name in ran.errors[0] and "swallows Ctrl-C" in ran.errors[0]


@pytest.mark.parametrize("program", [PRODUCT, HIDDEN], ids=["in sight", "hidden"])
def test_an_update_under_the_watchdog_of_the_product_is_finished(
    stm32up: Commands, url: str, images: Path, program: bytes, host: str
) -> None:
    """One that a function hides is seen in a register of rp2; that of esp32 bites once."""
    bites = program is HIDDEN and host == "esp32"
    start(url, {"/main.py": program})
    ran = stm32up.at(url, "update", images / "full.img")
    assert (ran.status, ran.result["status"]) == (0, "installed")
    told = [event["text"] for event in ran.events if "watchdog" in event.get("text", "")]
    assert bool(told) == bites, told
