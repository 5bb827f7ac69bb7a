"""Worlds in one line: `rig = make_rig(version=3)`, or just `rig`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
