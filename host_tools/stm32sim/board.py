"""A simulated board as a process: real MicroPython with a REPL, wired to a simulated STM32.

    python -m stm32sim.board --state DIR --board board.json [--option NAME=VALUE]...

Prints {"port": "socket://127.0.0.1:N"} when the REPL can be connected to, and ends when its
standard input is closed. DIR keeps the host's flash and the target's, so that the same board comes
back.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stm32sim.application import Application, ApplicationFactory, Surroundings
from stm32sim.bench import provisioned_option_bytes
from stm32sim.chip import Stm32
from stm32sim.clock import NS_PER_MS, Clock
from stm32sim.cortex_m import EmulatedApplication
from stm32sim.faults import KINDS, Fault, FaultyTarget
from stm32sim.flash import SLOWEST, TYPICAL, Cell
from stm32sim.host.filesystem import Format, HostFilesystem
from stm32sim.host.flash import HostFlash
from stm32sim.host.micropython import MicroPythonHost
from stm32sim.loader import Quirks, quirks_of
from stm32sim.option_bytes import WRP1AR, OptionBytes
from stm32sim.world import Wiring, World


@dataclass(frozen=True)
class Options:
    """What --option can say; everything else about the world is in board.json."""

    loader: str = "11.4"  # version of the target's loader, 11.1 to 11.4
    product_id: str = ""  # the chip's, if it shall not be a G07x
    target: str = "present"  # or "absent": nobody is on the bus
    provisioned: str = "1"  # 0: factory option bytes, which ignore the BOOT0 pin
    flash: str = "typical"  # or "slowest": how long the target's flash takes
    write_protected: str = ""  # number of a write-protected page
    fault: str = ""  # KIND@TRANSACTION; see faults.KINDS
    blank_host: str = ""  # for stm32up: deploy nothing by itself

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Options:
        """From NAME=VALUE texts; ValueError names what is wrong."""
        known = {name.replace("_", "-"): name for name in cls.__dataclass_fields__}
        chosen: dict[str, str] = {}
        for text in texts:
            name, _, value = text.partition("=")
            if name not in known:
                raise ValueError(f"no option {name!r}; there are {', '.join(sorted(known))}")
            chosen[known[name]] = value
        return cls(**chosen)

    @property
    def quirks(self) -> Quirks:
        major, _, minor = self.loader.partition(".")
        if major != "11" or minor not in ("1", "2", "3", "4"):
            raise ValueError(f"no loader version {self.loader!r}; there are 11.1 to 11.4")
        quirks = quirks_of(int(minor))
        return replace(quirks, product_id=int(self.product_id, 0)) if self.product_id else quirks

    @property
    def fault_to_make(self) -> Fault | None:
        if not self.fault:
            return None
        kind, _, at = self.fault.rpartition("@")
        if kind not in KINDS or not at.isdigit():
            raise ValueError(f"no fault {self.fault!r}; write KIND@NUMBER with {', '.join(KINDS)}")
        return Fault(kind, int(at))


class TargetState:
    """The target's non-volatile memory in a file: main flash, the state of its cells, option
    bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def restore(self, target: Stm32) -> None:
        """Give a target, not yet powered, what it held; nothing if there is no file."""
        if not self._path.exists():
            return
        stored = self._path.read_bytes()
        flash, options = target.flash, target.option_bytes
        cells = len(flash.data)
        option_start = cells + len(flash.cells)
        if len(stored) != option_start + len(options.data):
            raise ValueError(f"{self._path} is not the state of this target")
        flash.data[:] = stored[:cells]
        flash.cells[:] = bytes(Cell(value) for value in stored[cells:option_start])
        options.data[:] = stored[option_start:]

    def keep(self, target: Stm32) -> None:
        flash = target.flash
        self._path.write_bytes(bytes(flash.data + flash.cells + target.option_bytes.data))


def emulated(clock: Clock) -> ApplicationFactory:
    """Main flash is executed, instruction by instruction."""

    def make(flash: bytes, surroundings: Surroundings) -> Application | None:
        application = EmulatedApplication(
            clock,
            flash,
            empty_flag=surroundings.empty_flag,
            on_enter_system_memory=surroundings.enter_system_memory,
            on_reset=surroundings.system_reset,
            on_empty_flag=surroundings.set_empty_flag,
        )
        return None if application.fault else application

    return make


def make_world(state: Path, settings: dict[str, Any], options: Options) -> World:
    """The target in its last state, its host's filesystem, and the wires of board.json."""
    clock = Clock()
    target = Stm32(
        clock,
        quirks=options.quirks,
        times=SLOWEST if options.flash == "slowest" else TYPICAL,
        applications=emulated(clock),
    )
    target.option_bytes = (
        provisioned_option_bytes() if options.provisioned == "1" else OptionBytes()
    )
    TargetState(state / "target.flash").restore(target)
    if options.write_protected:
        page = int(options.write_protected, 0)
        target.option_bytes.store(WRP1AR, page << 16 | page)
    rp2 = settings["host"] == "rp2"
    filesystem = HostFilesystem(
        HostFlash(path=state / "host.flash"),
        prog_size=256 if rp2 else 32,
        format=Format.ALWAYS if rp2 else Format.BLANK,
    )
    pins = settings["pins"]
    wiring = Wiring(
        scl=settings["i2c"]["scl"],
        sda=settings["i2c"]["sda"],
        nrst=pins["nrst"],
        boot0=pins["boot0"],
        supply=pins["supply"],
    )
    world = World(target, filesystem, wiring=wiring, host=settings["host"])
    if options.target == "absent":
        world.bus.devices.clear()
    fault = options.fault_to_make
    if fault is not None:
        FaultyTarget(world.bus, target, fault)
    clock.advance(NS_PER_MS)  # the target has been on for a while when the host starts
    return world


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until standard input ends."""
    parser = argparse.ArgumentParser(prog="stm32sim.board", description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--board", type=Path, required=True)
    parser.add_argument("--option", action="append", default=[])
    given = parser.parse_args(arguments)
    try:
        options = Options.parse(given.option)
        world = make_world(given.state, json.loads(given.board.read_bytes()), options)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    state = TargetState(given.state / "target.flash")
    try:
        with MicroPythonHost(world.call, world, platform=world.host) as host:
            host.power_on()
            print(json.dumps({"port": host.url}), flush=True)
            sys.stdin.buffer.read()
    finally:
        state.keep(world.target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
