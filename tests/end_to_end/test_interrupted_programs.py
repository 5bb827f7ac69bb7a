"""Programs that run on a host when stm32up connects: endless ones, and their watchdogs.

In real MicroPython. The tests of host_tools have all variants on a fake board.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stm32up.board import boards
from stm32up.host import raw_repl, session, transport
from tests.cases.programs import ENDLESS, HIDDEN, PRODUCT, SHADOWS, SWALLOWS, restart
from tests.end_to_end.conftest import Commands


@pytest.fixture
def url(stm32up: Commands) -> Iterator[str]:
    """The port of a running board."""
    board = boards.load(stm32up.board)
    with session.simulated(f"sim:{stm32up.folder}", board, lambda event: None) as ports:
        yield ports.url


@pytest.fixture
def less_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command gives up earlier on a program that does not end, which runs all that time."""
    monkeypatch.setattr(raw_repl, "ENTER_S", 4.0)


def start(url: str, path: str, program: str) -> None:
    """Put a program on the board and start it as at power-on."""
    with transport.connected(url) as connection:
        connection.replace_file(path, program.encode())
    restart(url)


@pytest.mark.usefixtures("less_patience")
def test_a_boot_py_that_never_ends_is_interrupted_and_named(stm32up: Commands, url: str) -> None:
    start(url, "/boot.py", ENDLESS)
    ran = stm32up.at(url, "status")
    assert ran.status == 0
    assert any("rm :boot.py" in event.get("text", "") for event in ran.events)


@pytest.mark.usefixtures("less_patience")
@pytest.mark.parametrize("name", ["boot.py", "main.py"])
def test_a_program_that_swallows_ctrl_c_is_named(stm32up: Commands, url: str, name: str) -> None:
    start(url, f"/{name}", SWALLOWS)
    ran = stm32up.at(url, "status")
    assert ran.status == 3 and name in ran.errors[0] and "ignores Ctrl-C" in ran.errors[0]


@pytest.mark.parametrize("host", ["esp32"])
def test_the_doctor_finishes_under_a_watchdog_that_nothing_shows(
    stm32up: Commands, url: str, host: str
) -> None:
    start(url, "/main.py", HIDDEN)
    assert stm32up.at(url, "doctor").result["error"] == "flash-blank"


def test_a_program_may_name_its_globals_as_built_in_functions(stm32up: Commands, url: str) -> None:
    start(url, "/main.py", SHADOWS)
    assert stm32up.at(url, "status").status == 0


@pytest.mark.parametrize(
    ("host", "program"),
    [("rp2", PRODUCT), ("rp2", HIDDEN), ("esp32", HIDDEN)],
    ids=["rp2-in sight", "rp2-hidden", "esp32-hidden"],
)
def test_an_update_under_the_watchdog_of_the_product_is_finished(
    stm32up: Commands, url: str, images: Path, program: str, host: str
) -> None:
    """A watchdog hidden in a function is visible in a register of rp2; on esp32 it resets the
    board once."""
    bites = program is HIDDEN and host == "esp32"
    start(url, "/main.py", program)
    ran = stm32up.at(url, "update", images / "full.img")
    assert (ran.status, ran.result["status"]) == (0, "installed")
    told = [event["text"] for event in ran.events if "watchdog" in event.get("text", "")]
    assert bool(told) == bites, told
