"""Measures one case: the updater in real MicroPython on a simulated host, or stm32flash."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import stm32flash
from benchmarks.cases import Case
from benchmarks.floor import floor
from benchmarks.i2c_dev import Computer
from benchmarks.rows import LINUX, READ, Row
from benchmarks.timeline import BUS, HOST_FLASH, PYTHON, WAITING, Timeline
from stm32sim import world
from stm32sim.chip.quirks import quirks_of
from stm32sim.chip.stm32 import Stm32
from stm32sim.host.micropython import MicroPythonHost
from stm32sim.in_process import Bench, provisioned_option_bytes
from stm32sim.wires.bus import Bus
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S, Clock
from stm32up.host import deploy, paths

LIMIT_S = 300.0  # of real time, for one update
PIN = 15  # of the host; not wired
_KIND_OF = {  # of what a world counts
    world.BUS: BUS,
    world.PYTHON: PYTHON,
    world.COMPUTE: PYTHON,
    world.SLEEP: WAITING,
    world.FILES: HOST_FLASH,
    world.HOST_FLASH: HOST_FLASH,
}
# The host's program. It drives PIN high where `target_ms` of the result begins, and low when the
# product's own work would begin, unless the run failed.
MAIN = f"""\
from machine import Pin
from stm32_updater import Updater
for event in Updater.from_board("/board.json").events():
    if event["event"] in ("installing", "resuming"):
        Pin({PIN}, Pin.OUT, value=1)
Pin({PIN}, Pin.OUT, value=not event["ok"])
""".encode()


class NotMeasured(Exception):
    """A run did not end as it must."""


class Watched:
    """Passes the host's calls on to its world, and records what they are."""

    def __init__(self, bench: Bench) -> None:
        self._world = bench.world
        self._clock = bench.clock
        self._counted = dict(bench.world.spent)
        self.timeline = Timeline(bench.target.flash)
        self.edges: list[tuple[int, int]] = []  # of PIN: instant and level

    def call(self, name: str, *arguments: Any) -> Any:
        self._note()  # the Python before this call
        if name == "i2c_write":
            self.timeline.sends(arguments[1], arguments[2])
        try:
            return self._world.call(name, *arguments)
        finally:
            self._note()
            if name == "pin_init" and arguments[0] == PIN:
                self.edges.append((self._clock.now, arguments[-1]))
            if name == "i2c_read":
                self.timeline.received(arguments[1], arguments[2])

    def _note(self) -> None:
        """Record what the world has counted since the last time."""
        for kind, total in self._world.spent.items():
            took = total - self._counted[kind]
            if took:
                self.timeline.spent(_KIND_OF[kind], took)
                self._counted[kind] = total


def updater(case: Case, host: str, verify: str) -> Row:
    """The updater on a host. The time is `target_ms` of its result; with nothing to do, the time
    from power-on until the host's program goes on with its own work."""
    bench = case.bench(host, verify)
    before = bytes(bench.target.flash.data)
    bench.write_files({**deploy.product_modules(), paths.MAIN: MAIN})
    bench.world.power_loss()
    watched = Watched(bench)
    started = bench.clock.now
    with MicroPythonHost(
        watched.call, bench.world, executed=bench.world.executed, platform=bench.world.port
    ) as board:
        board.power_on()
        if not board.wait_idle(LIMIT_S):
            raise NotMeasured(f"{case.name}: the host did not end in {LIMIT_S:g} s")
    bench.world.mount()
    _, result = bench.last_logged()
    ended, failed = watched.edges[-1] if watched.edges else (0, 1)
    worked = bool(watched.timeline.flash)
    if failed or worked != case.has_work or not bench.flash_holds(case.after):
        raise NotMeasured(f"{case.name} on {host} ended with {result}")
    if case.has_work:
        started = watched.edges[0][0]
        ended = started + result["target_ms"] * NS_PER_MS
    return _row(case, host, "stm32up", verify, before, watched.timeline, started, ended)


class WatchedComputer(Computer):
    """Records what a Linux program does."""

    def __init__(self, bus: Bus, hertz: int, timeline: Timeline) -> None:
        super().__init__(bus, hertz)
        self._timeline = timeline

    def write(self, address: int, frame: bytes) -> int:
        self._timeline.sends(address, frame)
        try:
            return super().write(address, frame)
        finally:
            self._note(BUS)

    def read(self, address: int, length: int) -> bytes:
        try:
            return super().read(address, length)
        finally:
            self._note(BUS)
            self._timeline.received(address, length)

    def sleep(self, us: int) -> None:
        super().sleep(us)
        self._note(WAITING)

    def _note(self, what: str) -> None:
        self._timeline.spent(what, self.clock.now - self._timeline.now)


def peer(case: Case, program: Path) -> Row:
    """stm32flash on a Linux host: from its start to its end, with a target that is in its loader
    already and stays there."""
    clock = Clock()
    target = Stm32(clock, quirks=quirks_of(case.loader), times=case.times)
    target.option_bytes = provisioned_option_bytes()
    target.flash.load(case.before)
    bus = Bus(clock)
    bus.devices.append(target)
    target.boot0(True)
    target.power(True)
    clock.advance(100 * NS_PER_MS)
    before = bytes(target.flash.data)
    timeline = Timeline(target.flash)
    started = clock.now
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder, "image.bin")
        content.write_bytes(case.after)
        computer = WatchedComputer(bus, case.hertz, timeline)
        ended = stm32flash.run(program, computer, "-w", content, "-v")
    if ended.status or bytes(target.flash.data[: len(case.after)]) != case.after:
        raise NotMeasured(f"{case.name}: stm32flash failed: {ended.output}")
    name = stm32flash.version(ended.output)
    return _row(case, LINUX, name, READ, before, timeline, started, clock.now)


def _row(
    case: Case,
    host: str,
    program: str,
    verify: str,
    before: bytes,
    timeline: Timeline,
    started: int,
    ended: int,
) -> Row:
    least = floor(before, case.after, case.hertz, case.times, verify) if case.has_work else 0
    split = timeline.split(started, ended)
    if sum(split.values()) != ended - started:
        raise NotMeasured(f"{case.name} on {host}: the parts are not the whole: {split}")
    return Row(
        case=case.name,
        host=host,
        program=program,
        loader=f"11.{case.loader}",
        hz=case.hertz,
        verify=verify,
        seconds=_seconds(ended - started),
        floor=_seconds(least),
        efficiency=round(least / (ended - started), 3) if least else None,
        split={kind: _seconds(part) for kind, part in split.items()},
        checksums=timeline.checksums,
        read=timeline.read,
    )


def _seconds(ns: int) -> float:
    return round(ns / NS_PER_S, 4)
