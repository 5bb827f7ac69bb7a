"""Runs of the updater that are stopped, replaced by another run, or fail in code of the
product."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from typing import Any

from stm32sim.in_process import Bench, Event
from tests.cases.case import Cases, expect
from tests.cases.device_worlds import OLD, push, runs, settled, told, update
from tests.support import image

CASES = Cases()


def stopped_after(events: Any, count: int) -> list[Event]:
    seen = []
    for event in events:
        seen.append(event)
        if len(seen) == count:
            break
    return seen


def number_of_events() -> int:
    return len(update().run())


# --- two at a time ---


@CASES("1.1.0 is stopped after each event, 1.2.0 is installed by another run, the first goes on")
def a_run_that_another_one_has_overtaken_touches_nothing_more() -> str:
    errors = set()
    for stop in range(1, number_of_events()):
        board = update()
        first = board.updater().events()
        stopped_after(first, stop)
        push(board, "1.2.0")
        second = board.updater().run()
        frames = len(board.trace)
        last = list(first)[-1]
        right = (
            second["status"] == "installed"
            and not last["ok"]
            and last["message"]
            and last["next_step"]
            and len(board.trace) == frames
            and runs(board, "1.2.0")
        )
        expect(right, f"after event {stop}: {told(second)}, then {told(last)}")
        settled(board)
        expect(runs(board, "1.2.0"), f"after event {stop}: the next start undid 1.2.0")
        errors.add(told(last))
    return "; ".join(errors)


# --- stopped ---


def by_close(board: Bench, stop: int) -> list[Event]:
    with board.updater().events() as events:
        return stopped_after(events, stop)


def by_dropping(board: Bench, stop: int) -> list[Event]:
    events = board.updater().events()
    seen = stopped_after(events, stop)
    del events
    gc.collect()
    return seen


def by_cancelling(board: Bench, stop: int) -> list[Event]:
    seen: list[Event] = []

    async def go() -> None:
        async for event in board.updater().events():
            seen.append(event)
            if len(seen) == stop:
                await asyncio.sleep(10)

    async def product() -> None:
        task = asyncio.create_task(go())
        while len(seen) < stop:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(product())
    return seen


def nothing_lost(way: Callable[[Bench, int], list[Event]]) -> str:
    """The old application runs if nothing was erased; the next run of the same host continues."""
    count = number_of_events()
    for stop in range(1, count):
        board = update()
        seen = way(board, stop)
        where = f"after event {stop}, {seen[-1]['event']}"
        if board.flash_holds(OLD):
            expect(runs(board, "1.0.0"), f"{where}: the old application is stopped")
        result = board.updater().run()
        expect(runs(board, "1.1.0"), f"{where}: the next run says {told(result)}")
    return f"stopped after each of {count - 1} events; the next run installs"


WAYS: dict[str, Callable[[Bench, int], list[Event]]] = {
    "an update that is closed loses nothing": by_close,
    "an update that is dropped loses nothing": by_dropping,
    "an update whose task is cancelled loses nothing": by_cancelling,
}
for name, way in WAYS.items():
    CASES.add(name, "events() ends after each event", nothing_lost, way)


# --- errors of the product's own functions ---


@CASES("feed() raises at every 40th call, once or from then on")
def an_exception_of_feed_is_mended_by_the_next_start() -> str:
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    update().run(feed=count)
    tried = 0
    for lasting in (False, True):
        for at in range(1, calls + 1, 40):
            board = update()
            seen = 0

            def feed(at: int = at, lasting: bool = lasting) -> None:
                nonlocal seen
                seen += 1
                if seen == at or (lasting and seen > at):
                    raise RuntimeError("feed")

            with contextlib.suppress(RuntimeError):
                board.run(feed=feed)
            result = settled(board)
            expect(runs(board, "1.1.0"), f"at call {at}: then {told(result)}")
            tried += 1
    return f"{tried} of {tried} mended"


@CASES("confirm() raises RuntimeError, OSError, MemoryError")
def an_exception_of_confirm_is_no_proof_and_rolls_back() -> str:
    result: Event = {}
    for error in (RuntimeError("c"), OSError(5), MemoryError()):
        board = update()

        def confirm(image: Any, error: Exception = error) -> bool:
            if image.version == "1.1.0":
                raise error
            return True

        result = board.run(confirm=confirm)[-1]
        right = result["status"] == "rolled-back" and runs(board, "1.0.0")
        kept = board.read_file("/updater/confirmed.img") == image(OLD, "1.0.0")
        expect(right and kept, f"{error!r}: {told(result)}")
    return told(result)
