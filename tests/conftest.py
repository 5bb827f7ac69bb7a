"""Worlds in one line: `bench = make_bench(...)`, once on rp2 and once on esp32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stm32sim.in_process import Bench


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
