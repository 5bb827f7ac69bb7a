"""Fuzzed on the desktop: image, key, board.toml, log."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from stm32up import device
from stm32up.board import boards
from stm32up.errors import Stm32upError
from stm32up.host import logs
from stm32up.image import images, inputs, keys, layout
from tests.fuzz.device_readers import BoardJson
from tests.fuzz.finding import Finding
from tests.fuzz.material import (
    BOARD_FILES,
    LOG_LINES,
    check_message,
    private_key,
    real_images,
    with_a_hole,
)
from tests.host_tools import input_files

# The key of material.py with the password "secret", as a constant because encryption uses random
# numbers.
LOCKED = Path(__file__).with_name("fuzz_locked_key.pem")


class DesktopLog:
    """The log as the desktop merges it: the output is JSON, line by line, in order."""

    def seeds(self) -> list[bytes]:
        return LOG_LINES

    def __call__(self, data: bytes) -> object:
        merged = logs.merge([data, LOG_LINES[0]])
        lines = merged.as_lines().splitlines()
        numbers = [json.loads(line, parse_constant=_no_json)["n"] for line in lines]
        if numbers != sorted(set(numbers)):
            raise Finding(f"numbers {numbers}")
        return merged.summary()


def _no_json(name: str) -> None:
    raise Finding(f"{name} is not JSON")


class DesktopReader:
    """A reader of the desktop command, over a file."""

    NAME = "input"

    def __init__(self) -> None:
        memory = Path("/dev/shm")  # a file on disk takes milliseconds
        self.folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        self.path = Path(self.folder.name) / self.NAME

    def __call__(self, data: bytes) -> object:
        return self.outcome(data)

    def outcome(self, data: bytes) -> object:
        self.path.write_bytes(data)
        try:
            return self.read()
        except Stm32upError as error:
            return check_message(error, str(error))

    def read(self) -> object:
        raise NotImplementedError


class DesktopImage(DesktopReader):
    """`image show` and `image verify`."""

    def seeds(self) -> list[bytes]:
        return [*real_images(), with_a_hole()]

    def read(self) -> object:
        shown = images.show(self.path)
        json.dumps(shown)
        return images.verify(self.path, private_key())


class DesktopInput(DesktopReader):
    """A hex, srec or elf file, as `image build` reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.chip = device.chip("STM32G031K4")  # little flash, little memory

    def seeds(self) -> list[bytes]:
        content = input_files.application(64)
        parts = ((0, content), (0x1800, content))
        start = input_files.FLASH
        return [
            input_files.text(input_files.hex_file(*parts)),
            input_files.text(input_files.s_file(content)),
            input_files.elf(*((start + at, start + at, data) for at, data in parts)),
        ]

    def read(self) -> object:
        read = inputs.read(self.path, self.chip)
        holes = layout.holes(self.path, read, self.chip)
        for start, length in holes:
            if set(read.data[start : start + length]) != {0xFF}:
                raise Finding(f"a hole with content at {start}")
        if len(read.data) > self.chip.flash_size:
            raise Finding(f"{len(read.data)} bytes")
        return holes


class DesktopKey(DesktopReader):
    """A PEM file, as --key takes it."""

    def seeds(self) -> list[bytes]:
        key = private_key().key
        plain = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        public = private_key().get_public_pem()
        return [keys.DEVELOPMENT.encode() + b"\n" + public, plain, LOCKED.read_bytes()]

    def read(self) -> object:
        key = keys.load(self.path)
        keys.why_development(self.path, key)
        return keys.device_key(key)


class BoardToml(DesktopReader):
    """board.toml: refused with file and line, or a board whose board.json the device accepts."""

    NAME = "board.toml"

    def __init__(self) -> None:
        super().__init__()
        self.device = BoardJson()

    @staticmethod
    def seeds() -> list[bytes]:
        return [path.read_bytes() for path in sorted(BOARD_FILES.glob("*/board.toml"))]

    def read(self) -> object:
        board = boards.load(str(self.path))
        taken = self.device.outcome(json.dumps(board.as_json()).encode())
        if isinstance(taken, Exception):
            raise Finding(f"the device does not take it: {taken}")
        return board
