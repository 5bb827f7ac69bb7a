"""Whole pages without input data are kept, everything else of an image is written. The layout is
shown before it is written, and images that the board would refuse are never built."""

from __future__ import annotations

import re
import shlex
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stm32up import device
from stm32up.board import boards
from stm32up.errors import ImageError
from stm32up.image import image_format, images, inputs, keys, layout
from tests.host_tools.input_files import (
    FLASH,
    RAM_END,
    application,
    elf,
    hex_file,
    s_data,
    s_line,
    text,
)

PAGE = 2048
APP = application()
CHIP = device.chip("STM32G071RB")


@pytest.fixture
def build(tmp_path):
    """Build an image from this content; return the output."""

    def build(content: bytes, name: str = "app.hex", **options):
        (tmp_path / name).write_bytes(content)
        return images.build(tmp_path / name, CHIP, "1.0.0", None, tmp_path / "app.img", **options)

    return build


def rows(built) -> list[tuple[str, int, int]]:
    return [(s["what"], s["address"] - FLASH, s["length"]) for s in built["layout"]]


def kept_tlv(shown) -> list[tuple[int, int]]:
    (value,) = [t["value"] for t in shown["tlvs"] if t["type"] == 0xA1 and t["protected"]]
    return list(struct.iter_unpack("<II", bytes.fromhex(value)))


def with_gaps(*parts: tuple[int, int]) -> bytes:
    """A hex file with the application and these parts of it, (offset in flash, bytes)."""
    return text(hex_file((0, APP), *[(start, b"\xab" * size) for start, size in parts]))


def test_whole_pages_that_are_open_are_kept_and_the_rest_is_padded(build):
    built = build(with_gaps((8 * PAGE, 512)))
    assert rows(built) == [
        ("written", 0, 256),
        ("padded", 256, PAGE - 256),
        ("kept", PAGE, 7 * PAGE),
        ("written", 8 * PAGE, 512),
        ("padded", 8 * PAGE + 512, PAGE - 512),
    ]
    assert kept_tlv(built) == [(PAGE, 7 * PAGE)]


def test_a_partly_open_page_belongs_to_the_image(build):
    built = build(with_gaps((2 * PAGE - 1, 1), (4 * PAGE - 8, 9)))
    assert kept_tlv(built) == [(2 * PAGE, PAGE)]
    assert ("kept", 2 * PAGE, PAGE) in rows(built)


@pytest.mark.parametrize("start", [PAGE, PAGE + 8, 2 * PAGE - 1])
def test_without_a_whole_open_page_there_is_no_hole(build, start):
    built = build(with_gaps((start, 8)))
    assert 0xA1 not in [tlv["type"] for tlv in built["tlvs"]]
    assert "kept" not in [what for what, _, _ in rows(built)]


def test_a_bin_has_no_holes(build):
    content = APP + b"\xff" * (8 * PAGE) + b"end!" * 2
    built = build(content, "app.bin")
    assert 0xA1 not in [tlv["type"] for tlv in built["tlvs"]]
    assert rows(built)[0] == ("written", 0, len(content))


def test_elf_and_s_records_have_holes_too(build):
    far = FLASH + 5 * PAGE
    by_elf = build(elf((FLASH, FLASH, APP), (far, far, APP)), "app.elf")
    records = [*s_data(APP), *s_data(APP, far), s_line(7, FLASH)]
    by_records = build(text(records), "app.srec")
    assert kept_tlv(by_elf) == kept_tlv(by_records) == [(PAGE, 4 * PAGE)]


def test_show_says_what_build_said_but_for_the_padding(build, tmp_path):
    built = build(with_gaps((8 * PAGE, 512)))
    shown = images.show(tmp_path / "app.img")
    assert rows(shown) == [
        ("written", 0, PAGE),
        ("kept", PAGE, 7 * PAGE),
        ("written", 8 * PAGE, 512),
        ("padded", 8 * PAGE + 512, PAGE - 512),
    ]
    assert kept_tlv(shown) == kept_tlv(built)


def every_other_page(parts: int) -> bytes:
    """Something in every other page: one hole less than parts."""
    starts = [FLASH + 2 * n * PAGE for n in range(parts)]
    return text([*[line for start in starts for line in s_data(APP, start)], s_line(7, 0)])


def test_sixteen_holes_are_listed_and_more_are_refused(build):
    listed = kept_tlv(build(every_other_page(17), "app.srec"))
    assert listed == [((2 * n + 1) * PAGE, PAGE) for n in range(16)]
    with pytest.raises(ImageError, match="app.srec has 17 gaps of whole pages.*list 16"):
        build(every_other_page(18), "app.srec")


def test_signing_keeps_the_holes(build, tmp_path, key_files):
    built = build(with_gaps((8 * PAGE, 512)))
    images.sign(tmp_path / "app.img", keys.load(key_files[0]), tmp_path / "signed.img")
    assert kept_tlv(images.show(tmp_path / "signed.img")) == kept_tlv(built)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 30 * PAGE), st.integers(1, 3 * PAGE)), max_size=8),
)
def test_the_contract_of_holes_holds_for_any_input(parts):
    """u32 pairs that ascend and do not touch, whole pages, never the first or last page; FF there,
    no byte of the input lost, and the layout covers every page once."""
    given_bytes = bytearray(33 * PAGE)
    for start, size in [(0, 256), *parts]:
        given_bytes[start : start + size] = b"\1" * size
    runs, start = [], None
    for at, there in enumerate([*given_bytes, 0]):
        if there and start is None:
            start = at
        if not there and start is not None:
            runs.append((start, at - start))
            start = None
    end = runs[-1][0] + runs[-1][1]
    size = end + -end % 8
    payload = inputs.Payload(FLASH, bytes(size), runs)
    found = layout.holes("app.hex", payload, CHIP)
    last = PAGE
    for n, (offset, length) in enumerate(found):
        assert offset % PAGE == 0 and length % PAGE == 0 and length > 0
        assert offset > last or n == 0 and offset >= PAGE
        assert not any(given_bytes[offset : offset + length])
        last = offset + length
        assert last <= (end - 1) // PAGE * PAGE
    kept_pages = {o // PAGE + i for o, length in found for i in range(length // PAGE)}
    for page in range((end + PAGE - 1) // PAGE):
        open_page = not any(given_bytes[page * PAGE : (page + 1) * PAGE])
        assert open_page == (page in kept_pages)
    stretches = layout.stretches(FLASH, size, found, CHIP, runs)
    position = FLASH
    for stretch in stretches:
        address, length = stretch["address"], stretch["length"]
        assert address == position and length > 0
        position += length
        there = set(given_bytes[address - FLASH : address - FLASH + length])
        assert there == ({1} if stretch["what"] == "written" else {0})
    assert position == FLASH + (end + PAGE - 1) // PAGE * PAGE


# --- what the board checks ---


def app_with(stack: int = RAM_END, reset: int = FLASH + 0xC1, size: int = 256) -> bytes:
    return struct.pack("<II", stack, reset) + application(size)[8:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (app_with(stack=0x20000000), "stack pointer 0x20000000 is not in RAM"),
        (app_with(stack=0x20009004), "stack pointer 0x20009004"),
        (app_with(stack=0x10001000), "stack pointer 0x10001000"),
        (app_with(stack=RAM_END - 2), "stack pointer"),
        (app_with(reset=FLASH + 0xC0), "reset vector 0x080000C0"),  # no Thumb bit
        (app_with(reset=FLASH + 0x101), "reset vector 0x08000101"),  # behind the image
        (app_with(reset=0xC1), "reset vector 0x000000C1"),
        (app_with(reset=0x200000C1), "reset vector 0x200000C1"),
        (app_with(reset=0xFFFFFFFF), "reset vector 0xFFFFFFFF"),
        (app_with(reset=FLASH + 1), "reset vector"),  # inside the vector table
        (app_with(reset=FLASH + 0x3F), "reset vector"),
    ],
)
@pytest.mark.parametrize("name", ["app.bin", "app.hex"])
def test_what_the_board_would_refuse_is_not_built(build, tmp_path, content, message, name):
    whole = content if name == "app.bin" else text(hex_file((0, content)))
    with pytest.raises(ImageError, match=f"{name}.*{message}"):
        build(whole, name)
    assert not (tmp_path / "app.img").exists()


@pytest.mark.parametrize("content", [app_with(reset=FLASH + 0x41), app_with(stack=0x20000004)])
def test_the_limits_are_taken(build, content):
    assert build(content, "app.bin")["bytes"] == 256


@pytest.mark.parametrize("offset", [8, PAGE, 0x3000])
def test_an_application_that_starts_elsewhere_is_not_built(build, offset):
    with pytest.raises(ImageError, match=f"starts at 0x{FLASH + offset:08X}"):
        build(text(hex_file((offset, APP))))
    with pytest.raises(ImageError, match=f"starts at 0x{FLASH + offset:08X}"):
        build(APP, "app.bin", address=FLASH + offset)


@pytest.mark.parametrize("reset", [0x401, 3 * PAGE + 1])
def test_a_reset_vector_into_a_gap_is_refused(build, reset):
    content = hex_file((0, app_with(reset=FLASH + reset)), (8 * PAGE, b"x" * 8))
    with pytest.raises(ImageError, match="points to where the file has no data|reset vector"):
        build(text(content))


def test_a_region_to_preserve_may_lie_in_a_hole_and_nowhere_else(build):
    content = with_gaps((10 * PAGE, 8))
    assert build(content, preserve=[(FLASH + 3 * PAGE, PAGE)])["version"] == "1.0.0"
    assert build(content, preserve=[(FLASH + PAGE, 9 * PAGE)])["version"] == "1.0.0"
    assert build(content, preserve=[(FLASH + 11 * PAGE, PAGE)])["version"] == "1.0.0"
    for start, length in [(0, PAGE), (9 * PAGE, 2 * PAGE), (10 * PAGE, PAGE), (0, 4 * PAGE)]:
        with pytest.raises(ImageError, match=f"preserved region at 0x{FLASH + start:08X}"):
            build(content, preserve=[(FLASH + start, length)])


@pytest.mark.parametrize(
    "holes",
    [
        [(PAGE, PAGE + 8)],
        [(PAGE + 8, PAGE)],
        [(0, PAGE)],
        [(PAGE, 0)],
        [(10 * PAGE, PAGE)],  # the last page
        [(PAGE, 20 * PAGE)],
        [(3 * PAGE, PAGE), (PAGE, PAGE)],
        [(PAGE, 2 * PAGE), (2 * PAGE, PAGE)],
        [(PAGE, PAGE), (2 * PAGE, PAGE)],
        [(0xFFFFF800, PAGE)],
    ],
)
def test_an_image_whose_holes_break_the_contract_is_refused(tmp_path, holes):
    payload = inputs.Payload(FLASH, APP.ljust(10 * PAGE + 8, b"\xff"), [(0, 256)])
    (tmp_path / "app.img").write_bytes(images.pack(payload, CHIP, "1.0.0", None, kept=holes))
    with pytest.raises(ImageError, match="app.img"):
        images.verify(tmp_path / "app.img", chip=CHIP)
    images.show(tmp_path / "app.img")  # checks, and accepts it


# --- the verbs ---


def test_build_and_show_print_the_layout(run, tmp_path):
    (tmp_path / "app.hex").write_bytes(with_gaps((8 * PAGE, 512)))
    image = tmp_path / "app.img"
    built = run("image", "build", tmp_path / "app.hex", "--version", "v1.2.3", "-o", image).out
    assert "0x08000000 to 0x080000FF     256 bytes written" in built
    assert "0x08000100 to 0x080007FF    1792 bytes padded with FF" in built
    assert "0x08000800 to 0x08003FFF   14336 bytes kept" in built
    shown = run("image", "show", image).out
    assert max(map(len, built.splitlines()[:-1])) <= 80
    assert "0x08000800 to 0x08003FFF   14336 bytes kept" in shown
    assert "version 1.2.3" in built


def test_a_file_with_many_gaps_does_not_fill_the_screen(run, tmp_path):
    (tmp_path / "app.hex").write_bytes(with_gaps(*[(n, 1) for n in range(300, 500, 2)]))
    command = ["image", "build", tmp_path / "app.hex", "--version", "1", "-o", tmp_path / "a"]
    out = run(*command).out
    assert len(out.splitlines()) < 30 and "more; --json shows all" in out
    assert len(run("--json", *command).result["layout"]) > 200


def own_board(folder, preserve: str, chip: str = "STM32G071RB"):
    text = (boards.BOARDS / "pico_nucleo_g071rb" / "board.toml").read_text()
    assert "preserve = []" in text and "STM32G071RB" in text
    changed = text.replace("preserve = []", f"preserve = {preserve}").replace("STM32G071RB", chip)
    folder.mkdir()
    (folder / "board.toml").write_text(changed)
    return folder


@pytest.mark.parametrize("verb", ["build", "verify", "push", "update"])
def test_what_board_toml_preserves_is_checked_before_a_board_is_looked_for(run, tmp_path, verb):
    board = own_board(tmp_path / "own", "[{start = 0x08000800, length = 0x800}]")
    (tmp_path / "app.bin").write_bytes(APP * 10)
    image = tmp_path / "app.img"
    build = ["image", "build", tmp_path / "app.bin", "--version", "1", "-o", image]
    assert run(*build).status == 0
    commands = {
        "build": build,
        "verify": ["image", "verify", image],
        "push": ["push", image],
        "update": ["update", image],
    }
    ran = run("--board", board, "--port", "/dev/none", *commands[verb])
    assert ran.status == 1 and ran.err.count("\n") == 1
    assert "preserved region at 0x08000800" in ran.err


def test_an_image_is_verified_for_its_own_chip_unless_one_is_named(run, tmp_path):
    (tmp_path / "app.bin").write_bytes(struct.pack("<I", 0x20002000) + APP[4:])
    image = tmp_path / "app.img"
    build = ["image", "build", tmp_path / "app.bin", "--version", "1", "-o", image]
    assert run(*build, "--chip", "STM32G031K8").status == 0
    assert run("image", "verify", image).status == 0
    assert run("image", "verify", image, "--chip", "STM32G031K8").status == 0
    for ran in (
        run("image", "verify", image, "--chip", "STM32G071RB"),
        run("--board", own_board(tmp_path / "own", "[]"), "image", "verify", image),
    ):
        assert ran.status == 1 and "0x466" in ran.err


def test_an_image_that_fits_its_family_but_not_the_part_is_refused(run, tmp_path):
    (tmp_path / "app.bin").write_bytes(APP.ljust(100 * 1024, b"\1"))
    image = tmp_path / "app.img"
    build = ["image", "build", tmp_path / "app.bin", "--version", "1", "-o", image]
    assert run(*build).status == 0 and run("image", "verify", image).status == 0
    assert "0x0800FFFF" in run("image", "verify", image, "--chip", "STM32G071R8").err


# --- names and versions ---


@pytest.mark.parametrize(
    ("version", "taken"),
    [("v1.2.3", "1.2.3"), ("V1.2", "1.2.0"), ("v1.2.3+4", "1.2.3+4"), ("1", "1.0.0")],
)
def test_a_version_may_be_written_like_a_tag(tmp_path, version, taken):
    (tmp_path / "app.bin").write_bytes(APP)
    built = images.build(tmp_path / "app.bin", CHIP, version, None, tmp_path / "app.img")
    assert built["version"] == taken


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.2.3-rc1", "without a pre-release.*1.2.3\\+1"),
        ("v2.0.0-beta.2", "without a pre-release.*2.0.0\\+1"),
        ("1.2rc1", "without a pre-release.*1.2.0\\+1"),
        ("1.2.3-4-gdeadbee", "without a pre-release"),
        ("1.2.3-dirty", "without a pre-release"),
        ("1.2.3.4", "build number after a \\+.*1.2.3\\+4"),
        ("1.2.3+x", "Write it as 1.4.2"),
        ("latest", "Write it as 1.4.2"),
        ("", "Write it as 1.4.2"),
        ("v", "Write it as 1.4.2"),
    ],
)
def test_what_is_no_version_is_explained(run, tmp_path, version, message):
    (tmp_path / "app.bin").write_bytes(APP)
    arguments = ["image", "build", tmp_path / "app.bin", "-o", tmp_path / "app.img"]
    ran = run(*arguments, "--version", version)
    assert ran.status == 2 and not (tmp_path / "app.img").exists()
    assert re.search(message, ran.err), ran.err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("app-1.4.2.hex", text(hex_file((0, APP)))),
        ("my app.srec", text([*s_data(APP), s_line(7, 0)])),
        ("app", elf((FLASH, FLASH, APP))),
        ("app.bin", APP),
        ("named.bin", text(hex_file((0, APP)))),
    ],
)
@pytest.mark.parametrize("board", [None, "esp32_nucleo_g071rb"])
@pytest.mark.parametrize("verb", [["update"], ["push"], ["image", "verify"]])
def test_a_file_that_is_no_image_is_answered_with_a_command_that_works(
    run, tmp_path, monkeypatch, name, content, board, verb
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    options = ["--board", board] if board else []
    ran = run(*options, *verb, name)
    assert ran.status == 1 and "not an MCUboot image" in ran.err
    if "Rename it to named.hex" in ran.err:
        (tmp_path / name).rename(tmp_path / "named.hex")
    command = shlex.split(ran.err[ran.err.index("stm32up ") :])
    assert ("--board" in command) == (board is not None)
    built = run("--json", *command[1:]).result
    assert built["ok"] and built["version"] == ("1.4.2" if "1.4.2" in name else "1.0.0")
    assert run("image", "verify", built["file"]).status == 0


def test_a_name_with_other_letters_says_what_it_became(run, fake, tmp_path):
    (tmp_path / "app.bin").write_bytes(APP)
    image = tmp_path / "größe.img"
    build = ["image", "build", tmp_path / "app.bin", "--version", "1", "-o", image]
    built = run(*build, "--product", "Bär").out
    assert f"product Bär: class id {images.class_id('Bär').hex}" in built
    assert "product" not in run(*build, "--product", "bear").out
    assert (
        "pushed größe.img to the inbox as gr_e.img" in run("--port", fake.port, "push", image).out
    )
    assert "already in the inbox as gr_e.img" in run("--port", fake.port, "push", image).out


def test_a_huge_file_is_no_image_and_no_key(run, tmp_path):
    with (tmp_path / "huge.img").open("wb") as file:
        file.truncate(400 << 20)
    for command in (["image", "verify"], ["image", "show"], ["update"]):
        assert "419430400 bytes, too many for an image" in run(*command, tmp_path / "huge.img").err
    (tmp_path / "app.bin").write_bytes(APP)
    build = ["image", "build", tmp_path / "app.bin", "--version", "1", "-o", tmp_path / "app.img"]
    assert "too many for a key" in run(*build, "--key", tmp_path / "huge.img").err


def test_the_tlv_is_the_one_of_the_contract():
    assert (image_format.KEPT, image_format.MAX_HOLES) == (0xA1, 16)


@pytest.fixture
def map_of(run, build, tmp_path):
    """What `image show` says of an image of this content, on a board that preserves regions."""

    def map_of(content: bytes, preserve: str = "[]") -> tuple[list[tuple[str, int, int]], str]:
        build(content)
        text = (boards.BOARDS / "pico_nucleo_g071rb" / "board.toml").read_text()
        (tmp_path / "mine.toml").write_text(
            text.replace("preserve = []", f"preserve = {preserve}")
        )
        show = ("image", "show", tmp_path / "app.img", "--board", tmp_path / "mine.toml")
        areas = run("--json", *show).result["map"]
        assert areas[0]["address"] == FLASH
        for area, following in zip(areas, areas[1:], strict=False):
            assert area["address"] + area["length"] == following["address"]
            assert area["last_page"] + 1 == following["first_page"]
        assert sum(area["length"] for area in areas) == CHIP.flash_size
        return [(a["what"], a["first_page"], a["last_page"]) for a in areas], run(*show).out

    return map_of


def test_the_map_has_every_page_of_the_chip(map_of):
    rows, shown = map_of(with_gaps((8 * PAGE, 512)))
    assert rows == [
        ("written", 0, 0),
        ("hole", 1, 7),
        ("written", 8, 8),
        ("untouched", 9, 63),
    ]
    assert "0x08000000 to 0x080007FF    2048 bytes erased and written, page 0\n" in shown
    assert "0x08000800 to 0x08003FFF   14336 bytes kept (a hole), pages 1 to 7\n" in shown
    assert "0x08004000 to 0x080047FF    2048 bytes erased, 512 written, page 8\n" in shown
    assert "0x08004800 to 0x0801FFFF  112640 bytes not touched, pages 9 to 63\n" in shown


def test_the_map_shows_what_the_board_preserves(map_of):
    rows, shown = map_of(
        with_gaps((8 * PAGE, 512)),
        "[{start = 0x08001000, length = 0x800}, {start = 0x0801F000, length = 0x1000}]",
    )
    assert rows == [
        ("written", 0, 0),
        ("hole", 1, 1),
        ("preserved", 2, 2),
        ("hole", 3, 7),
        ("written", 8, 8),
        ("untouched", 9, 61),
        ("preserved", 62, 63),
    ]
    assert "4096 bytes kept (preserved), pages 62 to 63\n" in shown


def test_the_map_shows_what_the_board_would_refuse(map_of):
    rows, shown = map_of(with_gaps((8 * PAGE, 512)), "[{start = 0x08004000, length = 0x800}]")
    assert ("refused", 8, 8) in rows and "REFUSED: preserved, page 8\n" in shown


def test_an_image_for_another_family_is_shown_on_its_own_chip(run, tmp_path):
    (tmp_path / "app.bin").write_bytes(struct.pack("<II", 0x2000_2000, FLASH + 0x81) + bytes(256))
    build = ("image", "build", tmp_path / "app.bin", "--version", "1.0.0", "--chip", "STM32G031K8")
    target = tmp_path / "app.img"
    assert run(*build, "-o", target).status == 0
    shown = run("--json", "image", "show", target).result
    assert (shown["chip"][:9], shown["board"]) == ("STM32G030", None)
    assert [(a["what"], a["last_page"]) for a in shown["map"]][0] == ("written", 0)
