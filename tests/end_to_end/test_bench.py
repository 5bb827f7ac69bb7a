"""provision and unprotect on a simulated board: real MicroPython, both kinds of host."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stm32sim.chip.option_bytes import OPTR, OptionBytes
from stm32up.cli import main
from tests.end_to_end.conftest import BOARDS, FLASH_SIZE, Commands

WANTED = 0xFEFF_FEAA


def optr(stm32up: Commands) -> int:
    """The option bytes as the target stores them."""
    options = OptionBytes()
    options.data[:] = stm32up.target()[-len(options.data) :]
    assert not options.torn
    return options.word(OPTR)


@pytest.fixture
def bench(board_in: Callable[[str], Commands]) -> Commands:
    """A board with the bench package."""
    board = board_in("with-bench")
    (board.folder / "target.flash").unlink()  # deploying has made one; the tests choose
    return board


def test_a_factory_part_is_provisioned_and_then_updated(bench, images):
    ran = bench("provision", "--yes", sim=("provisioned=0",))
    assert ran.status == 0 and ran.result["status"] == "provisioned", ran
    assert optr(bench) == WANTED
    plan = next(event for event in ran.events if event["event"] == "plan")
    assert (plan["before"], plan["after"]) == ("0xFFFFFEAA", "0xFEFFFEAA")
    assert bench("provision", "--yes").result["status"] == "nothing-to-do"
    assert bench("update", images / "app-1.0.0.img").result["status"] == "installed"
    assert bench("deploy").status == 0
    refused = bench("provision", "--yes")
    assert refused.status == 0  # a simulated board gets the package that a verb needs
    assert refused.result["status"] == "nothing-to-do"


def test_a_first_installation_that_would_be_the_last_is_refused(bench, images):
    refused = bench("update", images / "app-1.0.0.img", sim=("provisioned=0",))
    assert refused.status == 1 and refused.result["error"] == "boot0-ignored", refused
    assert set(bench.flash()) == {0xFF} and not bench("status").result["inbox"]
    forced = bench("update", "--force", images / "app-1.0.0.img", sim=("provisioned=0",))
    assert forced.result["status"] == "installed", forced


def test_a_protected_part_is_opened_and_gets_its_application(bench, images):
    ran = bench("unprotect", "--yes", "--install", images / "app-1.0.0.img", sim=("rdp=1",))
    assert ran.status == 0 and ran.result["status"] == "installed", ran
    assert optr(bench) == WANTED
    assert bench("probe").result["application_version"] == "1.0.0"


@pytest.mark.parametrize("ack", ["early", "never"])
def test_what_the_loader_says_meanwhile_is_reported(bench, ack):
    ran = bench("unprotect", "--yes", sim=("rdp=1", f"unprotect-ack={ack}"))
    assert ran.status == 0 and ran.result["status"] == "unprotected"
    assert ran.result["stages"] and ran.result["blank"]
    assert set(bench.flash()) == {0xFF} and len(bench.flash()) == FLASH_SIZE


def test_a_target_that_is_always_busy_is_left_alone_by_every_verb(bench, images):
    sim = ("rdp=1", "unprotect-busy-ms=forever")
    ran = bench("unprotect", "--yes", sim=sim)
    assert ran.status == 1 and ran.result["error"] == "not-finished"
    assert "Leave its supply on" in ran.result["next_step"]
    for verb in (("update", images / "app-1.0.0.img"), ("probe",), ("run",)):
        assert bench(*verb).result["error"] == "hands-off", verb
    assert bench("deploy").status == 1


def test_nobody_to_ask_means_that_no_board_is_even_started(tmp_path, host, capfd):
    folder = tmp_path / "state"
    for verb in ("provision", "unprotect"):
        port = ["--port", f"sim:{folder}", "--board", BOARDS[host]]
        assert main.run([*port, "--json", verb]) == 2
    assert not folder.exists()
