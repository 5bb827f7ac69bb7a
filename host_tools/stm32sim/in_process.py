"""A NUCLEO-G071RB wired to a simulated host whose device code runs in this process.

bench = Bench(applications=known_images(...))
bench.push(image_bytes)
events = bench.run()
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from stm32assets import FIRMWARE
from stm32sim.chip import option_bytes
from stm32sim.chip.application import ApplicationFactory
from stm32sim.chip.families import family_of, flash_size_of
from stm32sim.chip.flash import TYPICAL, FlashTimes
from stm32sim.chip.quirks import Quirks
from stm32sim.chip.stm32 import Stm32
from stm32sim.host.cpython import DevicePackages, known_modules
from stm32sim.host.fat import FatFilesystem
from stm32sim.host.filesystem import HostFilesystem
from stm32sim.host.host_flash import HostFlash
from stm32sim.wires.clock import Clock
from stm32sim.world import Wiring, World

# The contract of board.json, for the wiring of boards/pico_nucleo_g071rb
NUCLEO: dict[str, Any] = {
    "title": "simulated host and NUCLEO-G071RB",
    "chip": "STM32G071RB",
    "i2c": {"id": 0, "scl": 5, "sda": 4, "freq": 400_000},
    "pins": {"nrst": 2, "boot0": 3, "supply": None, "short": None},
    "enter": {"method": "boot0", "address": None, "command": None},
    "confirm": {
        "method": "i2c-version",
        "address": 0x2A,
        "register": 0x01,
        "pin": None,
        "edges": None,
        "timeout_ms": 2000,
        "tries": 3,
    },
    "preserve": [],
    "verify": "checksum",
    "class_id": None,
    "unsigned": True,
}

# The same for boards/pico_nucleo_g071rb_uart; its application shows by a heartbeat that it runs
NUCLEO_UART: dict[str, Any] = {
    **NUCLEO,
    "i2c": None,
    "uart": {"id": 1, "tx": 4, "rx": 5, "baudrate": 460_800},
    "confirm": {"method": "gpio", "pin": 6, "edges": 2, "timeout_ms": 100, "tries": 2},
}

Event = dict[str, Any]
INBOX = "/updater/inbox"
IDLE: Event = {"event": "result", "ok": True, "status": "idle"}  # of a run with nothing to do


class Record(NamedTuple):
    """The beginning of a state file of the updater (firmware/stm32_updater/record.py)."""

    number: int
    phase: int  # index in record.PHASES
    image: bytes  # digest of the image under way; zeros if none is

    @property
    def is_idle(self) -> bool:
        return self.phase == 1 and not any(self.image)


def provisioned_option_bytes() -> option_bytes.OptionBytes:
    """Factory option bytes with nBOOT_SEL = 0, so that the BOOT0 pin counts."""
    options = option_bytes.OptionBytes()
    factory = option_bytes.FACTORY[option_bytes.OPTR]
    options.store(option_bytes.OPTR, factory & ~(1 << 24))
    return options


class WireTrace:
    """The traffic on the bus and the line: (address, reading, bytes) for each transaction, or for
    bytes over UART without a pause, where the address is 0."""

    def __init__(self) -> None:
        self._transactions: list[tuple[int, bool, bytearray]] = []
        self._last: dict[str, bytearray] = {}  # in each direction

    @property
    def transactions(self) -> list[tuple[int, bool, bytes]]:
        return [(address, reading, bytes(data)) for address, reading, data in self._transactions]

    def __len__(self) -> int:
        return len(self._transactions)

    def commands(self) -> list[int]:
        """The codes of all command frames: two bytes, the second one inverted."""
        written = [data for _, reading, data in self._transactions if not reading]
        return [data[0] for data in written if len(data) == 2 and data[0] ^ data[1] == 0xFF]

    def tap(self, what: str, value: int) -> None:
        if what == "start":
            data = self._last["read" if value & 1 else "write"] = bytearray()
            self._transactions.append((value >> 1, bool(value & 1), data))
        elif what in ("write", "read"):
            self._last[what].append(value)

    def stream_tap(self, what: str, data: bytes) -> None:
        self._last[what].extend(data)


class Bench:
    """One world and its host. `settings` are merged over NUCLEO, or over NUCLEO_UART with `uart`,
    section by section; `options` are initial values of the target's option registers
    (stm32sim.chip.option_bytes). `chip`: the target's part number; `loader`: the ID byte of its
    loader, for a G071 also its minor version."""

    def __init__(
        self,
        *,
        host: str = "rp2",
        uart: bool = False,
        chip: str = str(NUCLEO["chip"]),
        loader: int | None = None,
        quirks: Quirks | None = None,
        applications: ApplicationFactory | None = None,
        settings: dict[str, Any] | None = None,
        wiring: Wiring | None = None,
        provisioned: bool = True,
        options: Mapping[int, int] | None = None,
        times: FlashTimes = TYPICAL,
        flash_size: int | None = None,
        flash_size_readable: bool = False,
        numbering: str = "linear",
        start_up: int | None = None,
        fat: bool = False,
        packages: Path | None = None,
    ) -> None:
        self.clock = Clock()
        family = family_of(chip)
        self.target = Stm32(
            self.clock,
            family=family,
            quirks=quirks or family.quirks(loader),
            flash_size=flash_size or flash_size_of(chip),
            numbering=numbering,
            times=times,
            applications=applications,
            engineering_area_readable=flash_size_readable,
            start_up=start_up,
        )
        if provisioned:
            self.target.option_bytes = provisioned_option_bytes()
        self.target.option_bytes.program(options or {})
        self.host_flash: HostFlash | FatFilesystem
        self.files: HostFilesystem | FatFilesystem
        if fat:
            self.host_flash = self.files = FatFilesystem(self.clock)
        else:
            self.host_flash = HostFlash(clock=self.clock)
            self.files = HostFilesystem.of(host, self.host_flash)
        board = NUCLEO_UART if uart else NUCLEO
        if uart and wiring is None:
            wiring = Wiring.of(board)
        self.world = World(self.target, self.files, wiring=wiring, host=host)
        self.clock.advance(2 * self.target.start_up)
        self.trace = WireTrace()
        for wires in (self.world.bus, self.world.line):
            wires.tap = self.trace.tap
            wires.stream_tap = self.trace.stream_tap
        self.packages = packages or FIRMWARE  # the folder of the device packages
        self.settings = {"host": self.world.port, **board, "chip": chip}
        for key, value in (settings or {}).items():
            merge = isinstance(value, dict) and isinstance(self.settings.get(key), dict)
            self.settings[key] = {**self.settings[key], **value} if merge else value
        self.write_file("/board.json", json.dumps(self.settings).encode())
        self._next: DevicePackages | None = None
        self._known: list[str] = []  # modules, when the next boot was prepared
        self.device = self.boot()

    def boot(self) -> DevicePackages:
        """Restart the host: its RAM is lost, its files are kept."""
        self.world.power_loss()
        self.world.mount()
        self.device = self._next or self._interpreter()
        self._next = None
        self.world.when_run_ends = self.device.end
        return self.device

    def prepare_boot(self) -> None:
        """Do now what the next boot would do in each fork of this process."""
        known = known_modules(self.packages)
        if self._next is None or len(known) != len(self._known):
            self._known = known
            self._next = self._interpreter()
            self._next.prepare(self.packages)

    def _interpreter(self) -> DevicePackages:
        return DevicePackages(self.world.call, [self.packages], self.world.port)

    def work(self) -> Iterator[Event]:
        """The host's whole run, as the power-cut rig uses it: its events, the result last."""
        yield from self.updater().events()

    def updater(self, **arguments: Any) -> Any:
        """An Updater of the device code in the current boot."""
        return self.device.imports("stm32_updater").Updater.from_board("/board.json", **arguments)

    def run(self, **arguments: Any) -> list[Event]:
        """Run the updater; return all its events, the result last."""
        return list(self.updater(**arguments).events())

    def install(self, image: bytes) -> Event:
        """Push an image and run the updater; return the result."""
        self.push(image)
        return self.run()[-1]

    def push(self, image: bytes, name: str = "app") -> None:
        """Put a complete image into the inbox."""
        self.write_files({f"/updater/inbox/{name}.img": image})

    def write_file(self, path: str, content: bytes) -> None:
        handle = self.files.fs_open(path, "w")
        self.files.fs_write(handle, content)
        self.files.fs_close(handle)

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Write files by path, and make the folders that they need."""
        for path, content in files.items():
            for folder in reversed(PurePosixPath(path).parents[:-1]):
                self._quietly(self.files.fs_mkdir, str(folder))
            self.write_file(path, content)

    def read_file(self, path: str) -> bytes:
        handle = self.files.fs_open(path, "r")
        try:
            return self.files.fs_read(handle, -1)
        finally:
            self.files.fs_close(handle)

    def forget(self, *names: str) -> None:
        """Remove files from the updater's folder, if they exist."""
        for name in names:
            if self.exists(f"/updater/{name}"):
                self.files.fs_remove(f"/updater/{name}")

    def exists(self, path: str) -> bool:
        try:
            self.files.fs_stat(path)
        except OSError:
            return False
        return True

    @staticmethod
    def _quietly(function: Callable[[str], None], path: str) -> None:
        try:
            function(path)
        except OSError:
            return  # it already exists

    def last_logged(self) -> tuple[int, Event]:
        """The last line of the updater's log: its number and its event."""
        found: tuple[int, Event] = (-1, {})
        for name in ("/updater/log.0", "/updater/log.1"):
            for text in self.read_file(name).splitlines() if self.exists(name) else ():
                with contextlib.suppress(ValueError):  # a line torn by a power cut
                    line = json.loads(text)
                    found = max(found, (line["n"], line), key=lambda pair: pair[0])
        return found

    def record(self) -> Record | None:
        """The newest sound record of the updater."""
        found = []
        for name in ("/updater/state.0", "/updater/state.1"):
            content = self.read_file(name) if self.exists(name) else b""
            check, body = content[:8], content[8:]
            if body and check == hashlib.sha256(body).digest()[:8]:  # otherwise it is torn
                found.append(Record(*struct.unpack_from("<xIB7x32s", body)))
        return max(found, default=None)

    def has_nothing_to_do(self) -> bool:
        """Whether a run of the updater would end at once. Such a run is not logged."""
        record = self.record()
        return (
            record is not None
            and record.is_idle
            and not self.exists("/updater/candidate.img")
            and not any(name.endswith(".img") for name, *_ in self.files.fs_list(INBOX))
        )

    def flash_holds(self, payload: bytes) -> bool:
        """Whether main flash begins with `payload`, with every granule sound."""
        flash = self.target.flash
        held = bytes(flash.data[: len(payload)]) == payload
        return held and not flash.weak_granules(0, len(payload))
