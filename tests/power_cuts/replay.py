"""One case of the rig again: python -m tests.power_cuts.replay SCENARIO/CUT@N[/CUT@M]

`in-micropython/SCENARIO/...` is one of micropython_rig. Prints what the host did, boot by boot,
and the verdict; exit status 1 if it is violated.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from tests.power_cuts import micropython_rig, rig
from tests.power_cuts.scenarios import SCENARIOS


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or "/" not in arguments[0]:
        print(__doc__, file=sys.stderr)
        return 2
    real = arguments[0].startswith(f"{micropython_rig.PREFIX}/")
    name, *cuts = arguments[0].split("/")[real:]
    if name not in SCENARIOS:
        print(f"no scenario {name}; there are {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    parsed = [rig.Cut.parse(cut) for cut in cuts]
    if real:
        case = micropython_rig.replay(name, parsed, _tell)
    else:
        case = rig.replay(SCENARIOS[name], parsed, _tell)
    print(json.dumps(asdict(case.verdict), indent=1))
    return 1 if case.verdict.violations else 0


def _tell(event: dict[str, object]) -> None:
    if event["event"] != "progress":
        print(json.dumps(event))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
