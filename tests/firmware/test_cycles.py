"""stm32_cycles: what the bench does to an update, and what it believes afterwards."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.flash import Flash
from stm32sim.chip.stm32 import Running
from stm32sim.host.seam import HostReset
from stm32sim.world import WDT_RESET, Wiring
from tests.support import FLASH, image, known, payload

OLD, NEW = payload(seed=1), payload(seed=2)
SHORT, SUPPLY = 6, 7


@pytest.fixture
def bench(make_bench):
    """A host whose target runs OLD, with NEW in its inbox. Its pins can short the bus and switch
    the target's supply."""
    made = make_bench(
        applications=known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0")),
        wiring=Wiring(short=SHORT, supply=SUPPLY),
        settings={"pins": {"short": SHORT, "supply": SUPPLY}},
    )
    assert made.install(image(OLD, "1.0.0", counter=1))["status"] == "installed"
    made.boot()
    made.push(image(NEW, "1.1.0", counter=1))
    return made


def run(bench, *strikes: tuple[str, int, int]) -> list[dict[str, Any]]:
    """The events of a run of the updater with these strikes."""
    heard: list[dict[str, Any]] = []
    bench.device.imports("stm32_cycles").run(list(strikes), lambda: None, heard.append)
    return heard


def check(bench) -> dict[str, Any]:
    cycles = bench.device.imports("stm32_cycles")
    found: dict[str, Any] = cycles.check([[FLASH, len(NEW)]], lambda: None)
    return found


def test_without_strikes_it_is_a_run_with_times(bench):
    events = run(bench)
    assert events[-1]["status"] == "installed" and bench.flash_holds(NEW)
    times = [event["t"] for event in events]
    assert times == sorted(times) and times[-1] > 100


def test_pulses_hit_flash_operations_at_any_point(bench, monkeypatch):
    done: list[float] = []
    interrupt = Flash.interrupt

    def noted(flash: Flash) -> None:
        if flash._operation is not None:
            whole = flash._operation.ends - flash._operation.started
            done.append((flash.clock.now - flash._operation.started) / whole)
        interrupt(flash)

    duration = run(bench)[-1]["t"] * 800
    monkeypatch.setattr(Flash, "interrupt", noted)
    for turn, at in enumerate(range(0, duration, duration // 60)):
        bench.boot()
        to_old = turn % 2 == 0
        bench.push(image(*((OLD, "1.0.0") if to_old else (NEW, "1.1.0")), counter=1))
        (cut,) = [event for event in run(bench, ("nrst", at, 10)) if event["event"] == "cut"]
        assert cut["kind"] == "nrst" and -1 <= cut["t"] - at // 1000 < 120
        assert bench.run()[-1]["ok"] and bench.flash_holds(OLD if to_old else NEW)
    assert len(done) > 8 and min(done) < 0.3 and max(done) > 0.7
    assert any(0.3 < part < 0.7 for part in done)


@pytest.mark.parametrize("kind", ["nrst", "supply", "short"])
def test_a_line_is_let_go_whatever_ends_the_run(bench, kind):
    """The line is held for longer than the run takes."""
    run(bench, (kind, 150_000, 60_000_000))
    assert bench.target.nrst_high and bench.target.running is not Running.OFF
    assert not bench.world.bus.sda_stuck
    bench.boot()
    assert bench.run()[-1]["ok"] and bench.flash_holds(NEW)


def test_a_short_spoils_frames(bench):
    """It is held while the updater goes on, so that frames fall into it."""
    events = run(bench, ("short", 250_000, 1_200_000))
    assert "retry" in [event["event"] for event in events]
    assert bench.run()[-1]["ok"] and bench.flash_holds(NEW)


def test_a_watchdog_is_told_before_it_bites(bench):
    heard: list[dict[str, Any]] = []
    with pytest.raises(HostReset):
        bench.device.imports("stm32_cycles").run(
            [("watchdog", 250_000, 0)], lambda: None, heard.append
        )
    assert {"event": "cut", "kind": "watchdog", "t": 250} in heard


@pytest.mark.parametrize("kind", ["reset", "watchdog"])
def test_the_host_is_reset_in_the_middle(bench, kind):
    with pytest.raises(HostReset):
        run(bench, (kind, 250_000, 0))
    assert bench.world.reset_cause == WDT_RESET or bench.world.port != "rp2"
    bench.boot()
    assert bench.record() is not None and not bench.record().is_idle
    assert bench.run()[-1]["status"] == "installed" and bench.flash_holds(NEW)


def test_a_soft_reset_ends_the_run_and_frees_the_lines(bench):
    with pytest.raises(SystemExit):
        run(bench, ("short", 240_000, 5_000_000), ("soft-reset", 250_000, 0))
    assert not bench.world.bus.sda_stuck
    bench.boot()
    assert bench.run()[-1]["status"] == "installed"


def test_the_watchdog_bites_although_the_updater_feeds_one(bench):
    """The host's own watchdog is the same piece of hardware, and the updater feeds it."""
    machine = bench.device.imports("machine")
    dog = machine.WDT(timeout=8000)
    with pytest.raises(HostReset):
        bench.device.imports("stm32_cycles").run(
            [("watchdog", 100_000, 0)], dog.feed, lambda event: None
        )


def test_the_check_reads_flash_and_asks_the_application(bench):
    run(bench)
    found = check(bench)
    assert found["sha256"] == hashlib.sha256(NEW).hexdigest()
    assert bytes.fromhex(found["answers"])[:2] == b"\x01\x01"
    assert found["answers_again"] == found["answers"]
    assert found["status"]["confirmed"] == "1.1.0" and found["status"]["inbox"] == []
    assert bench.target.running is Running.APPLICATION


def test_the_check_does_not_believe_the_updater(bench):
    """Flash that changed after the update is seen."""
    run(bench)
    bench.target.flash.data[4096] ^= 1
    assert check(bench)["sha256"] != hashlib.sha256(NEW).hexdigest()


def test_nothing_of_it_is_part_of_a_product():
    from stm32up import device
    from stm32up.host import deploy

    assert device.CYCLES not in device.product()
    assert not any("stm32_cycles" in path for path in deploy.product_modules())
    for name in ("package.json", "manifest.py"):
        assert "stm32_cycles" not in (device.FIRMWARE / name).read_text()
