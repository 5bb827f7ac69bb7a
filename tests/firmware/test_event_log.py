"""What the log of an update tells: when, from which version, how long, why the host started."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stm32sim.chip.application import known_images
from stm32sim.in_process import Bench
from stm32sim.world import PWRON_RESET, WDT_RESET
from tests.support import image, known, payload, run_until_cut

OLD, NEW, BAD = payload(9000, 1), payload(7000, 2), payload(6000, 3)
APPLICATIONS = known_images(
    known(OLD, "1.0.0"), known(NEW, "1.1.0"), known(BAD, "2.0.0", answers=False)
)


@pytest.fixture
def bench(make_bench) -> Bench:
    """A host that has installed 1.0.0."""
    made = make_bench(applications=APPLICATIONS)
    assert made.install(image(OLD, "1.0.0"))["ok"]
    return made


def log(bench: Bench) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bench.read_file("/updater/log.0").splitlines()]


def named(bench: Bench, name: str) -> list[dict[str, Any]]:
    return [line for line in log(bench) if line["event"] == name]


def test_the_first_line_of_a_run_is_about_the_run_and_is_written_once(bench):
    bench.push(image(NEW, "1.1.0"))
    told = bench.run()
    names = [line["event"] for line in log(bench)]
    second = names[names.index("result") + 1 :]
    assert names[0] == second[0] == "run" and second.count("run") == 1
    assert "run" not in [event["event"] for event in told]  # it is no event of the update
    bench.run()
    assert [line["event"] for line in log(bench)] == names  # nothing to do: no line


def test_each_run_of_one_updater_has_its_own_first_line(bench):
    updater = bench.updater()
    for version in ("1.1.0", "1.2.0"):
        bench.push(image(NEW, version))
        list(updater.events())
    assert len(named(bench, "run")) == 3


def test_a_run_says_why_the_host_had_started(bench):
    bench.push(image(NEW, "1.1.0"))
    bench.world.reset_cause = WDT_RESET
    bench.run()
    assert [line["reset"] for line in named(bench, "run")] == [PWRON_RESET, WDT_RESET]


def test_a_run_says_when_it_was_by_the_clock_of_the_host(bench):
    bench.device.imports("machine").RTC().datetime((2026, 11, 26, 3, 15, 47, 14, 0))
    bench.push(image(NEW, "1.1.0"))
    bench.run()
    never_set, was_set = [line["at"] for line in named(bench, "run")]
    assert never_set[0] < 2024 and never_set[1:3] == [1, 1]
    assert was_set[:5] == [2026, 11, 26, 15, 47]


def test_an_update_says_from_which_version_to_which(bench):
    bench.push(image(NEW, "1.1.0"))
    bench.run()
    first, second = named(bench, "installing")
    assert (first["from"], first["version"]) == (None, "1.0.0")
    assert (second["from"], second["version"]) == ("1.0.0", "1.1.0")


def test_an_update_that_goes_on_after_a_cut_says_it_too(bench):
    bench.push(image(NEW, "1.1.0"))
    run_until_cut(bench)
    bench.boot()
    bench.run()
    (resuming,) = named(bench, "resuming")
    assert (resuming["from"], resuming["version"]) == ("1.0.0", "1.1.0")
    cut = [line["event"] for line in log(bench)]
    assert cut[cut.index("resuming") - 1] == "run"


def test_a_rollback_says_from_which_version_to_which(bench):
    bench.push(image(BAD, "2.0.0"))
    assert bench.run()[-1]["status"] == "rolled-back"
    (back,) = named(bench, "rolling-back")
    assert (back["from"], back["version"]) == ("2.0.0", "1.0.0")


def test_an_image_whose_file_is_lost_is_not_called_installed(bench):
    bench.forget("confirmed.img")
    bench.push(image(NEW, "1.1.0"))
    bench.run()
    assert named(bench, "installing")[-1]["from"] is None


def test_the_phases_fill_the_time_of_the_writing(bench):
    bench.push(image(NEW, "1.1.0"))
    bench.run()
    (_, loader), (_, written) = named(bench, "loader"), named(bench, "written")
    phases = [written[f"{phase}_ms"] for phase in ("compare", "write", "verify")]
    spent = written["t"] - loader["t"]
    assert all(ms > 0 for ms in phases)
    assert 0.8 * spent < sum(phases) <= spent


def test_a_phase_that_was_not_needed_took_no_time(make_bench):
    """A first installation compares nothing."""
    bench = make_bench(applications=APPLICATIONS)
    bench.install(image(OLD, "1.0.0"))
    (written,) = named(bench, "written")
    assert written["compare_ms"] <= 2 < written["verify_ms"] < written["write_ms"]
