"""The doctor by the real command, in real MicroPython."""

from __future__ import annotations

import shutil

import pytest


def diagnosis(ran) -> str | None:
    """The code of the diagnosis; None on a healthy board."""
    assert ran.status == (0 if ran.result["ok"] else 1)
    return None if ran.result["ok"] else ran.result["error"]


def test_a_healthy_board_is_healthy_and_left_as_it_was(updated):
    target, log = updated.target(), updated("logs", "pull").events[:-1]
    ran = updated("doctor")
    assert diagnosis(ran) is None and ran.result["status"] == "healthy"
    assert ran.result["findings"] == [] and ran.result["otherwise"] == []
    assert updated.target() == target
    assert updated("logs", "pull").events[:-1] == log
    assert updated("probe").result["application_version"] == "1.0.0"


@pytest.mark.parametrize(
    "option, code",
    [
        ("wires=exchanged", "lines-exchanged"),
        ("target=debugged", "debugger-blocks-boot0"),
        ("rdp=1", "read-protected"),
    ],
)
def test_what_is_wrong_is_named(board_in, option, code):
    untouched = option == "rdp=1"  # no other target accepts it
    board = board_in("deployed" if untouched else "updated")
    if untouched:
        (board.folder / "target.flash").unlink()
    ran = board("doctor", sim=(option,))
    assert diagnosis(ran) == code
    finding = ran.result["findings"][0]
    assert finding["code"] == code and finding["evidence"]
    assert finding["next_step"] == ran.result["next_step"]


def test_a_second_look_after_a_power_cycle_tells_more(updated, images):
    updated("update", images / "app-1.1.0.img")
    level_2 = ("target=level-2",)
    assert diagnosis(updated("doctor", sim=level_2)) == "debugger-blocks-boot0"
    ran = updated("doctor", "--power-cycled", sim=level_2)
    assert diagnosis(ran) == "level-2-suspected" and ran.result["status"] == "wrong"


def test_a_bare_host_is_examined_all_the_same(updated, tmp_path):
    (updated.folder / "host.flash").unlink()
    ran = updated("doctor", sim=("blank-host=1",))
    assert diagnosis(ran) == "filesystem-reformatted"
    assert ran.result["facts"]["target"]["reached_by"] == "own"
    shutil.rmtree(updated.folder)
    assert diagnosis(updated("doctor", sim=("blank-host=1",))) == "no-updater"


def test_people_read_what_why_and_what_next(stm32up, images, capfd):
    from stm32up.cli import main

    port = ["--port", f"sim:{stm32up.folder}", "--board", stm32up.board]
    assert main.run([*port, "--sim-option", "wires=boot0-open", "doctor"]) == 1
    lines = capfd.readouterr().out.splitlines()
    headings = [line for line in lines if line and not line.startswith(" ")]
    assert headings[:4] == [
        "What is wrong",
        "What shows it",
        "Cause",
        "Next step",
    ]
    assert all(len(line) <= 80 for line in lines)
