"""Intel hex and Motorola S-records, by the rules of both formats.

An unfinished or contradictory file is refused, with the line: one without an end record, with
anything after it, or with a wrong length, checksum, count or start address. Blank lines and
comment lines (";", "#" or "//") are skipped, unless a comment holds a record.

Sources: Intel, Hexadecimal Object File Format Specification, revision A (1988);
Motorola, M68000 Family Programmer's Reference Manual, appendix C (S-record output format).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from stm32up.errors import ImageError
from stm32up.image import file_kinds

AGAIN = "Build or copy the file again."
_DIGITS = re.compile(rb"(?:[0-9A-Fa-f]{2})+")
_HIDDEN = re.compile(rb":[0-9A-Fa-f]{10,}|S[0-9][0-9A-Fa-f]{6,}")

_DATA, _END, _SEGMENT, _START_SEGMENT, _LINEAR, _START_LINEAR = range(6)
# Bytes of data in each type of hex record except data records. Their address field is 0.
_LENGTHS = {_END: 0, _SEGMENT: 2, _START_SEGMENT: 4, _LINEAR: 2, _START_LINEAR: 4}

_ADDRESS_SIZES = {0: 2, 1: 2, 2: 3, 3: 4, 5: 2, 6: 3, 7: 4, 8: 3, 9: 2}  # of S0 to S9, in bytes
_COUNTS = (5, 6)
_ENDS = {9: 1, 8: 2, 7: 3}  # the type of end record: the type of the data records before it


class Piece(NamedTuple):
    """The data of an input file for a range of memory; `at` is the place in the file."""

    address: int
    data: bytes
    at: str  # "app.hex:7"


def intel_hex(path: Path, content: bytes) -> Iterator[Piece]:
    """The data of a hex file. Raises ImageError with file and line."""
    base, limit = 0, 1 << 32
    starts: dict[int, bytes] = {}
    ended = False
    at = str(path)
    for at, line in _lines(path, content):
        kind, offset, data = _hex_record(at, line)
        if ended:
            raise ImageError(
                f"{at}: a record after the end record", "Check whether two files were joined."
            )
        if kind == _DATA:
            if offset + len(data) > limit:
                raise ImageError(f"{at}: data across the end of its 64 KB segment", AGAIN)
            if data:
                yield Piece(base + offset, data, at)
        elif kind == _END:
            ended = True
        elif kind == _SEGMENT:
            base, limit = int.from_bytes(data, "big") << 4, 1 << 16
        elif kind == _LINEAR:
            base, limit = int.from_bytes(data, "big") << 16, 1 << 32
        elif starts.setdefault(kind, data) != data:
            raise ImageError(f"{at}: another start address than before", AGAIN)
    if not ended:
        raise ImageError(f"{at}: the file ends without an end record (:00000001FF)", AGAIN)


def _hex_record(at: str, line: bytes) -> tuple[int, int, bytes]:
    """Type, address field and data of one line."""
    if not line.startswith(b":"):
        raise ImageError(f"{at}: not a record of Intel hex: {file_kinds.shown(line)}", AGAIN)
    raw = _bytes(at, line[1:])
    if len(raw) < 5 or len(raw) != raw[0] + 5:
        said = f"it says {raw[0]} bytes of data and has {max(0, len(raw) - 5)}"
        raise ImageError(f"{at}: the record has a wrong length: {said}", AGAIN)
    _check_sum(at, raw, -sum(raw[:-1]))
    offset, kind, data = int.from_bytes(raw[1:3], "big"), raw[3], raw[4:-1]
    if kind == _DATA:
        return kind, offset, data
    if kind not in _LENGTHS:
        raise ImageError(
            f"{at}: a record of type {kind:02X}, which Intel hex does not have", AGAIN
        )
    if len(data) != _LENGTHS[kind] or offset:
        rule = f"has {_LENGTHS[kind]} bytes of data and the address 0000"
        raise ImageError(f"{at}: a record of type {kind:02X} {rule}; this one does not", AGAIN)
    return kind, offset, data


def s_records(path: Path, content: bytes) -> Iterator[Piece]:
    """The data of an S-record file. Raises ImageError with file and line."""
    width = 0  # the type of the data records
    found, ended = 0, False
    at = str(path)
    for at, line in _lines(path, content):
        kind, number, data = _s_record(at, line)
        if ended:
            raise ImageError(
                f"{at}: a record after the end record", "Check whether two files were joined."
            )
        if kind in _ENDS:
            if width and _ENDS[kind] != width:
                raise ImageError(f"{at}: an S{kind} record does not end S{width} records", AGAIN)
            ended = True
        elif kind in _COUNTS:
            if number != found:
                raise ImageError(f"{at}: {number} data records counted, {found} found", AGAIN)
        elif kind:
            if width and kind != width:
                raise ImageError(f"{at}: an S{kind} record among S{width} records", AGAIN)
            width, found = kind, found + 1
            if data:
                yield Piece(number, data, at)
    if not ended:
        raise ImageError(f"{at}: the file ends without an end record (S7, S8 or S9)", AGAIN)


def _s_record(at: str, line: bytes) -> tuple[int, int, bytes]:
    """Type, address (or count) and data of one line."""
    if not re.match(rb"S\d", line):
        raise ImageError(f"{at}: not an S-record: {file_kinds.shown(line)}", AGAIN)
    kind = line[1] - ord("0")
    if kind not in _ADDRESS_SIZES:
        raise ImageError(f"{at}: a record of type S{kind}, which is reserved", AGAIN)
    raw = _bytes(at, line[2:])
    if len(raw) != raw[0] + 1:
        said = f"it says {raw[0]} bytes and has {len(raw) - 1}"
        raise ImageError(f"{at}: the record has a wrong length: {said}", AGAIN)
    size = _ADDRESS_SIZES[kind]
    has_data = kind < 4
    if len(raw) < size + 2 or len(raw) > size + 2 and not has_data:
        raise ImageError(f"{at}: an S{kind} record does not have {len(raw) - 1} bytes", AGAIN)
    _check_sum(at, raw, ~sum(raw[:-1]))
    return kind, int.from_bytes(raw[1 : 1 + size], "big"), raw[1 + size : -1]


def _lines(path: Path, content: bytes) -> Iterator[tuple[str, bytes]]:
    """("app.hex:7", record) of every line that has a record."""
    for number, line in file_kinds.lines(content):
        at = f"{path}:{number}"
        if not line.startswith(file_kinds.COMMENTS):
            yield at, line
        elif _is_record(line.lstrip(b";#/ \t")):
            raise ImageError(
                f"{at}: a record behind a comment mark", "Remove the line or the mark."
            )


def _is_record(line: bytes) -> bool:
    """Whether this is a record, perhaps without its colon: then its checksum has to be right, as
    a comment may be the hash of a commit."""
    if _HIDDEN.fullmatch(line):
        return True
    raw = bytes.fromhex(line.decode("ascii")) if _DIGITS.fullmatch(line) else b""
    return len(raw) > 4 and len(raw) == raw[0] + 5 and sum(raw) & 0xFF == 0


def _bytes(at: str, digits: bytes) -> bytes:
    if not _DIGITS.fullmatch(digits):
        raise ImageError(f"{at}: not pairs of hex digits: {file_kinds.shown(digits)}", AGAIN)
    return bytes.fromhex(digits.decode("ascii"))


def _check_sum(at: str, raw: bytes, right: int) -> None:
    if raw[-1] != right & 0xFF:
        said = f"{raw[-1]:02X}, and {right & 0xFF:02X} would be right"
        raise ImageError(f"{at}: wrong checksum: it is {said}", AGAIN)
