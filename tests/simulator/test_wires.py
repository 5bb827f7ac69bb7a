"""Levels at the host's pins, and traffic on faulty wires."""

from __future__ import annotations

import pytest

from stm32sim.in_process import Bench
from stm32sim.world import Wiring

SCL, SDA, NRST, BOOT0 = 5, 4, 2, 3
IN, OUT, OPEN_DRAIN, NO_PULL, PULL_UP, PULL_DOWN = 0, 1, 2, -1, 1, 2
LOADER = 0x51


def level(bench: Bench, pin: int, pull: int) -> int:
    bench.world.call("pin_init", pin, IN, pull, None)
    return bench.world.call("pin_read", pin)


def write(bench: Bench, frequency: int = 400_000, soft: bool = False) -> int | None:
    """Bytes acknowledged, or the negative number of the error."""
    handle = bench.world.call("i2c_init", 0, soft, SCL, SDA, frequency, 50_000)
    try:
        return bench.world.call("i2c_write", handle, LOADER, b"\x01\xfe", True)
    except OSError as error:
        return -error.args[0]


@pytest.mark.parametrize("pin", [SCL, SDA])
def test_resistors_beat_the_pull_of_the_hosts_pin(pin):
    for pull in (NO_PULL, PULL_UP, PULL_DOWN):
        assert level(Bench(), pin, pull) == 1


@pytest.mark.parametrize("pin", [SCL, SDA])
def test_without_resistors_a_line_follows_the_hosts_pin(pin):
    bench = Bench(wiring=Wiring(pull_ups=""))
    assert [level(bench, pin, pull) for pull in (NO_PULL, PULL_UP, PULL_DOWN)] == [0, 1, 0]


def test_without_resistors_nobody_is_heard():
    assert write(Bench()) == 2
    assert write(Bench(wiring=Wiring(pull_ups=""))) == -5


def test_lines_that_rise_slowly_bear_only_a_slow_bus():
    bench = Bench(wiring=Wiring(fastest=100_000))
    assert write(bench, 400_000) == -5
    assert write(bench, 100_000) == 2


def test_resistors_to_a_target_without_supply_pull_low():
    bench = Bench(wiring=Wiring(pull_ups="target"))
    assert level(bench, SDA, PULL_UP) == 1 and write(bench) == 2
    bench.target.power(False)
    assert [level(bench, pin, PULL_UP) for pin in (SCL, SDA, NRST)] == [0, 0, 0]
    assert write(bench) == -110  # SCL never rises
    bench.target.power(True)
    bench.clock.advance(5_000_000)
    assert level(bench, SDA, PULL_UP) == 1 and write(bench) == 2


def test_exchanged_wires_are_right_for_a_host_that_exchanges_its_pins():
    bench = Bench(wiring=Wiring(scl=SDA, sda=SCL))
    assert write(bench) == -5
    handle = bench.world.call("i2c_init", -1, True, SDA, SCL, 100_000, 50_000)
    assert bench.world.call("i2c_write", handle, LOADER, b"\x01\xfe", True) == 2


def test_nrst_is_high_unless_somebody_pulls_it():
    assert level(Bench(), NRST, PULL_DOWN) == 1
    held = Bench(wiring=Wiring(nrst_held=True))
    assert level(held, NRST, PULL_UP) == 0 and write(held) == -5
    bench = Bench()
    bench.world.call("pin_init", NRST, OPEN_DRAIN, NO_PULL, 0)
    assert bench.world.call("pin_read", NRST) == 0 and write(bench) == -5


def test_boot0_has_a_resistor_to_ground_only_where_it_is_wired():
    assert level(Bench(), BOOT0, PULL_UP) == 0
    assert level(Bench(wiring=Wiring(boot0=None)), BOOT0, PULL_UP) == 1
    bench = Bench()
    bench.world.call("pin_init", BOOT0, OUT, NO_PULL, 1)
    assert bench.world.call("pin_read", BOOT0) == 1
