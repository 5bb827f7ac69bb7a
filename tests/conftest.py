"""Worlds in one line: `bench = make_bench(...)`, once on rp2 and once on esp32."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from serial.urlhandler import protocol_socket

from stm32sim.in_process import Bench

# Property tests try the same examples every time, so that failures are reproducible and only a
# change of the code causes one. `make fuzz` searches for new inputs. There is no deadline: virtual
# time needs none, and real time proves nothing.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def pytest_configure() -> None:
    """Do not ignore Ctrl-C: a shell's background job does, and programs started by tests would
    inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def ports_close_at_once() -> Iterator[None]:
    """Skip pyserial's sleep of 0.3 s after closing a socket:// port, for servers that cannot
    accept the next connection at once. Simulated and fake boards can, and tests open many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol_socket, "time", SimpleNamespace(sleep=lambda seconds: None))
        yield


@pytest.fixture(params=["rp2", "esp32"])
def host(request: pytest.FixtureRequest) -> str:
    """The port of MicroPython whose I2C controller the simulated host has."""
    return str(request.param)


@pytest.fixture
def make_bench(host: str) -> Callable[..., Bench]:
    """Makes a Bench on that host."""

    def make(**arguments: Any) -> Bench:
        return Bench(host=host, **arguments)

    return make
