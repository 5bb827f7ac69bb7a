"""Application files of every format, made by hand so that single faults are possible."""

from __future__ import annotations

import random
import struct

FLASH = 0x08000000
RAM_END = 0x20009000


def application(size: int = 256, seed: int = 1) -> bytes:
    """Valid vectors, the rest random; `size` is a multiple of 8 bytes."""
    return struct.pack("<II", RAM_END, FLASH + 0xC1) + random.Random(seed).randbytes(size - 8)


def hex_line(kind: int, data: bytes = b"", offset: int = 0) -> str:
    raw = bytes([len(data), offset >> 8, offset & 0xFF, kind]) + data
    return f":{raw.hex().upper()}{-sum(raw) & 0xFF:02X}"


END = hex_line(1)
UPPER = hex_line(4, b"\x08\x00")  # the data after it are in flash


def hex_data(data: bytes, offset: int = 0, width: int = 16) -> list[str]:
    return [hex_line(0, data[i : i + width], offset + i) for i in range(0, len(data), width)]


def hex_file(*parts: tuple[int, bytes]) -> list[str]:
    """Lines for (offset in flash, bytes), all in the first 64 KB."""
    data = [line for offset, content in parts for line in hex_data(content, offset)]
    return [UPPER, *data, END]


def s_line(kind: int, address: int, data: bytes = b"", size: int | None = None) -> str:
    size = {0: 2, 1: 2, 2: 3, 3: 4, 5: 2, 6: 3, 7: 4, 8: 3, 9: 2}[kind] if size is None else size
    raw = address.to_bytes(size, "big") + data
    raw = bytes([len(raw) + 1]) + raw
    return f"S{kind}{raw.hex().upper()}{~sum(raw) & 0xFF:02X}"


def s_data(data: bytes, address: int = FLASH, width: int = 16) -> list[str]:
    return [s_line(3, address + i, data[i : i + width]) for i in range(0, len(data), width)]


def s_file(data: bytes) -> list[str]:
    lines = s_data(data)
    return [s_line(0, 0, b"app"), *lines, s_line(5, len(lines)), s_line(7, FLASH)]


def text(lines: list[str], end: str = "\n") -> bytes:
    return "".join(line + end for line in lines).encode()


def elf(
    *segments: tuple[int, int, bytes],
    sections: bool = True,
    machine: int = 40,
    kind: int = 2,
    bits: int = 1,
    endian: int = 1,
    extra_in_memory: int = 0,
) -> bytes:
    """A small ELF from (virtual address, physical address, bytes) of each PT_LOAD segment."""
    header_size, program_size, section_size = 52, 32, 40
    names = b"\0.text\0"
    offset = header_size + program_size * len(segments)
    programs, table, content = b"", b"\0" * section_size, b""
    for virtual, physical, data in segments:
        at, size = offset + len(content), len(data)
        in_memory = size + extra_in_memory
        programs += struct.pack("<8I", 1, at, virtual, physical, size, in_memory, 5, 4)
        table += struct.pack("<10I", 1, 1, 2, virtual, at, size, 0, 0, 4, 0)
        content += data
    table += struct.pack("<10I", 1, 3, 0, 0, offset + len(content), len(names), 0, 0, 1, 0)
    content += names
    count = len(segments) + 2
    ident = b"\x7fELF" + bytes([bits, endian, 1]) + b"\0" * 9
    sizes = [header_size, program_size, len(segments), section_size, count, count - 1]
    place = offset + len(content)
    if not sections:
        table, sizes[3:], place = b"", [0, 0, 0], 0
    header = struct.pack("<HHIIIIIHHHHHH", kind, machine, 1, FLASH, 52, place, 0, *sizes)
    return ident + header + programs + content + table
