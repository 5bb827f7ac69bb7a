"""Updates on a noisy bus: `python -m benchmarks.noise`.

Each update changes the simulated target from one application to another, 6.5 KB, while random bits
flip in the traffic between host and loader.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from stm32sim.chip.application import known_images
from stm32sim.chip.stm32 import Running
from stm32sim.faults import Noise
from stm32sim.in_process import Bench
from tests.support import between_marks, image, known, payload

RATES = (1e-5, 1e-4, 1e-3)
OLD, NEW = payload(5000, 1), payload(6500, 2)
INSTALLED, NEXT_RUN, WRONG = "installed", "installed by the next run", "a wrong byte ran"


def update(rate: float, seed: int) -> tuple[str, int]:
    """The result of one update, and how often something was sent or read again."""
    bench = Bench(applications=known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0")))
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.boot()
    bench.push(image(NEW, "1.1.0"))
    noise = Noise(bench.world.bus, bench.target, rate, seed)
    events = bench.run()
    repeats = sum(event["repeats"] for event in events if event["event"] == "written")
    if bench.target.running is Running.APPLICATION and not (
        bench.flash_holds(NEW) or bench.flash_holds(OLD)
    ):
        return WRONG, repeats
    if events[-1]["ok"]:
        return INSTALLED if bench.flash_holds(NEW) else WRONG, repeats
    noise.repair()
    bench.boot()
    after = bench.run()[-1]
    good = after["status"] == "installed" and bench.flash_holds(NEW)
    return NEXT_RUN if good else f"failed: {after.get('error')}", repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, action="append", help="flipped bits per byte")
    parser.add_argument("--seeds", default="0:60", help="FIRST:END")
    parser.add_argument("--document", type=Path, help="also put the table into this page")
    options = parser.parse_args()
    first, end = (int(part) for part in options.seeds.split(":"))
    columns = ("flipped bits per byte", "updates", "results", "repeats in each")
    rows = []
    for rate in options.rate or RATES:
        results = [update(rate, seed) for seed in track(range(first, end), f"{rate:g}")]
        counts = Counter(what for what, _ in results)
        told = ", ".join(f"{count} {what}" for what, count in counts.most_common())
        repeats = sum(count for _, count in results) / len(results)
        rows.append((f"{rate:g}", str(len(results)), told, f"{repeats:.1f}"))
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if options.document:
        lines = [columns, ("---",) * len(columns), *rows]
        between_marks(options.document, "noise", [f"| {' | '.join(row)} |" for row in lines])


if __name__ == "__main__":
    main()
