"""Entering the loader: the number of attempts, the methods, and the state of the pins
afterwards."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.chip.stm32 import DISCHARGE, Running
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS
from stm32sim.world import Wiring
from tests.support import image, known, payload

OLD, NEW = payload(3000, 1), payload(4000, 2)
BOTH = known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0"))
BY_BOOT0: dict[str, Any] = {}
BY_COMMAND: dict[str, Any] = {
    "wiring": Wiring(nrst=None, boot0=None),
    "settings": {
        "pins": {"nrst": None, "boot0": None},
        "enter": {"method": "command", "address": 0x2A, "command": "10424f4f54"},
    },
}
WAYS = pytest.mark.parametrize("way", [BY_BOOT0, BY_COMMAND], ids=["boot0", "command"])


def about_to_update(bench: Bench) -> None:
    """OLD is installed, NEW is pushed."""
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.push(image(NEW, "1.1.0"))


def hold_a_line_for(bench: Bench, resets: int) -> list[int]:
    """Hold SCL low from the next NRST reset on, and release it after `resets` more resets. The
    returned list gets the time of each reset."""
    nrst, seen = bench.target.nrst, []

    def counted(high: bool) -> None:
        if not high and bench.target.nrst_high:
            seen.append(bench.clock.now)
            bench.world.bus.scl_stuck = len(seen) <= resets
        nrst(high)

    bench.target.nrst = counted  # type: ignore[method-assign]
    return seen


@pytest.mark.parametrize("missed", [1, 2])
def test_a_loader_that_was_missed_once_or_twice_is_reached(make_bench, missed):
    bench = make_bench(applications=BOTH)
    about_to_update(bench)
    resets = hold_a_line_for(bench, missed)
    result = bench.run()[-1]
    assert result["status"] == "installed" and bench.flash_holds(NEW)
    assert len(resets) == missed + 2, "the last one starts the application"


@pytest.mark.parametrize("missed", [1, 2])
def test_another_chip_is_believed_if_it_is_seen_twice(make_bench, missed):
    """Noise may look like one in the last try, after two that it made fail. The pushed image stays
    then."""
    bench = make_bench(applications=BOTH)
    about_to_update(bench)
    sound = bench.target.quirks
    bench.target.quirks = replace(sound, product_id=0x468)
    hold_a_line_for(bench, missed)
    result = bench.run()[-1]
    assert result["error"] == ("wrong-chip" if missed == 1 else "loader")
    assert "0x468" in result["message"] and bench.flash_holds(OLD)
    bench.target.quirks = sound
    bench.boot()
    assert bench.run()[-1]["status"] == ("idle" if missed == 1 else "installed")


def test_after_three_tries_the_reason_is_told_and_the_old_application_started(make_bench):
    bench = make_bench(applications=BOTH)
    about_to_update(bench)
    resets = hold_a_line_for(bench, 3)
    result = bench.run()[-1]
    assert result["error"] == "bus-stuck" and "SCL" in result["message"]
    assert len(resets) == 4, "the last one starts the application"
    pauses = [(after - before) // NS_PER_MS for before, after in pairwise(resets)]
    assert min(pauses[:2]) >= 100, "a device that holds the line has time to let go"
    assert bench.target.running is Running.APPLICATION and bench.flash_holds(OLD)


@pytest.mark.parametrize(("missed", "switched"), [(1, 0), (2, 1)])
def test_the_supply_is_switched_for_the_last_try_only(make_bench, missed, switched):
    bench = make_bench(
        applications=BOTH, wiring=Wiring(supply=6), settings={"pins": {"supply": 6}}
    )
    about_to_update(bench)
    hold_a_line_for(bench, missed)
    power, off = bench.target.power, []

    def counted(on: bool) -> None:
        if not on and bench.target.running is not Running.OFF:
            off.append(bench.clock.now)
        power(on)

    bench.target.power = counted
    assert bench.run()[-1]["status"] == "installed"
    assert len(off) == switched


@WAYS
@pytest.mark.parametrize("line", ["SDA", "SCL"])
def test_a_line_that_stays_low_is_named_whatever_the_way_into_the_loader(make_bench, way, line):
    bench = make_bench(applications=BOTH, **way)
    about_to_update(bench)
    setattr(bench.world.bus, f"{line.lower()}_stuck", True)
    result = bench.run()[-1]
    assert result["error"] == "bus-stuck" and line in result["message"]
    assert bench.flash_holds(OLD)


def test_an_application_is_not_asked_for_a_loader_that_answers_already(make_bench):
    """A blank chip is in its loader; there is nothing else to ask or to wait for."""
    bench = make_bench(applications=BOTH, **BY_COMMAND)
    bench.push(image(OLD, "1.0.0"))
    for event in bench.updater().events():
        if event["event"] == "loader":
            break
    assert {address for address, _, _ in bench.trace.transactions} == {I2C_ADDRESS}


# --- how BOOT0 is left ---


def too_large(bench: Bench) -> dict[str, Any]:
    """The part has less flash than its name says, so nothing is erased."""
    return bench.install(image(payload(100 * 1024, 3)))


def not_erased(bench: Bench) -> dict[str, Any]:
    """Flash refuses every erase, after the zeros over the vectors."""
    bench.target.flash.load(NEW)
    bench.target.flash.start_page_erase = lambda page: False  # type: ignore[method-assign]
    return bench.install(image(OLD, "1.0.0"))


def probed(bench: Bench) -> dict[str, Any]:
    bench.updater().probe()
    return {"ok": False}


@pytest.mark.parametrize("failing", [too_large, not_erased, probed])
def test_a_target_without_an_application_is_left_with_boot0_low(make_bench, failing):
    """Otherwise an application that a debugger writes later would not start until the host
    acts."""
    bench = make_bench(applications=BOTH, flash_size=64 * 1024, flash_size_readable=True)
    assert not failing(bench)["ok"]
    bench.target.power(False)
    bench.target.flash.load(NEW)
    bench.clock.advance(DISCHARGE)
    bench.target.power(True)
    bench.clock.advance(100_000_000)
    assert bench.target.running is Running.APPLICATION


@pytest.mark.parametrize("readings", [b"aa", b"abb", b"abcc", b"abcdd"])
def test_a_reading_counts_if_the_one_before_was_equal(make_bench, readings):
    assert read(make_bench(), readings) == readings[-1]


def test_five_different_readings_are_an_error(make_bench):
    bench = make_bench()
    with pytest.raises(
        bench.device.imports("stm32_rom.errors").LoaderError, match="reads differently"
    ):
        read(bench, b"abcde")


def read(bench: Bench, readings: bytes) -> int:
    """What `read_until_equal` makes of these readings."""
    rest = iter(readings)
    target = SimpleNamespace(read_memory=lambda address, length: next(rest))
    found: int = bench.device.imports("stm32_rom.target").Target.read_until_equal(target, 0, 1)
    return found
