"""The supply fails at seeded instants, spread evenly over the host's run.

The host runs once for a batch of instants. At each instant the process forks: the child loses its
supply, gets it back, and is judged; the parent continues. Instants between two changes of
non-volatile state leave the same world, so only the first of them is judged, and the others get
its outcome. Each instant inside a flash operation, of the target or of the host, has its own
child.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import json
import os
import random
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stm32sim.forum.lanes import Lane, supply_fails
from stm32sim.host.host_flash import HostFlash
from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import Bench, Event


@dataclass(frozen=True)
class Case:
    """One loss of supply and its outcome."""

    lane: str
    number: int
    instant: int  # ns after the host began
    in_operation: bool  # the target's flash was being erased or programmed
    outcome: str


def duration(lane: Lane) -> int:
    """How long the host's work takes, in ns."""
    bench = lane.build()
    began = bench.clock.now
    with contextlib.suppress(HostPowerLost):
        for _ in lane.work(bench):
            pass
    return bench.clock.now - began


def instant_of(lane: Lane, seed: int, number: int, total: int) -> int:
    """The instant of a supply failure: ns, evenly distributed over [0, total)."""
    return random.Random(f"{seed}/{lane.name}/{number}").randrange(total)


def batches(lane: Lane, seed: int, count: int, total: int, size: int) -> list[list[int]]:
    """The numbers of all cases, in batches of neighbouring instants."""
    numbers = sorted(range(count), key=lambda n: instant_of(lane, seed, n, total))
    return [numbers[at : at + size] for at in range(0, count, size)]


def judge(lane: Lane, seed: int, numbers: Iterable[int], total: int) -> list[Case]:
    """The cases of one batch."""
    batch = _Batch(lane, seed)
    instants = sorted((instant_of(lane, seed, n, total), n) for n in numbers)
    gc.collect()
    gc.freeze()  # so that children share memory instead of copying it page by page
    try:
        batch.run(instants)
    finally:
        gc.unfreeze()
    return batch.cases


def replay(
    lane: Lane, seed: int, number: int, total: int, tell: Callable[[int, Event], None]
) -> Case:
    """Repeat one case in this process; `tell` gets ns since the host started, and each event."""
    bench = lane.build()
    began = bench.clock.now
    instant = instant_of(lane, seed, number, total)
    struck = Struck(bench, f"{seed}/{lane.name}/{number}")
    bench.clock.at(began + instant, struck.now)
    with contextlib.suppress(HostPowerLost):
        for event in lane.work(bench):
            tell(bench.clock.now - began, event)
    tell(bench.clock.now - began, {"event": "supply-fails", "in_operation": struck.in_operation})
    struck.is_over()
    outcome = lane.afterwards(bench)
    tell(bench.clock.now - began, {"event": "outcome", "outcome": outcome})
    return Case(lane.name, number, instant, struck.in_operation, outcome)


class Struck:
    """The effect of a loss of supply on a world; `seed` determines the details."""

    def __init__(self, bench: Bench, seed: str) -> None:
        self._bench = bench
        self._seed = seed
        self._host_is_dead = contextlib.ExitStack()
        self.in_operation = False

    def now(self) -> None:
        """Raise HostPowerLost; code that runs while the stack unwinds can no longer write."""
        flash = self._bench.target.flash
        self.in_operation = flash.busy
        flash.randomness.seed(self._seed)
        assert isinstance(self._bench.host_flash, HostFlash)
        self._host_is_dead.enter_context(self._bench.host_flash.write_protected())
        supply_fails(self._bench)

    def is_over(self) -> None:
        """The host has stopped."""
        self._host_is_dead.close()


class _BatchDone(BaseException):
    """The last instant of a batch has been judged."""


class _Batch:
    """One run of the host, interrupted by the instants of a batch."""

    def __init__(self, lane: Lane, seed: int) -> None:
        self.cases: list[Case] = []
        self._lane = lane
        self._seed = seed
        self._bench = lane.build()
        self._known: dict[tuple[bytes, int, int], str] = {}
        self._struck: Struck | None = None  # set in a child
        self._answer = -1  # the pipe of a child

    def run(self, instants: list[tuple[int, int]]) -> None:
        clock = self._bench.clock
        began = clock.now
        for instant, number in instants:
            clock.at(began + instant, functools.partial(self._at, instant, number))
        clock.at(began + instants[-1][0], self._done)
        try:
            with contextlib.suppress(HostPowerLost, _BatchDone):
                for _ in self._lane.work(self._bench):
                    pass
            if self._struck is not None:
                self._struck.is_over()
                self._tell(self._lane.afterwards(self._bench))
        except BaseException:
            if self._struck is None:
                raise
            traceback.print_exc()
        finally:
            if self._struck is not None:
                os._exit(1)

    def _done(self) -> None:
        if self._struck is None:
            raise _BatchDone

    def _at(self, instant: int, number: int) -> None:
        if self._struck is not None:
            return
        host = self._bench.host_flash
        assert isinstance(host, HostFlash)
        busy = self._bench.target.flash.busy
        key = None if busy or host.busy else self._durable()
        outcome = self._known.get(key) if key else None
        if outcome is None:
            outcome = self._outcome_in_child(f"{self._seed}/{self._lane.name}/{number}")
        if key:
            self._known[key] = outcome
        self.cases.append(Case(self._lane.name, number, instant, busy, outcome))

    def _durable(self) -> tuple[bytes, int, int]:
        """The state that survives a loss of supply: the target's flash, and the host's writes."""
        target, host = self._bench.target, self._bench.host_flash
        assert isinstance(host, HostFlash)
        digest = hashlib.blake2b(target.flash.data)
        digest.update(target.flash.cells)
        digest.update(target.option_bytes.data)
        return digest.digest(), host.erases, host.progs

    def _outcome_in_child(self, seed: str) -> str:
        """Fork. The child never returns from here: its supply fails."""
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            self._answer = writing
            self._struck = Struck(self._bench, seed)
            self._struck.now()
        os.close(writing)
        with os.fdopen(reading) as pipe:
            answer = pipe.read()
        _, status = os.waitpid(pid, 0)
        if status or not answer:
            raise RuntimeError(f"case {seed} died with status {status}; its traceback is above")
        return str(json.loads(answer))

    def _tell(self, outcome: str) -> None:
        """Send the outcome to the parent and end this child."""
        os.write(self._answer, json.dumps(outcome).encode())
        os._exit(0)
