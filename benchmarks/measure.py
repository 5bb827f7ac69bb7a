"""Measures one case: the updater in real MicroPython on a simulated host, or a Linux program."""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import floor, serial_port, stm32flash
from benchmarks.cases import Case
from benchmarks.i2c_dev import Computer
from benchmarks.preload import Finished
from benchmarks.rows import LINUX, READ, UART, Row
from benchmarks.timeline import BUS, HOST_FLASH, PYTHON, WAITING, Timeline
from stm32sim import world
from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.chip.quirks import quirks_of
from stm32sim.chip.stm32 import Stm32
from stm32sim.host.micropython import MicroPythonHost
from stm32sim.in_process import Bench, provisioned_option_bytes
from stm32sim.wires.bus import Bus
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S, Clock
from stm32sim.wires.uart import Line
from stm32up.host import deploy, paths

LIMIT_S = 300.0  # of real time, for one update
STM32FLASH, STM32LOADER = "stm32flash", "stm32loader"
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
        elif name == "uart_write":
            self.timeline.sends(I2C_ADDRESS, arguments[1])
        answer: Any = b""
        try:
            answer = self._world.call(name, *arguments)
            return answer
        finally:
            self._note()
            if name == "uart_read":
                self.timeline.received(I2C_ADDRESS, len(answer))
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


class WatchedPort(serial_port.SerialPort):
    """Records what a Linux program does on a UART."""

    def __init__(self, line: Line, lines: serial_port.Lines, timeline: Timeline) -> None:
        super().__init__(line, lines)
        self._timeline = timeline
        self._told = 0  # of the bytes received
        self._frame = b""  # what was written since the program last waited

    def write(self, data: bytes) -> None:
        self._has_received()
        self._frame += data
        super().write(data)

    def close(self) -> None:
        self._has_received()
        super().close()

    def _has_received(self) -> None:
        """Tell what arrived after the last frame: its status, and data."""
        self._timeline.received(I2C_ADDRESS, self.received - self._told - 1)
        self._told = self.received

    def answer(self, what: bytes, *arguments: int) -> int:
        if what == b"m":  # a reset follows
            self._has_received()
        if what != b"w" and self._frame:
            self._timeline.sends(I2C_ADDRESS, self._frame)
            self._frame = b""
        try:
            return super().answer(what, *arguments)
        finally:
            kind = WAITING if what == b"s" else BUS
            self._timeline.spent(kind, self.clock.now - self._timeline.now)


class Desk:
    """A computer and a target that is in its loader."""

    def __init__(self, case: Case) -> None:
        self.case, self.clock = case, Clock()
        self.target = target = Stm32(self.clock, quirks=quirks_of(case.loader), times=case.times)
        target.option_bytes = provisioned_option_bytes()
        target.flash.load(case.before)
        self.bus, self.line = Bus(self.clock), Line(self.clock)
        self.bus.devices.append(target)
        self.line.connect(target.usart)
        target.boot0(True)
        target.power(True)
        self.clock.advance(100 * NS_PER_MS)
        self.timeline = Timeline(target.flash)

    def lines(self, dtr: bool, rts: bool) -> None:
        """stm32loader resets by DTR and chooses the loader by RTS."""
        self.target.boot0(not rts)
        self.target.nrst(not dtr)

    def run(self, program: Path | str, content: Path) -> tuple[str, Finished]:
        """Write and verify; the program's name with its version, and how it ended."""
        if program == STM32LOADER:
            options: tuple[str | Path, ...] = ("-b", str(self.case.hertz), "-e", "-w", "-v")
            command = [sys.executable, "-m", STM32LOADER, "-n", *options, content, "-p"]
            return f"{STM32LOADER} {version(STM32LOADER)}", self._on_port(command, self.lines)
        path = Path(program)
        if self.case.link == UART:
            command = [path, "-b", str(self.case.hertz), "-w", content, "-v"]
            ended = self._on_port(command, lambda dtr, rts: None)
        else:
            computer = WatchedComputer(self.bus, self.case.hertz, self.timeline)
            ended = stm32flash.run(path, computer, "-w", content, "-v")
        return stm32flash.version(ended.output), ended

    def _on_port(self, command: list[str | Path], lines: serial_port.Lines) -> Finished:
        port = WatchedPort(self.line, lines, self.timeline)
        try:
            return serial_port.run(stm32flash.BUILD, [*command, port.path], port)
        finally:
            port.close()


def peer(case: Case, program: Path | str) -> Row:
    """stm32flash at this path, or STM32LOADER, on a Linux host: from its start to its end.
    stm32flash finds the target in its loader, stm32loader resets it into the loader, and into the
    application at the end."""
    desk = Desk(case)
    before = bytes(desk.target.flash.data)
    started = desk.clock.now
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder, "image.bin")
        content.write_bytes(case.after)
        name, ended = desk.run(program, content)
    if ended.status or bytes(desk.target.flash.data[: len(case.after)]) != case.after:
        raise NotMeasured(f"{case.name}: {program} failed: {ended.output}")
    return _row(case, LINUX, name, READ, before, desk.timeline, started, desk.clock.now)


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
    wires = floor.UART if case.link == UART else floor.I2C
    least = 0
    if case.has_work:
        least = floor.floor(before, case.after, case.hertz, case.times, verify, wires)
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
        link=case.link,
    )


def _seconds(ns: int) -> float:
    return round(ns / NS_PER_S, 4)
