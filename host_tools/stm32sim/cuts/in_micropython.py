"""The rig on real MicroPython: the deployed updater, run by a main.py at every boot.

`rig.replay` does this with device code in CPython; here it is a board with a supply: its Node.js
process is killed in the middle of a call, its littlefs keeps its state of that instant, and the
next boot is another process. A case takes a second or two instead of some hundredths, so only a
sample is run. A test also checks that the sample represents the rest: event by event, an update
does the same in both.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from stm32sim.cuts import rig
from stm32sim.cuts.judge import Judge
from stm32sim.cuts.rig import BOTH, HOST, Cut, Scenario
from stm32sim.host.cpython import DevicePackages
from stm32sim.host.micropython import MicroPythonHost
from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import Bench

PREFIX = "in-micropython"  # of a case's name
CALL = "call"  # a call of device code: time, pins, files, the bus
CUTS = {**rig.CUTS, CALL: (HOST, BOTH)}
LIMIT_S = 120.0  # a longer boot has hung
CRASH = "/crash"
MAIN = f"""\
import sys
try:
    from stm32_updater import Updater
    Updater.from_board("/board.json").run()
except Exception as error:
    with open({CRASH!r}, "w") as file:
        sys.print_exception(error, file)
""".encode()

# The files that are deployed on the host of a bench: path -> content.
Deployed = Callable[[Bench], Mapping[str, bytes]]


class MicroPythonBench(Bench):
    """Continues the state of another bench, in real MicroPython with the updater deployed."""

    def __init__(self, before: Bench, deployed: Deployed, main: bytes = MAIN) -> None:
        vars(self).update(vars(before))
        self.write_files({**deployed(before), "/main.py": main})
        self.on_call: Any = lambda name, *arguments: None
        self._logged = self.last_logged()[0]
        self.host = MicroPythonHost(
            self._call, self.world, executed=self.world.executed, platform=self.world.host
        )

    def _call(self, name: str, *arguments: Any) -> Any:
        self.on_call(name, *arguments)
        return self.world.call(name, *arguments)

    def boot(self) -> DevicePackages:
        """Switch off; `updater` switches on again, because main.py starts at once."""
        self.host.power_off()
        self.world.mount()
        self._logged = self.last_logged()[0]
        return self.device

    def updater(self, **arguments: Any) -> MicroPythonBench:
        self.host.power_on()
        return self

    def events(self) -> Iterator[dict[str, Any]]:
        """Wait until main.py has ended; yield the result."""
        if not self.host.wait_idle(LIMIT_S):
            if self.host.powered:
                raise TimeoutError(f"the board has been busy for {LIMIT_S} s")
            raise HostPowerLost
        number, event = self.last_logged()
        if number == self._logged or event["event"] != "result":
            trace = self.read_file(CRASH).decode() if self.exists(CRASH) else f"log: {event}"
            event = {"event": "result", "ok": False, "status": "crashed", "message": trace}
        yield event


class Rig(rig.Rig):
    """Counts calls too, and knows the current activity: `call` with name and arguments, the last
    opened file, and the operation of a flash."""

    def __init__(self, bench: Bench, name: str = "") -> None:
        super().__init__(bench, name)
        assert isinstance(bench, MicroPythonBench)
        self.board = bench
        self.call: tuple[Any, ...] = ()
        self.file = ""
        self.operation = ""
        bench.on_call = self._called

    def _called(self, name: str, *arguments: Any) -> None:
        self.call = (name, *arguments)
        if name == "fs_open":
            self.file = arguments[0]
        self._happened(CALL)

    def _target_flash(self, what: str, point: int) -> None:
        self.operation = what
        super()._target_flash(what, point)

    def connect_when(self, is_now: Callable[[str], bool]) -> Callable[[], None]:
        """Hold the board in the middle of the first event for which `is_now(place)` is true, until
        a Ctrl-C from a PC has arrived. Returns a function that waits for that event."""
        held = threading.Event()

        def on_event(number: int, place: str) -> None:
            if not is_now(place):
                return
            self.on_event = None
            held.set()
            if not self.board.host.wait_ctrl_c(LIMIT_S):
                raise TimeoutError("no Ctrl-C came")

        def wait() -> None:
            if not held.wait(LIMIT_S):
                raise TimeoutError("that never happened")

        self.on_event = on_event
        return wait


@contextlib.contextmanager
def in_micropython(scenario: Scenario, deployed: Deployed) -> Iterator[Scenario]:
    """The same scenario in MicroPython. Its boards exist until the end of the block."""
    with contextlib.ExitStack() as boards:

        def build() -> Bench:
            bench = MicroPythonBench(scenario.build(), deployed)
            boards.enter_context(bench.host)
            return bench

        def judge(bench: Bench) -> Judge:
            return replace(scenario.judge(bench), hears_all=False)

        yield replace(scenario, name=f"{PREFIX}/{scenario.name}", build=build, judge=judge)


def events_of(scenario: Scenario, counted_by: type[rig.Rig]) -> list[str]:
    """The place of every event of one uncut run."""
    places: list[str] = []
    counter = counted_by(scenario.build())
    counter.on_event = lambda number, place: places.append(place)
    result = rig.run_host(counter.bench)
    if result is None or not (result["ok"] or result["status"] == "rolled-back"):
        raise rig.CannotBegin(str(result))
    return places


def sample(scenario: Scenario, rounds: int) -> list[Cut]:
    """`rounds` cuts of each kind at each place, spread over the events of that place."""
    places = events_of(scenario, Rig)
    ways = [(place, what) for place in CUTS for what in CUTS[place] if what != rig.CTRL_C]
    cuts = []
    for step in range(rounds * len(ways)):
        place, what = ways[step % len(ways)]
        numbers = [number for number, found in enumerate(places, 1) if found == place]
        cuts.append(Cut(what, numbers[len(numbers) * step // (rounds * len(ways))]))
    return cuts
