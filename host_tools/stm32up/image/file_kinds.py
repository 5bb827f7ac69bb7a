"""The real type of a file, from its first bytes: for messages, and to choose a reader."""

from __future__ import annotations

import re
from collections.abc import Iterator

HEAD = 4096  # bytes to look at
HEX, SREC, ELF = "Intel hex", "S-records", "ELF"
TEXT = "text, and begins with"  # of what() for text of an unknown kind
COMMENTS = (b";", b"#", b"//")
_BOM = b"\xef\xbb\xbf"
_DOS_END = b"\x1a"  # Ctrl-Z, which old programs write at the end of a text
_MAGICS = (
    (b"\x3d\xb8\xf3\x96", "an MCUboot image"),
    (b"\x96\xf3\xb8\x3d", "a big-endian MCUboot image"),
    (
        b"version https://git-lfs.github.com/spec/",
        "a git-lfs pointer (fetch it: git lfs pull)",
    ),
    (b"DfuSe", "a DfuSe file"),
    (b"UF2\n", "a UF2 file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\x04\x22\x4d\x18", "an lz4 archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"!<arch>\n", "a library of object files"),
    (b"-----BEGIN ", "a PEM file, as of a key or certificate"),
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG", "a PNG picture"),
    (b"MZ", "a Windows program"),
    (b"\xfe\xed\xfa", "a macOS program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)
_MARKUP = (
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<head", "an HTML page"),
    (b"<?xml", "an XML file"),
    (b"<", "HTML or XML"),
    (b"{", "JSON or other text"),
)


def lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, text) of every line that is not blank. A byte order mark, and a Ctrl-Z at the end,
    are skipped."""
    text = content.removeprefix(_BOM).rstrip(_DOS_END + b"\r\n")
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def form(head: bytes) -> str | None:
    """The format of an application file, HEX, SREC or ELF, regardless of its name."""
    if head.startswith(b"\x7fELF"):
        return ELF
    records = (line for _, line in lines(head) if not line.startswith(COMMENTS))
    first = next(records, b"")
    if re.match(rb":[0-9A-Fa-f]{8}", first):  # a stack pointer in RAM may begin like ":"
        return HEX
    return SREC if re.match(rb"S\d[0-9A-Fa-f]{6}", first) else None


def what(head: bytes) -> str | None:
    """The kind of file with this beginning, in words: "an HTML page". None: it could be a raw
    binary."""
    if not head:
        return "empty"
    for magic, name in _MAGICS:
        if head.startswith(magic):
            return name
    if head[257:262] == b"ustar":
        return "a tar archive"
    kind = form(head)
    if kind:
        return kind
    for byte, name in ((b"\xff", "FF"), (b"\0", "00")):
        if not head.strip(byte):
            of = "byte" if len(head) == 1 else "bytes"
            return f"blank: it begins with {len(head)} {of} of {name}"
    if not is_text(head):
        return None
    start = head.removeprefix(_BOM).lstrip().lower()
    for begin, name in _MARKUP:
        if start.startswith(begin):
            return name
    return f"{TEXT} {shown(head.removeprefix(_BOM).lstrip())}"


def is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # the end of `head` may split a character
            return False
        text = head[: error.start].decode("utf-8-sig")
    return all(char.isprintable() or char.isspace() for char in text)


def shown(text: bytes) -> str:
    """The beginning of the first line of an untrusted file, in quotes."""
    first = (text.splitlines() or [b""])[0][:24]
    return ascii(first.decode("ascii", "replace"))
