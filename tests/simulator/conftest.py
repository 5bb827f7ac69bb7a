"""Worlds in one line: `rig = make_rig(version=3)`, or just `rig`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stm32sim.chip.quirks import LOADERS
from tests.simulator.rig import Rig


@pytest.fixture
def make_rig() -> Callable[..., Rig]:
    """Makes a Rig: a target and a bus."""
    return Rig


@pytest.fixture
def rom() -> Rig:
    """A V11.4 loader, in modules that try other loaders too."""
    return Rig()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """A healthy V11.4 loader that waits for its first command, flash blank."""
    return make_rig()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests of the checksum command for loaders that refuse it."""
    left_out = [item for item in items if _asks_in_vain(getattr(item, "callspec", None))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _asks_in_vain(call: Any) -> bool:
    loader = call and LOADERS.get(call.params.get("make_rig"))
    if not loader or loader.checksum == "served":
        return False
    frames = call.params.get("frames") or [b"\0"]
    return 0xA1 in (call.params.get("code"), frames[0][0])
