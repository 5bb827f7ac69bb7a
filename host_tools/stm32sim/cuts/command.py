"""The rig as a program: every cut of some scenarios with a table, or a replay of one case.

A user's file ends with

    if __name__ == "__main__":
        sys.exit(command.main(SCENARIOS, "python power_cuts.py"))
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

from rich.console import Console

from stm32sim.cuts import rig
from stm32sim.cuts.campaign import Campaign, explore
from stm32sim.cuts.jobs import in_processes, progress_on
from stm32sim.cuts.outcome import Row, table

PARTS = 8  # of each scenario, one process each


def main(
    scenarios: Mapping[str, rig.Scenario], program: str, arguments: Sequence[str] | None = None
) -> int:
    """Exit status 1 if any case has a violation or could not be judged, 2 for wrong arguments.
    `program`: the command that runs this program, for printed replays."""
    parser = argparse.ArgumentParser(
        prog=program, description="Cut the power at every event of these scenarios."
    )
    parser.add_argument("case", nargs="?", help="only this case: SCENARIO/CUT@N[/CUT@M]")
    parser.add_argument("--every", type=int, default=1, help="only the N-th event of each place")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args(arguments)
    if given.case is not None:
        return replay(given.case, scenarios, rig.replay)
    rows = {name: Row(name, 1) for name in scenarios}
    wrong = []
    console = Console(width=120)
    try:
        with progress_on(console, PARTS * len(scenarios)) as advance:
            for name, done in each_part(scenarios, given.every, given.jobs):
                if isinstance(done, Exception):
                    wrong.append(f"{name}: {done}")
                else:
                    rows[name].merge(done)
                advance(f"{sum(row.cases for row in rows.values())} cuts")
    except KeyboardInterrupt:
        wrong.append("stopped before its end")
    for row in rows.values():
        wrong += row.told(program)
    console.print(table("One cut", list(rows.values())))
    for line in wrong:
        console.print(line, markup=False, soft_wrap=True)
    return 1 if wrong else 0


def each_part(
    scenarios: Mapping[str, rig.Scenario], every: int, jobs: int
) -> Iterator[tuple[str, Row | Exception]]:
    """Cut the power at every N-th event of each place. Yield the name of the scenario and the sums
    of each of its PARTS, or why it could not be judged."""
    campaign = Campaign(dict.fromkeys(rig.PLACES, every))

    def run(task: tuple[str, int]) -> Row:
        name, part = task
        row = Row(name, 1)
        for case in explore(scenarios[name], replace(campaign, share=(part, PARTS))):
            row.add(case)
        return row

    tasks = [(name, part) for name in scenarios for part in range(PARTS)]
    for (name, _), done in in_processes(run, tasks, jobs):
        yield name, done


def replay(
    case_id: str,
    scenarios: Mapping[str, rig.Scenario],
    again: Callable[[rig.Scenario, list[rig.Cut], rig.Tell], rig.Case],
) -> int:
    """Repeat one case with `again`. Prints what the host did, boot by boot, and the verdict; exit
    status 1 if there is a violation."""
    name, *texts = case_id.split("/")
    if name not in scenarios:
        print(f"no scenario {name}; there are {', '.join(scenarios)}", file=sys.stderr)
        return 2
    try:
        cuts = [rig.Cut.parse(text) for text in texts]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if not cuts:
        print(f"{case_id} names no cut, as in {name}/both@100", file=sys.stderr)
        return 2
    case = again(scenarios[name], cuts, _tell)
    if case.place == rig.NEVER_REACHED:
        print(
            f"{case_id}: the run ended before the last cut, which proves nothing", file=sys.stderr
        )
        return 2
    print(json.dumps(asdict(case.verdict), indent=1))
    return 1 if case.verdict.violations else 0


def _tell(event: dict[str, object]) -> None:
    if event["event"] != "progress":
        print(json.dumps(event))
