"""Four lanes: a world, what the host does in it, and the outcome after a loss of supply.

The part of the case answers BUSY for longer than its host waits. Why the real one did so is not
known; in this model its option page stays erased for this time (Quirks.unprotect_delay).
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
# Additional time of the part of the case: more than its host waited. That it ends at all is our
# assumption.
TAKES_LONGER = 41 * NS_PER_S
OUTAGE = 3 * NS_PER_S
COMES_UP = 10 * NS_PER_MS
MAX_TRIES = 4
LOCKED, RECOVERED, STUCK = "locked", "recovered", "stuck"
SWITCHED_OFF = "switched-off"  # an event: by hand, now, for OUTAGE

_NBOOT_SEL = 1 << 24
# The BOOT0 pin is used, and readout protection is at level 1.
PROTECTED = {OPTR: FACTORY[OPTR] & ~_NBOOT_SEL & ~0xFF | RDP_LEVEL_1}


@dataclass(frozen=True)
class Firmware:
    """An application: the content of main flash, the version that it answers (8 bytes), and its
    image."""

    payload: bytes
    version: bytes
    image: bytes = b""


def payload(size: int, seed: int) -> bytes:
    """A bootable payload: valid stack pointer and reset vector, the rest random."""
    vectors = struct.pack("<II", RAM_START + RAM_SIZE, FLASH_START + 0xC1)
    return vectors + random.Random(seed).randbytes(size - len(vectors))


def supply_fails(bench: Bench) -> None:
    """Host and target lose their supply at once. Raises HostPowerLost."""
    bench.target.power(False)
    raise HostPowerLost


def supply_returns(bench: Bench) -> None:
    """The supply returns after an outage; the target has started, the host has not yet."""
    bench.world.power_loss()
    bench.clock.advance(OUTAGE)
    bench.target.power(True)
    bench.clock.advance(COMES_UP)


class Lane(ABC):
    """One way to handle a chip."""

    name = ""

    @abstractmethod
    def build(self) -> Bench:
        """Make the world before the host starts."""

    @abstractmethod
    def work(self, bench: Bench) -> Iterator[Event]:
        """The host's whole run."""

    @abstractmethod
    def again(self, bench: Bench) -> bool:
        """Start the host once more after the supply returned; return whether the result is
        good."""

    def afterwards(self, bench: Bench) -> str:
        """The outcome after the supply returned: LOCKED, RECOVERED, or STUCK with the state."""
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
    """Polls without a deadline, until the plug is pulled."""

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
        """Only ask for its ID: this host would only repeat the same."""
        host = bench.device.imports("naive_host")
        host.enter_loader()
        return bool(host.get_id() == bench.target.quirks.product_id)


class Unprotect(_Protected):
    """The code of stm32up unprotect, on a part with the usual time."""

    name = "unprotect"

    def work(self, bench: Bench) -> Iterator[Event]:
        """The verb, repeated after a power-on if it asks for that: the last status of a slow part
        may be missed, and without it the part does not load the new option bytes."""
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
    """The same on the part of the case."""

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
    """Try to reach a chip that does not answer: each attempt, and whether anything answered."""
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
