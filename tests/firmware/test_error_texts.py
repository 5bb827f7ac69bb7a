"""Error texts: each has a next step, and where to read more."""

from __future__ import annotations

from typing import Any

import pytest

from stm32up import device

ERRORS = device.module("stm32_rom.errors")
device.module("stm32_updater.errors")  # and those below them
ASK = "stm32up doctor"


def tree(kind: Any) -> list[Any]:
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


@pytest.mark.parametrize("kind", tree(ERRORS.BusError) + tree(ERRORS.LoaderError), ids=str)
def test_every_error_of_bus_and_loader_ends_with_the_doctor(kind):
    assert kind.next_step.endswith(ASK)


def test_so_does_a_loader_that_cannot_be_reached_without_boot0():
    assert ERRORS.LoaderSilent.without_boot0.endswith(ASK)


@pytest.mark.parametrize("kind", tree(ERRORS.UpdaterError)[1:], ids=str)
def test_every_error_says_what_to_do_next(kind):
    assert kind.next_step
    assert "\n" not in kind.next_step and "  " not in kind.next_step
