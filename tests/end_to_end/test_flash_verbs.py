"""read, verify and erase on a simulated board: real MicroPython, both kinds of host."""

from __future__ import annotations

import bincopy
import pytest

from stm32up.board import boards
from tests.end_to_end.conftest import APPLICATION, FLASH_SIZE

FLASH = 0x0800_0000
PAGE = 2048


def test_read_gives_the_flash_as_it_is(updated, tmp_path):
    before = updated.target()
    ran = updated("read", "-o", tmp_path / "flash.bin")
    assert ran.status == 0 and ran.result["bytes"] == FLASH_SIZE, ran
    assert (tmp_path / "flash.bin").read_bytes() == updated.flash()
    done = [event["done"] for event in ran.events if event["event"] == "progress"]
    assert done == sorted(done) and done[-1] == FLASH_SIZE
    assert updated.target() == before
    assert updated("probe").result["application"] == "running"
    assert updated("status").result["phase"] == "idle"


def test_a_part_of_it_as_hex(updated, tmp_path):
    part = ("--start", "0x08000100", "--length", "300")
    assert updated("read", "-o", tmp_path / "part.hex", *part).status == 0
    file = bincopy.BinFile(str(tmp_path / "part.hex"))
    assert file.minimum_address == FLASH + 0x100
    assert bytes(file.as_binary()) == updated.flash()[0x100 : 0x100 + 300]


def test_a_protected_target_is_not_read(stm32up, tmp_path):
    (stm32up.folder / "target.flash").unlink()  # the option is for a new target
    ran = stm32up("read", "-o", tmp_path / "flash.bin", sim=("rdp=1",))
    assert ran.status == 1 and ran.result["error"] == "read-protected"
    assert not (tmp_path / "flash.bin").exists()


@pytest.mark.parametrize("file", ["app-1.0.0.img", "app-1.0.0.hex"])
def test_what_is_installed_is_verified(updated, images, file):
    before = updated.target()
    folder = images if file.endswith(".img") else APPLICATION
    ran = updated("verify", folder / file)
    assert ran.status == 0 and ran.result["status"] == "same", ran
    assert updated.target() == before


def test_another_application_is_told_by_page_and_address(updated):
    ran = updated("verify", APPLICATION / "app-1.1.0.hex")
    assert ran.status == 1 and ran.result["error"] == "flash-differs"
    (first, *_) = [event for event in ran.events if event["event"] == "differs"]
    wanted = bincopy.BinFile(str(APPLICATION / "app-1.1.0.hex"))
    flash = updated.flash()
    differ = [
        FLASH + n
        for n in range(FLASH_SIZE)
        if bytes(wanted[FLASH + n : FLASH + n + 1]) not in (b"", flash[n : n + 1])
    ]
    assert first["address"] == differ[0] and first["page"] == (differ[0] - FLASH) // PAGE
    assert ran.result["differing_bytes"] == len(differ)
    assert f"first at 0x{differ[0]:08X}" in ran.result["message"]


def test_erase_leaves_what_is_preserved(board_in, images, tmp_path):
    bench = board_in("with-bench")
    folder = tmp_path / "keeps"
    folder.mkdir()
    toml = (boards.BOARDS / bench.board / "board.toml").read_text()
    kept = "preserve = [{start = 0x0801F800, length = 0x800}]"
    bench("update", images / "full.img")
    (folder / "board.toml").write_text(toml.replace("preserve = []", kept))
    bench.board = str(folder)
    assert bench("deploy", "--bench").status == 0
    ran = bench("erase", "--yes")
    assert ran.status == 0 and ran.result["pages"] == 63, ran
    (plan,) = [event for event in ran.events if event["event"] == "plan"]
    assert plan["kept"] == [[0x0801F800, 0x800]]
    flash, full = bench.flash(), (images / "full.bin").read_bytes()
    assert flash[:-PAGE] == b"\xff" * (FLASH_SIZE - PAGE) and flash[-PAGE:] == full[-PAGE:]
    assert bench("erase", "--all", "--yes").result["pages"] == 64
    assert set(bench.flash()) == {0xFF}


def test_after_an_erase_the_last_good_image_comes_back(board_in, images):
    bench = board_in("with-bench")
    bench("update", images / "app-1.0.0.img")
    assert bench("erase", "--yes").result["status"] == "erased"
    assert bench("run").result["status"] == "installed"
    assert bench("probe").result["application_version"] == "1.0.0"
