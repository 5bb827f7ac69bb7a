"""The doctor by the real command, in real MicroPython."""

from __future__ import annotations

import shutil

import pytest


def diagnosis(ran) -> str | None:
    """The code of what is wrong; None on a healthy board."""
    assert ran.status == (0 if ran.result["ok"] else 1)
    return None if ran.result["ok"] else ran.result["error"]


def test_a_healthy_board_is_healthy_and_left_as_it_was(stm32up, images):
    stm32up("update", images / "app-1.0.0.img")
    target, log = stm32up.target(), stm32up("logs", "pull").events[:-1]
    ran = stm32up("doctor")
    assert diagnosis(ran) is None and ran.result["status"] == "healthy"
    assert ran.result["findings"] == [] and ran.result["otherwise"] == []
    assert stm32up.target() == target
    assert stm32up("logs", "pull").events[:-1] == log
    assert stm32up("probe").result["application_version"] == "1.0.0"


@pytest.mark.parametrize(
    "option, code",
    [
        ("wires=exchanged", "lines-exchanged"),
        ("target=debugged", "debugger-blocks-boot0"),
        ("rdp=1", "read-protected"),
    ],
)
def test_what_is_wrong_is_named(stm32up, images, option, code):
    if option != "rdp=1":  # which only an untouched target takes
        stm32up("update", images / "app-1.0.0.img")
    else:
        (stm32up.folder / "target.flash").unlink()
    ran = stm32up("doctor", sim=(option,))
    assert diagnosis(ran) == code
    finding = ran.result["findings"][0]
    assert finding["code"] == code and finding["evidence"]
    assert finding["next_step"] == ran.result["next_step"]


def test_a_second_look_after_a_power_cycle_tells_more(stm32up, images):
    for version in ("1.0.0", "1.1.0"):
        stm32up("update", images / f"app-{version}.img")
    level_2 = ("target=level-2",)
    assert diagnosis(stm32up("doctor", sim=level_2)) == "debugger-blocks-boot0"
    ran = stm32up("doctor", "--power-cycled", sim=level_2)
    assert diagnosis(ran) == "level-2-suspected" and ran.result["status"] == "wrong"


def test_a_bare_host_is_examined_all_the_same(stm32up, images, tmp_path):
    stm32up("update", images / "app-1.0.0.img")
    (stm32up.folder / "host.flash").unlink()
    ran = stm32up("doctor", sim=("blank-host=1",))
    assert diagnosis(ran) == "filesystem-reformatted"
    assert ran.result["facts"]["target"]["reached_by"] == "own"
    shutil.rmtree(stm32up.folder)
    assert diagnosis(stm32up("doctor", sim=("blank-host=1",))) == "no-updater"


def test_people_read_what_why_and_what_next(stm32up, images, capfd):
    from stm32up.cli import main

    port = ["--port", f"sim:{stm32up.folder}", "--board", stm32up.board]
    assert main.run([*port, "--sim-option", "wires=boot0-open", "doctor"]) == 1
    lines = capfd.readouterr().out.splitlines()
    headings = [line for line in lines if line and not line.startswith(" ")]
    assert headings[:4] == [
        "What is wrong",
        "Why this is believed",
        "How it comes about",
        "What to do next",
    ]
    assert all(len(line) <= 80 for line in lines)
