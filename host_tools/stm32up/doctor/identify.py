"""`chip = "auto"`: the chip is identified when the board is deployed, before anything is copied.

So board.json always names a part, and every image is checked for that part before the target is
put into its loader.
"""

from __future__ import annotations

from stm32up import device
from stm32up.board import boards
from stm32up.board.model import Board
from stm32up.doctor.examine import ConnectedHost, Host
from stm32up.errors import DeviceError
from stm32up.events import Report
from stm32up.host.deploy import check_nothing_unfinished
from stm32up.host.transport import Connection


def board(connection: Connection, wanted: Board, name: str, report: Report) -> Board:
    """`wanted`, with the chip that is on the board if it says "auto". `name`: of its board.toml,
    which is checked again for that chip. Raises DeviceError, BoardFileError."""
    if wanted.chip is not device.NOT_IDENTIFIED:
        return wanted
    check_nothing_unfinished(connection)  # an unfinished bench operation: do not reset the target
    part = chip_of(ConnectedHost(connection), wanted)
    connection.soft_reset()  # the doctor's modules are not to be found any more
    report({"event": "output", "text": f"the chip is identified as {part.name}"})
    return boards.load(name, part.name)


def chip_of(host: Host, wanted: Board) -> device.Chip:
    """The chip that answers. Raises DeviceError."""
    found = host.call("discover.chip", wanted.as_json(), list(device.loaders()))
    if found is None:
        raise DeviceError(
            'the chip cannot be identified (chip = "auto"): no loader answers',
            "Name the part in board.toml, and run: stm32up doctor",
        )
    product_id, size = found["product_id"], found["flash_size"]
    what = f"the chip is 0x{product_id:03X} ({device.family(product_id)})"
    if not device.knows(product_id):
        raise DeviceError(what, "Use a supported part: docs/families.md")
    part = device.part_of(product_id, size) if size else None
    if part is None:
        stated = f"{size // 1024} KB" if size else "nothing"
        raise DeviceError(
            f"{what}; its loader states {stated} as its flash size",
            "Name the part in board.toml.",
        )
    return part
