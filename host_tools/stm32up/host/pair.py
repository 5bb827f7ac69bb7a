"""The bench's own two images: versions 1.0.0 and 1.1.0 of the demo application, each filled up to
a size with other random bytes, so that every page changes. Both have the same security counter, so
neither is older."""

from __future__ import annotations

import json
import random
from pathlib import Path

from imgtool.keys import RSA

import stm32assets
from stm32up import device, plain_json
from stm32up.board.model import Board
from stm32up.errors import UsageError
from stm32up.host import calls
from stm32up.host.paths import BOARD_JSON, FOLDER
from stm32up.host.transport import Connection
from stm32up.image import images, inputs

VERSIONS = ("1.0.0", "1.1.0")
_AT = (0x2A, 0x01)  # boards/nucleo_app: address, and register of the version
_GIVE_IMAGES = "Give two images of your own: --image A.img --image B.img."

_LOWEST_COUNTER = f"""
import json
from stm32_rom.clock import Clock
from stm32_updater import UpdaterError
try:
 from stm32_updater.admission import Admission
 from stm32_updater.board import Board
 from stm32_updater.record import Record
 from stm32_updater.store import Store
 store, clock = Store({FOLDER!r}), Clock(feed)
 record = store.load() or Record()
 lowest = Admission(Board.load({BOARD_JSON!r}, clock), store, clock).lowest_counter(record)
 print(json.dumps({{"event": "result", "ok": True, "lowest": lowest}}))
except UpdaterError as e:
 d = {{"event": "result", "ok": False}}
 d.update(e.as_dict())
 print(json.dumps(d))
"""


def check(board: Board, key: RSA | None, size: int) -> None:
    """Raise UsageError if there is no such pair of `size` bytes for this board."""
    _application(board)
    confirm = board.confirm
    asked = confirm is not None and confirm.method == "i2c-version"
    if asked and confirm is not None and (confirm.address, confirm.register) != _AT:
        raise UsageError(
            f"the demo application answers its version at 0x{_AT[0]:02X}, and [confirm] of "
            f"{board.name} asks elsewhere",
            _GIVE_IMAGES,
        )
    if not board.unsigned and key is None:
        raise UsageError(
            f"{board.name} takes signed images only",
            f"Give the key: --key KEY.pem. {_GIVE_IMAGES}",
        )
    ends = [start for start, _ in board.preserve]
    room = min(ends, default=board.chip.flash_start + board.chip.flash_size)
    room -= board.chip.flash_start
    if size > room:
        raise UsageError(
            f"--size {size // 1024} is more than {room // 1024} KB, the flash of "
            f"{board.chip.name} up to its end or to a preserved region"
        )


def _application(board: Board) -> Path:
    """The folder of the demo application for this board's family."""
    for name, folder in stm32assets.DEMO_APPLICATIONS.items():
        if device.chip(name).product_id == board.chip.product_id:
            return folder
    raise UsageError(f"the demo application is not for {board.chip.name}", _GIVE_IMAGES)


def build(
    connection: Connection, board: Board, key: RSA | None, size: int, folder: Path
) -> list[Path]:
    """Build the pair into a folder. The security counter is the lowest that the host accepts."""
    counter = int(str(calls.collect(connection, _LOWEST_COUNTER, print)["lowest"]))
    paths = []
    for version in VERSIONS:
        source = _application(board) / f"app-{version}.hex"
        code = inputs.read(source, board.chip, None).data
        filler = random.Random(version).randbytes(max(0, size - len(code)))
        raw, path = folder / f"bench-{version}.bin", folder / f"bench-{version}.img"
        raw.write_bytes(code + filler)
        images.build(
            raw,
            board.chip,
            version,
            key,
            path,
            product=board.product,
            security_counter=counter,
            preserve=board.preserve,
        )
        paths.append(path)
    return paths


def check_given(paths: list[Path], board: Board) -> None:
    """Raise UsageError if two images cannot take turns on this board, ImageError if one is
    refused."""
    shown = [images.verify(path, chip=board.chip, preserve=board.preserve) for path in paths]
    first, second = shown
    if first["version"] == second["version"]:
        raise UsageError(
            f"{first['file']} and {second['file']} are both {first['version']}, so an answer "
            "does not tell them apart",
            "Build one with another --version.",
        )
    if first["security_counter"] != second["security_counter"]:
        raise UsageError(
            f"{first['file']} and {second['file']} have the security counters "
            f"{first['security_counter']} and {second['security_counter']}: one counts as older",
            "Build both with the same --security-counter.",
        )


def same_board(connection: Connection, board: Board) -> None:
    """Raise UsageError if the host was deployed for another board.toml."""
    text = connection.read_file(BOARD_JSON) or b"null"
    try:
        found = plain_json.parse(text)
    except ValueError:
        found = None
    if found != json.loads(json.dumps(board.as_json())):
        raise UsageError(
            f"the host's {BOARD_JSON} is not that of {board.name}",
            "Run stm32up deploy, or give the right board with --board.",
        )
