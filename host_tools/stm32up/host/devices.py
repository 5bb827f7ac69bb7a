"""`devices`: what is on each port, without interrupting a program that may update its target."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TypedDict

from stm32up import plain_json
from stm32up.board.model import Board
from stm32up.errors import NoBoard, NoUpdater, Stm32upError, UpdateFailed
from stm32up.events import Event
from stm32up.host import calls, identity, simulation
from stm32up.host.paths import BOARD_JSON
from stm32up.host.ports import Port, on_usb, ports_present
from stm32up.host.transport import Connection, Manners, connected
from stm32up.text import clean

# Code for the host. Imports nothing.
_UPDATER = """
def _updater(): return getattr(sys.modules.get('stm32_updater'), '__version__', None)
"""


class Device(TypedDict, total=False):
    """A port and what is on it. `said`: why nothing more is known. The keys from `platform` on are
    those of a host that was asked; a value that it does not have is None."""

    port: str
    usb: str
    said: str
    platform: str
    machine: str
    micropython: str
    unique_id: str
    board: str | None  # the title in its board.json
    updater: str | None  # version
    phase: str | None
    target: str | None  # version of the last good image, as the record says


def devices(
    board: Callable[[], Board],
    ports: Iterable[str] = (),
    *,
    interrupt: bool = False,
    options: Iterable[str] = (),
) -> list[Device]:
    """What is on these ports; without any, on all USB ports. A program that does not say what it
    does is interrupted only with `interrupt`. `board` and `options` are of a simulated board.
    Raises NoBoard if there is no port."""
    wanted = [Port(name, "", True) for name in ports] or on_usb()
    if not wanted:
        raise NoBoard(
            f"nothing on USB that may be a board ({ports_present()})",
            "Connect one, or give a port with --port.",
        )
    return [_device(port, board, interrupt, options) for port in wanted]


def _device(
    port: Port, board: Callable[[], Board], interrupt: bool, options: Iterable[str]
) -> Device:
    device: Device = {"port": port.name, "usb": clean(port.usb)}
    if not port.is_board:
        return {**device, "said": "not asked: it may not be a board; to ask it, give --port"}
    manners = Manners(look=not interrupt, wait=False, spare=True, start=True)
    try:
        with contextlib.ExitStack() as stack:
            address = port.name
            if simulation.wanted(address):
                board_there = simulation.started(address, board(), options)
                address = stack.enter_context(board_there).url
            connection = stack.enter_context(
                connected(address, resume=True, report=_not_shown, manners=manners)
            )
            return {**device, **_found(connection)}
    except Stm32upError as error:
        return {**device, "said": error.message}


def _not_shown(event: Event) -> None:
    """One line for each board is enough."""


def _found(connection: Connection) -> Device:
    host = identity.of(connection)
    found: Device = {
        "platform": host.platform,
        "machine": host.machine,
        "micropython": host.micropython,
        "unique_id": host.unique_id,
        "board": _title(connection),
        "updater": None,
        "phase": None,
        "target": None,
    }
    try:
        status = calls.status(connection)
    except NoUpdater:
        return found
    except UpdateFailed as error:
        return {**found, "said": error.message}
    found["phase"], found["target"] = str(status.get("phase", "?")), status.get("confirmed")
    connection.define(_UPDATER)
    found["updater"] = clean(str(connection.ask("_updater()") or "?"))
    return found


def _title(connection: Connection) -> str | None:
    try:
        content = plain_json.parse(connection.read_file(BOARD_JSON) or b"{}")
    except ValueError:
        return None
    title = content.get("title") if isinstance(content, dict) else None
    return clean(title) if isinstance(title, str) else None
