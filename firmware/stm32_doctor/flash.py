"""Reads the target's flash, for `stm32up read` and `stm32up verify`. Needs the updater."""

from binascii import b2a_base64

from micropython import const

from stm32_rom.chips import BLOCK
from stm32_rom.clock import Clock
from stm32_rom.errors import BusError, LoaderError, LoaderRefused, ReadProtected
from stm32_updater.board import Board
from stm32_updater.report import Visit
from stm32_updater.store import Store

_TRIES = const(6)


def read(path, folder, ranges, feed):
    """Read `ranges` [(address, length in bytes)]. `path`: of board.json. A generator of
    {"event": "flash", "address", "data": base64} with up to 256 bytes each, then of a result.

    Resets the target into its loader and back, as `probe` does. Raises UpdaterError."""
    clock = Clock(feed)
    with Visit(Board.load(path, clock), Store(folder)) as target:
        for start, length in ranges:
            for address in range(start, start + length, BLOCK):
                data = _read(target, address, min(BLOCK, start + length - address))
                clock.feed()
                text = b2a_base64(data).decode().strip()
                yield {"event": "flash", "address": address, "data": text}
    yield {"event": "result", "ok": True}


def _read(target, address, length):
    """The bytes at `address`, read until two readings in a row are equal: data from the loader has
    no checksum. A refusal is believed if it comes twice: a damaged frame is refused, too. Raises
    ReadProtected, LoaderError, BusError."""
    before = None
    refused = False
    for left in range(_TRIES - 1, -1, -1):
        data = bytearray(length)
        try:
            target.loader.read_into(address, data)
        except LoaderRefused:
            if refused:
                raise ReadProtected("the target refuses to be read at 0x%08X" % address)
            refused = True
        except (LoaderError, BusError) as error:
            if not left:
                raise error
        else:
            if data == before:
                return data
            before = data
            continue
        target.return_to_loader()
    raise LoaderError("0x%08X reads differently each time" % address)
