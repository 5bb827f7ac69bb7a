"""A window that no host can close: without BOOT0, a target that loses its own supply while its
first granule is being changed starts neither an application nor its loader.

A blank first granule is safe: at power-on the chip is EMPTY and starts its loader. Zeros and a
torn granule are not.
"""

from __future__ import annotations

from stm32sim.chip.flash import GRANULE, WEAK
from stm32sim.cuts.rig import Rig, Scenario, run_host
from stm32sim.wires.clock import NS_PER_MS


def window(scenario: Scenario) -> frozenset[int]:
    """The events of an uncut run at which a loss of the target's supply leaves that granule
    neither complete nor blank: a flash operation is changing it, or it holds zeros, or it is
    broken or may flip."""
    return frozenset(
        number for number, (at_risk, _) in enumerate(_watched(scenario), 1) if at_risk
    )


def longest_ms(scenario: Scenario) -> float:
    """The length of the longest part of the window, up to the first event after it."""
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
    """For every event of an uncut run: whether it is in the window, and its instant (ns)."""
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
