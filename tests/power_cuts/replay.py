"""One case of the rig again: python -m tests.power_cuts.replay SCENARIO/CUT@N[/CUT@M]

Prints what the host did, boot by boot, and the verdict; exit status 1 if it is violated.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from tests.power_cuts import rig
from tests.power_cuts.scenarios import SCENARIOS


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or "/" not in arguments[0]:
        print(__doc__, file=sys.stderr)
        return 2
    name, *cuts = arguments[0].split("/")
    if name not in SCENARIOS:
        print(f"no scenario {name}; there are {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    case = rig.replay(SCENARIOS[name], [rig.Cut.parse(cut) for cut in cuts], tell=_tell)
    print(json.dumps(asdict(case.verdict), indent=1))
    return 1 if case.verdict.violations else 0


def _tell(event: dict[str, object]) -> None:
    if event["event"] != "progress":
        print(json.dumps(event))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
