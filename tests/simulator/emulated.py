"""A clock, a bus, and one emulated application on it; and small programs for it."""

from __future__ import annotations

import random
import struct

from stm32sim.chip.cortex_m import FLASH, SRAM, EmulatedApplication
from stm32sim.chip.families import G071, Family
from stm32sim.wires.bus import Bus
from stm32sim.wires.clock import NS_PER_MS, Clock

ADDRESS = 0x2A
UPTIME = 0x02  # a register


def program(*halfwords: int) -> bytes:
    """The beginning of flash: code right behind the stack pointer and the reset vector."""
    code = struct.pack(f"<{len(halfwords)}H", *halfwords)
    return struct.pack("<II", SRAM + 0x1000, FLASH + 9) + code


def storing(address: int, value: int) -> bytes:
    """A program that stores one word and then idles."""
    # ldr r0, =address; ldr r1, =value; str r1, [r0]; b .
    words = struct.unpack("<4H", struct.pack("<II", address, value))
    return program(0x4801, 0x4902, 0x6001, 0xE7FE, *words)


def jumping(address: int) -> bytes:
    """A program that jumps."""
    # ldr r0, =address; bx r0
    return program(0x4800, 0x4700, *struct.unpack("<2H", struct.pack("<I", address)))


class Bench:
    """One emulated STM32 on a bus, and a controller."""

    def __init__(
        self,
        flash: bytes,
        hertz: int = 400_000,
        *,
        family: Family = G071,
        ram: bytes = b"",
        empty_flag: bool = False,
    ) -> None:
        """The rest of flash is blank."""
        self.clock = Clock()
        self.bus = Bus(self.clock)
        self.bus.set_frequency(hertz)
        self.happened: list[str] = []
        self.app = EmulatedApplication(
            self.clock,
            flash.ljust(family.largest, b"\xff"),
            family=family,
            ram=ram or random.Random(0).randbytes(family.ram),
            empty_flag=empty_flag,
            on_enter_system_memory=lambda: self.happened.append("system memory"),
            on_reset=lambda: self.happened.append("reset"),
            on_empty_flag=lambda value: self.happened.append("empty" if value else "not empty"),
        )
        self.bus.devices.append(self.app)
        self.clock.advance(NS_PER_MS)

    def present(self, address: int) -> bool:
        acked = self.bus.start(address, reading=False)
        self.bus.stop()
        return acked

    def write(self, *data: int) -> None:
        assert self.bus.start(ADDRESS, reading=False)
        for byte in data:
            assert self.bus.write(byte)
        self.bus.stop()

    def read(self, register: int, count: int, *, stop: bool = False) -> bytes:
        assert self.bus.start(ADDRESS, reading=False)
        assert self.bus.write(register)
        if stop:
            self.bus.stop()
        assert self.bus.start(ADDRESS, reading=True)
        data = bytes(self.bus.read(ack=left > 1) for left in range(count, 0, -1))
        self.bus.stop()
        return data

    def uptime(self) -> int:
        return int.from_bytes(self.read(UPTIME, 4), "little")
