"""Only a target and a bus: frames by hand, byte by byte."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from stm32sim.chip import option_bytes
from stm32sim.chip.application import KnownImage, known_images
from stm32sim.chip.quirks import LOADERS, Quirks, quirks_of
from stm32sim.chip.stm32 import DISCHARGE, LEAST_START_UP, Running, Stm32
from stm32sim.wires.bus import Bus, Stretched
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S, Clock

ACK, NACK, BUSY = 0x79, 0x1F, 0x76
FLASH, FLASH_END = 0x0800_0000, 0x0802_0000
RAM, RAM_END = 0x2000_2700, 0x2000_9000
OPTIONS = 0x1FFF_7800
APP_ADDRESS = 0x2A
BOOT_SEL, BOOT1, BOOT0 = 1 << 24, 1 << 25, 1 << 26

APP = KnownImage(bytes(range(1, 129)), b"\x01\x00\x00\x00\x00\x00\x00\x00")


def xor(data: Iterable[int]) -> int:
    result = 0
    for byte in data:
        result ^= byte
    return result


def word(value: int) -> bytes:
    """An address or size frame: 4 bytes MSB first and their XOR."""
    data = value.to_bytes(4, "big")
    return data + bytes([xor(data)])


def data_frame(data: bytes) -> bytes:
    """A data frame of Write Memory: n - 1, n bytes, XOR of all before."""
    body = bytes([len(data) - 1]) + data
    return body + bytes([xor(body)])


def pages_frame(pages: Iterable[int]) -> bytes:
    body = b"".join(page.to_bytes(2, "big") for page in pages)
    return body + bytes([xor(body)])


def count_frame(count: int) -> bytes:
    """The first frame of an erase: number of pages - 1, or a special code, and its XOR."""
    body = count.to_bytes(2, "big")
    return body + bytes([xor(body)])


class Rig:
    """A powered STM32 on a bus. With BOOT0 high and nBOOT_SEL = 0 it is in its loader."""

    def __init__(
        self,
        *,
        version: int = 4,
        quirks: Quirks | None = None,
        content: bytes = b"",
        optr: int = option_bytes.FACTORY[option_bytes.OPTR] & ~BOOT_SEL,
        protected: tuple[int, int] | None = None,
        boot0: bool = True,
        powered: bool = True,
        hertz: int = 400_000,
        **chip: Any,
    ) -> None:
        self.clock = Clock()
        chip.setdefault("applications", known_images(APP))
        chip.setdefault("start_up", LEAST_START_UP)
        self.chip = Stm32(self.clock, quirks=quirks or quirks_of(version), **chip)
        self.flash = self.chip.flash
        self.options = self.chip.option_bytes
        self.options.store(option_bytes.OPTR, optr)
        if protected is not None:
            self.options.store(option_bytes.WRP1AR, protected[0] | protected[1] << 16)
        if content:
            self.flash.load(content)
        self.bus = Bus(self.clock)
        self.bus.set_frequency(hertz)
        self.bus.devices.append(self.chip)
        self.chip.boot0(boot0)
        if powered:
            self.power_cycle()

    # --- life ---

    def power_cycle(self) -> None:
        self.chip.power(False)
        self.clock.advance(DISCHARGE)
        self.chip.power(True)
        self.wait(1)

    def reset(self) -> None:
        """An NRST pulse, and the time to start."""
        self.chip.nrst(False)
        self.wait(1)
        self.chip.nrst(True)
        self.wait(1)

    def wait(self, ms: float) -> None:
        self.clock.advance(int(ms * NS_PER_MS))

    @property
    def running(self) -> Running:
        return self.chip.running

    @property
    def starts(self) -> int:
        """How often the loader was started."""
        return sum(boot.running is Running.LOADER for boot in self.chip.boots)

    def scl(self) -> bool:
        return self.bus.scl_high

    def sda(self) -> bool:
        return self.bus.sda_high

    # --- frames ---

    def send(self, frame: bytes, stop: bool = True) -> int:
        """A write frame; return how many of its bytes were ACKed, -1 if the address was not."""
        acked = -1
        if self.bus.start(self.chip.family.address, reading=False):
            acked = 0
            for byte in frame:
                if not self.bus.write(byte):
                    break
                acked += 1
        if stop:
            self.bus.stop()
        return acked

    def receive(self, count: int, stop: bool = True) -> bytes:
        """A read frame; empty if the address was not ACKed."""
        data = b""
        if self.bus.start(self.chip.family.address, reading=True):
            data = bytes(self.bus.read(ack=left > 1) for left in range(count, 0, -1))
        if stop:
            self.bus.stop()
        return data

    def status(self) -> int | None:
        answer = self.receive(1)
        return answer[0] if answer else None

    def ask(self, frame: bytes) -> int | None:
        """A write frame and the status after it."""
        self.send(frame)
        return self.status()

    def held(self, limit_ms: float = 100) -> bool:
        """Whether a read finds SCL held low for longer than `limit_ms`; gives up then."""
        self.bus.stretch_limit = int(limit_ms * NS_PER_MS)
        try:
            self.receive(1)
        except Stretched:
            self.bus.abandon()
            return True
        finally:
            self.bus.stretch_limit = None
        return False

    # --- commands ---

    def command(self, code: int) -> int | None:
        return self.ask(bytes([code, code ^ 0xFF]))

    def final(self) -> int | None:
        """The last status of a command that may be BUSY for a while."""
        status = self.status()
        while status == BUSY:
            self.wait(1)
            status = self.status()
        return status

    def write(self, address: int, data: bytes, code: int = 0x31) -> int | None:
        """Write Memory; return the final status."""
        for frame in (bytes([code, code ^ 0xFF]), word(address)):
            status = self.ask(frame)
            if status != ACK:
                return status
        self.send(data_frame(data))
        return self.final()

    def read(self, address: int, count: int) -> bytes | None:
        """Read Memory; None if it was refused."""
        frames = (b"\x11\xee", word(address), bytes([count - 1, count - 1 ^ 0xFF]))
        if any(self.ask(frame) != ACK for frame in frames):
            return None
        return self.receive(count)

    def erase(self, *pages: int, code: int = 0x44) -> int | None:
        for frame in (bytes([code, code ^ 0xFF]), count_frame(len(pages) - 1)):
            status = self.ask(frame)
            if status != ACK:
                return status
        self.send(pages_frame(pages))
        return self.final()

    def mass_erase(self, code: int = 0x44, which: int = 0xFFFF) -> int | None:
        status = self.command(code)
        if status != ACK:
            return status
        self.send(count_frame(which))
        return self.final()

    def write_options(self, data: bytes, code: int = 0x31) -> int | None:
        """Write Memory at the option area; return the final status, after the time of the
        reset."""
        status = self.write(OPTIONS, data, code)
        self.wait(1)
        return status

    def write_protect(self, *sectors: int, code: int = 0x63) -> int | None:
        """The length in a separate frame, then the codes; then the time of the reset."""
        count = len(sectors) - 1
        for frame in (bytes([code, code ^ 0xFF]), bytes([count, count ^ 0xFF])):
            status = self.ask(frame)
            if status != ACK:
                return status
        self.send(bytes([*sectors, xor(sectors)]))
        return self.ended()

    def protection(self, code: int) -> int | None:
        """A command with only a code and a final status; then the time of the reset."""
        status = self.command(code)
        return self.ended() if status == ACK else status

    def ended(self) -> int | None:
        status = self.final()
        self.wait(1)
        return status

    def in_step(self) -> bool:
        """Whether a loader answers correctly; False leaves the bus free."""
        self.bus.deadline = self.clock.now + 50 * NS_PER_MS
        with contextlib.suppress(Stretched):
            answers = [self.command(0x01), self.status(), self.status()]
            self.bus.deadline = None
            return answers == [ACK, 0x12, ACK]
        self.bus.deadline = None
        self.bus.abandon()
        return False

    def resets_itself(self) -> bool:
        """Whether the loader resets itself without access, but not within a second."""
        starts = self.starts
        self.clock.advance(990 * NS_PER_MS)
        early = self.starts
        self.clock.advance(NS_PER_S // 50)
        return early == starts and self.starts == starts + 1


# Loaders with all variants of flash errors, Get and BUSY that the sources leave open.
EVERY_LOADER = ("11.4", "openbl", "openbl-g0")


def rig_with(loader: str) -> Callable[..., Rig]:
    """Makes rigs with this one of LOADERS, unless another is given."""

    def make(**arguments: Any) -> Rig:
        if "version" not in arguments:
            arguments.setdefault("quirks", LOADERS[loader])
        return Rig(**arguments)

    return make
