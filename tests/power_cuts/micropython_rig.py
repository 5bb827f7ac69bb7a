"""The scenarios in real MicroPython, with the updater as `stm32up deploy` installs it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping

from stm32sim.cuts import in_micropython as library
from stm32sim.cuts import rig
from stm32sim.in_process import Bench
from stm32up import device
from stm32up.host import deploy
from tests.power_cuts.scenarios import SCENARIOS

_compiled = functools.cache(deploy.product_modules)


def _deployed(bench: Bench) -> Mapping[str, bytes]:
    return _compiled(tuple(bench.packages / package.name for package in device.product()))


def in_micropython(name: str) -> contextlib.AbstractContextManager[rig.Scenario]:
    """A scenario in MicroPython."""
    return library.in_micropython(SCENARIOS[name], _deployed)


def replay(
    name: str,
    cuts: list[rig.Cut],
    tell: rig.Tell = lambda event: None,
    counted_by: type[rig.Rig] = library.Rig,
) -> rig.Case:
    """One case of a scenario, which may not be in the sample. With `rig.Rig` as the counter, the
    numbers of the cuts are those in CPython."""
    with in_micropython(name) as scenario:
        return rig.replay(scenario, cuts, tell, counted_by)


def sample(name: str, rounds: int) -> list[rig.Cut]:
    """`rounds` cuts of each kind at each place."""
    with in_micropython(name) as scenario:
        return library.sample(scenario, rounds)
