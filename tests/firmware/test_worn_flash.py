"""A page that does not take its content costs an update, not the product."""

from __future__ import annotations

import json

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.flash import GRANULE, PAGE, Cell
from stm32sim.chip.stm32 import Running
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_S
from stm32up.image import images
from tests.families import worlds
from tests.support import image, known, over_uart, payload

OLD, NEW = payload(2 * PAGE, 1), payload(6 * PAGE, 2)
APPLICATIONS = known_images(known(OLD, "1.0.0", blinks_ms=20), known(NEW, "2.0.0", blinks_ms=20))
WORN = (4 * PAGE + 256) // GRANULE  # a granule that NEW needs and OLD does not
RUNS = 8  # that may fail


def settled(bench: Bench, runs: int) -> list[dict]:
    """The results of so many runs, or fewer if the last one is good."""
    results: list[dict] = []
    while len(results) < runs and not (results and results[-1]["ok"]):
        results.append(bench.run()[-1])
        bench.clock.advance(60 * NS_PER_S)
        bench.boot()
    return results


@pytest.mark.parametrize("world", [{}, over_uart()], ids=["i2c", "uart"])
@pytest.mark.parametrize("verify", ["checksum", "read"])
def test_the_last_good_image_comes_back(make_bench, world, verify):
    settings = {**world.get("settings", {}), "verify": verify}
    bench = make_bench(**{**world, "settings": settings}, applications=APPLICATIONS)
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.target.flash.worn.add(WORN)
    bench.push(image(NEW, "2.0.0"))
    *failed, last = settled(bench, RUNS + 2)  # the first run gets further than none
    assert {result["error"] for result in failed} == {"verify-failed"}
    assert "the next run installs 1.0.0 again" in failed[-1]["message"]
    assert last["ok"] and last["version"] == "1.0.0"
    assert bench.flash_holds(OLD) and bench.target.running is Running.APPLICATION


def test_the_image_that_could_not_be_written_may_be_tried_once_more(make_bench):
    bench = make_bench(applications=APPLICATIONS)
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.target.flash.worn.add(WORN)
    for _ in range(2):
        bench.push(image(NEW, "2.0.0"))
        assert settled(bench, 2 * RUNS)[-1]["version"] == "1.0.0"
    assert bench.install(image(NEW, "2.0.0"))["error"] == "image-failed-before"
    bench.target.flash.worn.clear()
    bench.push(image(NEW, "2.0.0"))
    assert bench.updater().run(force=True)["version"] == "2.0.0"


@pytest.mark.parametrize("kept", ["none", "damaged", "for another product"])
def test_without_another_image_it_is_tried_again_and_again(make_bench, kept):
    bench = make_bench(applications=APPLICATIONS)
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    more: dict = {}
    if kept == "for another product":
        bench.settings["class_id"], more = images.class_id("kettle").hex, {"product": "kettle"}
    bench.write_file("/board.json", json.dumps(bench.settings).encode())
    content = bytearray(bench.read_file("/updater/confirmed.img"))
    content[2000] ^= 1
    bench.forget("confirmed.img")
    if kept == "damaged":
        bench.write_file("/updater/confirmed.img", bytes(content))
    bench.target.flash.worn.add(WORN)
    bench.push(image(NEW, "2.0.0", **more))
    assert {result["error"] for result in settled(bench, 3 * RUNS)} == {"verify-failed"}
    bench.target.flash.worn.clear()
    assert settled(bench, 1)[-1]["version"] == "2.0.0" and bench.flash_holds(NEW)


def test_a_target_that_is_off_for_long_costs_no_update(make_bench):
    bench = make_bench(applications=APPLICATIONS)
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.push(image(NEW, "2.0.0"))
    events = iter(bench.updater().events())
    while next(events)["event"] != "progress":
        pass
    bench.target.power(False)
    assert [event["ok"] for event in events if event["event"] == "result"] == [False]
    bench.boot()
    assert not any(result["ok"] for result in settled(bench, 3 * RUNS))
    bench.target.power(True)
    assert settled(bench, 1)[-1]["version"] == "2.0.0"


def test_an_update_that_gets_further_in_each_run_is_not_given_up(make_bench):
    """The target's frames are disturbed in each run."""
    part, big = "STM32G0B1RE", payload(110 * PAGE, 3)
    bench = make_bench(
        chip=part, applications=known_images(known(OLD, "1.0.0"), known(big, "2.0.0"))
    )
    assert bench.install(image(OLD, "1.0.0", chip=part))["ok"]
    bench.push(image(big, "2.0.0", chip=part))
    for _ in range(RUNS + 2):
        for event in bench.updater().events():
            if event["event"] == "progress" and event["phase"] == "write" and event["done"] == 9:
                bench.world.bus.sda_stuck = True
        assert not event["ok"] and event["error"] != "loader-silent", event
        bench.world.bus.sda_stuck = False
        bench.clock.advance(60 * NS_PER_S)
        bench.boot()
    assert settled(bench, 1)[-1]["version"] == "2.0.0"


@pytest.mark.parametrize("part", ["STM32G474RE", "STM32L476RG", "STM32WB55RG"])
def test_a_protected_page_that_the_updater_cannot_see_costs_no_application(part):
    """Of these parts the option bytes are not read."""
    bench = worlds.bench_of(part)
    assert bench.install(worlds.image_of(part, worlds.new(part), "1.1.0"))["ok"]
    bench.target.flash.write_protected.add(2)
    bench.push(worlds.image_of(part, worlds.old(part), "2.0.0"))
    results = settled(bench, RUNS + 2)
    assert not results[0]["ok"]
    assert results[-1]["version"] == "1.1.0" and bench.target.running is Running.APPLICATION


def test_a_page_that_an_image_left_is_in_doubt_for_the_next_one(make_bench):
    """The application of the smaller image may have erased it, and lost its supply."""
    blank = bytearray(NEW)
    blank[4 * PAGE : 5 * PAGE] = b"\xff" * PAGE
    content = bytes(blank)
    bench = make_bench(applications=known_images(known(content, "2.0.0"), known(OLD, "2.1.0")))
    assert bench.install(image(content, "2.0.0", counter=1))["ok"]
    assert bench.install(image(OLD, "2.1.0", counter=1))["ok"]
    flash = bench.target.flash
    for index in range(4 * PAGE // GRANULE, 5 * PAGE // GRANULE):
        flash.cells[index] = Cell.WEAK_ERASED
    assert bench.install(image(content, "2.0.0", counter=1))["ok"]
    assert not flash.weak_granules(0, len(content))


def test_without_a_proof_the_flash_is_asked_whether_an_image_is_installed(make_bench):
    nothing = dict.fromkeys(("address", "register", "pin", "edges", "timeout_ms", "tries"), None)
    bench = make_bench(
        applications=APPLICATIONS, settings={"confirm": {"method": "none", **nothing}}
    )
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    erased = bench.target.flash.erase_counts[0]
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    assert bench.target.flash.erase_counts[0] == erased  # it holds that image
    bench.target.flash.load(b"\xff" * len(OLD))  # another STM32
    assert bench.install(image(OLD, "1.0.0"))["status"] == "installed"
    assert bench.flash_holds(OLD)
