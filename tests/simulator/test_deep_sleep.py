"""machine.deepsleep of a simulated host: it sleeps, then starts again."""

from __future__ import annotations

import pytest

from stm32sim.host.seam import HostReset
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_S
from stm32sim.world import SLEEP

WDT_RESET, DEEPSLEEP_RESET = 3, 4


@pytest.mark.parametrize("host, cause", [("rp2", WDT_RESET), ("esp32", DEEPSLEEP_RESET)])
def test_it_takes_its_time_and_ends_in_a_reset(host, cause):
    bench = Bench(host=host)
    began = bench.clock.now
    with pytest.raises(HostReset):
        bench.device.imports("machine").deepsleep(5000)
    assert bench.clock.now - began >= 5 * NS_PER_S == bench.world.spent[SLEEP]
    bench.boot()
    assert bench.device.imports("machine").reset_cause() == cause


@pytest.mark.parametrize("host, stays", [("rp2", True), ("esp32", False)])
def test_an_esp32_releases_its_pins_meanwhile_and_a_pico_does_not(host, stays):
    bench = Bench(host=host)
    machine = bench.device.imports("machine")
    machine.Pin(bench.world.wiring.nrst, machine.Pin.OPEN_DRAIN, value=0)
    seen = []
    bench.clock.after(NS_PER_S, lambda: seen.append(bench.target.nrst_high))
    with pytest.raises(HostReset):
        machine.deepsleep(2000)
    assert seen == [not stays]


def test_a_picos_watchdog_ends_the_sleep_and_that_of_an_esp32_sleeps_too():
    lengths = {}
    for host in ("rp2", "esp32"):
        bench = Bench(host=host)
        machine = bench.device.imports("machine")
        machine.WDT(timeout=1000)
        began = bench.clock.now
        with pytest.raises(HostReset):
            machine.deepsleep(5000)
        lengths[host] = (bench.clock.now - began) // NS_PER_S
    assert lengths == {"rp2": 1, "esp32": 5}


def test_a_time_that_the_port_cannot_sleep_is_refused():
    machine = Bench(host="rp2").device.imports("machine")
    with pytest.raises(ValueError, match="sleep too long"):
        machine.deepsleep(72 * 60 * 1000)
    with pytest.raises(NotImplementedError):
        machine.deepsleep()
