"""A confirmed image sets the least accepted counter; one that was only tried does not."""

from __future__ import annotations

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.stm32 import Running
from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import Bench
from tests.support import image, known, payload

OLD, NEW, DEAD = payload(3000, 1), payload(4000, 2), payload(3500, 3)
APPLICATIONS = known_images(
    known(OLD, "1.0.0"), known(NEW, "2.0.0"), known(DEAD, "3.0.0", answers=False)
)
STATES = ("state.0", "state.1")


@pytest.fixture
def bench() -> Bench:
    """NEW is installed; its counter is 7."""
    bench = Bench(applications=APPLICATIONS)
    assert bench.install(image(NEW, "2.0.0", counter=7))["ok"]
    return bench


def test_a_lower_counter_is_refused_and_the_application_goes_on(bench):
    result = bench.install(image(OLD, "1.0.0", counter=6))
    assert result["error"] == "image-older"
    assert "6" in result["message"] and "7" in result["message"]
    assert bench.flash_holds(NEW) and bench.target.running is Running.APPLICATION


def test_the_same_counter_lets_an_older_version_in(bench):
    assert bench.install(image(OLD, "1.0.0", counter=7))["ok"]


def test_a_lower_counter_is_refused_whatever_the_version(bench):
    assert bench.install(image(OLD, "9.0.0", counter=6))["error"] == "image-older"


def test_force_does_not_let_an_older_image_in(bench):
    bench.push(image(OLD, "1.0.0", counter=6))
    assert bench.updater().run(force=True)["error"] == "image-older"


def test_a_candidate_that_failed_has_not_raised_the_counter(bench):
    assert bench.install(image(DEAD, "3.0.0", counter=50))["status"] == "rolled-back"
    assert bench.flash_holds(NEW)
    assert bench.install(image(OLD, "1.0.0", counter=8))["ok"]


def test_an_update_that_was_cut_has_not_raised_the_counter(bench):
    """Its image is lost; a push with a counter between the two is accepted."""
    bench.push(image(DEAD, "3.0.0", counter=50))
    bench.target.flash.tap = cut_at_first_program
    with pytest.raises(HostPowerLost):
        bench.run()
    bench.target.flash.tap = None
    bench.boot()
    assert bench.install(image(OLD, "1.0.0", counter=8))["ok"]


def cut_at_first_program(what: str, point: int) -> None:
    if what == "program":
        raise HostPowerLost


def test_the_confirmed_image_tells_when_the_record_is_lost(bench):
    bench.forget(*STATES)
    assert bench.install(image(OLD, "1.0.0", counter=6))["error"] == "image-older"


def test_the_record_tells_when_the_confirmed_image_is_lost(bench):
    bench.forget("confirmed.img")
    assert bench.install(image(OLD, "1.0.0", counter=6))["error"] == "image-older"


@pytest.mark.parametrize(
    ("lost", "than"),
    [((), "the installed 2.0.0"), (("confirmed.img",), "what was installed")],
)
def test_a_refusal_names_versions_and_counters(bench, lost, than):
    bench.forget(*lost)
    assert bench.install(image(OLD, "1.0.0", counter=6))["message"] == (
        f"/updater/inbox/app.img: 1.0.0 counts as older than {than}: "
        "its security counter is 6, the minimum 7"
    )


def test_a_refusal_names_no_version_if_the_confirmed_image_is_damaged(bench):
    bench.write_file("/updater/confirmed.img", bytes(100))
    result = bench.install(image(OLD, "1.0.0", counter=6))
    assert result["error"] == "image-older" and "than what was installed" in result["message"]


def test_a_damaged_confirmed_image_tells_nothing(bench):
    """Especially not a counter that would prevent every update."""
    content = bytearray(image(NEW, "2.0.0", counter=7))
    at = content.index(b"\x50\0\4\0\7\0\0\0")
    content[at + 7] = 0xFF
    bench.write_file("/updater/confirmed.img", bytes(content))
    assert bench.install(image(OLD, "1.0.0", counter=8))["ok"]


def test_a_host_that_forgot_everything_takes_any_image(bench):
    bench.forget(*STATES, "confirmed.img")
    assert bench.install(image(OLD, "1.0.0", counter=1))["ok"]


def test_the_candidate_of_a_host_that_forgot_must_not_be_older_than_the_confirmed_image(bench):
    bench.write_file("/updater/candidate.img", image(OLD, "1.0.0", counter=6))
    bench.forget(*STATES)
    assert bench.run()[0]["error"] == "image-older"
    assert bench.flash_holds(NEW)


# --- force ---


def test_force_writes_every_page_of_an_installed_image_again(bench):
    before = list(bench.target.flash.erase_counts)
    bench.push(image(NEW, "2.0.0", counter=7))
    result = bench.updater().run(force=True)
    assert result["status"] == "installed" and result["verified"] == len(NEW)
    erased = [a - b for a, b in zip(bench.target.flash.erase_counts, before, strict=True)]
    assert erased[:2] == [1, 1] and not any(erased[2:])
    assert bench.flash_holds(NEW) and bench.run()[-1]["status"] == "idle"


def test_force_tries_a_failed_image_again(bench):
    failing = image(DEAD, "3.0.0", counter=50)
    assert bench.install(failing)["status"] == "rolled-back"
    assert bench.install(failing)["status"] == "rolled-back"  # it was silent: one more try
    assert bench.install(failing)["error"] == "image-failed-before"
    bench.push(failing)
    assert bench.updater().run(force=True)["status"] == "rolled-back"
    assert bench.flash_holds(NEW)
