"""Application files are read by the rules of their format: unfinished or contradictory ones are
refused, with file and line."""

from __future__ import annotations

import io
import struct
import tracemalloc

import bincopy
import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from stm32up import device
from stm32up.errors import ImageError, UsageError
from stm32up.image import expected, inputs
from tests.host_tools.input_files import (
    END,
    FLASH,
    UPPER,
    application,
    elf,
    hex_data,
    hex_file,
    hex_line,
    s_data,
    s_file,
    s_line,
    text,
)

APP = application()
SOUND_HEX = hex_file((0, APP))
SOUND_SREC = s_file(APP)
CHIP = device.chip("STM32G071RB")
FEW = settings(max_examples=60)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Reads this content as a file of this name: (address, bytes)."""
    folder = tmp_path_factory.mktemp("inputs")

    def read(name: str, content: bytes):
        (folder / name).write_bytes(content)
        return inputs.read(folder / name, CHIP)[:2]

    return read


@pytest.fixture(scope="module")
def refusal(read):
    """The message for a file that must be refused, from its name on."""

    def refusal(name: str, content: bytes) -> str:
        with pytest.raises(ImageError) as error:
            read(name, content)
        line = str(error.value)
        assert "\n" not in line
        return line[line.index(name) :]

    return refusal


# --- Intel hex ---


def swapped(lines: list[str], index: int, *new: str) -> list[str]:
    return [*lines[:index], *new, *lines[index + 1 :]]


WRONG_HEX: dict[str, tuple[list[str], str]] = {
    "no end record": (SOUND_HEX[:-1], f"app.hex:{len(SOUND_HEX) - 1}: the file ends without"),
    "data after the end": ([*SOUND_HEX, *hex_data(b"x", 0x400)], "19: a record after the end"),
    "the end twice": ([*SOUND_HEX, END], "19: a record after the end"),
    "two files": (SOUND_HEX + SOUND_HEX, "19: a record after the end"),
    "text after the end": ([*SOUND_HEX, "done"], "19: not a record"),
    "a wrong checksum": (swapped(SOUND_HEX, 2, SOUND_HEX[2][:-1] + "X"), "3: not pairs"),
    "a checksum off by one": (swapped(SOUND_HEX, 0, ":020000040800F3"), "1: wrong checksum"),
    "a short line": (swapped(SOUND_HEX, 2, SOUND_HEX[2][:-2]), "3: the record has a wrong length"),
    "a long line": (
        swapped(SOUND_HEX, 2, SOUND_HEX[2] + "00"),
        "3: the record has a wrong length",
    ),
    "half a byte": (swapped(SOUND_HEX, 2, SOUND_HEX[2][:-1]), "3: not pairs of hex digits"),
    "two records on a line": (
        swapped(SOUND_HEX, 2, SOUND_HEX[2] + SOUND_HEX[3]),
        "3: not pairs of hex digits",
    ),
    "blanks inside": (swapped(SOUND_HEX, 2, SOUND_HEX[2].replace("00", "0 0")), "3: not pairs"),
    "only a colon": (swapped(SOUND_HEX, 2, ":"), "3: not pairs of hex digits"),
    "a line without its colon": (swapped(SOUND_HEX, 2, SOUND_HEX[2][1:]), "3: not a record"),
    "an unknown type": (swapped(SOUND_HEX, 2, hex_line(6)), "3: a record of type 06"),
    "an end with data": (swapped(SOUND_HEX, -1, hex_line(1, b"x")), "a record of type 01 has 0"),
    "an end with an address": (swapped(SOUND_HEX, -1, hex_line(1, b"", 8)), "the address 0000"),
    "a short upper address": ([hex_line(4, b"\x08"), *SOUND_HEX], "1: a record of type 04 has 2"),
    "a long segment": ([hex_line(2, b"123"), *SOUND_HEX], "1: a record of type 02 has 2"),
    "a short start": ([hex_line(5, b"123"), *SOUND_HEX], "1: a record of type 05 has 4"),
    "an S-record inside": (swapped(SOUND_HEX, 2, SOUND_SREC[2]), "3: not a record of Intel hex"),
    "two start addresses": (
        [hex_line(5, b"\x08\0\0\xc1"), hex_line(5, b"\x08\0\0\xc3"), *SOUND_HEX],
        "2: another start address",
    ),
    "data that differs": (
        [*SOUND_HEX[:-1], hex_line(0, b"\x00\x91", 0), END],
        "18: 0x08000001 is given twice: 91 here, 90 at",
    ),
    "data across a segment": (
        [hex_line(2, b"\x10\x00"), hex_line(0, b"12345678", 0xFFFC), END],
        "2: data across the end",
    ),
    "data outside flash": (
        [*SOUND_HEX[:-1], hex_line(4, b"\x1f\xff"), *hex_data(b"x"), END],
        "19",
    ),
    "a record in a comment": (swapped(SOUND_HEX, 2, ";" + SOUND_HEX[2][1:]), "3: a record behind"),
    "a record commented out": (swapped(SOUND_HEX, 2, "# " + SOUND_HEX[2]), "3: a record behind"),
    "nothing but the end": ([END], "app.hex holds no data"),
    "a record without its colon": (swapped(SOUND_HEX, 2, "#" + SOUND_HEX[2][1:]), "3: a record"),
    "nothing but comments": (["; one", "", "# two"], "app.hex: the file ends without"),
}


@pytest.mark.parametrize("what", WRONG_HEX)
def test_a_hex_file_that_is_wrong_in_one_way_is_refused_by_line(refusal, what):
    lines, message = WRONG_HEX[what]
    assert message in refusal("app.hex", text(lines)), what


def test_the_conflict_names_both_lines(refusal):
    lines = [UPPER, *hex_data(APP), *hex_data(b"\xaa", 5), END]
    line = refusal("app.hex", text(lines))
    assert line.startswith("app.hex:18: 0x08000005 is given twice: AA here, 00 at")
    assert "app.hex:2." in line


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n", " \t\r\n"], ids=repr)
def test_every_end_of_line_is_taken(read, end):
    assert read("app.hex", text(SOUND_HEX, end)) == (FLASH, APP)
    assert read("app.srec", text(SOUND_SREC, end)) == (FLASH, APP)


@pytest.mark.parametrize(
    "lines",
    [
        ["\ufeff" + SOUND_HEX[0], *SOUND_HEX[1:]],
        ["; nightly build", "# of today", "// by hand", "", *SOUND_HEX, "", "; the end"],
        ["\ufeff; nightly build", *SOUND_HEX],
        ["; 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", "# 202611271529", *SOUND_HEX],
        [line.lower() for line in SOUND_HEX],
        [hex_line(5, b"\x08\0\0\xc1"), hex_line(3, b"\0\0\0\0"), *SOUND_HEX],
        [UPPER, *hex_data(APP), *hex_data(APP), END],  # the same twice
        [UPPER, *hex_data(APP), *hex_data(APP[100:120], 100), END],
        [UPPER, *reversed(hex_data(APP)), END],
        [UPPER, hex_line(0), *hex_data(APP, 0, 255), END],
    ],
    ids=[
        "bom",
        "comments",
        "bom and comment",
        "a commit and a time",
        "lower",
        "starts",
        "twice",
        "overlap",
        "order",
        "255",
    ],
)
def test_what_the_format_allows_is_taken(read, lines):
    assert read("app.hex", text(lines)) == (FLASH, APP)


def test_a_linear_record_goes_on_past_64_kb(read):
    big = application(0x10020)
    lines = [UPPER, *hex_data(big[:0xFFF8]), hex_line(0, big[0xFFF8:0x10008], 0xFFF8)]
    lines += [hex_line(4, b"\x08\x01"), *hex_data(big[0x10008:], 8), END]
    assert read("app.hex", text(lines)) == (FLASH, big)


# --- S-records ---

WRONG_SREC: dict[str, tuple[list[str], str]] = {
    "no end record": (SOUND_SREC[:-1], "18: the file ends without an end record"),
    "data after the end": ([*SOUND_SREC, *s_data(b"x")], "20: a record after the end"),
    "two files": (SOUND_SREC * 2, "20: a record after the end"),
    "a missing record": (SOUND_SREC[:5] + SOUND_SREC[6:], "17: 16 data records counted, 15 found"),
    "a record too many": (
        [*SOUND_SREC[:1], SOUND_SREC[1], *SOUND_SREC[1:]],
        "19: 16 data records counted, 17 found",
    ),
    "a wrong long count": (swapped(SOUND_SREC, -2, s_line(6, 99)), "18: 99 data records counted"),
    "data after the count": (
        [*SOUND_SREC[:-1], *s_data(APP[:16]), s_line(5, 16), SOUND_SREC[-1]],
        "20: 16 data records counted, 17 found",
    ),
    "a checksum off by one": (
        swapped(
            SOUND_SREC, 3, SOUND_SREC[3][:-2] + f"{(int(SOUND_SREC[3][-2:], 16) + 1) & 255:02X}"
        ),
        "4: wrong checksum",
    ),
    "a short line": (
        swapped(SOUND_SREC, 3, SOUND_SREC[3][:-2]),
        "4: the record has a wrong length",
    ),
    "half a byte": (swapped(SOUND_SREC, 3, SOUND_SREC[3][:-1]), "4: not pairs of hex digits"),
    "nothing behind its type": (swapped(SOUND_SREC, 3, "S3"), "4: not pairs of hex digits"),
    "the reserved type": (
        swapped(SOUND_SREC, 3, "S4" + SOUND_SREC[3][2:]),
        "4: a record of type S4",
    ),
    "an end of another width": (
        swapped(SOUND_SREC, -1, s_line(9, 0)),
        "19: an S9 record does not",
    ),
    "data of another width": (
        swapped(SOUND_SREC, 3, s_line(1, 0, b"x")),
        "4: an S1 record among S3",
    ),
    "an end with data": (swapped(SOUND_SREC, -1, s_line(7, 0, b"x")), "19: an S7 record does not"),
    "a count with data": (
        swapped(SOUND_SREC, -2, s_line(5, 16, b"x")),
        "18: an S5 record does not",
    ),
    "no room for an address": (
        swapped(SOUND_SREC, 3, s_line(3, 0, size=2)),
        "4: an S3 record does",
    ),
    "a hex record inside": (swapped(SOUND_SREC, 3, UPPER), "4: not an S-record"),
    "a record in a comment": (swapped(SOUND_SREC, 3, ";" + SOUND_SREC[3]), "4: a record behind"),
    "nothing but the end": ([s_line(7, FLASH)], "app.srec holds no data"),
    "16-bit addresses": ([s_line(1, 0, b"x"), s_line(9, 0)], "1 has data at 0x00000000, outside"),
}


@pytest.mark.parametrize("what", WRONG_SREC)
def test_an_s_record_file_that_is_wrong_in_one_way_is_refused_by_line(refusal, what):
    lines, message = WRONG_SREC[what]
    assert message in refusal("app.srec", text(lines)), what


@pytest.mark.parametrize(
    "lines",
    [
        s_data(APP) + [s_line(7, FLASH)],
        s_data(APP) + [s_line(6, 16), s_line(7, 0)],
        ["; by hand", *SOUND_SREC],
        s_data(APP) + s_data(APP) + [s_line(5, 32), s_line(7, 0)],
    ],
    ids=["no header", "S6", "comment", "twice"],
)
def test_what_s_records_allow_is_taken(read, lines):
    assert read("app.s37", text(lines)) == (FLASH, APP)


def test_s_records_that_differ_are_refused_by_both_lines(refusal):
    lines = [*s_data(APP), *s_data(b"\x77", FLASH + 20), s_line(7, 0)]
    line = refusal("app.srec", text(lines))
    assert line.startswith("app.srec:17: 0x08000014 is given twice: 77 here")
    assert "app.srec:2." in line


# --- every truncation, every flipped bit ---

FORMATS = {
    "app.hex": text(SOUND_HEX, "\r\n"),
    "app.srec": text(SOUND_SREC),
    "app.elf": elf((FLASH, FLASH, APP)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_anywhere_is_refused_or_all_there(read, name):
    whole = FORMATS[name]
    taken = 0
    for length in range(len(whole)):
        try:
            found = read(name, whole[:length])
        except ImageError:
            continue
        assert found == (FLASH, APP), length
        taken += 1
    assert taken <= 2  # the last end of line


@pytest.mark.parametrize("name", ["app.hex", "app.srec"])
def test_a_text_file_without_one_of_its_lines_never_gives_other_bytes(read, name):
    """A lost data record leaves a gap, which the layout shows; the other data are at their
    addresses."""
    lines = FORMATS[name].splitlines()
    for missing in range(len(lines)):
        try:
            address, data = read(name, b"\n".join(lines[:missing] + lines[missing + 1 :]))
        except ImageError:
            continue
        there = APP[address - FLASH :]
        assert all(a in (b, 0xFF) for a, b in zip(data, there, strict=False)), missing


@pytest.mark.parametrize("name", ["app.hex", "app.srec"])
@FEW
@given(data=st.data())
def test_a_flipped_bit_in_a_text_file_never_gives_other_bytes(read, name, data):
    content = bytearray(FORMATS[name])
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = read(name, bytes(content))
    except ImageError:
        return
    assert found == (FLASH, APP)  # the case of a digit, or a blank


@FEW
@given(
    pieces=st.lists(
        st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=40)), min_size=1
    )
)
def test_hex_and_s_records_are_read_as_another_reader_reads_them(read, pieces):
    file = bincopy.BinFile()
    for offset, data in [(0, b"\0"), *pieces]:
        file.add_binary(data, address=FLASH + offset, overwrite=True)
    file.execution_start_address = FLASH  # else it writes S-records without their end
    expected = bytes(file.as_binary(padding=b"\xff"))
    for name, content in (
        ("app.hex", file.as_ihex()),
        ("app.srec", file.as_srec(address_length_bits=32)),
    ):
        address, data = read(name, content.encode())
        assert address == FLASH and data[: len(expected)] == expected
        assert set(data[len(expected) :]) <= {0xFF}


# --- ELF ---


@pytest.mark.parametrize("sections", [True, False])
def test_elf_is_loaded_by_its_segments(read, sections):
    content = elf(
        (FLASH, FLASH, APP), (0x20000000, FLASH + len(APP), b"data" * 4), sections=sections
    )
    assert read("app.elf", content) == (FLASH, APP + b"data" * 4)


@FEW
@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_elf_is_read_as_another_reader_reads_it(read, sizes, seed):
    parts, at = [], FLASH
    for size in sizes:
        parts.append((at, at, application(64, seed)[:size]))
        at += size + seed % 3
    content = elf(*parts)
    address, data = read("app.elf", content)
    for segment in ELFFile(io.BytesIO(content)).iter_segments("PT_LOAD"):
        start = segment["p_paddr"] - address
        assert data[start : start + segment["p_filesz"]] == segment.data()


def test_zeros_that_only_memory_has_are_not_flash(read):
    assert read("app.elf", elf((FLASH, FLASH, APP), extra_in_memory=0x400)) == (FLASH, APP)


def test_the_same_bytes_of_two_segments_are_taken(read):
    content = elf((FLASH, FLASH, APP), (FLASH, FLASH + 16, APP[16:48]))
    assert read("app.elf", content) == (FLASH, APP)


def changed(content: bytes, at: int, form: str, value: int) -> bytes:
    data = bytearray(content)
    struct.pack_into(form, data, at, value)
    return bytes(data)


SOUND_ELF = elf((FLASH, FLASH, APP))
WRONG_ELF: dict[str, tuple[bytes, str]] = {
    "RISC-V": (elf((FLASH, FLASH, APP), machine=243), "ELF for RISC-V, 32-bit, little-endian"),
    "x86-64": (elf((FLASH, FLASH, APP), machine=62, bits=2), "ELF for x86-64, 64-bit"),
    "big-endian": (elf((FLASH, FLASH, APP), endian=2), "Arm, 32-bit, big-endian"),
    "an unknown machine": (elf((FLASH, FLASH, APP), machine=999), "machine 999"),
    "an object file": (elf((FLASH, FLASH, APP), kind=1), "is an object file"),
    "a shared object": (elf((FLASH, FLASH, APP), kind=3), "is a shared object"),
    "a core dump": (elf((FLASH, FLASH, APP), kind=4), "is a core dump"),
    "no segments": (elf(), "no program headers"),
    "segments that differ": (
        elf((FLASH, FLASH, APP), (FLASH, FLASH + 16, b"\xee" * 8)),
        "segment 1: 0x08000010 is given twice: EE here",
    ),
    "a segment in RAM": (elf((0x20000000, 0x20000000, APP)), "segment 0 has data at 0x20000000"),
    "a segment past the flash": (
        elf((FLASH, FLASH, APP), (FLASH, FLASH + 0x1FFF8, bytes(16))),
        "segment 1 has data at 0x08020000",
    ),
    "a segment past the file": (
        changed(changed(SOUND_ELF, 52 + 16, "<I", 0x1000), 52 + 20, "<I", 0x1000),
        "app.elf is truncated",
    ),
    "more in the file than in memory": (
        changed(SOUND_ELF, 52 + 20, "<I", 8),
        "segment 0: 256 bytes in the file for 8",
    ),
    "program headers past the file": (
        changed(SOUND_ELF, 28, "<I", 0x10000),
        "app.elf is truncated",
    ),
    "program headers of another size": (changed(SOUND_ELF, 42, "<H", 56), "unknown form"),
    "sections past the file": (changed(SOUND_ELF, 32, "<I", 0x10000), "app.elf is truncated"),
    "a section past the file": (
        changed(SOUND_ELF, len(SOUND_ELF) - 20, "<I", 9999),
        "is truncated",
    ),
    "another version": (changed(SOUND_ELF, 20, "<I", 2), "unknown version"),
    "only empty segments": (elf((FLASH, FLASH, b"")), "holds no data"),
    "only its magic": (b"\x7fELF", "app.elf is truncated"),
}


@pytest.mark.parametrize("what", WRONG_ELF)
def test_an_elf_file_that_is_wrong_in_one_way_is_refused(refusal, what):
    content, message = WRONG_ELF[what]
    assert message in refusal("app.elf", content), what


@FEW
@given(data=st.data())
def test_any_change_of_an_elf_file_is_borne(read, data):
    content = bytearray(FORMATS["app.elf"])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 120))] = data.draw(st.integers(0, 255))
    try:
        address, found = read("app.elf", bytes(content))
    except ImageError:
        return
    assert len(found) <= CHIP.flash_size and address >= FLASH


# --- files that are not applications ---

KINDS = {
    "an HTML page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "an HTML page ": b"\n  <html>\n",
    "an XML file": b"<?xml version='1.0'?><a/>",
    "a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
    "Intel hex": text(SOUND_HEX),
    "Intel hex ": text(["; built today", *SOUND_HEX]),
    "S-records": text(SOUND_SREC),
    "ELF": SOUND_ELF,
    "an MCUboot image": struct.pack("<I", 0x96F3B83D) + bytes(600),
    "a gzip archive": b"\x1f\x8b\x08" + bytes(60),
    "a zip archive": b"PK\x03\x04" + bytes(60),
    "an xz archive": b"\xfd7zXZ\0" + bytes(60),
    "a tar archive": b"app.bin".ljust(257, b"\0") + b"ustar" + bytes(250),
    "a DfuSe file": b"DfuSe\x01" + bytes(60),
    "a UF2 file": b"UF2\nWQ]\x9e" + bytes(500),
    "a library of object files": b"!<arch>\n" + bytes(60),
    "a PEM file": b"-----BEGIN PRIVATE KEY-----\nAAAA\n",
    "UTF-16 text": "\ufeff:00000001FF\n".encode("utf-16-le"),
    "blank: it begins with 256 bytes of FF": b"\xff" * 256,
    "blank: it begins with 256 bytes of 00": bytes(256),
    "text, and begins with 'hello world'": b"hello world\n",
    "text, and begins with": "Grüße aus Köln".encode(),
    "empty": b"",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bin_file_of_another_kind_is_named_for_what_it_is(refusal, kind):
    assert f"app.bin is {kind.strip()}" in refusal("app.bin", KINDS[kind])


@pytest.mark.parametrize("kind", [k for k in KINDS if not k.startswith(("Intel", "S-rec", "ELF"))])
def test_any_other_file_is_named_too_without_the_advice_to_call_it_bin(refusal, kind):
    line = refusal("firmware", KINDS[kind])
    assert f"firmware is {kind.strip()}" in line
    assert "*.bin" not in line


def test_only_unknown_bytes_may_be_a_raw_binary(refusal):
    assert "Name raw binaries *.bin" in refusal("firmware", APP)


@pytest.mark.parametrize("name", FORMATS)
def test_an_address_is_for_raw_binaries_only(tmp_path, name):
    (tmp_path / name).write_bytes(FORMATS[name])
    with pytest.raises(UsageError, match="contains its own addresses"):
        inputs.read(tmp_path / name, CHIP, FLASH)


def test_text_that_is_called_hex_is_refused_by_its_first_line(refusal):
    assert "app.hex:2: not a record of Intel hex: 'hello'" in refusal("app.hex", b"\nhello\n")
    assert "app.s19:1: not an S-record: 'hello'" in refusal("app.s19", b"hello\n")


def test_an_end_of_text_of_dos_is_no_record(tmp_path):
    (tmp_path / "app.hex").write_bytes(text(SOUND_HEX) + b"\x1a")
    (tmp_path / "same.hex").write_bytes(text(SOUND_HEX))
    assert inputs.read(tmp_path / "app.hex", CHIP) == inputs.read(tmp_path / "same.hex", CHIP)


def test_a_stack_pointer_that_begins_like_a_record_is_none(tmp_path):
    (tmp_path / "app.bin").write_bytes(struct.pack("<I", 0x20003A20) + APP[4:])
    assert inputs.read(tmp_path / "app.bin", CHIP).data[:4] == b"\x20\x3a\0\x20"


@pytest.mark.parametrize(
    "content", [b"\xff" * 4096, bytes(4096), b'{"offset": 3}   ', b"abc"], ids=repr
)
def test_what_flash_is_compared_with_may_be_anything(tmp_path, content):
    (tmp_path / "page.bin").write_bytes(content)
    (piece,) = expected.of_input(tmp_path / "page.bin", CHIP, FLASH + 4096)
    assert piece.address == FLASH + 4096 and piece.data.startswith(content)


def test_a_bin_file_for_dfu_util_is_refused(refusal):
    suffix = struct.pack("<HHHH3sBI", 0xFFFF, 0xDF11, 0x0483, 0x0100, b"UFD", 16, 0)
    assert "DFU suffix" in refusal("app.bin", APP + suffix)


def test_an_image_inside_any_format_is_named(refusal):
    image = struct.pack("<I", 0x96F3B83D) + bytes(252)
    for name, content in (
        ("app.hex", text(hex_file((0, image)))),
        ("app.srec", text(s_file(image))),
        ("app.elf", elf((FLASH, FLASH, image))),
    ):
        assert "already contains an MCUboot image" in refusal(name, content)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("app.bin", APP),
        ("app.bin", b""),
        ("app.hex", text(SOUND_HEX)),
        ("app.srec", text(SOUND_SREC)),
        (
            "app.elf",
            SOUND_ELF[:52] + struct.pack("<8I", 1, 0, FLASH, FLASH, 4 << 26, 4 << 26, 5, 4),
        ),
        ("firmware", b""),
    ],
)
def test_a_huge_file_costs_no_memory_before_it_is_refused(tmp_path, name, head):
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(head)
        file.truncate(400 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=name):
            inputs.read(path, CHIP)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
