"""While a bench operation changes option bytes, the product's updater does not touch the
target."""

from __future__ import annotations

import functools

import pytest

from stm32sim.chip.application import known_images
from stm32sim.in_process import Bench
from tests.support import image, known, payload

OLD, NEW = payload(3000, 1), payload(4000, 2)
NOTE = "/updater/hands-off"


@pytest.fixture
def bench() -> Bench:
    """OLD runs, NEW was pushed, and a bench operation was interrupted."""
    bench = Bench(applications=known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0")))
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.push(image(NEW, "1.1.0"))
    bench.write_file(NOTE, b'{"what": "unprotect", "stage": "sending", "chip": "STM32G071RB"}')
    return bench


@pytest.fixture
def untouched(bench):
    """Fail if a byte was sent or a line changed."""
    sent, boots = len(bench.trace), len(bench.target.boots)
    bench.target.nrst = functools.partial(_only, True)
    bench.target.boot0 = functools.partial(_only, False)
    yield bench
    assert (len(bench.trace), len(bench.target.boots)) == (sent, boots)


def _only(idle: bool, level: bool) -> None:
    assert level == idle, "NRST or BOOT0 moved"


def test_nothing_is_done_and_the_reason_is_told(untouched):
    (result,) = untouched.run()
    assert (result["ok"], result["status"], result["error"]) == (False, "waiting", "hands-off")
    assert "unprotect" in result["message"] and "stm32up doctor" in result["next_step"]
    assert untouched.exists("/updater/inbox/app.img")


def test_force_changes_nothing(untouched):
    assert untouched.updater().run(force=True)["error"] == "hands-off"


def test_probe_refuses_as_well(untouched):
    with pytest.raises(Exception) as caught:
        untouched.updater().probe()
    assert caught.value.code == "hands-off"  # type: ignore[attr-defined]


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"stage": 1}'])
def test_a_note_that_cannot_be_read_counts(untouched, note):
    untouched.write_file(NOTE, note)
    assert untouched.run()[-1]["error"] == "hands-off"


def test_when_the_note_is_gone_the_update_goes_on(bench):
    bench.files.fs_remove(NOTE)
    assert bench.run()[-1]["status"] == "installed" and bench.flash_holds(NEW)
