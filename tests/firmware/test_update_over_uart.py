"""Installing and updating over UART: the same promises, whatever happens to the bytes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.stm32 import Running
from stm32sim.faults import LINE_KINDS, Fault, FaultyLine, LineNoise
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_S
from stm32sim.world import Wiring
from tests.support import image, known, over_uart, payload, reset_in_erase, run_until_cut

OLD, NEW, DEAD = payload(9000, 1), payload(7000, 2), payload(5000, 3)
SMALL = payload(2304, 4)
APPLICATIONS = known_images(
    known(OLD, "1.0.0", blinks_ms=20),
    known(NEW, "1.1.0", blinks_ms=20),
    known(DEAD, "1.2.0"),
    known(SMALL, "1.3.0", blinks_ms=20),
)
LONGEST = 90 * NS_PER_S
DANGEROUS = {0x63, 0x64, 0x73, 0x74, 0x82, 0x83, 0x92, 0x93}


@pytest.fixture
def make(make_bench: Callable[..., Bench]) -> Callable[..., Bench]:
    def made(rate: int = 460_800, **arguments: Any) -> Bench:
        return make_bench(applications=APPLICATIONS, **{**over_uart(rate), **arguments})

    return made


# --- the main path ---


@pytest.mark.parametrize("rate", [9600, 115_200, 460_800, 1_000_000])
def test_an_image_is_installed_and_runs(make, rate):
    bench = make(rate)
    result = bench.install(image(OLD, "1.0.0"))
    assert result["status"] == "installed" and result["verified"] == len(OLD)
    assert bench.flash_holds(OLD)
    assert bench.target.running is Running.APPLICATION


@pytest.mark.parametrize("loader", [1, 2, 3, 4])
def test_an_update_replaces_the_old_application(make, loader):
    bench = make(loader=loader)
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    result = bench.install(image(NEW, "1.1.0"))
    assert result["status"] == "installed" and result["version"] == "1.1.0"
    assert bench.flash_holds(NEW)
    assert not set(bench.trace.commands()) & DANGEROUS


def test_a_full_flash_image_is_installed_byte_for_byte(make_bench):
    full = payload(128 * 1024, 3)
    bench = make_bench(applications=known_images(known(full, blinks_ms=20)), **over_uart())
    assert bench.install(image(full))["verified"] == len(full)
    assert bytes(bench.target.flash.data) == full


def test_an_interrupted_update_goes_on(make):
    bench = make()
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.push(image(NEW, "1.1.0"))
    run_until_cut(bench)
    assert bench.run()[-1]["status"] == "installed"
    assert bench.flash_holds(NEW)


def test_an_application_without_a_heartbeat_is_rolled_back(make):
    bench = make()
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    assert bench.install(image(DEAD, "1.2.0"))["status"] == "rolled-back"
    assert bench.flash_holds(OLD)
    assert bench.target.running is Running.APPLICATION


def test_probe_tells_the_protocol_of_the_uart(make):
    bench = make()
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    found = bench.updater().probe()
    assert found["product_id"] == "0x460" and found["protocol"].startswith("3.")
    assert found["application"] == "running" and found["application_version"] is None


@pytest.mark.parametrize("when", [3, 8, 12])
def test_a_reset_in_an_erase_that_loader_11_3_has_acknowledged_is_noticed(make, when):
    """The ACK lies in the host's buffer before the reset, so the page would be written on cells
    that are half erased."""
    bench = make(loader=3)
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.push(image(NEW, "1.1.0"))
    begun = reset_in_erase(bench, 2, when)  # a page without the first vectors
    events = bench.run()
    assert [event["page"] for event in events if event["event"] == "retry"] == [1]
    assert events[-1]["ok"] and bench.flash_holds(NEW)
    assert len(begun) > 2 and not bench.target.flash.weak_granules()


# --- wires ---


@pytest.mark.parametrize(
    "wiring",
    [
        Wiring(scl=None, sda=None, tx=5, rx=4, heartbeat=6),  # exchanged
        Wiring(scl=None, sda=None, tx=None, rx=5, heartbeat=6),
        Wiring(scl=None, sda=None, tx=4, rx=None, heartbeat=6),
    ],
    ids=["exchanged", "TX open", "RX open"],
)
def test_wires_that_do_not_lead_to_the_loader_are_told_in_words_of_a_uart(make, wiring):
    bench = make(wiring=wiring)
    began = bench.clock.now
    result = bench.install(image(OLD, "1.0.0"))
    assert result["error"] == "loader-silent" and bench.clock.now - began < 20 * NS_PER_S
    assert "UART 1" in result["message"] and "8E1" in result["message"]
    assert "TX" in result["next_step"] and "SDA" not in result["next_step"]


def test_a_rate_that_the_wires_do_not_carry_is_replaced_by_the_safe_one(make):
    bench = make(1_000_000)
    wire = bench.world.line.to_target

    def slow_edges(byte: int) -> list[tuple[int, bool]]:
        return [(byte if wire._format.rate < 200_000 else byte | 0x11, False)]

    wire.distortion = slow_edges
    assert bench.install(image(OLD, "1.0.0"))["status"] == "installed"
    assert bench.flash_holds(OLD)


def test_an_i2c_master_that_was_first_is_outlasted_by_a_reset(make):
    """The loader listens to the first interface with activity, until its next reset."""
    bench = make()
    times = 0
    nrst = bench.target.nrst

    def stolen(high: bool) -> None:
        nonlocal times
        nrst(high)
        if high and not times:
            times += 1
            bench.clock.after(5_000_000, lambda: bench.target.start(0x51, False))

    bench.target.nrst = stolen
    assert bench.install(image(OLD, "1.0.0"))["status"] == "installed"
    assert times == 1


# --- faults ---


DIRECTIONS = ("to_target", "to_host")


@functools.cache
def bytes_of_an_installation(direction: str) -> int:
    bench = bench_on("rp2")
    kind = "noise to the host" if direction == "to_host" else "noise to the target"
    faulty = FaultyLine(bench.world.line, bench.target, Fault(kind, -1))
    assert bench.install(image(SMALL, "1.3.0"))["ok"]
    return faulty.bytes


def bench_on(host: str) -> Bench:
    return Bench(host=host, applications=APPLICATIONS, **over_uart())


def places(kind: str, host: str) -> Iterator[int]:
    """The beginning, then a thin sample, and the end. Hosts differ in their UARTs only."""
    count = bytes_of_an_installation("to_host" if kind.endswith("host") else "to_target")
    thin = 1 if host == "rp2" else 4
    yield from range(0, 60, 5 * thin)
    yield from range(61, count - 40, 397 * thin)
    yield from range(count - 40, count - 5, 9 * thin)


@pytest.mark.slow
@pytest.mark.parametrize("host", ["rp2", "esp32"])
@pytest.mark.parametrize("kind", LINE_KINDS)
def test_every_byte_may_fail(host: str, kind: str) -> None:
    for at in places(kind, host):
        bench = bench_on(host)
        faulty = FaultyLine(bench.world.line, bench.target, Fault(kind, at))
        began = bench.clock.now
        result = bench.install(image(SMALL, "1.3.0"))
        case = f"{kind} at {at} on {host}: {result}"
        assert result["status"] == "installed", case
        assert bench.flash_holds(SMALL) and faulty.bytes > at, case
        assert bench.clock.now - began < 20 * NS_PER_S, case
        assert not set(bench.trace.commands()) & DANGEROUS, case


@pytest.mark.parametrize("seed", range(4))
def test_noise_on_the_line_costs_time_only(make, seed):
    bench = make()
    LineNoise(bench.world.line, rate=1e-3, seed=seed)
    result = bench.install(image(OLD, "1.0.0"))
    assert result["status"] == "installed" and bench.flash_holds(OLD), result


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_line_that_breaks_is_reported_in_time_and_the_next_run_succeeds(make, direction):
    for at in range(5, bytes_of_an_installation(direction) - 100, 211):
        bench = make()
        wire = getattr(bench.world.line, direction)
        count = 0

        def broken(byte: int, at: int = at) -> list[tuple[int, bool]]:
            nonlocal count
            count += 1
            return [(byte, False)] if count <= at else []

        wire.distortion = broken
        began = bench.clock.now
        result = bench.install(image(SMALL, "1.3.0"))
        assert bench.clock.now - began < LONGEST, at
        assert not result["ok"] and result["message"] and result["next_step"], at
        wire.distortion = None
        bench.boot()
        assert bench.run()[-1]["ok"], at
        assert bench.flash_holds(SMALL), at


def test_bytes_before_the_first_one_cost_a_reset_only(make):
    """Noise, or another host's byte: the loader takes it for the rate."""
    bench = make()
    nrst = bench.target.nrst
    noisy = [True]

    def released(high: bool) -> None:
        nrst(high)
        if high and noisy:
            noisy.pop()
            bench.clock.after(
                10_000_000,
                lambda: bench.target.usart.measure([0, 1, 0, 1], 50_000, bench.clock.now),
            )

    bench.target.nrst = released
    assert bench.install(image(OLD, "1.0.0"))["status"] == "installed"
    assert not noisy
