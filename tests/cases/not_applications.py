"""Files that are not applications, or applications in an unusual form."""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path

from tests.cases.case import Cases, build, expect, stm32up
from tests.host_tools.input_files import (
    END,
    FLASH,
    RAM_END,
    UPPER,
    application,
    elf,
    hex_data,
    hex_file,
    s_data,
    s_file,
    s_line,
    text,
)
from tests.support import image

CASES = Cases()
APP = application(1024)
HEX = hex_file((0, APP))
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1092\n"
HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n"
FAR = hex_file((0x3000, struct.pack("<II", RAM_END, FLASH + 0x30C1) + APP[8:]))


def vectors(stack: int, reset: int) -> bytes:
    return struct.pack("<II", stack, reset) + APP[8:]


# name of the case: (file, content, text of the message)
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "HTML is named": ("page.bin", HTML, "an HTML page"),
    "HTML in capitals with blank lines before it is named": (
        "page.hex",
        b"\r\n\r\n<HTML><HEAD></HEAD></HTML>",
        "an HTML page",
    ),
    "a git-lfs pointer is named": ("pointer.bin", LFS, "a git-lfs pointer .*git lfs pull"),
    "a git-lfs pointer in place of a hex file is named": (
        "app.hex",
        LFS,
        "a git-lfs pointer .*git lfs pull",
    ),
    "a git-lfs pointer in place of S-records is named": (
        "app.s19",
        LFS,
        "a git-lfs pointer .*git lfs pull",
    ),
    "a git-lfs pointer in place of an ELF is named": (
        "app.elf",
        LFS,
        "a git-lfs pointer .*git lfs pull",
    ),
    "hex in a .bin is named": ("hex-named.bin", text(HEX), "Intel hex"),
    "hex with a BOM in a .bin is named": ("hex.bin", b"\xef\xbb\xbf" + text(HEX), "Intel hex"),
    "S-records in a .bin are named": ("s.bin", text(s_file(APP)), "S-record"),
    "ELF in a .bin is named": ("elf.bin", elf((FLASH, FLASH, APP)), "ELF"),
    "an MCUboot image in a .bin is named": ("x.bin", image(APP), "MCUboot image"),
    "an archive is named": ("app.bin", gzip.compress(APP, mtime=0), "gzip"),
    "an application for another address": ("offset.hex", text(FAR), "0x08003000"),
    "a stack pointer that is not in RAM": (
        "app.bin",
        vectors(0x4F44_213C, FLASH + 0xC1),
        "stack pointer 0x4F44213C",
    ),
    "a reset vector outside of the image": (
        "app.bin",
        vectors(RAM_END, FLASH + 0x1_0001),
        "reset vector 0x08010001",
    ),
    "a reset vector that is not Thumb": (
        "app.bin",
        vectors(RAM_END, FLASH + 0xC0),
        "reset vector 0x080000C0",
    ),
    "a reset vector inside the vector table": (
        "app.bin",
        vectors(RAM_END, FLASH + 0x5),
        "reset vector 0x08000005",
    ),
    "an erased chip": ("app.bin", b"\xff" * 1024, "stack pointer|blank|erased"),
    "an empty file": ("app.bin", b"", "empty"),
    "conflicting records are named by address": (
        "conflict.hex",
        text([*HEX[:2], hex_data(b"\1" * 16)[0], *HEX[2:]]),
        "conflict.hex:3: 0x08000000.* at conflict.hex:2",
    ),
    "conflicting S-records are named by address": (
        "conflict.srec",
        text([s_line(3, FLASH + 16, b"\1" * 16), *s_data(APP), s_line(7, FLASH)]),
        "conflict.srec:3: 0x08000010.* at conflict.srec:1",
    ),
    "a hex file without its end": ("cut.hex", text(HEX[:-1]), "ends"),
    "records after the end": ("more.hex", text([*HEX, *hex_data(b"\0" * 16, 0x500)]), "end"),
    "a wrong check sum": ("sum.hex", text([UPPER, HEX[1][:-2] + "00", END]), "sum.hex:2"),
    "an ELF for another machine": ("x86.elf", elf((FLASH, FLASH, APP), machine=62), "Arm"),
}

ACCEPTED: dict[str, tuple[str, bytes]] = {
    "a BOM is skipped": ("bom.hex", b"\xef\xbb\xbf" + text(HEX)),
    "blank lines are skipped": ("blank.hex", text(["", *HEX[:3], "", *HEX[3:], "", ""])),
    "the same record twice is taken once": ("twice.hex", text([*HEX[:3], HEX[1], *HEX[3:]])),
    "lines may end in CR LF": ("crlf.hex", text(HEX, "\r\n")),
    "a BOM before S-records is skipped": ("bom.srec", b"\xef\xbb\xbf" + text(s_file(APP))),
    "the same S-record twice is taken once": (
        "twice.srec",
        text([*s_data(APP), s_data(APP)[3], s_line(7, FLASH)]),
    ),
}


def refused(file: str, content: bytes, message: str) -> str:
    ran = build(file, content)
    said = ran.refuses(file)
    expect(re.search(message, ran.err), said)
    expect(not Path("x.img").exists(), "an image was written")
    return said


def accepted(file: str, content: bytes) -> str:
    built = build(file, content)
    built.succeeds()
    stm32up("image", "verify", "x.img").succeeds()
    same = Path("x.img").read_bytes()
    build("app.bin", APP).succeeds()
    return expect(Path("x.img").read_bytes() == same, "built; the same image as of app.bin")


for name, given in REFUSED.items():
    CASES.add(name, f"image build {given[0]}", refused, *given)
for name, sound in ACCEPTED.items():
    CASES.add(name, f"image build {sound[0]}", accepted, *sound)


@CASES("image build of hex with a line of text in front")
def comments_are_skipped_or_named_by_line() -> str:
    ran = build("comment.hex", b"; nightly build\n" + text(HEX))
    if ran.status == 0:
        return accepted("comment.hex", b"; nightly build\n" + text(HEX))
    return ran.refuses("comment.hex:1")


UNSOUND = {
    "stack pointer": image(vectors(0x4F44_213C, FLASH + 0xC1)),
    "reset vector": image(vectors(RAM_END, FLASH + 0xC0)),
    "start": image(APP, address=FLASH + 0x3000),
    "too large": image(application(132 * 1024)),
}


@CASES("image verify, and update, of images of payloads that cannot run")
def what_the_board_will_refuse_is_refused_before_a_port_is_opened() -> str:
    said = ""
    for what, content in UNSOUND.items():
        Path("x.img").write_bytes(content)
        said = stm32up("image", "verify", "x.img").refuses("x.img")
        ran = stm32up("--port", "/dev/there-is-no-such-port", "update", "x.img")
        expect(ran.status == 1, f"{what}: update says {ran.last}")
        ran.refuses("x.img")
    return said
