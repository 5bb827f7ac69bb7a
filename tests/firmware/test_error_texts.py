"""Error texts: each has a next step, and where to read more."""

from __future__ import annotations

from typing import Any

import pytest

from stm32up import device

ASK = "stm32up doctor"


@pytest.fixture
def errors() -> Any:
    device.module("stm32_updater.errors")  # they are below those of stm32_rom
    return device.module("stm32_rom.errors")


def tree(kind: Any) -> list[Any]:
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


def test_every_error_of_bus_and_loader_ends_with_the_doctor(errors):
    kinds = tree(errors.BusError) + tree(errors.LoaderError)
    assert len(kinds) > 8
    assert [kind for kind in kinds if not kind.next_step.endswith(ASK)] == []


def test_so_does_a_loader_that_cannot_be_reached_without_boot0(errors):
    assert errors.LoaderSilent.without_boot0.endswith(ASK)


def test_every_error_says_what_to_do_next(errors):
    for kind in tree(errors.UpdaterError)[1:]:
        assert kind.next_step, kind
        assert "\n" not in kind.next_step and "  " not in kind.next_step, kind
