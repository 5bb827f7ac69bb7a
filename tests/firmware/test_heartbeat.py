"""A toggling line can prove that the application runs."""

from __future__ import annotations

import random

import pytest
from bincopy import BinFile

from stm32sim.chip.application import known_images
from stm32sim.chip.cortex_m import emulated
from stm32sim.chip.stm32 import Running
from stm32sim.in_process import Bench
from stm32sim.world import Wiring
from stm32up.board import boards
from tests.support import image, known, payload

OLD, NEW = payload(3000, 1), payload(4000, 2)
HEARTBEAT = {
    "method": "gpio",
    "pin": 7,
    "edges": 4,
    "timeout_ms": 500,
    "tries": 2,
    "address": None,
    "register": None,
}


@pytest.fixture
def make_beating():
    """OLD is installed and blinks; NEW blinks as given. Neither answers on the bus."""

    def make(blinks_ms: int, wired: bool = True) -> Bench:
        applications = known_images(
            known(OLD, "1.0.0", answers=False, blinks_ms=20),
            known(NEW, "1.1.0", answers=False, blinks_ms=blinks_ms),
        )
        bench = Bench(
            applications=applications,
            wiring=Wiring(heartbeat=7 if wired else None),
            settings={"confirm": HEARTBEAT},
        )
        if wired:
            assert bench.install(image(OLD, "1.0.0"))["ok"]
        return bench

    return make


@pytest.mark.parametrize("blinks_ms", [2, 5, 50, 120])
def test_an_application_that_toggles_in_time_is_confirmed(make_beating, blinks_ms):
    bench = make_beating(blinks_ms)
    assert bench.install(image(NEW, "1.1.0"))["status"] == "installed"
    assert bench.flash_holds(NEW)


@pytest.mark.parametrize("wrong", [0.005, 0.01, 0.03])
def test_samples_that_are_wrong_now_and_then_prove_nothing(make_beating, wrong):
    bench = make_beating(0)
    real, randomness = bench.world.call, random.Random(1)

    def call(name, *arguments):
        value = real(name, *arguments)
        return 1 - value if name == "pin_read" and randomness.random() < wrong else value

    bench.world.call = call
    bench.boot()
    assert bench.install(image(NEW, "1.1.0"))["status"] in ("rolled-back", "failed")


@pytest.mark.parametrize("blinks_ms", [0, 200])
def test_one_that_toggles_never_or_too_slowly_is_rolled_back(make_beating, blinks_ms):
    bench = make_beating(blinks_ms)
    bench.push(image(NEW, "1.1.0"))
    events = bench.run()
    starts = [event["try"] for event in events if event["event"] == "starting"]
    assert starts == [1, 2, 1]
    assert events[-1]["status"] == "rolled-back" and bench.flash_holds(OLD)


def test_the_light_of_the_real_application_will_do():
    """LD4 is on PA5; the machine code of boards/nucleo_g071rb_app is executed."""
    settings = {"confirm": {**HEARTBEAT, "timeout_ms": 3000}}
    bench = Bench(applications=emulated, wiring=Wiring(heartbeat=7), settings=settings)
    program = BinFile(str(boards.BOARDS / "nucleo_g071rb_app" / "app-1.0.0.hex")).as_binary()
    assert bench.install(image(bytes(program), "1.0.0"))["status"] == "installed"


def test_a_line_that_leads_nowhere_proves_nothing(make_beating):
    bench = make_beating(20, wired=False)
    assert bench.install(image(NEW, "1.1.0"))["error"] == "application-silent"


def test_a_running_application_is_left_alone_by_a_host_that_forgot(make_beating):
    bench = make_beating(20)
    for name in ("state.0", "state.1"):
        bench.files.fs_remove(f"/updater/{name}")
    erased = list(bench.target.flash.erase_counts)
    assert bench.run()[-1]["status"] == "idle"
    assert bench.target.flash.erase_counts == erased


def test_the_same_image_again_is_up_to_date(make_beating):
    assert make_beating(20).install(image(OLD, "1.0.0"))["status"] == "up-to-date"


def test_probe_sees_it_run(make_beating):
    bench = make_beating(20)
    assert bench.updater().probe()["application"] == "running"
    assert bench.target.running is Running.APPLICATION


def test_the_watchdog_is_fed_while_the_line_is_watched(make_beating):
    bench = make_beating(0)
    fed = []
    bench.push(image(NEW, "1.1.0"))
    bench.run(feed=lambda: fed.append(bench.clock.now))
    assert max(b - a for a, b in zip(fed, fed[1:], strict=False)) < 500_000_000
