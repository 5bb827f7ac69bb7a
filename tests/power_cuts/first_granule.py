"""What no host can close: without BOOT0, a target that loses its own supply while its first
granule is being changed comes back neither in an application nor in its loader.

A blank first granule is no such state: the chip finds itself EMPTY at power-on and starts its
loader. Zeros are, and a torn granule.
"""

from __future__ import annotations

from stm32sim.chip.flash import GRANULE
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS
from tests.power_cuts import rig
from tests.power_cuts.rig import BOTH, BYTE, FRAME, HOST_FLASH, TARGET, TARGET_FLASH

SCENARIO = "by-command"
CAMPAIGN = rig.Campaign({BYTE: 8, FRAME: 1, TARGET_FLASH: 1, HOST_FLASH: 1}, only=(TARGET, BOTH))


def window(scenario: rig.Scenario) -> frozenset[int]:
    """The events of an uncut run at which that granule is zeros, or in an operation on it. An
    erase begins with a STOP, a write with the byte before one, which is cut before it passes. An
    erase of what is blank leaves it marginal too if it is cut."""
    return frozenset(_watched(scenario)[0])


def longest_ms(scenario: rig.Scenario) -> float:
    """How long the longer one of its two parts lasts."""
    found, watch = _watched(scenario)
    spans = zip(
        (number for number in sorted(found) if number - 1 not in found),
        (number for number in sorted(found) if number + 1 not in found),
        strict=True,
    )
    times = [watch.times[last] - watch.times[first - 1] for first, last in spans]
    return max(times) / NS_PER_MS


def _watched(scenario: rig.Scenario) -> tuple[set[int], _Watch]:
    watch = _Watch(scenario.build())
    rig.run_host(watch.bench)
    held = watch.held
    found = {number for number, (granule, _) in enumerate(held, 1) if granule == bytes(GRANULE)}
    for number in range(2, len(held) + 1):
        if held[number - 1] != held[number - 2]:
            began = max(begin for begin in watch.begins if begin < number)
            by_stop = watch.places[began - 2] == FRAME
            found.update(range(began - by_stop, number))
    return found, watch


class _Watch(rig.Rig):
    """Notes for every event when it is, what the granule holds and how often it was erased; and
    where operations begin."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.held: list[tuple[bytes, int]] = []
        self.times: list[int] = []  # ns
        self.places: list[str] = []
        self.begins: list[int] = []
        self.on_event = self._look

    def _look(self, number: int, place: str) -> None:
        self.times.append(self.bench.clock.now)
        self.places.append(place)
        flash = self.bench.target.flash
        self.held.append((bytes(flash.data[:GRANULE]), flash.erase_counts[0]))

    def _target_flash(self, what: str, point: int) -> None:
        if point == 0:
            self.begins.append(self.count + 1)
        super()._target_flash(what, point)
