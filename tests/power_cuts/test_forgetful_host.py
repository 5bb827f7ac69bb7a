"""Whatever state the host has lost, it restores a running application or reports what it needs."""

from __future__ import annotations

import pytest

from stm32sim.chip.stm32 import Running
from tests.power_cuts.scenarios import APPLICATIONS, NEW, OLD
from tests.support import image, run_until_cut

STATES = ("state.0", "state.1")


@pytest.fixture
def bench(make_bench):
    """OLD is installed and runs."""
    bench = make_bench(applications=APPLICATIONS)
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.boot()
    return bench


@pytest.fixture
def cut_bench(bench):
    """The update to NEW was cut after page 0 had been erased: nothing can run on the target."""
    bench.push(image(NEW, "1.1.0"))
    run_until_cut(bench)
    bench.target.power(False)
    bench.clock.advance(10_000_000)
    bench.target.power(True)
    bench.boot()
    return bench


def test_a_running_application_is_left_alone_when_the_record_is_gone(bench):
    bench.forget(*STATES)
    erased = list(bench.target.flash.erase_counts)
    assert bench.run()[-1]["status"] == "idle"
    assert bench.target.flash.erase_counts == erased
    assert bench.target.running is Running.APPLICATION


def test_after_forgetting_nothing_on_the_target_is_trusted(bench):
    bench.forget(*STATES)
    bench.run()
    before = sum(bench.target.flash.erase_counts)
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    assert sum(bench.target.flash.erase_counts) - before == 3  # every page


@pytest.mark.parametrize("damage", ["missing", "corrupt", "newer", "empty"])
def test_a_half_written_target_is_finished_without_a_record(cut_bench, damage):
    for name in STATES:
        content = cut_bench.read_file(f"/updater/{name}")
        cut_bench.forget(name)
        if damage != "missing":
            changed = {
                "corrupt": content[:-3] + b"???",
                "newer": content.replace(b'"version": 3', b'"version": 9'),
                "empty": b"",
            }[damage]
            cut_bench.write_file(f"/updater/{name}", changed)
    result = cut_bench.run()[-1]
    assert result["ok"] and result["version"] == "1.1.0"
    assert cut_bench.flash_holds(NEW)


def test_a_lost_candidate_is_replaced_by_the_confirmed_image(cut_bench):
    cut_bench.forget("candidate.img")
    result = cut_bench.run()[-1]
    assert result["ok"] and result["version"] == "1.0.0"
    assert cut_bench.flash_holds(OLD)


def test_a_damaged_candidate_is_replaced_by_the_confirmed_image(cut_bench):
    content = bytearray(cut_bench.read_file("/updater/candidate.img"))
    content[700] ^= 1
    cut_bench.write_file("/updater/candidate.img", bytes(content))
    assert cut_bench.run()[-1]["version"] == "1.0.0"
    assert cut_bench.flash_holds(OLD)


def test_without_any_image_it_says_what_it_needs_and_a_push_mends_it(cut_bench):
    cut_bench.forget(*STATES, "candidate.img", "confirmed.img")
    result = cut_bench.run()[-1]
    assert result["status"] == "waiting" and "stm32up push" in result["next_step"]
    assert cut_bench.install(image(NEW, "1.1.0"))["ok"]
    assert cut_bench.flash_holds(NEW)


def test_with_a_record_but_no_image_it_says_what_it_needs(cut_bench):
    cut_bench.forget("candidate.img", "confirmed.img")
    assert cut_bench.run()[-1]["status"] == "waiting"
    assert cut_bench.install(image(OLD, "1.0.0"))["ok"]


def test_a_newer_push_takes_the_place_of_an_interrupted_update(cut_bench):
    result = cut_bench.install(image(OLD, "1.2.0"))
    assert result["version"] == "1.2.0" or not result["ok"]
    assert cut_bench.flash_holds(OLD)


def test_a_laptop_that_connects_is_a_power_cut(bench):
    bench.push(image(NEW, "1.1.0"))
    erased = sum(bench.target.flash.erase_counts)

    def tap(what: str, point: int) -> None:
        if sum(bench.target.flash.erase_counts) > erased:
            bench.target.flash.tap = None
            raise KeyboardInterrupt

    bench.target.flash.tap = tap
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    bench.world.soft_reset()
    bench.boot()
    assert bench.run()[-1]["version"] == "1.1.0"


def test_a_half_pushed_file_is_no_image(bench):
    """A soft reset commits what had been written of a file: under the name of a part, never
    .img."""
    handle = bench.files.fs_open("/updater/inbox/new.part", "w")
    bench.files.fs_write(handle, image(NEW, "1.1.0")[:1000])
    bench.world.soft_reset()
    bench.boot()
    assert bench.run()[-1]["status"] == "idle"
    assert bench.target.running is Running.APPLICATION
