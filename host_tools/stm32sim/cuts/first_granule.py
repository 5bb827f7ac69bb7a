"""What no host can close: without BOOT0, a target that loses its own supply while its first
granule is being changed comes back neither in an application nor in its loader.

A blank first granule is no such state: the chip finds itself EMPTY at power-on and starts its
loader. Zeros are, and a torn granule.
"""

from __future__ import annotations

from stm32sim.chip.flash import GRANULE, WEAK
from stm32sim.cuts.rig import Rig, Scenario, run_host
from stm32sim.wires.clock import NS_PER_MS


def window(scenario: Scenario) -> frozenset[int]:
    """The events of an uncut run at which a loss of the target's supply leaves that granule
    neither whole nor blank: an operation of the flash is changing it, or it holds zeros, or what
    it holds is broken or may flip."""
    return frozenset(
        number for number, (at_risk, _) in enumerate(_watched(scenario), 1) if at_risk
    )


def longest_ms(scenario: Scenario) -> float:
    """How long the longest of its parts lasts, up to the first event after it."""
    longest = began = 0
    was_at_risk = False
    for at_risk, instant in _watched(scenario):
        if at_risk and not was_at_risk:
            began = instant
        if was_at_risk:
            longest = max(longest, instant - began)
        was_at_risk = at_risk
    return longest / NS_PER_MS


def _watched(scenario: Scenario) -> list[tuple[bool, int]]:
    """Of every event of an uncut run, whether it is in the window, and when it is (ns)."""
    bench = scenario.build()
    flash = bench.target.flash
    found = []

    def look(number: int, place: str) -> None:
        zeros = flash.data[:GRANULE] == bytes(GRANULE)
        at_risk = zeros or flash.changing(0) or flash.cells[0] in WEAK
        found.append((at_risk, bench.clock.now))

    Rig(bench).on_event = look
    run_host(bench)
    return found
