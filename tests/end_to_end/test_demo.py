"""The demo, as a newcomer sees it in a terminal."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from pictures.__main__ import DEMO
from stm32up.board import boards
from stm32up.cli import demo
from tests.terminal import on_a_terminal

CHANGING = re.compile(r"[0-9a-f]{16}|\d+")  # key ids, ports, times


def without_numbers(line: str) -> str:
    return CHANGING.sub("0", line.replace("\xa0", " ")).rstrip()


def test_the_demo_fits_80_columns_and_ends_with_what_happened():
    program = "import sys; from stm32up.cli import demo; sys.exit(demo.main())"
    lines = on_a_terminal(80, program, NO_COLOR="1")
    assert max(map(len, lines)) <= 80
    story = lines[lines.index("11. The events in that log") :]
    assert story[1:7] == [
        "- 1.0.0 was installed: 1096 bytes",
        "- the installation of 1.1.0 was interrupted; the next start continued it",
        "- 1.1.0 was installed: 131072 bytes",
        "- 2.0.0 did not prove itself (it is silent)",
        "- 1.1.0 was restored",
        "The application now running, read over I2C: 1.1.0.",
    ]
    assert story[8].startswith("That was the whole path, in ")
    assert len(story) < 14  # no table after it
    picture = ElementTree.parse(DEMO).getroot().iter("{http://www.w3.org/2000/svg}text")
    shown = [without_numbers(node.text or "") for node in picture][1:]  # without the title
    printed = {without_numbers(line) for line in lines}
    assert [line for line in shown if line not in printed] == [], "make pictures"


@pytest.mark.slow
def test_the_demo_runs_on_the_smaller_chip_and_over_uart():
    program = "import sys; from stm32up.cli import demo; sys.exit(demo.main())"
    board = "pico_nucleo_c031c6_uart"
    lines = on_a_terminal(80, program, NO_COLOR="1", STM32UP_BOARD=board)
    assert any("wired to a NUCLEO-C031C6" in line for line in lines)
    assert any("its next version (32 KB)" in line for line in lines)
    story = lines[lines.index("11. The events in that log") :]
    assert story[2:4] == [
        "- the installation of 1.1.0 was interrupted; the next start continued it",
        "- 1.1.0 was installed: 32768 bytes",
    ]
    assert story[6] == "The application runs: it toggles its line to the host."


def test_a_chip_without_a_demo_application_is_an_error(tmp_path, monkeypatch, capsys):
    other = boards.BOARDS / "pico_nucleo_c031c6" / "board.toml"
    content = other.read_text().replace("STM32C031C6", "STM32G031K8")
    (tmp_path / "board.toml").write_text(content)
    monkeypatch.setenv("STM32UP_BOARD", str(tmp_path))
    assert demo.main() == 2
    told = capsys.readouterr().err
    assert "no demo application for STM32G031K8" in told and "STM32C031C6" in told


def test_a_folder_that_exists_is_not_used(tmp_path, capsys):
    assert demo.main([str(tmp_path)]) == 2
    assert "File exists. Name a new folder." in capsys.readouterr().err
