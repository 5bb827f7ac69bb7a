"""Application files as compilers write them: bin, hex, srec, elf -> bytes at a flash address."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from stm32up.device import Chip
from stm32up.errors import ImageError, UsageError
from stm32up.image import elf, file_kinds, records
from stm32up.image.bounded_read import read_up_to
from stm32up.image.file_kinds import ELF, HEX, SREC
from stm32up.image.records import Piece

GRANULE = 8  # bytes that an STM32G0 programs at once; the loader needs whole granules
ERASED = b"\xff"
RAW = ".bin"
NAMES = {
    **dict.fromkeys((".hex", ".ihex", ".ihx"), HEX),
    **dict.fromkeys((".srec", ".s19", ".s28", ".s37", ".mot"), SREC),
}
# A record with one byte of data has 15 characters; the rest is for comments and repeated records.
TEXT_PER_BYTE = 64
_DFU_SUFFIX = 16  # bytes at the end of a file for dfu-util, USB DFU 1.1 appendix B


class Payload(NamedTuple):
    address: int  # of the first byte
    data: bytes  # a multiple of 8 bytes, gaps filled with 0xFF
    given: list[tuple[int, int]]  # (offset, length) of the data in the file, ascending


def read(
    path: Path, chip: Chip, address: int | None = None, *, application: bool = True
) -> Payload:
    """Read the file; the format is detected from its content.

    A .bin is raw, and begins at `address` or at the start of flash. If it need not be an
    `application`, it may hold anything. Data given twice must be the same. Raises UsageError for a
    file that cannot be read, ImageError for one that is unfinished, contradictory, or not for this
    chip. The size is checked before the whole file is read.
    """
    if address is not None and path.suffix.lower() != RAW:
        raise UsageError(f"{path} contains its own addresses", "Omit --address: it is for a .bin.")
    try:
        with path.open("rb") as file:
            start = chip.flash_start if address is None else address
            payload = _join(path, _pieces(path, file, chip, start, application), chip)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    inside = file_kinds.what(payload.data[:4])
    if application and inside is not None and "MCUboot" in inside:
        raise ImageError(
            f"{path} already contains {inside}",
            "Give the file that the linker wrote; or let imgtool write a .bin or .img, which "
            "update takes as it is.",
        )
    return payload


def _pieces(
    path: Path, file: BinaryIO, chip: Chip, raw_address: int, application: bool
) -> Iterable[Piece]:
    head = file.read(file_kinds.HEAD)
    file.seek(0)
    kind, what = file_kinds.form(head), file_kinds.what(head)
    if path.suffix.lower() == RAW:
        content = _whole(path, file, chip.flash_size, chip)
        if not application and kind is None and content:
            return [Piece(raw_address, content, str(path))]
        if what is not None:
            right = right_name(path, kind)
            advice = f"Rename it to {right.name}." if right != path else ""
            raise ImageError(f"{path} is {what}, not a raw binary", advice)
        if content[-_DFU_SUFFIX:][8:12] == b"UFD\x10":
            raise ImageError(f"{path} ends in a DFU suffix", "Remove it: dfu-suffix --delete.")
        return [Piece(raw_address, content, str(path))]
    if kind == ELF:
        return elf.segments(path, file, chip.flash_size)
    if kind is None and what is not None and what.startswith(file_kinds.TEXT):
        kind = NAMES.get(path.suffix.lower())  # its reader reports the first wrong line
    if kind is None:
        if what is not None:
            raise ImageError(f"{path} is {what}", "Give a bin, hex, srec or elf file.")
        raise ImageError(
            f"{path} is neither Intel hex nor S-records nor ELF",
            "Name raw binaries *.bin.",
        )
    read_records = records.intel_hex if kind == HEX else records.s_records
    return read_records(path, _whole(path, file, TEXT_PER_BYTE * chip.flash_size, chip))


def right_name(path: Path, kind: str | None) -> Path:
    """The right name for the file, because a *.bin is read as raw, whatever it holds."""
    if kind is None or path.suffix.lower() != RAW:
        return path
    return path.with_suffix({HEX: ".hex", SREC: ".srec", ELF: ".elf"}[kind])


def _whole(path: Path, file: BinaryIO, limit: int, chip: Chip) -> bytes:
    """The whole file. Raises ImageError if it is too large."""
    content, size = read_up_to(file, limit)
    if size > limit:
        raise ImageError(
            f"{path} has {size} bytes, too many for the flash of {chip.name} "
            f"({chip.flash_size >> 10} KB)"
        )
    return content


def _join(path: Path, pieces: Iterable[Piece], chip: Chip) -> Payload:
    """One range of bytes from the first piece to the last, in whole granules."""
    flash = bytearray(ERASED * chip.flash_size)
    given = bytearray(chip.flash_size)  # 1 where a piece has data
    placed: list[Piece] = []
    for piece in pieces:
        start = piece.address - chip.flash_start
        end = start + len(piece.data)
        if start < 0 or end > chip.flash_size:
            raise _outside(piece, chip)
        if any(given[start:end]):
            _check_same(piece, placed, flash, given, start)
        flash[start:end] = piece.data
        given[start:end] = b"\1" * len(piece.data)
        placed.append(piece)
    runs = [match.span() for match in re.finditer(b"\1+", given)]
    if not runs:
        raise ImageError(f"{path} holds no data")
    first, last = runs[0][0], runs[-1][1]
    return Payload(
        chip.flash_start + first,
        bytes(flash[first:last]) + ERASED * (-(last - first) % GRANULE),
        [(start - first, end - start) for start, end in runs],
    )


def _outside(piece: Piece, chip: Chip) -> ImageError:
    end_of_flash = chip.flash_start + chip.flash_size
    begins_inside = chip.flash_start <= piece.address < end_of_flash
    outside = end_of_flash if begins_inside else piece.address
    return ImageError(
        f"{piece.at} has data at 0x{outside:08X}, outside the flash of {chip.name} "
        f"(0x{chip.flash_start:08X} to 0x{end_of_flash - 1:08X}, {chip.flash_size >> 10} KB)",
        "Link it for main flash only: option bytes, RAM and other memories are not updated.",
    )


def _check_same(
    piece: Piece, placed: list[Piece], flash: bytearray, given: bytearray, start: int
) -> None:
    """Raise ImageError if data given twice differs."""
    for index, byte in enumerate(piece.data):
        at = start + index
        if not given[at] or flash[at] == byte:
            continue
        address = piece.address + index
        other = next(p for p in placed if p.address <= address < p.address + len(p.data))
        raise ImageError(
            f"{piece.at}: 0x{address:08X} is given twice: {byte:02X} here, "
            f"{flash[at]:02X} at {other.at}",
            "Correct the build: it places two different bytes at this address.",
        )
