"""doctor --wires on a simulated board: real MicroPython drives and reads the pins."""

from __future__ import annotations

import io
import sys

import pytest

from stm32up.cli import main
from tests.end_to_end.conftest import BOARDS


@pytest.fixture
def walk(host, monkeypatch, capfd):
    """Goes from wire to wire with these answers, and then only Enter; exit status and output."""

    def walk(*answers: str, sim: str = "wires=good") -> tuple[int, str]:
        stdin = io.StringIO("\n".join(answers) + "\n" * 40)
        monkeypatch.setattr(stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys, "stdin", stdin)
        command = ["--port", "sim", "--board", BOARDS[host], "--sim-option", sim]
        status = main.run([*command, "doctor", "--wires"])
        return status, capfd.readouterr().out

    return walk


def test_a_good_board_passes(walk):
    status, out = walk()
    assert status == 0 and "nothing is wrong" in out
    assert out.count("driven low 0, high or released 1: ok") == 4


def test_an_open_nrst_is_named(walk):
    status, out = walk("", "", "s", sim="wires=nrst-open")
    assert status == 1 and "nothing pulls it up: it is not connected" in out
    assert "The wire NRST (host pin" in out


def test_exchanged_lines_are_found_at_the_end(walk):
    status, out = walk(sim="wires=exchanged")
    assert status == 1 and "exchanged" in out
