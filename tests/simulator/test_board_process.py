"""The end of a simulated board: its target loses power at any time, and the saved state shows
it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from json import loads
from pathlib import Path
from typing import Any

import pytest

from stm32sim.chip.flash import GRANULE, PAGE, Cell
from stm32sim.chip.loader_steps import ACK, BUSY, xor
from stm32sim.chip.option_bytes import OPTR
from stm32sim.chip.quirks import LOADERS
from stm32sim.chip.stm32 import Stm32
from stm32sim.in_process import provisioned_option_bytes
from stm32sim.process import Options, TargetState
from stm32sim.wires.clock import Clock
from stm32up.board import boards
from stm32up.host import transport
from stm32up.host.deploy import board_json

BOARD = boards.load("pico_nucleo_g071rb")
I2C: Any = BOARD.link
CONTENT = random.Random(0).randbytes(4 * PAGE)
END_S = 30.0

End = Callable[["subprocess.Popen[bytes]"], None]

# On the host: into the loader, then frames; of each the status that is read after it.
CODE = f"""
from machine import I2C, Pin
from time import sleep_ms
boot0 = Pin({BOARD.boot0}, Pin.OUT, value=1)
nrst = Pin({BOARD.nrst}, Pin.OPEN_DRAIN, value=0)
sleep_ms(1)
nrst.value(1)
sleep_ms(5)
i2c = I2C({I2C.id}, scl=Pin({I2C.scl}), sda=Pin({I2C.sda}), freq=400_000)
def status_after(frame):
    i2c.writeto(0x51, frame)
    return i2c.readfrom(0x51, 1)[0]
"""


def summed(*frame: int) -> bytes:
    return bytes((*frame, xor(bytes(frame))))


OPTR_WORD = provisioned_option_bytes().word(OPTR).to_bytes(4, "little")
ERASE_PAGE_1 = [b"\x45\xba", summed(0, 0), summed(0, 1)]
WRITE_OPTR = [b"\x32\xcd", summed(0x1F, 0xFF, 0x78, 0x00), summed(3, *OPTR_WORD)]


def close_input(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def terminate(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)


def run(state: Path, frames: list[bytes], end: End) -> list[int]:
    """Start the board, let its host send `frames`, end it at once. Returns the statuses."""
    description = state / "board.json"
    description.write_bytes(board_json(BOARD))
    program = [sys.executable, "-m", "stm32sim.process"]
    arguments = ["--state", str(state), "--board", str(description)]
    with subprocess.Popen(
        [*program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            with transport.connected(loads(process.stdout.readline())["port"]) as connection:
                said = connection.exec(f"{CODE}\nprint([status_after(f) for f in {frames}])")
                end(process)
                assert process.wait(END_S) == 0
        finally:
            process.kill()
    return list(loads(said))


def kept(state: Path) -> Stm32:
    target = Stm32(Clock())
    TargetState(state / "target.flash").restore(target)
    return target


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The folder of a board whose target holds CONTENT."""
    target = Stm32(Clock())
    target.option_bytes = provisioned_option_bytes()
    target.flash.load(CONTENT)
    TargetState(tmp_path / "target.flash").keep(target)
    return tmp_path


@pytest.mark.parametrize("end", [close_input, terminate])
def test_a_board_ended_in_a_page_erase_keeps_a_torn_page(state: Path, end: End) -> None:
    assert run(state, ERASE_PAGE_1, end) == [ACK, ACK, BUSY]
    flash = kept(state).flash
    assert flash.weak_granules() == list(range(PAGE, 2 * PAGE, GRANULE))
    for whole in (slice(PAGE), slice(2 * PAGE, len(CONTENT))):
        assert flash.data[whole] == CONTENT[whole]
    assert not kept(state).bricked


@pytest.mark.parametrize("end", [close_input, terminate])
def test_a_board_ended_during_an_option_write_keeps_a_locked_target(state: Path, end: End) -> None:
    assert run(state, WRITE_OPTR, end) == [ACK, ACK, BUSY]
    target = kept(state)
    assert target.bricked
    assert target.flash.data[: len(CONTENT)] == CONTENT and not target.flash.weak_granules()


@pytest.mark.parametrize("end", [close_input, terminate])
def test_a_board_that_ends_when_nothing_is_under_way_keeps_its_target_as_it_was(
    state: Path, end: End
) -> None:
    before = (state / "target.flash").read_bytes()
    assert run(state, [b"\x45\xba"], end) == [ACK]  # in its loader, in the middle of a command
    assert (state / "target.flash").read_bytes() == before


def test_a_board_knows_again_what_was_programmed_with_ones(tmp_path: Path) -> None:
    target = Stm32(Clock())
    target.flash.load(b"\xff" * GRANULE + CONTENT)
    target.flash.cells[0] = Cell.WEAK_PROGRAMMED
    TargetState(tmp_path / "target.flash").keep(target)
    flash = kept(tmp_path).flash
    assert flash.cells == target.flash.cells and flash.ones == target.flash.ones
    for index, takes_zeros in ((0, False), (1, True), (flash.size // GRANULE - 1, True)):
        assert flash.start_program(index * GRANULE, bytes(GRANULE)) is takes_zeros
        flash.interrupt()


@pytest.mark.parametrize("name", LOADERS)
def test_a_board_has_the_loader_it_was_asked_for(name: str) -> None:
    assert Options.parse([f"loader={name}"]).quirks == LOADERS[name]
    assert Options.parse([f"loader={name}", "unprotect-ack=never"]).quirks.unprotect_ack == "never"


def test_a_loader_that_is_not_known_is_named_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="no loader '11.9'; loaders are 11.1, .*, openbl-g0"):
        _ = Options.parse(["loader=11.9"]).quirks
