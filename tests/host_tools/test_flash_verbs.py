"""read, verify and erase: what is wrong is said before a board is looked for; files hold what the
flash holds."""

from __future__ import annotations

from typing import Any, cast

import bincopy
import pytest

from stm32up import device
from stm32up.host import target_flash
from stm32up.host.transport import Connection
from stm32up.image import expected
from tests.host_tools.input_files import FLASH, application, hex_file, text
from tests.host_tools.test_cli import one_line

PAGE = 2048


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["read"], 2, "Missing option '-o' / '--output'"),
        (["read", "-o", "flash.txt"], 2, "flash.txt is named neither .bin nor .hex"),
        (["read", "-o", "no/flash.bin"], 2, "cannot write no/flash.bin: it has no folder"),
        (["status", "--trace", "no/bus.vcd"], 2, "cannot write no/bus.vcd: it has no folder"),
        (["logs", "pull", "-o", "no/log"], 2, "cannot write no/log: it has no folder"),
        (["logs", "report", "-o", "/"], 2, "cannot write /: it is a folder"),
        (["bench", "--report", "/"], 2, "cannot write /: it is a folder"),
        (["read", "-o", "f.bin", "--start", "0x20000000"], 2, "not inside the flash of STM32G071"),
        (["read", "-o", "f.bin", "--start", "-1"], 2, "--start -1 is not a number"),
        (["read", "-o", "f.bin", "--length", "0"], 2, "not inside the flash"),
        (["read", "-o", "f.bin", "--length", "0x20001"], 2, "0x08000000 to 0x0801FFFF"),
        (["read", "-o", "f.bin", "--start", "x"], 2, "--start x is not a number"),
        (["verify", "none.hex"], 2, "cannot read none.hex: No such file"),
        (["verify", "bad.hex"], 1, "bad.hex:1: not a record of Intel hex"),
        (["verify", "app.img", "--address", "0x08000000"], 2, "app.img states its own address"),
        (["verify", "torn.img"], 1, "torn.img is"),
        (["erase"], 3, "cannot open port"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_one_line(
    run, tmp_path, monkeypatch, image, arguments, status, message, terminal
):
    monkeypatch.chdir(tmp_path)
    terminal("erase")
    (tmp_path / "bad.hex").write_text("hello\n")
    (tmp_path / "torn.img").write_bytes(image.read_bytes()[:-1])
    assert message in one_line(run("--port", "/dev/none", *arguments), status)


def test_erase_must_be_confirmed(run, fake):
    ran = run("--port", fake.port, "--json", "erase")
    assert "erase must be confirmed, and there is no terminal" in one_line(ran, 2)
    assert fake.executed == []


@pytest.mark.parametrize("name", ["flash.bin", "flash.hex"])
def test_a_file_holds_what_was_read(tmp_path, name):
    content = bytes(range(256)) * 3
    expected.write(tmp_path / name, FLASH + 0x100, content)
    if name.endswith(".bin"):
        assert (tmp_path / name).read_bytes() == content
    else:
        file = bincopy.BinFile(str(tmp_path / name))
        assert (file.minimum_address, bytes(file.as_binary())) == (FLASH + 0x100, content)


def test_only_what_a_file_has_data_for_is_expected(tmp_path):
    app = application()
    (tmp_path / "app.hex").write_bytes(text(hex_file((0, app), (8 * PAGE, b"data"))))
    pieces = expected.of_input(tmp_path / "app.hex", device.chip("STM32G071RB"))
    assert pieces == [(FLASH, app), (FLASH + 8 * PAGE, b"data")]


def test_pages_that_an_image_keeps_are_not_expected(tmp_path, run):
    app = application()
    (tmp_path / "app.hex").write_bytes(text(hex_file((0, app), (8 * PAGE, b"databyte"))))
    target = tmp_path / "app.img"
    run("image", "build", tmp_path / "app.hex", "--version", "1.0.0", "-o", target)
    pieces = expected.of_image(target.read_bytes())
    assert [(piece.address, len(piece.data)) for piece in pieces] == [
        (FLASH, PAGE),
        (FLASH + 8 * PAGE, 8),
    ]
    assert pieces[0].data == app.ljust(PAGE, b"\xff") and pieces[1].data == b"databyte"


def test_the_first_difference_of_each_page_is_told(monkeypatch):
    from stm32up.errors import UpdateFailed
    from stm32up.say import words

    data = bytes(12 * PAGE)
    there = bytearray(data)
    there[5:7] = b"\x11\x22"
    there[9] = 0x33
    for page in range(1, 12):
        there[page * PAGE] = page
    monkeypatch.setattr(target_flash, "read", lambda *_: [bytes(there)])
    told: list[Any] = []
    with pytest.raises(UpdateFailed) as failed:
        target_flash.verify(
            cast(Connection, None),
            [expected.Piece(FLASH, data)],
            device.chip("STM32G071RB"),
            told.append,
            "app.hex",
            "Do it.",
        )
    lines = [words.event(event) for event in told]
    assert lines[0] == (
        "page 0: 3 bytes differ, from 0x08000005: 11 22 in flash, 00 00 in the file"
    )
    assert lines[1].startswith("page 1: 1 byte differs, from 0x08000800: 01 in flash")
    assert lines[-1] == "note: 4 more pages differ" and len(lines) == 9
    assert failed.value.message == (
        "flash differs from app.hex in 14 of 24576 bytes, in 12 pages; first at 0x08000005: 11 in "
        "flash, 00 in the file"
    )
    assert failed.value.result["differing_pages"] == list(range(12))
