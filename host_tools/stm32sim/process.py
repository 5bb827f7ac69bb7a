"""A simulated board as a process: real MicroPython with a REPL, wired to a simulated STM32.

    python -m stm32sim.process [--state DIR] --board board.json [--option NAME=VALUE]...

Prints {"port": "socket://127.0.0.1:N", "pty": "/dev/pts/N" or null} when the REPL is ready for
connections. Ends when its standard input is closed, or when the host loses its power; the target
then loses its power too. At its end it prints {"faults": [why, ...]} if applications ended by a
fault. DIR keeps the host's flash and the target's for the next start; without it no file is
written. Only one process at a time can use a DIR: another one ends with exit status 3 and names
the first one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stm32sim.chip.application import Application, Surroundings
from stm32sim.chip.cortex_m import emulated
from stm32sim.chip.families import G071, Family, family_of, flash_size_of
from stm32sim.chip.flash import GRANULE, SLOWEST, TAPS, TYPICAL, Cell
from stm32sim.chip.option_bytes import OPTR, RDP_LEVEL_1, RDP_LEVEL_2, WRP1AR, OptionBytes
from stm32sim.chip.peripherals import CLOCKS
from stm32sim.chip.quirks import FOREVER, LOADERS, Quirks
from stm32sim.chip.stm32 import Stm32
from stm32sim.faults import KINDS, LINE_KINDS, Fault, FaultyLine, FaultyTarget
from stm32sim.host.filesystem import HostFilesystem
from stm32sim.host.host_flash import HostFlash
from stm32sim.host.micropython import MicroPythonHost
from stm32sim.host.seam import Call, HostPowerLost
from stm32sim.in_process import provisioned_option_bytes
from stm32sim.lock import Lock, Taken
from stm32sim.wires.clock import NS_PER_MS, Clock
from stm32sim.world import Wiring, World

HOUR_S = 3600.0
# While a program sleeps, its time is at most so many times as fast as a clock; but no sleep takes
# longer than LONGEST_S, because nothing can be switched off meanwhile.
FASTEST, LONGEST_S = 100, 0.2
NO_APPLICATION = (b"\xff" * GRANULE, bytes(GRANULE))  # blank; in the middle of an update
_ONES = 0x80
BAD_OPTIONS, TAKEN = 2, 3  # exit statuses
_HIGHEST_MV = 6000
_LONGEST_BUSY_MS = 3_600_000

# Faults of the target, for the doctor.
TARGETS = (
    "absent",  # nothing is on the bus
    "unpowered",
    "debugged",  # an ST-LINK has accessed SWD since power-on
    "level-2",  # permanent readout protection
    "locked",  # its option bytes were torn
)
# Faults of the wires.
WIRES: dict[str, Callable[[Wiring], Wiring]] = {
    "exchanged": lambda wiring: replace(
        wiring, scl=wiring.sda, sda=wiring.scl, tx=wiring.rx, rx=wiring.tx
    ),
    "no-pull-ups": lambda wiring: replace(wiring, pull_ups=""),
    "long": lambda wiring: replace(wiring, fastest=100_000),
    "nrst-open": lambda wiring: replace(wiring, nrst=None),
    "nrst-low": lambda wiring: replace(wiring, nrst_held=True),
    "boot0-open": lambda wiring: replace(wiring, boot0=None),
}


@dataclass(frozen=True)
class Options:
    """The values of --option; everything else about the world is in board.json."""

    loader: str = ""  # version of a G071's loader, one of quirks.LOADERS; the best one
    chip: str = ""  # the part that is there, if it is not that of the board
    product_id: str = ""  # that of its loader, if it is not the chip's
    target: str = "present"  # or one of TARGETS
    wires: str = "good"  # or one of WIRES
    provisioned: str = "1"  # 0: factory option bytes, which ignore the BOOT0 pin
    flash: str = "typical"  # or "slowest": how long the target's flash takes
    write_protected: str = ""  # number of a write-protected page
    rdp: str = "0"  # or "1": the factory has set readout protection
    unprotect_ack: str = ""  # "late", "early", "never": see quirks.Quirks, as for the next
    unprotect_answer: str = "busy"  # or "stretch", "nack"
    unprotect_busy_ms: str = "0"  # additional time of Readout Unprotect; or "forever"
    option_ack: str = "before"  # or "early", "lost"
    engineering: str = "refused"  # or "readable": the unique ID and the size of the flash
    supply_mv: str = "3300"  # the target's supply, as [bench] measures it
    fault: str = ""  # KIND@TRANSACTION, see faults.KINDS; over UART KIND@BYTE of LINE_KINDS
    cut: str = ""  # N: host and target lose their power while the N-th page is changed
    blank_host: str = ""  # for stm32up: do not deploy anything automatically

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Options:
        """From NAME=VALUE texts. Raises ValueError with what is wrong."""
        known = {name.replace("_", "-"): name for name in cls.__dataclass_fields__}
        chosen: dict[str, str] = {}
        for text in texts:
            name, _, value = text.partition("=")
            if name not in known:
                raise ValueError(f"no option {name!r}; options are {', '.join(sorted(known))}")
            chosen[known[name]] = value
        return cls(**chosen)

    @property
    def quirks(self) -> Quirks:
        """Those of the loader of a G071."""
        return self.quirks_of(G071)

    def quirks_of(self, family: Family) -> Quirks:
        """Those of the target's loader."""
        if self.loader and family is not G071:
            raise ValueError(f"--option loader is for a G071, and the target is a {family.parts}")
        if self.loader and self.loader not in LOADERS:
            raise ValueError(f"no loader {self.loader!r}; loaders are {', '.join(LOADERS)}")
        busy = self.unprotect_busy_ms
        loader = LOADERS[self.loader] if self.loader else family.quirks()
        quirks = replace(
            loader,
            option_ack=_one_of(self.option_ack, "before", "early", "lost"),
            unprotect_ack=_one_of(
                self.unprotect_ack or loader.unprotect_ack, "late", "early", "never"
            ),
            unprotect_answer=_one_of(self.unprotect_answer, "busy", "stretch", "nack"),
            unprotect_delay=FOREVER
            if busy == "forever"
            else _number("unprotect-busy-ms", busy, _LONGEST_BUSY_MS) * NS_PER_MS,
        )
        if not self.product_id:
            return quirks
        return replace(quirks, product_id=_number("product-id", self.product_id, 0xFFF))

    def fault_of(self, kinds: Sequence[str]) -> Fault | None:
        """The fault to make, of one of these kinds."""
        if not self.fault:
            return None
        kind, _, at = self.fault.rpartition("@")
        if kind not in kinds or not at.isdigit():
            raise ValueError(f"no fault {self.fault!r}; write KIND@NUMBER with {', '.join(kinds)}")
        return Fault(kind, int(at))

    @property
    def page_to_cut(self) -> int | None:
        if not self.cut:
            return None
        if not self.cut.isdigit() or self.cut == "0":
            raise ValueError(f"no changed page has the number {self.cut!r}; the first is 1")
        return int(self.cut)


def _number(name: str, text: str, most: int) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise ValueError(f"{name} is {text!r}; it must be a number, 0 to {most}")
    return value


def _one_of(value: str, *allowed: str) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} is not one of {', '.join(allowed)}")
    return value


class TargetState:
    """The target's non-volatile memory in a file: main flash, the state of its cells (with _ONES
    for granules that were programmed with ones), option bytes. Without a path it is not kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def restore(self, target: Stm32) -> None:
        """Restore the memory of a target that is not yet powered; do nothing if there is no
        file."""
        if self._path is None or not self._path.exists():
            return
        stored = self._path.read_bytes()
        flash, options = target.flash, target.option_bytes
        cells = len(flash.data)
        option_start = cells + len(flash.cells)
        if len(stored) != option_start + len(options.data):
            raise ValueError(
                f"{self._path} is the state of another chip: name that one, or delete the folder"
            )
        flash.data[:] = stored[:cells]
        states = stored[cells:option_start]
        flash.cells[:] = bytes(Cell(value & ~_ONES) for value in states)
        flash.ones = {index for index, value in enumerate(states) if value & _ONES}
        options.data[:] = stored[option_start:]

    def keep(self, target: Stm32) -> None:
        if self._path is None:
            return
        flash = target.flash
        states = bytearray(flash.cells)
        for index in flash.ones:
            states[index] |= _ONES
        self._path.write_bytes(bytes(flash.data + states + target.option_bytes.data))


def cut_power(world: World, number: int) -> None:
    """Host and target lose their power in the middle of the first operation on this page: the
    `number`-th that is erased or programmed, from 1."""
    flash = world.target.flash
    left, last = number, -1

    def tap(what: str, point: int) -> None:
        nonlocal left, last
        page = flash.page_at_work
        if page is not None and page != last:
            left, last = left - 1, page
        if left == 0 and point == TAPS[what] // 2:
            world.target.power(False)
            raise HostPowerLost

    flash.tap = tap


def check_wires(path: Path, settings: dict[str, Any], part: str) -> None:
    """The wires of a board that is kept are in a file. Raises ValueError if those of board.json
    are others: a board is not wired again by a wrong --board."""
    wiring = Wiring.of(settings)
    wires = {name: getattr(wiring, name) for name in ("scl", "sda", "tx", "rx", "nrst", "boot0")}
    now = {"host": settings["host"], "chip": part, **wires}
    if not path.exists():
        new = path.with_suffix(".new")
        new.write_text(json.dumps(now))
        new.replace(path)
    before = json.loads(path.read_text())
    for name, value in now.items():
        if before.get(name, value) != value:
            raise ValueError(
                f"the one in {path.parent} has another {name} ({before[name]}, not {value}): give "
                "its --board, or delete the folder"
            )


def kept_id(path: Path, pattern: bytes) -> bytes:
    """The unique ID of host or target in a file: random behind the first three bytes of
    `pattern`."""
    if not path.exists():
        path.write_text((pattern[:3] + os.urandom(len(pattern) - 3)).hex())
    return bytes.fromhex(path.read_text())


def _sizes(part: str) -> tuple[Family, int]:
    """Family and flash size of this part. Raises ValueError if its applications cannot be
    executed."""
    try:
        family, flash_size = family_of(part), flash_size_of(part)
    except (LookupError, ValueError):
        raise ValueError(f"there is no {part}; write a part such as STM32G0B1RE") from None
    if family.product_id not in CLOCKS:
        raise ValueError(
            f"it executes applications of a G0 or a C031, not of an {part}; in Python, without "
            "executing them, it can: docs/simulator.md"
        )
    return family, flash_size


def make_world(
    state: Path | None, settings: dict[str, Any], options: Options, faults: list[str]
) -> World:
    """The target in its last state, the host's filesystem, and the wires of board.json. `faults`
    is filled with the faults by which applications end, each once."""

    def executed(flash: bytes, surroundings: Surroundings) -> Application | None:
        def add(reason: str) -> None:
            # That there is no application, or a part of one, is no news.
            if flash[:GRANULE] not in NO_APPLICATION and reason not in faults:
                faults.append(reason)

        return emulated(flash, surroundings, add)

    clock = Clock()
    part = options.chip or settings["chip"]
    part = "STM32G071RB" if part == "auto" else part.upper()
    family, flash_size = _sizes(part)
    if state is not None:
        check_wires(state / "wires.json", settings, part)
    target = Stm32(
        clock,
        family=family,
        quirks=options.quirks_of(family),
        flash_size=flash_size,
        times=SLOWEST if options.flash == "slowest" else TYPICAL,
        applications=executed,
        engineering_area_readable=_one_of(options.engineering, "refused", "readable")
        == "readable",
    )
    target.supply_mv = _number("supply-mv", options.supply_mv, _HIGHEST_MV)
    provisioned = _one_of(options.provisioned, "1", "0") == "1"
    target.option_bytes = provisioned_option_bytes() if provisioned else OptionBytes()
    if _one_of(options.rdp, "0", "1") == "1":
        optr = target.option_bytes.word(OPTR)
        target.option_bytes.store(OPTR, optr & ~0xFF | RDP_LEVEL_1)
    TargetState(state and state / "target.flash").restore(target)
    if options.write_protected:
        last = min(target.flash.pages, 1 << 6) - 1  # the register has 6 bits for it
        page = _number("write-protected", options.write_protected, last)
        target.option_bytes.store(WRP1AR, page << 16 | page)
    flash = HostFlash(path=state and state / "host.flash", clock=clock)
    filesystem = HostFilesystem.of(settings["host"], flash)
    wiring = Wiring.of(settings)
    wrong = _one_of(options.wires, "good", *WIRES)
    over_uart = bool(settings.get("uart"))
    if wrong in ("no-pull-ups", "long") and over_uart:
        raise ValueError(f"wires={wrong} is for I2C, and this board uses a UART")
    if wrong != "good":
        wiring = WIRES[options.wires](wiring)
    if options.target == "unpowered":
        wiring = replace(wiring, pull_ups="target")
    if options.target == "level-2":
        optr = target.option_bytes.word(OPTR)
        target.option_bytes.store(OPTR, optr & ~0xFF | RDP_LEVEL_2)
    if options.target == "locked":
        target.option_bytes.data[4] = target.option_bytes.data[0]  # the word equals its complement
    world = World(target, filesystem, wiring=wiring, host=settings["host"])
    if state is not None:
        world.unique_id = kept_id(state / "host.id", world.unique_id)
        target.unique_id = kept_id(state / "target.id", target.unique_id)
    if _one_of(options.target, "present", *TARGETS) == "absent":
        world.bus.devices.clear()
    elif options.target == "unpowered":
        target.power(False)
    elif options.target == "debugged":
        target.attach_debugger()
    fault = options.fault_of(LINE_KINDS if over_uart else KINDS)
    if fault is not None and over_uart:
        FaultyLine(world.line, target, fault)
    elif fault is not None:
        FaultyTarget(world.bus, target, fault)
    cut = options.page_to_cut
    if cut is not None:
        cut_power(world, cut)
    bench = settings.get("bench")
    if bench is not None:
        world.analog[bench["supply_adc"]] = round(target.supply_mv / bench["divider"])
    clock.advance(2 * target.start_up)  # the target was switched on before the host starts
    return world


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until standard input ends or the power is lost."""
    parser = argparse.ArgumentParser(prog="stm32sim.process", description=__doc__)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--board", type=Path, required=True)
    parser.add_argument(
        "--owner",
        default=f"process {os.getpid()}",
        help="name of the process that this one runs for",
    )
    parser.add_argument("--option", action="append", default=[])
    given = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        with Lock(given.state) as lock:
            return _run(given, lock)
    except Taken as taken:
        print(taken, file=sys.stderr)
        return TAKEN
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return BAD_OPTIONS


def _run(given: argparse.Namespace, lock: Lock) -> int:
    state: Path | None = given.state
    options = Options.parse(given.option)
    faults: list[str] = []
    world = make_world(state, json.loads(given.board.read_text()), options, faults)
    kept = TargetState(state and state / "target.flash")
    try:
        with MicroPythonHost(
            _paced(world.call), world, executed=world.executed, platform=world.port, with_pty=True
        ) as host:
            lock.tell(f"{given.owner}, at {host.url}")
            host.power_on()
            print(json.dumps({"port": host.url, "pty": host.pty}), flush=True)
            threading.Thread(target=_off_at_end_of_input, args=(host,), daemon=True).start()
            while not host.wait_off(HOUR_S):
                pass
    finally:
        world.target.power(False)  # first, so that a flash operation under way is interrupted
        kept.keep(world.target)
        if faults:
            with contextlib.suppress(BrokenPipeError):  # no one listens any more
                print(json.dumps({"faults": faults}), flush=True)
    return 0


def _paced(call: Call) -> Call:
    """A program that only waits should not keep a core of the computer busy."""

    def paced(name: str, *arguments: Any) -> Any:
        result = call(name, *arguments)
        if name == "sleep_us":
            time.sleep(min(arguments[0] / 1e6 / FASTEST, LONGEST_S))
        return result

    return paced


def _off_at_end_of_input(host: MicroPythonHost) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    host.power_off()


if __name__ == "__main__":
    sys.exit(main())
