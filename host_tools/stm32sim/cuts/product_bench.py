"""The rig for a user's product: its main.py, its board.json, an installed and a new image.

The program runs in CPython, like the rig's device code, from main.py's first line to the updater's
result; then the product is switched off and judged. A main.py that ends earlier, or raises, leaves
the board at the REPL, and nothing starts it again: that is a violation. So is a main.py without a
result within LIMIT.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stm32sim.chip.application import ApplicationFactory, KnownImage, known_images
from stm32sim.chip.flash import FLASH_START
from stm32sim.cuts.judge import ENDED, SETTLING_LIMIT, Judge, payload_of
from stm32sim.cuts.rig import CannotBegin, Scenario, is_done, run_host
from stm32sim.host.cpython import DevicePackages
from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import IDLE, INBOX, Bench, Event
from stm32sim.wires.clock import NS_PER_S
from stm32sim.world import Wiring

CHIP = "STM32G071RB"
LIMIT = 2 * SETTLING_LIMIT  # ns from the start of main.py
BLINKS_MS = 20  # a level of the heartbeat, where board.json asks for one


class ProductBench(Bench):
    """A bench whose host runs a user's program. Modules in the folder of `main` can be
    imported."""

    def __init__(self, main: Path, **arguments: Any) -> None:
        self._main = main
        self._deadline = 0
        self._logged = -1  # number of the last log line at the start
        self._progs = 0  # of the host's flash, when the log was last read
        self._result: Event | None = None
        self._is_idle = False  # nothing to do, at the start
        self._asked = False  # the updater has looked whether there is something
        super().__init__(**arguments)

    def _interpreter(self) -> DevicePackages:
        folders = [self._main.parent, self.packages]
        return DevicePackages(self._call, folders, self.world.port)

    def _call(self, name: str, *arguments: Any) -> Any:
        if name in ("sleep_us", "wdt_feed", "ticks_us"):
            self._look()
        elif name == "fs_list" and arguments[0] == INBOX:
            self._asked = True
        return self.world.call(name, *arguments)

    def _look(self) -> None:
        """Between two calls of the program: check whether to switch it off."""
        if self.host_flash.progs != self._progs:
            self._progs = self.host_flash.progs
            number, event = self.last_logged()
            if number > self._logged and event["event"] == "result" and is_done(event):
                self._result = event
                raise HostPowerLost
        if self._is_idle and self._asked:
            self._result = IDLE
            raise HostPowerLost
        if self.clock.now > self._deadline:
            self._result = _ended(f"no result in {LIMIT // NS_PER_S} s")
            raise HostPowerLost

    def work(self) -> Iterator[Event]:
        """The result, which may be that the program ended."""
        self._deadline = self.clock.now + LIMIT
        self._logged = self.last_logged()[0]
        self._is_idle = self.has_nothing_to_do()
        self._asked = False
        self._result = None
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                self.device.run(self._main)
            self._result = self._result_of_last_line()
        except HostPowerLost:
            if self._result is None:
                raise
        except (Exception, SystemExit) as error:
            self._result = _ended(f"{self._main.name} raised {error!r}")
        self.world.power_loss()
        self.world.mount()
        yield self._result

    def _result_of_last_line(self) -> Event:
        """The result of a program that has ended."""
        number, event = self.last_logged()
        if number > self._logged and event["event"] == "result" and is_done(event):
            return event
        if self._is_idle and self._asked:
            return IDLE
        return _ended(f"{self._main.name} ended: {event}")


def _ended(message: str) -> Event:
    return {"event": ENDED, "ok": False, "status": ENDED, "message": message}


def product(
    name: str,
    main: Path,
    board: Mapping[str, Any],
    old: bytes,
    new: bytes,
    *,
    files: Mapping[str, bytes] | None = None,
    applications: ApplicationFactory | None = None,
    packages: Path | None = None,
) -> Scenario:
    """An update of a product in the field from `old` to `new`, two MCUboot images.

    `board`: the content of board.json. `files`: other files on the host, by path, such as
    /updater/keys/NAME. `applications`: how the target runs them; by default a fast model that
    answers the version of each image, or toggles its line, as board.json says
    (stm32sim.chip.cortex_m.emulated executes them). `packages`: the folder of the device packages,
    by default the installed ones. Raises ValueError for another chip than the simulated one."""
    if board["chip"] != CHIP:
        raise ValueError(f"the simulated target is an {CHIP}, not an {board['chip']}")
    if applications is None:
        beats = BLINKS_MS if board["confirm"]["method"] == "gpio" else 0
        applications = known_images(
            *(KnownImage(payload_of(image), image[20:28], blinks_ms=beats) for image in (old, new))
        )  # 20: ih_ver

    def build() -> Bench:
        bench = ProductBench(
            main,
            host=board["host"],
            settings=dict(board),
            wiring=Wiring.of(board),
            applications=applications,
            packages=packages,
        )
        bench.write_files(files or {})
        bench.push(old)
        result = run_host(bench)
        if result is None or not result["ok"]:
            raise CannotBegin(f"the old image was not installed: {result}")
        bench.target.power(False)
        bench.clock.advance(NS_PER_S)
        bench.target.power(True)
        bench.clock.advance(NS_PER_S)
        bench.boot()
        bench.push(new)
        return bench

    def judge(bench: Bench) -> Judge:
        preserved = tuple((start - FLASH_START, length) for start, length in board["preserve"])
        made = Judge.of(bench, payload_of(new), payload_of(old), preserved=preserved)
        return replace(made, hears_all=False)

    return Scenario(name, build, judge)
