"""The doctor on a simulated bench in this process: what it saw, reported and sent."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from stm32sim.chip.application import known_images
from stm32sim.chip.stm32 import DISCHARGE, START_UP
from stm32sim.in_process import NUCLEO, Bench
from stm32sim.wires.bus import NOT_DRIVEN
from stm32up.doctor import examine
from stm32up.doctor.diagnosis import Diagnosis, diagnose
from stm32up.host.host_facts import HostFacts
from stm32up.host.paths import LIB, LIBRARY
from tests.support import image, known, payload

OLD, NEW, NEWER = payload(9000, 1), payload(7000, 2), payload(6000, 4)
DEAD = payload(5000, 3)
DEPLOYED = HostFacts(found={"stm32_updater": [(LIB, LIBRARY)]})
APPLICATIONS = known_images(
    known(OLD, "1.0.0", blinks_ms=20),
    known(NEW, "1.1.0", blinks_ms=20),
    known(DEAD, "2.0.0", answers=False),
    known(NEWER, "2.1.0"),
)


class BenchHost:
    """The host of a Bench with the doctor's interface; connecting to it restarts it."""

    def __init__(self, bench: Bench, facts: HostFacts, import_trouble: str = "") -> None:
        self._bench = bench
        self._device = bench.boot()
        block, _, _, free = self._device.imports("os").statvfs("/")[:4]
        self.facts = replace(facts, free=block * free)
        self.import_trouble = import_trouble

    def read_file(self, path: str) -> bytes | None:
        return self._bench.read_file(path) if self._bench.exists(path) else None

    def call(self, function: str, *arguments: Any) -> Any:
        module, _, name = function.partition(".")
        clock = self._device.imports("stm32_rom.clock").Clock()
        function_there = getattr(self._device.imports(f"stm32_doctor.{module}"), name)
        return json.loads(json.dumps(function_there(*json.loads(json.dumps(arguments)), clock)))


class Eeprom:
    """Another device on the bus: it acknowledges its address and ignores all data."""

    def __init__(self, address: int) -> None:
        self.address = address
        self.received = bytearray()
        self._addressed = False

    def start(self, address: int, reading: bool) -> bool:
        self._addressed = address == self.address
        return self._addressed

    def write(self, byte: int) -> bool:
        if self._addressed:
            self.received.append(byte)
        return self._addressed

    def read(self) -> int:
        return NOT_DRIVEN

    def acked(self, ack: bool) -> None:
        pass

    def stop(self) -> None:
        self._addressed = False

    def holding_scl(self) -> bool:
        return False


def make(host: str = "rp2", content: bytes = b"", **arguments: Any) -> Bench:
    """A bench whose target holds `content`, programmed by another tool, and was power-cycled."""
    bench = Bench(host=host, applications=APPLICATIONS, **arguments)
    if content:
        bench.target.flash.load(content)
        power_cycle(bench)
    return bench


def installed(host: str = "rp2", times: int = 2, **arguments: Any) -> Bench:
    """A healthy bench that has updated its target `times` times, to 1.0.0 and 1.1.0."""
    bench = make(host, **arguments)
    for content, version in ((OLD, "1.0.0"), (NEW, "1.1.0"))[:times]:
        assert bench.install(image(content, version))["ok"]
    power_cycle(bench)
    return bench


def power_cycle(bench: Bench) -> None:
    bench.target.power(False)
    bench.clock.advance(DISCHARGE)
    bench.target.power(True)
    bench.clock.advance(2 * START_UP)


def examined(
    bench: Bench,
    *,
    wanted: dict[str, Any] | None = None,
    host: HostFacts = DEPLOYED,
    import_trouble: str = "",
    power_cycled: bool = False,
) -> tuple[dict[str, Any], Diagnosis]:
    """The facts of the target and the diagnosis. `wanted`: sections of --board that differ from
    the bench's settings. `host`: the facts of the host."""
    settings: Any = {**bench.settings, **(wanted or {})}
    bench_host = BenchHost(bench, host, import_trouble)
    facts = examine.examine(bench_host, settings, power_cycled=power_cycled)
    return facts.target or {}, diagnose(facts, examine.RULES)


def settings(**sections: Any) -> dict[str, Any]:
    """Settings of a Bench: NUCLEO's, with sections replaced."""
    return {**NUCLEO, **sections}
