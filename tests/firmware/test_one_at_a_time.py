"""A run of the updater that is suspended, stopped, or replaced by another run."""

from __future__ import annotations

import asyncio

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.stm32 import Running
from stm32sim.in_process import Bench
from tests.support import image, known, payload

OLD, NEW, NEWER = payload(5000, 1), payload(6500, 2), payload(4200, 3)
APPLICATIONS = known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0"), known(NEWER, "1.2.0"))
STOPS = range(1, 15)  # events after which a run is stopped; there are 15 with the result


@pytest.fixture
def bench(make_bench) -> Bench:
    """OLD is installed, NEW is pushed."""
    bench = make_bench(applications=APPLICATIONS)
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.boot()
    bench.push(image(NEW, "1.1.0"))
    return bench


def stopped_after(events, count: int) -> list[dict]:
    told = []
    for event in events:
        told.append(event)
        if len(told) == count:
            break
    return told


def test_there_are_as_many_events_as_these_tests_stop_at(bench):
    assert len(bench.run()) == max(STOPS) + 1


@pytest.mark.parametrize("stop", STOPS)
def test_a_run_that_another_one_has_overtaken_touches_nothing_more(bench, stop):
    events = bench.updater().events()
    stopped_after(events, stop)
    bench.push(image(NEWER, "1.2.0"), "newer")
    assert bench.updater().run()["status"] == "installed"
    frames, log = len(bench.trace), bench.read_file("/updater/log.0")
    last = list(events)
    assert [event["error"] for event in last] == ["another-run"]
    assert len(bench.trace) == frames and bench.read_file("/updater/log.0") == log
    assert bench.flash_holds(NEWER) and bench.target.running is Running.APPLICATION
    assert bench.read_file("/updater/confirmed.img") == image(NEWER, "1.2.0")


def test_an_overtaken_run_that_is_closed_leaves_the_target_to_the_other(bench):
    first = bench.updater().events()
    stopped_after(first, 6)
    second = bench.updater().events()
    stopped_after(second, 6)
    assert bench.target.running is Running.LOADER
    frames = len(bench.trace)
    first.close()
    assert len(bench.trace) == frames
    assert list(second)[-1]["status"] == "installed" and bench.flash_holds(NEW)


def test_of_two_runs_the_second_starts_what_the_first_has_stopped(bench):
    first = bench.updater().events()
    told = stopped_after(first, 3)
    assert told[-1]["event"] == "loader" and bench.target.running is not Running.APPLICATION
    with bench.updater().events() as second:
        stopped_after(second, 1)
    first.close()
    assert bench.target.running is Running.APPLICATION and bench.flash_holds(OLD)


@pytest.mark.parametrize("stop", STOPS)
def test_a_run_that_is_closed_starts_the_application_if_it_is_there(bench, stop):
    with bench.updater().events() as events:
        told = stopped_after(events, stop)
    erased = any(event.get("phase") == "write" for event in told)
    runs = bench.target.running is Running.APPLICATION
    assert runs or (erased and not bench.flash_holds(OLD))
    if not erased:
        assert bench.flash_holds(OLD)
    assert bench.updater().run()["status"] == "installed"
    assert bench.flash_holds(NEW) and bench.target.running is Running.APPLICATION


@pytest.mark.parametrize("stop", [1, 3, 4, 5])
def test_a_cancelled_task_starts_the_old_application_again(bench, stop):
    told = []

    async def update():
        async for event in bench.updater().events():
            told.append(event)

    async def product():
        task = asyncio.create_task(update())
        while len(told) < stop:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(product())
    assert len(told) == stop
    assert bench.target.running is Running.APPLICATION and bench.flash_holds(OLD)
    assert bench.updater().run()["status"] == "installed" and bench.flash_holds(NEW)
