"""The host's watchdog interrupts any action of the host."""

from __future__ import annotations

import pytest

from stm32sim.host.host_flash import HostFlash
from stm32sim.host.seam import HostReset
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S

PWRON_RESET, WDT_RESET = 1, 3


@pytest.fixture
def bench() -> Bench:
    return Bench()


def watched(bench: Bench, timeout: int):
    return bench.device.imports("machine").WDT(timeout=timeout)


def test_a_long_sleep_ends_with_its_time(bench):
    time = bench.device.imports("time")
    watched(bench, 1000)
    began = bench.clock.now
    with pytest.raises(HostReset):
        time.sleep(60)
    assert bench.clock.now - began == NS_PER_S
    bench.boot()
    assert bench.device.imports("machine").reset_cause() == WDT_RESET


def test_a_pico_takes_a_reset_by_software_for_one_by_its_watchdog(bench):
    """And a soft reset leaves what the last reset was."""
    bench.world.soft_reset()
    assert bench.world.call("reset_cause") == PWRON_RESET
    with pytest.raises(HostReset):
        bench.world.call("reset")
    bench.world.soft_reset()
    assert bench.world.call("reset_cause") == WDT_RESET


def test_who_feeds_it_lives_on(bench):
    time = bench.device.imports("time")
    watchdog = watched(bench, 1000)
    for _ in range(50):
        time.sleep_ms(990)
        watchdog.feed()
    began = bench.clock.now
    with pytest.raises(HostReset):
        time.sleep(60)
    assert bench.clock.now - began == NS_PER_S


def test_it_is_gone_after_a_reset_and_stays_through_a_soft_one(bench):
    watched(bench, 1000)
    bench.world.soft_reset()
    with pytest.raises(HostReset):
        bench.clock.advance(2 * NS_PER_S)
    bench.boot()
    watched(bench, 1000)
    bench.boot()
    bench.clock.advance(2 * NS_PER_S)


def test_a_second_one_takes_the_place_of_the_first(bench):
    watched(bench, 1000)
    watched(bench, 5000)
    bench.clock.advance(4900 * NS_PER_MS)
    with pytest.raises(HostReset):
        bench.clock.advance(200 * NS_PER_MS)


def test_it_ends_a_computation(bench):
    numbers = {"base": 3, "exponent": 65537, "modulus": 1 << 2047}
    power = bench.device.imports("builtins").pow
    watched(bench, 1000)
    began = bench.clock.now
    with pytest.raises(HostReset):
        for _ in range(200):
            power(*numbers.values())
    assert bench.clock.now - began == NS_PER_S


def test_it_tears_what_the_hosts_flash_is_doing(bench):
    assert isinstance(bench.host_flash, HostFlash)
    builtins = bench.device.imports("builtins")
    before = bench.host_flash.erases
    watched(bench, 1000)
    began = bench.clock.now
    file = builtins.open("/long", "wb")
    with pytest.raises(HostReset):
        file.write(bytes(200_000))
    assert bench.clock.now - began == NS_PER_S
    assert 10 < bench.host_flash.erases - before < 30
    bench.boot()
    assert bench.files.fs_stat("/long")[1] == 0


@pytest.mark.parametrize("timeout", [8389, 60_000, -1])
def test_rp2_has_none_longer_than_8_seconds(bench, timeout):
    with pytest.raises(ValueError, match="timeout exceeds 8388"):
        watched(bench, timeout)
    watched(bench, 8388)


def test_esp32_has_a_longer_one_and_none_below_a_second():
    bench = Bench(host="esp32")
    watched(bench, 60_000)
    with pytest.raises(ValueError, match="too short"):
        watched(bench, 999)
