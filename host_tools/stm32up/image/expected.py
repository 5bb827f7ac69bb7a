"""What flash should hold, according to an image or to a compiler's output; and what flash holds,
as a file.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

from intelhex import IntelHex

from stm32up import outputs
from stm32up.device import Chip
from stm32up.errors import UsageError
from stm32up.image import image_format, inputs

HEX, RAW = ".hex", ".bin"


class Piece(NamedTuple):
    address: int
    data: bytes


def of_image(content: bytes) -> list[Piece]:
    """The parts of flash that an image writes: its payload without the pages that it keeps."""
    image = image_format.parse(content)
    pieces, position = [], 0
    for start, length in [*image.kept(), (len(image.payload), 0)]:
        pieces.append(Piece(image.load_address + position, image.payload[position:start]))
        position = start + length
    return pieces


def of_input(path: Path, chip: Chip, address: int | None = None) -> list[Piece]:
    """The parts of flash that a bin, hex, srec or elf file has data for."""
    payload = inputs.read(path, chip, address, application=False)
    return [
        Piece(payload.address + start, payload.data[start : start + length])
        for start, length in payload.given
    ]


def check_name(path: Path) -> None:
    """Raise UsageError for a file whose name does not say whether it is hex or raw."""
    if path.suffix.lower() not in (HEX, RAW):
        raise UsageError(
            f"{path} is named neither {RAW} nor {HEX}", "The name says what is written."
        )


def write(path: Path, address: int, data: bytes) -> None:
    """Write the content of flash, as raw binary or Intel hex by the name of the file. Raises
    UsageError."""
    content = data
    if path.suffix.lower() == HEX:
        text = io.StringIO()
        records = IntelHex()
        records.frombytes(data, offset=address)
        records.write_hex_file(text)
        content = text.getvalue().encode()
    with outputs.written(path):
        path.write_bytes(content)
