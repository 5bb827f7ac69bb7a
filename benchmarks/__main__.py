"""How long updates take, in simulation: `python -m benchmarks`, or `make bench-sim`.

docs/benchmarks.md explains what is measured. A complete run writes results/latest.json, and the
table and the picture of that page.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from benchmarks import i2c_dev, measure, picture, rows, stm32flash, table
from benchmarks.cases import CASES, Case
from benchmarks.measure import NotMeasured
from benchmarks.preload import NotAvailable
from benchmarks.rows import CHECKSUM, HOSTS, LATEST, LINUX, NONE, READ, UART, Row
from tests.support import between_marks

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PICTURE = DOCUMENT.with_suffix(".svg")


@dataclass(frozen=True)
class Measurement:
    case: Case
    host: str
    verify: str
    program: str = measure.STM32FLASH  # on Linux

    def __str__(self) -> str:
        speed = table.speed(self.case.hertz, self.case.link)
        host = f"{self.host} {self.program}" if self.host == LINUX else self.host
        return f"{self.case.name}, {speed}, {host}, {self.verify}"

    def row(self) -> Row:
        """Measure it. Raises NotMeasured, NotAvailable."""
        if self.host == LINUX:
            if self.program == measure.STM32LOADER:
                return measure.peer(self.case, self.program)
            return measure.peer(self.case, stm32flash.fetched())
        return measure.updater(self.case, self.host, self.verify)


def measurements() -> Iterator[Measurement]:
    """All of them. The programs for Linux always write and read back everything. Over UART loaders
    have no checksum command."""
    for case in CASES:
        verifies = (CHECKSUM, READ) if case.has_work else (NONE,)
        if case.link == UART:
            verifies = (READ,)
        yield from (Measurement(case, host, verify) for host in HOSTS for verify in verifies)
        if case.has_work and not case.resumes:
            yield Measurement(case, LINUX, READ)
        if case.link == UART:
            yield Measurement(case, LINUX, READ, measure.STM32LOADER)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        metavar="TEXT",
        action="append",
        default=[],
        help="measurements whose name contains TEXT, e.g. 'one page' or rp2; each --only applies."
        " Nothing is written without -o",
    )
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the rows")
    options = parser.parse_args()
    chosen = [one for one in measurements() if all(text in str(one) for text in options.only)]
    if not chosen:
        parser.error(f"no measurement is named so: {', '.join(options.only)}; see --list")
    if options.list:
        parser.exit(0, "".join(f"{one}\n" for one in chosen))
    try:
        if any(one.host == LINUX for one in chosen):
            i2c_dev.build(stm32flash.BUILD)
            stm32flash.fetched()  # once, before several processes need it
        with ProcessPoolExecutor(options.jobs) as pool:
            running = [pool.submit(one.row) for one in chosen]
            measured = [job.result() for job in track(running, "measuring", transient=True)]
    except (NotAvailable, NotMeasured) as error:
        parser.exit(1, f"error: {error}\n")
    print("\n".join(table.plain(measured)))
    if options.output or not options.only:
        rows.save(measured, options.output or LATEST)
    if not options.only:
        between_marks(DOCUMENT, "results", table.markdown(measured))
        PICTURE.write_text(picture.draw(measured), encoding="utf-8")


if __name__ == "__main__":
    main()
