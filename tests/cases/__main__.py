"""Tries what users met with, and says for each case whether it comes out right.

    python -m tests.cases              all
    python -m tests.cases ports holes  those of tests/cases/ports.py and holes.py

One line for each: PASS or FAIL, its name, what was tried, what came of it. The exit status is 1 if
one failed.
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
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    wanted = parser.parse_args(arguments).groups or list(GROUPS)
    if unknown := [name for name in wanted if name not in GROUPS]:
        parser.error(f"no group {unknown[0]}; there are {', '.join(GROUPS)}")
    tried = failed = 0
    for group in wanted:
        for case in GROUPS[group]:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    verdict, outcome = "PASS", case.run(Path(folder))
                except Wrong as wrong:
                    verdict, outcome = "FAIL", str(wrong)
                    failed += 1
            tried += 1
            print(f"{verdict} | {group}: {case.name} | {case.tried} | {outcome}", flush=True)
    print(f"{tried} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
