"""A board whose chip is found out when it is deployed, by the real command."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stm32up.board import boards

STATED = ("engineering=readable",)


@pytest.fixture
def unknown(board_in, tmp_path: Path):
    """A deployed board; its board.toml says that the chip is not known."""
    board = board_in("deployed")
    folder = tmp_path / "product"
    shutil.copytree(boards.BOARDS / board.board, folder)
    text = (folder / "board.toml").read_text()
    (folder / "board.toml").write_text(text.replace('"STM32G071RB"', '"auto"'))
    board.board = str(folder)
    return board


def test_the_chip_is_found_at_the_deployment_and_then_updated(unknown, images):
    ran = unknown("deploy", sim=STATED)
    assert ran.status == 0 and ran.result["status"] == "deployed"
    assert any("STM32G070XB" in event.get("text", "") for event in ran.events)
    assert unknown("update", images / "app-1.0.0.img").result["status"] == "installed"
    assert unknown("probe").result["chip"] == "STM32G070XB"
    assert unknown("doctor").result["status"] == "healthy"


def test_without_a_stated_flash_size_the_part_must_be_named(unknown):
    ran = unknown("deploy")
    assert ran.status == 1 and "flash size" in ran.result["message"]
    assert "board.toml" in ran.result["next_step"]
