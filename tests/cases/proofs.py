"""Applications that answer late, and supplies that drop for a moment."""

from __future__ import annotations

import contextlib
import random
from typing import Any

from stm32sim.chip.application import ApplicationFactory, KnownImage, ModelApplication
from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S
from tests.cases.case import Cases, expect
from tests.cases.device_worlds import VERSIONS, runs, settled, told, update
from tests.support import version_bytes

CASES = Cases()


class Late(ModelApplication):
    """Does not answer for a while after its start."""

    def __init__(self, image: KnownImage, chip: Any, delay_ms: int) -> None:
        super().__init__(image, chip)
        self._clock = chip.clock
        self._ready = chip.clock.now + delay_ms * NS_PER_MS

    def start(self, address: int, reading: bool) -> bool:
        return self._clock.now >= self._ready and super().start(address, reading)


def late(delay_ms: int) -> ApplicationFactory:
    """1.1.0 answers only after this delay."""

    def make(flash: bytes, chip: Any) -> ModelApplication | None:
        for version, content in VERSIONS.items():
            if flash.startswith(content):
                known = KnownImage(content, version_bytes(version))
                return Late(known, chip, delay_ms if version == "1.1.0" else 0)
        return None

    return make


@CASES("an application that answers after 0.1, 1.5 and 1.95 s; the limit is 2 s")
def a_late_answer_within_the_limit_is_a_proof() -> str:
    for delay in (100, 1500, 1950):
        board = update(applications=late(delay))
        result = board.run()[-1]
        expect(
            result["status"] == "installed" and runs(board, "1.1.0"), f"{delay}: {told(result)}"
        )
    return "installed"


@CASES("an application that answers after 5 s; the limit is 2 s")
def an_answer_after_the_limit_is_none() -> str:
    board = update(applications=late(5000))
    result = board.run()[-1]
    right = result["status"] == "rolled-back" and runs(board, "1.0.0")
    return expect(right and result["next_step"], told(result))


def dropped(at: int, drop_ms: int, host_too: bool) -> Bench:
    """The supply drops at the at-th point of an operation of the target's flash, in an update."""
    board, seen = update(), 0

    def drop(what: str, point: int) -> None:
        nonlocal seen
        seen += 1
        if seen == at:
            board.target.power(False)
            board.clock.after(drop_ms * NS_PER_MS, lambda: board.target.power(True))
            if host_too:
                raise HostPowerLost

    board.target.flash.randomness.seed(at)
    board.target.flash.tap = drop
    with contextlib.suppress(HostPowerLost):
        board.run()
    expect(seen >= at, f"there are {seen} points only")
    board.target.flash.tap = None
    return board


@CASES("the target's supply drops for 1, 10, 49, 51 ms at random flash operations; the host's too")
def a_short_loss_of_supply_is_mended() -> str:
    points = 0

    def count(what: str, point: int) -> None:
        nonlocal points
        points += 1

    board = update()
    board.target.flash.tap = count
    board.run()
    randomness = random.Random(1)
    drops = [(ms, host_too) for ms in (1, 10, 49, 51) for host_too in (False, True)] * 3
    for drop_ms, host_too in drops:
        at = randomness.randrange(1, points)
        board = dropped(at, drop_ms, host_too)
        result = settled(board)
        board.clock.advance(2 * NS_PER_S)
        partial = any(boot.ran_partial_application for boot in board.target.boots)
        right = runs(board, "1.1.0") and not partial
        expect(right, f"{drop_ms} ms at point {at}: {told(result)}")
    return f"{len(drops)} of {len(drops)} mended"
