"""Replays one case of the rig: python -m tests.power_cuts.replay SCENARIO/CUT@N[/CUT@M]

`in-micropython/SCENARIO/...` runs in real MicroPython. Prints what the host did, boot by boot, and
the verdict; exit status 1 if there is a violation.
"""

from __future__ import annotations

import sys

from stm32sim.cuts import command, rig
from stm32sim.cuts.in_micropython import PREFIX
from tests.power_cuts import micropython_rig
from tests.power_cuts.scenarios import SCENARIOS


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or "/" not in arguments[0]:
        print(__doc__, file=sys.stderr)
        return 2
    (case,) = arguments
    if case.startswith(f"{PREFIX}/"):
        return command.replay(case.removeprefix(f"{PREFIX}/"), SCENARIOS, _in_micropython)
    return command.replay(case, SCENARIOS, rig.replay)


def _in_micropython(scenario: rig.Scenario, cuts: list[rig.Cut], tell: rig.Tell) -> rig.Case:
    return micropython_rig.replay(scenario.name, cuts, tell)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
