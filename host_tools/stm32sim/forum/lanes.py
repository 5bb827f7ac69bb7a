"""Four ways through: a world, what the host does in it, and what becomes of it after a loss of
supply.

The part of the case says BUSY for longer than anybody waits. Why the real one did nobody knows; in
this model its option page stays erased for so long (Quirks.unprotect_delay).
"""

from __future__ import annotations

import random
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stm32sim.chip.application import KnownImage, known_images
from stm32sim.chip.flash import FLASH_START
from stm32sim.chip.option_bytes import FACTORY, OPTR, RDP_LEVEL_1
from stm32sim.chip.quirks import Quirks, quirks_of
from stm32sim.chip.stm32 import RAM_SIZE, RAM_START, Running
from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import Bench, Event
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S

PATIENCE = 40 * NS_PER_S  # the report says 40 s
# What the part of the case takes beyond its time: more than that host waited. That it would have
# ended at all is our choice.
TAKES_LONGER = 41 * NS_PER_S
OUTAGE = 3 * NS_PER_S
COMES_UP = 10 * NS_PER_MS
MAX_TRIES = 4
LOCKED, RECOVERED, STUCK = "locked", "recovered", "stuck"
SWITCHED_OFF = "switched-off"  # an event: by hand, now, for OUTAGE

_NBOOT_SEL = 1 << 24
# BOOT0 counts, and readout protection is at level 1.
PROTECTED = {OPTR: FACTORY[OPTR] & ~_NBOOT_SEL & ~0xFF | RDP_LEVEL_1}


@dataclass(frozen=True)
class Firmware:
    """An application: what main flash holds, its version as it answers it (8 bytes), and its
    image."""

    payload: bytes
    version: bytes
    image: bytes = b""


def payload(size: int, seed: int) -> bytes:
    """A bootable payload: stack pointer and reset vector that make sense, the rest random."""
    vectors = struct.pack("<II", RAM_START + RAM_SIZE, FLASH_START + 0xC1)
    return vectors + random.Random(seed).randbytes(size - len(vectors))


def supply_fails(bench: Bench) -> None:
    """Of host and target at once. Raises HostPowerLost."""
    bench.target.power(False)
    raise HostPowerLost


def supply_returns(bench: Bench) -> None:
    """After a while; the target has come up, and the host is yet to start."""
    bench.world.power_loss()
    bench.clock.advance(OUTAGE)
    bench.target.power(True)
    bench.clock.advance(COMES_UP)


class Lane(ABC):
    """One way to handle a chip."""

    name = ""

    @abstractmethod
    def build(self) -> Bench:
        """The world before the host begins."""

    @abstractmethod
    def work(self, bench: Bench) -> Iterator[Event]:
        """What the host does, from its start to its end."""

    @abstractmethod
    def again(self, bench: Bench) -> bool:
        """One more start of the host after the supply came back; whether all is well now."""

    def afterwards(self, bench: Bench) -> str:
        """What becomes of it once the supply is back: LOCKED, RECOVERED, or STUCK and in what."""
        supply_returns(bench)
        if bench.target.bricked:
            return LOCKED
        for _ in range(MAX_TRIES):
            bench.boot()
            if self.again(bench):
                return RECOVERED
        return f"{STUCK}: {bench.target.running.value}"


class _Protected(Lane):
    """A part with an application, under readout protection, whose loader BOOT0 starts."""

    quirks: Quirks = quirks_of(4)
    packages: Path | None = None

    def build(self) -> Bench:
        application = KnownImage(payload(4000, 1), bytes(8))
        bench = Bench(
            applications=known_images(application),
            quirks=self.quirks,
            options=PROTECTED,
            packages=self.packages,
        )
        bench.target.flash.load(application.content)
        return _switched_off_and_on(bench)


def _switched_off_and_on(bench: Bench) -> Bench:
    bench.target.power(False)
    supply_returns(bench)
    bench.boot()
    return bench


class Naive(_Protected):
    """It polls without a deadline, until somebody pulls the plug."""

    name = "naive"
    quirks = replace(quirks_of(4), unprotect_delay=TAKES_LONGER)
    packages = Path(__file__).parent

    def work(self, bench: Bench) -> Iterator[Event]:
        host = bench.device.imports("naive_host")
        host.enter_loader()
        yield {"event": "naive", "what": f"Get ID: {host.get_id():#05x}"}
        host.command(host.NS_READOUT_UNPROTECT)
        yield {"event": "naive", "what": "No-Stretch Readout Unprotect (0x93)"}
        plug = bench.clock.after(PATIENCE, lambda: supply_fails(bench))
        try:
            host.wait_while_busy()
        finally:
            plug.cancel()

    def again(self, bench: Bench) -> bool:
        """It is asked for its ID, and no more: this host would only do the same again."""
        host = bench.device.imports("naive_host")
        host.enter_loader()
        return bool(host.get_id() == bench.target.quirks.product_id)


class Unprotect(_Protected):
    """What stm32up unprotect runs, on a part that takes its usual time."""

    name = "unprotect"

    def work(self, bench: Bench) -> Iterator[Event]:
        """The verb, and once more after a power-on where it asks for that: the last status of a
        slow part may be missed, and without it the part does not load what it has programmed."""
        event: Event = {}
        for event in self._verb(bench):
            yield event
        if event.get("error") == "not-done":
            yield {"event": SWITCHED_OFF}
            yield from self._verb(_switched_off_and_on(bench), power_cycled=True)

    def _verb(self, bench: Bench, **how: bool) -> Iterator[Event]:
        procedure = bench.device.imports("stm32_bench").Unprotect.from_board("/board.json")
        plan: Event = {}
        for plan in procedure.plan(**how):
            yield plan
        if plan["ok"]:
            yield from procedure.apply(plan)

    def again(self, bench: Bench) -> bool:
        *_, result = self.work(bench)
        blank = not bench.target.flash.weak_granules() and set(bench.target.flash.data) == {0xFF}
        return bool(result["ok"] and bench.target.rdp_level == 0 and blank)


class UnprotectSlow(Unprotect):
    """... and on the part of the case."""

    name = "unprotect-slow"
    quirks = Naive.quirks


class Update(Lane):
    """The field package, which installs an image on an unprotected part."""

    name = "update"

    def __init__(self, old: Firmware, new: Firmware) -> None:
        self._old = old
        self._new = new

    def build(self) -> Bench:
        images = (KnownImage(each.payload, each.version) for each in (self._old, self._new))
        bench = Bench(applications=known_images(*images))
        result = bench.install(self._old.image)
        if not result["ok"]:
            raise RuntimeError(f"the old application was not installed: {result}")
        bench.push(self._new.image)
        return _switched_off_and_on(bench)

    def work(self, bench: Bench) -> Iterator[Event]:
        yield from bench.updater().events()

    def again(self, bench: Bench) -> bool:
        result: Any = bench.run()[-1]
        runs = bench.target.running is Running.APPLICATION
        return bool(result["ok"] and runs and bench.flash_holds(self._new.payload))


def ways_back(bench: Bench) -> list[tuple[str, bool]]:
    """What one tries on a chip that answers nothing, and whether anything answered."""
    target, clock = bench.target, bench.clock
    machine = bench.boot().imports("machine")
    wiring = bench.world.wiring
    bus = machine.I2C(0, scl=machine.Pin(wiring.scl), sda=machine.Pin(wiring.sda))

    def answers() -> bool:
        clock.advance(COMES_UP)
        return bool(bus.scan())

    def power_on() -> bool:
        target.power(False)
        clock.advance(NS_PER_S)
        target.power(True)
        return answers()

    def reset() -> bool:
        target.nrst(False)
        clock.advance(COMES_UP)
        target.nrst(True)
        return answers()

    tried = []
    for level in (False, True):
        target.boot0(level)
        boot0 = f"BOOT0 {'high' if level else 'low'}"
        tried.append((f"power-on, {boot0}", power_on()))
        tried.append((f"NRST pulse, {boot0}", reset()))
    target.boot0(False)
    tried.append(("ST-LINK", target.attach_debugger()))
    target.nrst(False)
    tried.append(("ST-LINK, connect under reset", target.attach_debugger()))
    target.nrst(True)
    return tried
