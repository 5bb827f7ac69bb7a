"""A simulated board for the tests here: a clock, a few services, and a filesystem."""

from __future__ import annotations

from typing import Any

import pytest

from stm32sim.host.filesystem import HostFilesystem
from stm32sim.host.host_flash import HostFlash
from stm32sim.host.micropython import MicroPythonHost
from stm32sim.host.seam import HostPowerLost, HostReset, join
from tests.simulator.host.client import SAFETY_NET_S, Client


class World:
    """Services that keep time, log the calls, and answer something."""

    def __init__(self) -> None:
        self.now = 0
        self.log: list[tuple[Any, ...]] = []
        self.executed: list[tuple[int, int]] = []  # bytecodes and calls before each call
        self.flash = HostFlash()
        self.filesystem = HostFilesystem(self.flash)
        self.call = join(self.filesystem.calls(), self.serve)

    def serve(self, name: str, *args: Any) -> Any:
        if name == "ticks_us":
            self.now += 5
            return self.now
        if name == "sleep_us":
            self.now += args[0]
            return None
        self.log.append((name, *args))
        if name == "i2c_init":
            return 7
        if name == "i2c_write":
            if args[1] == 0x33:
                raise OSError(5)
            return len(args[2])
        if name == "i2c_read":
            return bytes(range(args[2]))
        if name == "pin_read":
            return 1
        if name == "unique_id":
            return bytes(8)
        if name == "reset":
            raise HostReset
        if name == "wdt_start":
            raise HostPowerLost
        if name == "wdt_feed":
            raise ZeroDivisionError("a fault of the simulation")
        return None

    def write(self, path: str, content: str | bytes) -> None:
        fd = self.filesystem.fs_open(path, "wb")
        self.filesystem.fs_write(fd, content.encode() if isinstance(content, str) else content)
        self.filesystem.fs_close(fd)

    def read(self, path: str) -> bytes:
        fd = self.filesystem.fs_open(path, "rb")
        data = self.filesystem.fs_read(fd, -1)
        self.filesystem.fs_close(fd)
        return data


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def host(world):
    with MicroPythonHost(
        world.call,
        world.filesystem,
        executed=lambda bytecodes, calls: world.executed.append((bytecodes, calls)),
    ) as host:
        yield host


@pytest.fixture
def running(host):
    host.power_on()
    assert host.wait_idle(SAFETY_NET_S)
    return host


@pytest.fixture
def raw(running):
    """A client at the raw prompt."""
    with Client(running) as client:
        client.send(b"\r\x01")
        client.until(b"raw REPL; CTRL-B to exit\r\n>")
        yield client
