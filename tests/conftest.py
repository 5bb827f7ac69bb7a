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

# A property test tries the same examples every time: what fails, fails again, and only a change of
# the code makes it fail. To look for new inputs is what `make fuzz` is for. Virtual time has no
# deadlines, and the machine's time says nothing.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def pytest_configure() -> None:
    """A shell starts a background job with Ctrl-C ignored, and the programs that tests start would
    inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def ports_close_at_once() -> Iterator[None]:
    """pyserial sleeps for 0.3 s after it has closed a socket:// port, for servers that cannot take
    the next connection at once. Simulated boards and the stand-in can, and tests open many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol_socket, "time", SimpleNamespace(sleep=lambda seconds: None))
        yield


@pytest.fixture(params=["rp2", "esp32"])
def host(request: pytest.FixtureRequest) -> str:
    """Whose I2C controller the simulated host has."""
    return str(request.param)


@pytest.fixture
def make_bench(host: str) -> Callable[..., Bench]:
    """Makes a Bench on that host."""

    def make(**arguments: Any) -> Bench:
        return Bench(host=host, **arguments)

    return make
