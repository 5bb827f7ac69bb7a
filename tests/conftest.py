"""Worlds in one line: `bench = make_bench(...)`, once on rp2 and once on esp32."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

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
