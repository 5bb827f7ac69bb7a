"""Tries problems that users had, and reports for each case whether its outcome is right.

    python -m tests.cases              all
    python -m tests.cases ports holes  those of tests/cases/ports.py and holes.py
    python -m tests.cases "ports: a lone Pico is taken"

Prints one line per case: PASS or FAIL, its name, what was tried, the outcome. The exit status is 1
if one failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.cases.all import GROUPS
from tests.cases.case import Wrong


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cases", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"a case, or a group: {', '.join(GROUPS)}"
    )
    wanted = set(parser.parse_args(arguments).names) or set(GROUPS)
    chosen = [
        (f"{group}: {case.name}", case)
        for group, cases in GROUPS.items()
        for case in cases
        if {group, f"{group}: {case.name}"} & wanted
    ]
    names = {name for name, _ in chosen}
    if unknown := wanted - names - {name.partition(":")[0] for name in names}:
        parser.error(f"no case and no group {min(unknown)}; there are {', '.join(GROUPS)}")
    failed = 0
    for name, case in chosen:
        with tempfile.TemporaryDirectory() as folder:
            try:
                verdict, outcome = "PASS", case.run(Path(folder))
            except Wrong as wrong:
                verdict, outcome = "FAIL", str(wrong)
                failed += 1
        print(f"{verdict} | {name} | {case.tried} | {outcome}", flush=True)
    print(f"{len(chosen)} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
