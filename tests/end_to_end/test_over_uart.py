"""The command on a simulated board whose target is wired to the host's UART, in real
MicroPython."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stm32assets import DEMO_APPLICATIONS
from stm32up.board import boards
from tests.end_to_end.conftest import Commands, Ran

HOSTS = ["pico_nucleo_g071rb_uart", "esp32_nucleo_g071rb_uart"]


@pytest.fixture(params=HOSTS)
def wired(
    request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Commands:
    board = Commands(tmp_path / "state", str(request.param), capfd)
    assert board("deploy").status == 0
    return board


@pytest.fixture
def update(wired: Commands) -> Callable[..., Ran]:
    """Updates to a version of the application for its chip."""
    folder = DEMO_APPLICATIONS[boards.load(wired.board).chip.name]

    def run(version: str, **options: Any) -> Ran:
        return wired("update", folder / f"app-{version}.hex", "--version", version, **options)

    return run


@pytest.mark.parametrize("wired", [*HOSTS, "pico_nucleo_c031c6_uart"], indirect=True)
def test_an_update_then_another_then_a_look(wired, update):
    assert update("1.0.0").result["status"] == "installed"
    assert update("1.1.0").result["version"] == "1.1.0"
    probed = wired("probe").result
    assert probed["protocol"] == "3.1" and probed["application"] == "running"
    assert wired("doctor").result["status"] == "healthy"
    assert wired("status").result["confirmed"] == "1.1.0"


@pytest.mark.parametrize("wired", HOSTS[:1], indirect=True)
def test_wires_that_are_exchanged_are_named_by_update_and_doctor(wired, update):
    exchanged = ("wires=exchanged",)
    result = update("1.0.0", sim=exchanged).result
    assert result["error"] == "loader-silent" and "TX" in result["next_step"]
    assert wired("doctor", sim=exchanged).result["error"] == "tx-rx-exchanged"


@pytest.mark.parametrize("wired", HOSTS[:1], indirect=True)
def test_provision_refuses_in_one_line(wired):
    assert wired("deploy", "--bench").status == 0
    ran = wired("provision", "--yes")
    assert ran.status == 1 and ran.result["error"] == "not-allowed"
    assert "over UART" in ran.result["message"] and "\n" not in ran.result["message"]
