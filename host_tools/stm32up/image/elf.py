"""ELF, read as a loader reads it: by its program headers, with or without sections.

Every PT_LOAD segment puts its `p_filesz` bytes at `p_paddr`, their address in flash, also for
initialised data, which is used elsewhere. Section headers are used only to check that the file
holds all sections: a truncated file ends before the last ones.

Source: Tool Interface Standard, ELF specification 1.2; ELF for the Arm Architecture (IHI 0044).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from stm32up.errors import ImageError
from stm32up.image.records import AGAIN, Piece

_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
_PROGRAM = struct.Struct("<8I")
_SECTION = struct.Struct("<10I")
_CLASS_32, _LITTLE_ENDIAN, _CURRENT = 1, 1, 1
_EXECUTABLE = 2
_TYPES = {
    1: "an object file that is not linked yet",
    3: "a shared object or PIE",
    4: "a core dump",
}
_ARM = 40
_MACHINES = {
    3: "x86", 8: "MIPS", 62: "x86-64", 83: "AVR", 94: "Xtensa", 183: "Arm 64-bit", 243: "RISC-V",
}  # fmt: skip
_LOAD = 1
_NULL, _NO_BITS = 0, 8  # types of sections without content in the file
_MANY = 0xFFFF  # e_phnum: the number is elsewhere


class _Header(NamedTuple):
    ident: bytes
    type: int
    machine: int
    version: int
    entry: int
    program_offset: int
    section_offset: int
    flags: int
    size: int
    program_size: int
    programs: int
    section_size: int
    sections: int
    names: int


def segments(path: Path, file: BinaryIO, largest: int) -> Iterator[Piece]:
    """The segments that a loader would put into memory. Raises ImageError, also for a segment of
    more than `largest` bytes."""
    size = os.fstat(file.fileno()).st_size
    header = _header(path, file, size)
    _check_sections(path, file, size, header)
    for number in range(header.programs):
        at = f"{path}, segment {number}"
        place = header.program_offset + number * _PROGRAM.size
        kind, offset, _, address, in_file, in_memory, _, _ = _PROGRAM.unpack(
            _read(path, file, size, place, _PROGRAM.size)
        )
        if kind != _LOAD or not in_file:
            continue
        if in_file > in_memory:
            raise ImageError(f"{at}: {in_file} bytes in the file for {in_memory} in memory", AGAIN)
        if in_file > largest:
            raise ImageError(f"{at} has {in_file} bytes, more than all of the flash", AGAIN)
        yield Piece(address, _read(path, file, size, offset, in_file), at)


def _header(path: Path, file: BinaryIO, size: int) -> _Header:
    header = _Header(*_HEADER.unpack(_read(path, file, size, 0, _HEADER.size)))
    bits, endian, version = header.ident[4:7]
    if bits != _CLASS_32 or endian != _LITTLE_ENDIAN or header.machine != _ARM:
        order = {1: "little-endian", 2: "big-endian"}.get(endian, "of unknown byte order")
        width = {1: "32-bit", 2: "64-bit"}.get(bits, "of unknown width")
        machine = _MACHINES.get(header.machine, f"machine {header.machine}")
        name = "Arm" if header.machine == _ARM else machine
        raise ImageError(
            f"{path} is not for this chip: ELF for {name}, {width}, {order}",
            "An STM32 is Arm, 32-bit, little-endian.",
        )
    if version != _CURRENT or header.version != _CURRENT:
        raise ImageError(f"{path} is ELF with an unknown version", AGAIN)
    if header.type != _EXECUTABLE:
        kind = _TYPES.get(header.type, f"ELF of type {header.type}")
        raise ImageError(f"{path} is {kind}", "Give the executable that the linker writes.")
    if not header.programs:
        raise ImageError(f"{path} has no program headers, so nothing to load", AGAIN)
    if header.program_size != _PROGRAM.size or header.programs == _MANY:
        raise ImageError(f"{path} is damaged: its program headers have an unknown form", AGAIN)
    return header


def _check_sections(path: Path, file: BinaryIO, size: int, header: _Header) -> None:
    if not header.section_offset:
        return
    # 0 sections: the number does not fit the field, and the first section holds it.
    count = header.sections or 1
    number = 0
    while number < count:
        place = header.section_offset + number * _SECTION.size
        entry = _SECTION.unpack(_read(path, file, size, place, _SECTION.size))
        kind, offset, length = entry[1], entry[4], entry[5]
        if number == 0 and not header.sections:
            count = length
        if kind not in (_NULL, _NO_BITS):
            _check_inside(path, size, offset, length)
        number += 1


def _read(path: Path, file: BinaryIO, size: int, offset: int, length: int) -> bytes:
    _check_inside(path, size, offset, length)
    file.seek(offset)
    return file.read(length)


def _check_inside(path: Path, size: int, offset: int, length: int) -> None:
    if offset + length > size:
        raise ImageError(
            f"{path} is truncated: it has {size} bytes and names {offset + length} or more", AGAIN
        )
