"""A host with a full filesystem, or with unexpected files: the target still keeps an
application."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.stm32 import Running
from stm32sim.in_process import Bench
from tests.cases.device_worlds import calls
from tests.support import image, known, payload

OLD, NEW = payload(9 * 2048, 1), payload(9 * 2048, 2)
BOTH = known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0"))
HOSTS = pytest.mark.parametrize("host", [{}, {"host": "esp32"}, {"fat": True}], ids=str)


def fill(bench: Bench) -> None:
    """Fill the filesystem with other data."""
    for number in range(1000):
        handle = bench.files.fs_open(f"/data.{number}", "w")
        try:
            bench.files.fs_write(handle, bytes(4000 if number > 10 else 100_000))
            bench.files.fs_close(handle)
        except OSError:
            with contextlib.suppress(OSError):
                bench.files.fs_close(handle)
            with contextlib.suppress(OSError):
                bench.files.fs_remove(f"/data.{number}")
            if number > 10:
                break


def about_to_update(bench: Bench) -> None:
    """OLD is installed, NEW is pushed."""
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.push(image(NEW, "1.1.0"))


def interrupted(bench: Bench) -> None:
    """An update to NEW, interrupted by a power cut of the host."""
    about_to_update(bench)
    for event in bench.updater().events():
        if event["event"] == "progress" and event["phase"] == "write":
            break
    bench.boot()
    assert bench.target.running is not Running.APPLICATION


@HOSTS
def test_an_update_goes_on_although_the_filesystem_is_full_meanwhile(host):
    bench = Bench(applications=BOTH, **host)
    interrupted(bench)
    fill(bench)
    assert bench.run()[-1]["ok"]
    assert bench.flash_holds(NEW) and bench.target.running is Running.APPLICATION


@HOSTS
def test_the_room_kept_for_the_record_comes_back(host):
    bench = Bench(applications=BOTH, **host)
    bench.install(image(OLD, "1.0.0"))
    bench.files.fs_remove("/updater/spare")
    bench.write_file("/updater/spare", bytes(100))  # cut short
    bench.boot()
    bench.run()
    assert bench.read_file("/updater/spare") == bytes(8192)


@pytest.mark.parametrize("number", [28, 13], ids=["ENOSPC", "EACCES"])
def test_a_record_that_has_no_room_gets_that_of_the_spare_file(make_bench, number):
    bench = make_bench(applications=BOTH)
    about_to_update(bench)
    real = bench.world.file_calls["fs_open"]

    def full(path, mode):
        if "/state." in path and "w" in mode and bench.exists("/updater/spare"):
            raise OSError(number)
        return real(path, mode)

    bench.world.file_calls["fs_open"] = full
    assert bench.run()[-1]["ok"] and bench.flash_holds(NEW)


def test_what_is_written_is_started_although_no_record_can_be(make_bench):
    bench = make_bench(applications=BOTH)
    about_to_update(bench)
    real = bench.world.file_calls["fs_open"]

    def worn_out(path, mode):
        if "/state." in path and "w" in mode:
            raise OSError(5)
        return real(path, mode)

    for event in bench.updater().events():
        if event["event"] == "written":
            bench.world.file_calls["fs_open"] = worn_out
    assert event["error"] == "store", event
    assert bench.target.running is Running.APPLICATION and bench.flash_holds(NEW)


def test_an_inbox_full_of_images_does_not_keep_an_update_from_going_on(make_bench):
    """Hundreds of names would need too much RAM, and their refusals too much time for the
    watchdog."""
    bench = make_bench(applications=BOTH)
    interrupted(bench)
    for number in range(100):
        bench.push(b"no image", f"bad{number}")
    fed: list[int] = []
    refused = []  # how often the watchdog had been fed by then
    for event in bench.updater(feed=lambda: fed.append(bench.clock.now)).events():
        if event["event"] == "refused":
            refused.append(len(fed))
    assert len(refused) == 16 and event["ok"] and bench.flash_holds(NEW)
    assert sorted(set(refused)) == refused
    for _ in range(6):
        bench.run()
    assert not any(bench.exists(f"/updater/inbox/bad{number}.img") for number in range(100))


def test_a_file_in_the_inbox_that_cannot_be_removed_does_neither(make_bench):
    bench = make_bench(applications=BOTH)
    interrupted(bench)
    bench.push(b"no image", "bad")
    real = bench.world.file_calls["fs_remove"]

    def cannot(path):
        if "/inbox/" in path:
            raise OSError(5)
        return real(path)

    bench.world.file_calls["fs_remove"] = cannot
    assert bench.run()[-1]["ok"] and bench.flash_holds(NEW)


def test_a_file_that_cannot_be_removed_is_an_error_that_names_it(make_bench):
    """Otherwise it would be checked again at every start, without a message."""
    bench = make_bench(applications=BOTH)
    about_to_update(bench)
    assert bench.run()[-1]["ok"]
    bench.push(image(NEW, "1.1.0"))

    def cannot(path):
        raise OSError(5)

    bench.world.file_calls["fs_remove"] = cannot
    result = bench.run()[-1]
    assert (result["ok"], result["error"]) == (False, "store")
    assert "/updater/candidate.img" in result["message"]
    assert bench.flash_holds(NEW) and bench.target.running is Running.APPLICATION


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError("memory allocation failed, allocating 2048 bytes"), "memory"),
        (ValueError("a mistake"), "error"),
    ],
)
def test_an_error_that_nobody_foresaw_leaves_the_old_application_running(make_bench, error, code):
    """Only if nothing was erased. The error is reported, not hidden."""
    bench = make_bench(applications=BOTH)
    about_to_update(bench)
    events: list[dict[str, Any]] = []
    raised = False

    def fails_once(real, name, *arguments):
        nonlocal raised
        if name == "i2c_read" and not raised and events and events[-1]["event"] == "progress":
            raised = True
            raise error
        return real(name, *arguments)

    calls(bench, fails_once)
    bench.boot()
    with pytest.raises(type(error)):
        for event in bench.updater().events():
            events.append(event)
    assert events[-1]["error"] == code and events[-1]["next_step"]
    assert bench.target.running is Running.APPLICATION and bench.flash_holds(OLD)
    assert str(error).encode() in bench.read_file("/updater/log.0").splitlines()[-1]
    bench.boot()
    assert bench.run()[-1]["ok"] and bench.flash_holds(NEW)


def test_a_controller_that_cannot_be_restarted_is_a_failed_update_and_no_crash(make_bench):
    bench = make_bench(applications=BOTH)
    about_to_update(bench)
    broken = False

    def fails(real, name, *arguments):
        if broken and name.startswith("i2c_"):
            raise OSError(0x103)
        return real(name, *arguments)

    calls(bench, fails)
    bench.boot()
    updater = bench.updater()
    broken = True
    result = list(updater.events())[-1]
    assert result["error"] == "bus-stuck" and "cannot be restarted" in result["message"]


def test_looking_at_a_host_writes_nothing_to_it(make_bench):
    """The space of the record does not change either: the first run reserves it."""
    bench = make_bench(applications=BOTH)
    bench.push(image(OLD, "1.0.0"))
    bench.updater()  # makes its folders
    progs = bench.host_flash.progs
    bench.updater().status()
    assert bench.host_flash.progs == progs and not bench.exists("/updater/spare")
