"""Logs of three simulated boards as they come back from the field: one with a cut, a rollback and
a page that was written twice, one in order, and one whose clock was never set."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from stm32sim.chip.application import known_images
from stm32sim.in_process import Bench
from stm32sim.world import WDT_RESET
from stm32up.host import log_files, logs
from tests.support import image, known, payload, run_until_cut

FIRST, SECOND, SILENT = payload(40_000, 1), payload(44_000, 2), payload(20_000, 3)
IMAGES = {
    "1.0.0": image(FIRST, "1.0.0"),
    "1.1.0": image(SECOND, "1.1.0"),
    "2.0.0": image(SILENT, "2.0.0"),
}
APPLICATIONS = known_images(
    known(FIRST, "1.0.0"), known(SECOND, "1.1.0"), known(SILENT, "2.0.0", answers=False)
)
HOSTS = {"rp2": "Raspberry Pi Pico with RP2040", "esp32": "Generic ESP32 module with ESP32"}


class Board:
    """A board in the field; `day`: the date of its next update, or None if its clock is not
    set."""

    def __init__(self, unique_id: str, host: str = "rp2", day: datetime | None = None) -> None:
        self.bench = Bench(host=host, applications=APPLICATIONS)
        self._id = unique_id
        self._host = HOSTS[host]
        self._day = day
        self._set_clock()

    def update(self, version: str, *, cut: bool = False, disturbed: bool = False) -> None:
        """Push an image and run the updater. `cut`: the supply fails in the middle, then the
        watchdog resets the host. `disturbed`: the target resets itself once."""
        if self._day is not None:
            self._day += timedelta(days=3, hours=5, minutes=17, seconds=8)
        self._boot()
        self.bench.push(IMAGES[version])
        if cut:
            run_until_cut(self.bench)
            self._boot()
            self.bench.world.reset_cause = WDT_RESET
        if disturbed:
            self.bench.world.bus.tap = _Disturbance(self.bench)
        self.bench.run()
        self.bench.world.bus.tap = self.bench.trace.tap

    def pull(self, path: Path) -> log_files.Added:
        files = [self.bench.read_file(name) for name in logs.FILES if self.bench.exists(name)]
        pulled = {
            "board": self._id,
            "at": f"{self._day or datetime(2026, 11, 20):%Y-%m-%dT%H:%M:%SZ}",
            "host": self._host,
            "micropython": "1.29.0",
            "updater": "0.1.0",
        }
        return log_files.append(path, pulled, logs.merge(files).entries)

    def _boot(self) -> None:
        self.bench.boot()
        self._set_clock()

    def _set_clock(self) -> None:
        if self._day is not None:
            moment = (*self._day.timetuple()[:3], 0, *self._day.timetuple()[3:6], 0)
            self.bench.device.imports("machine").RTC().datetime(moment)


class _Disturbance:
    """The target resets itself between two frames, after its next page erase."""

    def __init__(self, bench: Bench) -> None:
        self._target = bench.target
        self._erases = sum(self._target.flash.erase_counts) + 2
        self._done = False

    def __call__(self, what: str, value: int) -> None:
        erases = sum(self._target.flash.erase_counts)
        if what == "start" and not self._done and erases >= self._erases:
            self._done = True
            self._target.system_reset()


def write(path: Path) -> None:
    """Write the logs of all boards into one file."""
    path.write_bytes(_content(path.with_suffix(".made")))


@cache
def _content(path: Path) -> bytes:
    path.unlink(missing_ok=True)
    eventful = Board("e660583883000001", day=datetime(2026, 11, 2, 8, 12, 40))
    for version, how in (("1.0.0", {}), ("1.1.0", {"cut": True}), ("2.0.0", {})):
        eventful.update(version, **how)
        eventful.pull(path)
    in_order = Board("f412fa5c0001", "esp32", datetime(2026, 11, 3, 14, 3, 9))
    for version in ("1.0.0", "1.1.0"):
        in_order.update(version, disturbed=version == "1.1.0")
    in_order.pull(path)
    never_set = Board("e6605838830000ff")
    for version in ("1.1.0", "1.0.0"):  # the second is refused: it is older
        never_set.update(version)
    never_set.pull(path)
    return path.read_bytes()


def hostile_entries(text: str) -> list[Any]:
    """A log in which every value is `text`: a broken filesystem, or a hostile board."""
    return [
        {"n": 0, "t": 0, "event": "run", "at": text, "reset": text},
        {"n": 1, "t": 5, "event": "checked", "version": text, "key": text, "hash_ms": text},
        {"n": 2, "t": 9, "event": "installing", "version": text, "from": text, "bytes": text},
        {"n": 3, "t": 20, "event": "loader", "version": text, "protocol": text, "chip": text},
        {"n": 4, "t": 30, "event": "retry", "page": text, "message": text, "error": text},
        {"n": 5, "t": 40, "event": "written", "bytes": text, "compare_ms": text, "write_ms": 7},
        {"n": 6, "t": 50, "event": text, text: text},
        {"n": 7, "t": 60, "event": "rolling-back", "version": text, "reason": text},
        {
            "n": 8,
            "t": 70,
            "event": "result",
            "ok": False,
            "status": text,
            "error": text,
            "message": text,
            "next_step": text,
        },
    ]
