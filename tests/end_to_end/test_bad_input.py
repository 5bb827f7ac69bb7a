"""Whatever is wrong: one clear line, a non-zero exit status, and a target that was not touched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stm32up.board import boards
from tests.end_to_end.conftest import APPLICATION, build


@pytest.fixture
def refused(updated):
    """Runs a command that must be refused, on a target with an application; returns its error."""

    def run(*arguments, status=1, sim=()):
        before = updated.target()
        ran = updated(*arguments, sim=sim)
        assert ran.status == status
        assert len(ran.errors) == 1, ran.errors
        assert ran.result["event"] == "result" and ran.result["ok"] is False
        assert ran.result["message"] and "Traceback" not in ran.errors[0]
        assert updated.target() == before
        return ran.errors[0]

    return run


def custom_board(stm32up, folder: Path, old: str, new: str) -> None:
    """Use a copy of the board whose board.toml differs in one place."""
    source = boards.BOARDS / stm32up.board
    shutil.copytree(source, folder / "custom")
    text = (source / "board.toml").read_text()
    assert old in text
    (folder / "custom" / "board.toml").write_text(text.replace(old, new, 1))
    stm32up.board = str(folder / "custom")


def test_no_such_file(refused, tmp_path):
    assert "missing.img" in refused("update", tmp_path / "missing.img", status=2)


def test_a_truncated_image(refused, images, tmp_path):
    (tmp_path / "short.img").write_bytes((images / "app-1.1.0.img").read_bytes()[:-10])
    assert "truncated" in refused("update", tmp_path / "short.img")


def test_a_flipped_bit(refused, images, tmp_path):
    content = bytearray((images / "app-1.1.0.img").read_bytes())
    content[700] ^= 1
    (tmp_path / "flipped.img").write_bytes(content)
    assert "digest" in refused("update", tmp_path / "flipped.img")


def test_an_image_for_another_chip(refused, tmp_path):
    source = APPLICATION / "app-1.1.0.hex"
    build(source, tmp_path / "other.img", "1.1.0", "--chip", "STM32G491RE")
    assert "0x479" in refused("update", tmp_path / "other.img")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("page.bin", b"<!DOCTYPE html><html></html>", "an HTML page"),
        ("app.bin", b":020000040800F2\n:00000001FF\n", "Intel hex"),
        ("app.hex", b":020000040800F2\n:04000000009000204C\n", "app.hex:2: the file ends"),
        ("app.elf", b"\x7fELF\x01\x01\x01", "app.elf is truncated"),
        ("app.bin", b"\x00\x90\x00\x20" * 100, "reset vector 0x20009000"),
    ],
)
def test_a_file_that_is_no_application(refused, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    command = ["image", "build", tmp_path / name, "--version", "1.0.0"]
    assert message in refused(*command, "-o", tmp_path / "x.img")
    assert "not an MCUboot image" in refused("update", tmp_path / name)
    assert not (tmp_path / "x.img").exists()


def test_an_image_larger_than_the_flash(refused, updated, tmp_path):
    (tmp_path / "large.bin").write_bytes(bytes(200 * 1024))
    command = ["image", "build", tmp_path / "large.bin", "--version", "1.0.0"]
    line = refused(*command, "-o", tmp_path / "large.img", status=1)
    assert "128" in line or "0x0801FFFF" in line or "0x08020000" in line


def test_an_image_that_covers_a_preserved_region(refused, updated, images, tmp_path):
    custom_board(
        updated, tmp_path, "preserve = []", "preserve = [{start = 0x08001000, length = 0x800}]"
    )
    assert updated("deploy").status == 0
    line = refused("update", images / "full.img")
    assert "preserved region at 0x08001000" in line


def test_a_hex_file_outside_flash(refused, tmp_path):
    (tmp_path / "options.hex").write_text(
        ":020000041FFFDC\n:08780000AAFEFFFF5501000084\n:00000001FF\n"
    )
    command = ["image", "build", tmp_path / "options.hex", "--version", "1.0.0"]
    line = refused(*command, "-o", tmp_path / "x.img", status=1)
    assert "0x1FFF7800" in line


def test_a_board_toml_with_an_unknown_key(refused, updated, images, tmp_path):
    custom_board(updated, tmp_path, "frequency =", "frequncy =")
    line = refused("update", images / "app-1.1.0.img", status=2)
    assert "board.toml:" in line and "frequncy" in line and "frequency" in line


def test_a_port_that_is_not_there(images, capfd):
    from stm32up.cli import main

    assert main.run(["--port", "/dev/ttyNOSUCH", "update", str(images / "app-1.1.0.img")]) == 3
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and "/dev/ttyNOSUCH" in lines[0]


def test_a_board_without_the_updater(stm32up, images, tmp_path):
    stm32up.folder = tmp_path / "new"
    ran = stm32up("update", images / "app-1.0.0.img", sim=("blank-host=1",))
    assert ran.status == 1 and len(ran.errors) == 1 and "stm32up deploy" in ran.errors[0]


def test_no_answer_at_the_loaders_address(stm32up, images):
    ran = stm32up("update", images / "app-1.0.0.img", sim=("target=absent",))
    assert ran.status == 1 and ran.result["error"] == "loader-silent"
    assert "0x51" in ran.errors[0] and "wiring" in ran.errors[0]


def test_a_loader_that_answers_with_another_product_id(refused, images):
    line = refused("update", images / "app-1.1.0.img", sim=("product-id=0x466",))
    assert "0x466" in line and "0x460" in line


def test_a_write_protected_page(updated, images):
    before = updated.flash()
    ran = updated("update", images / "app-1.1.0.img", sim=("write-protected=0",))
    assert ran.status == 1 and ran.result["error"] == "page-protected"
    assert "page 0" in ran.errors[0]
    assert updated.flash() == before


def test_a_simulation_option_that_does_not_exist(stm32up):
    ran = stm32up("status", sim=("louder=11.3",))
    assert ran.status == 2 and "louder" in ran.errors[0]


def test_a_cut_at_no_erase(stm32up):
    ran = stm32up("status", sim=("cut=0",))
    assert ran.status == 2 and "'0'" in ran.errors[0]


@pytest.mark.parametrize(
    "fault",
    ["always busy@40", "answer lost@61", "data held low@30", "loader resets itself@77"],
)
def test_a_fault_on_the_wire_ends_clearly_and_the_next_run_mends_it(stm32up, images, fault):
    first = stm32up("update", images / "app-1.0.0.img", sim=(f"fault={fault}",))
    assert first.status == (0 if first.result["ok"] else 1)
    if not first.result["ok"]:
        assert len(first.errors) == 1 and first.result["next_step"]
    assert stm32up("update", images / "app-1.0.0.img").result["ok"]
    assert stm32up("probe").result["application_version"] == "1.0.0"
