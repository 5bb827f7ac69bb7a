"""The figures of a run of `bench`."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

# In the order of an update. "push", "read back" and "cycle" are times of this computer, the others
# of the host.
PHASES = ("push", "check", "enter", "compare", "write", "verify", "prove", "read back", "cycle")


def figures(cycles: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The values of the result: cycles, cuts, failures and retries as numbers, the phases as
    {"min", "median", "p99"} in ms, and each failure in short."""
    kinds = Counter(cut["kind"] for cycle in cycles for cut in cycle["cuts"])
    failed = [cycle for cycle in cycles if cycle["failure"]]
    return {
        "cycles": len(cycles),
        "cuts": kinds.total(),
        "failures": len(failed),
        "retries": sum(cycle["retries"] for cycle in cycles),
        "resets": sum(cycle["resets"] for cycle in cycles),
        "cuts_by_kind": dict(sorted(kinds.items())),
        "phases": phases(cycles),
        "failed": [
            {
                "cycle": cycle["cycle"],
                "version": cycle["version"],
                "message": cycle["failure"]["message"],
                "next_step": cycle["failure"]["next_step"],
            }
            for cycle in failed
        ],
    }


def phases(cycles: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """The times of each phase, summed over the runs of a cycle, in ms."""
    times: dict[str, list[int]] = {}
    for cycle in cycles:
        for name, ms in cycle["phases"].items():
            times.setdefault(name, []).append(ms)
    known = [name for name in PHASES if name in times]
    return {
        name: {
            "min": min(times[name]),
            "median": round(statistics.median(times[name])),
            "p99": _percentile(times[name], 99),
        }
        for name in [*known, *sorted(times.keys() - {*known})]
    }


def _percentile(values: list[int], per_cent: int) -> int:
    """The smallest value that so many per cent of all do not exceed."""
    return sorted(values)[-(-len(values) * per_cent // 100) - 1]
