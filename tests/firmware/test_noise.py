"""Bits that flip on the bus, at random or at the most harmful places."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stm32sim.chip.application import KnownImage, ModelApplication, known_images
from stm32sim.chip.flash import PAGE, SLOWEST
from stm32sim.chip.quirks import quirks_of
from stm32sim.chip.stm32 import Running
from stm32sim.faults import Noise
from stm32sim.in_process import Bench
from tests.support import Changed, image, known, payload, version_bytes

OLD, NEW = payload(5000, 1), payload(6500, 2)
IMAGES = known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0"))


def by_first_page(content, target):
    """Applications that run as long as their first page is there."""
    for payload_, version in ((OLD, "1.0.0"), (NEW, "1.1.0")):
        if content[:PAGE] == payload_[:PAGE]:
            return ModelApplication(KnownImage(payload_, version_bytes(version)), target)
    return None


@pytest.fixture
def make_updating(make_bench):
    """OLD is installed, NEW is pushed."""

    def make(applications=IMAGES, **arguments) -> Bench:
        bench = make_bench(applications=applications, **arguments)
        assert bench.install(image(OLD, "1.0.0"))["ok"]
        bench.boot()
        bench.push(image(NEW, "1.1.0"))
        return bench

    return make


@pytest.mark.parametrize("page", [1, 2])
def test_an_erase_of_another_page_of_the_image_is_found_and_mended(make_updating, page):
    """Two flips in one bit column, which the XOR of the frame does not show."""
    bench = make_updating(by_first_page)
    strike = Changed(bench, bytes([0, 3, 3]), bytes([0, page, page]))
    result = bench.run()[-1]
    assert strike.struck and result["status"] == "installed" and bench.flash_holds(NEW)


def test_an_erase_of_the_first_page_is_found_before_the_first_vectors_are_written(make_updating):
    bench = make_updating(by_first_page)
    strike = Changed(bench, bytes([0, 2, 2]), bytes([0, 0, 0]))
    assert bench.run()[-1]["status"] == "installed"
    assert strike.struck and bench.flash_holds(NEW)


@pytest.mark.parametrize(("rate", "seeds"), [(1e-5, 3), (1e-4, 8), (1e-3, 4)])
def test_no_noise_leads_to_a_wrong_byte_and_a_little_to_no_failure(make_updating, rate, seeds):
    for seed in range(seeds):
        bench = make_updating()
        Noise(bench.world.bus, bench.target, rate, seed)
        result = bench.run()[-1]
        replay = f"python -m benchmarks.noise --rate {rate:g} --seeds {seed}:{seed + 1}"
        assert result["status"] == "installed" or rate > 1e-4, f"{result}: {replay}"
        if bench.target.running is Running.APPLICATION:
            assert bench.flash_holds(NEW) or bench.flash_holds(OLD), replay


def test_a_frame_that_the_loader_refuses_is_sent_again_without_an_erase(make_updating):
    bench = make_updating()
    block = NEW[PAGE : PAGE + 256]
    xor = 255
    for byte in block:
        xor ^= byte
    frame = bytes([255]) + block + bytes([xor])
    Changed(bench, frame, frame[:-1] + bytes([xor ^ 1]))
    erased = sum(bench.target.flash.erase_counts)
    events = bench.run()
    (written,) = [event for event in events if event["event"] == "written"]
    assert written["repeats"] == 1 and not [e for e in events if e["event"] == "retry"]
    assert events[-1]["status"] == "installed"
    assert sum(bench.target.flash.erase_counts) - erased == written["erased_pages"] == 4


def test_get_id_is_sent_once_a_run_however_often_the_loader_is_reset(make_updating):
    """02 FD is two flips away from 82 7D, Readout Protect."""
    bench = make_updating()
    Noise(bench.world.bus, bench.target, 5e-4, 1)
    before = len(bench.trace)
    (written,) = [event for event in bench.run() if event["event"] == "written"]
    asked = [data for _, _, data in bench.trace.transactions[before:] if data == b"\x02\xfd"]
    assert written["repeats"] > 1 and len(asked) == 1


@pytest.mark.parametrize("host", ["esp32"])
def test_a_loader_that_stretches_is_waited_for_on_a_host_that_gives_up_early(make_updating):
    """ST's own G0 port never sends BUSY, and an ESP32 lets SCL be held for 13 ms."""
    quirks = replace(quirks_of(4), stretches_anyway=True)
    bench = make_updating(quirks=quirks, times=SLOWEST)
    assert bench.run()[-1]["status"] == "installed" and bench.flash_holds(NEW)
