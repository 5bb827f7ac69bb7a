"""Reads the whole of an image back from the target, and asks its application: what the bench
believes, instead of what the updater says."""

import binascii
import hashlib

from micropython import const

from stm32_rom.clock import Clock
from stm32_updater import report
from stm32_updater.board import Board
from stm32_updater.event_log import EventLog
from stm32_updater.store import Store

_BLOCK = const(256)  # the most that the loader reads at once
_POLL_MS = const(20)
_UNIQUE_ID = const(12)  # bytes
_START_MS = const(1000)  # where board.json gives an application no time


def check(stretches, feed, path="/board.json", folder="/updater"):
    """{"answers", "sha256", "answers_again", "status"}, for the bytes in `stretches`: [address,
    length]. The application is asked before, and again after the reset that ends the reading.

    An answer is the version in hex; where the application has none, whether it runs; None if this
    board cannot tell. "status": see report.status. Raises UpdaterError."""
    clock = Clock(feed)
    board = Board.load(path, clock)
    store = Store(folder)
    store.respect_hands_off()
    found = {"answers": _answer(board, clock)}
    target = board.target
    try:
        target.enter_loader()
        found["sha256"] = _digest(target, stretches, clock)
    finally:
        target.start_application()
    found["answers_again"] = _answer(board, clock)
    found["status"] = report.status(board, store, EventLog(folder, clock))
    return found


def _digest(target, stretches, clock):
    hasher = hashlib.sha256()
    block = bytearray(_BLOCK)
    for address, length in stretches:
        end = address + length
        while address < end:
            part = memoryview(block)[: min(_BLOCK, end - address)]
            target.loader.read_into(address, part)
            hasher.update(part)
            address += len(part)
            clock.feed()
    return binascii.hexlify(hasher.digest()).decode()


def _answer(board, clock):
    if not board.application_shows:
        return None
    deadline = clock.deadline(board.confirm_timeout_ms or _START_MS)
    while True:
        version = board.application_version()
        if version is not None:
            return binascii.hexlify(version).decode()
        if board.application_runs():
            return True
        if deadline.expired():
            return False
        deadline.sleep(_POLL_MS)


def identity(unique_id_at, feed, path="/board.json"):
    """{"host": its unique ID in hex, "target": that of the target, "loader": its version}.

    "target" is None if the loader refuses to read it, or with `unique_id_at` None. Raises
    UpdaterError."""
    import machine

    board = Board.load(path, Clock(feed))
    target = board.target
    found = {"host": binascii.hexlify(machine.unique_id()).decode(), "target": None}
    try:
        target.enter_loader()
        found["loader"] = target.quirks.version
        if unique_id_at is not None:
            data = target.read_until_equal(unique_id_at, _UNIQUE_ID)
            found["target"] = None if data is None else binascii.hexlify(data).decode()
    finally:
        target.start_application()
    return found
