"""Measures the target's supply with an ADC pin of the host."""

from micropython import const

from .errors import SupplyPoor

_SAMPLES = const(50)
_EVERY_MS = const(10)
_RIPPLE_MV = const(100)  # more than this means a supply that is just being plugged in


class Supply:
    """`read_mv()`: reads the supply in mV. `min_mv`: its minimum."""

    def __init__(self, read_mv, min_mv):
        self._read_mv = read_mv
        self.min_mv = min_mv

    def check(self, clock, min_mv=0):
        """Measure for half a second; returns the lowest value in mV. Raises SupplyPoor if that is
        below `min_mv` or the board's minimum, or if the supply is not steady."""
        limit = max(min_mv, self.min_mv)
        lowest = highest = self._read_mv()
        for _ in range(_SAMPLES):
            clock.sleep(_EVERY_MS)
            seen = self._read_mv()
            lowest = min(lowest, seen)
            highest = max(highest, seen)
        if lowest < limit:
            raise SupplyPoor("the target's supply is %d mV, less than %d mV" % (lowest, limit))
        if highest - lowest > _RIPPLE_MV:
            raise SupplyPoor("the target's supply is not steady: %d to %d mV" % (lowest, highest))
        return lowest
