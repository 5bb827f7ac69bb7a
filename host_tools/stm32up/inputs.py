"""Application files as compilers write them: bin, hex, srec, elf -> bytes at a flash address."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import bincopy

from stm32up.device import Chip
from stm32up.errors import ImageError, UsageError

GRANULE = 8  # bytes that an STM32G0 programs at once; the loader wants whole ones
ERASED = b"\xff"


class Payload(NamedTuple):
    address: int  # of the first byte
    data: bytes  # a multiple of 8 bytes, gaps filled with 0xFF


def read(path: Path, chip: Chip, address: int | None = None) -> Payload:
    """Reads the file, in the format that its content shows.

    A .bin is raw, and begins at `address` or else at the start of flash.
    ELF segments are taken by their physical addresses: that is where flash holds initialised data.
    Raises UsageError for a file that cannot be read, ImageError for one that does not fit the
    chip.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    segments = _segments(path, content, chip.flash_start if address is None else address)
    if not segments:
        raise ImageError(f"{path} holds no data")
    end_of_flash = chip.flash_start + chip.flash_size
    for start, data in segments:
        end = start + len(data)
        if chip.flash_start <= start and end <= end_of_flash:
            continue
        outside = end_of_flash if chip.flash_start <= start < end_of_flash else start
        raise ImageError(
            f"{path} has data at 0x{outside:08X}, outside the flash of {chip.name} "
            f"(0x{chip.flash_start:08X} to 0x{end_of_flash - 1:08X}, {chip.flash_size >> 10} KB)",
            "Link it for main flash only: option bytes, RAM and other memories are not updated.",
        )
    return _join(path, segments)


def _segments(path: Path, content: bytes, raw_address: int) -> list[tuple[int, bytes]]:
    """(address, bytes) of every piece in the file, in ascending order."""
    file = bincopy.BinFile()
    try:
        if content.startswith(b"\x7fELF"):
            file.add_elf(content)
        elif path.suffix.lower() == ".bin":
            file.add_binary(content, address=raw_address)
        elif content[:1] == b":":
            file.add_ihex(content.decode("ascii"))
        elif content[:1] == b"S":
            file.add_srec(content.decode("ascii"))
        else:
            raise ImageError(
                f"{path} is neither Intel hex nor S-records nor ELF", "Name raw binaries *.bin."
            )
        return [
            (segment.address, bytes(segment.data)) for segment in file.segments if segment.data
        ]
    except ImageError:
        raise
    except Exception as error:  # bincopy and pyelftools raise many kinds on a damaged file
        raise ImageError(f"{path} is damaged: {error or type(error).__name__}") from None


def _join(path: Path, segments: list[tuple[int, bytes]]) -> Payload:
    """One run of bytes from the first segment to the last, in whole granules."""
    base = segments[0][0]
    if base % GRANULE:
        raise ImageError(f"{path} starts at 0x{base:08X}, which is not a multiple of {GRANULE}")
    data = bytearray()
    for start, piece in segments:
        data += ERASED * (start - base - len(data)) + piece
    data += ERASED * (-len(data) % GRANULE)
    return Payload(base, bytes(data))
