"""Whatever happens to the host's files and however an application fails: only admitted images are
installed, and the last good image can be restored."""

from __future__ import annotations

import json

import pytest
from imgtool.keys import RSA

from stm32sim.chip.application import known_images
from stm32sim.chip.flash import PAGE
from stm32sim.chip.stm32 import Running
from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_S
from stm32sim.world import Wiring
from stm32up.image import keys
from tests.support import image, known, payload, run_until_cut, signing_key, trust

OLD, NEW, DEAD = payload(3000, 1), payload(4000, 2), payload(4000, 3)
APPLICATIONS = known_images(
    known(OLD, "1.0.0"), known(NEW, "2.0.0"), known(DEAD, "3.0.0", answers=False)
)
STATES = ("state.0", "state.1")
CONFIRMED, CANDIDATE = "/updater/confirmed.img", "/updater/candidate.img"


@pytest.fixture
def bench(make_bench) -> Bench:
    """OLD is installed."""
    bench = make_bench(applications=APPLICATIONS)
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.boot()
    return bench


@pytest.fixture
def product(make_bench) -> Bench:
    """OLD is installed on a board that accepts signed images only."""
    bench = make_bench(applications=APPLICATIONS, settings={"unsigned": False})
    trust(bench, signing_key())
    assert bench.install(image(OLD, "1.0.0", key=signing_key()))["ok"]
    bench.boot()
    return bench


def revoke(bench: Bench, key: RSA) -> None:
    bench.forget(f"keys/{keys.device_key(key).name}")


def change_board(bench: Bench, **settings) -> None:
    bench.write_file("/board.json", json.dumps({**bench.settings, **settings}).encode())


# --- whether the application is to blame ---


def test_an_image_whose_application_could_not_be_asked_may_be_tried_once_more(bench):
    """The application cannot be reached for a while, without being to blame."""
    applications, bench.target.applications = bench.target.applications, known_images()
    bench.push(image(NEW, "2.0.0"))
    for event in bench.updater().events():
        if event["event"] == "rolling-back":
            bench.target.applications = applications
    assert event["status"] == "rolled-back" and "once more" in event["next_step"]
    bench.boot()
    assert bench.install(image(NEW, "2.0.0"))["status"] == "installed"
    assert bench.flash_holds(NEW)


def test_an_application_that_answers_another_version_is_not_tried_again(make_bench):
    wrong = known_images(known(OLD, "1.0.0"), known(NEW, "2.0.1"))
    bench = make_bench(applications=wrong)
    bench.install(image(OLD, "1.0.0"))
    bench.boot()
    result = bench.install(image(NEW, "2.0.0"))
    assert result["status"] == "rolled-back" and "not tried again" in result["next_step"]
    assert bench.install(image(NEW, "2.0.0"))["error"] == "image-failed-before"


def test_an_image_is_not_blamed_for_the_answer_of_a_chip_in_the_place_of_the_first(bench):
    bench.push(image(NEW, "2.0.0"))
    told = []
    for event in bench.updater().events():
        told.append(event)
        if event["event"] == "written":  # another board, with the old application, is plugged in
            bench.target.flash.load(OLD, 0)
    (back,) = [event for event in told if event["event"] == "rolling-back"]
    assert "does not hold what was written" in back["reason"]
    bench.boot()
    assert bench.install(image(NEW, "2.0.0"))["status"] == "installed"


def test_an_image_that_cannot_be_kept_is_not_blamed_for_that(bench):
    bench.push(image(NEW, "2.0.0"))
    rename = bench.world.file_calls["fs_rename"]

    def fails(path, destination):
        if destination == CONFIRMED:
            raise OSError(5)
        return rename(path, destination)

    bench.world.file_calls["fs_rename"] = fails
    for _ in range(2 * (bench.settings["confirm"]["tries"] + 5)):
        assert bench.run()[-1]["error"] == "store"
        bench.boot()
    bench.world.file_calls["fs_rename"] = rename
    assert bench.run()[-1]["status"] == "installed" and bench.flash_holds(NEW)


def test_a_good_image_that_failed_twice_in_silence_is_not_tried_a_third_time(bench):
    assert bench.install(image(DEAD, "3.0.0"))["status"] == "rolled-back"
    assert bench.install(image(DEAD, "3.0.0"))["status"] == "rolled-back"
    assert bench.install(image(DEAD, "3.0.0"))["error"] == "image-failed-before"


def test_an_application_that_cannot_be_asked_because_of_the_bus_is_left_running(bench):
    bench.push(image(NEW, "2.0.0"))
    for event in bench.updater().events():
        if event["event"] == "starting":
            bench.world.bus.sda_stuck = True
    assert event["error"] == "bus-stuck"
    assert bench.target.running is Running.APPLICATION and bench.flash_holds(NEW)
    bench.world.bus.sda_stuck = False
    bench.boot()
    assert bench.run()[-1]["status"] == "installed"


@pytest.mark.parametrize("confirmed", [True, False])
def test_an_application_that_did_not_prove_itself_is_left_running_if_no_record_can_be_written(
    bench, confirmed
):
    bench.target.applications = known_images(known(OLD, "1.0.0"), known(NEW, "2.0.1"))
    if not confirmed:
        bench.forget("confirmed.img")
    bench.push(image(NEW, "2.0.0"))
    for event in bench.updater().events():
        if event.get("phase") == "compare" and bench.target.flash.data[:3000] != OLD:
            for name in STATES:
                fs_error(bench, "fs_open", 5, name)
    assert event["error"] == "store"
    assert bench.target.running is Running.APPLICATION and bench.flash_holds(NEW)


def test_an_application_left_in_the_loader_by_a_host_that_forgot_is_started(bench):
    bench.push(image(NEW, "2.0.0"))
    suspended = bench.updater().events()
    for event in suspended:  # the power fails between two commands: the loader waits for the next
        if event["event"] == "progress":
            break
    bench.forget("candidate.img", "confirmed.img", *STATES)
    bench.boot()
    assert bench.target.boots[-1].running is Running.LOADER
    assert bench.run()[-1]["status"] == "idle"
    assert bench.target.running is Running.APPLICATION and bench.flash_holds(OLD)


def test_an_image_that_cannot_be_removed_does_not_keep_a_good_one_out(bench):
    bench.push(image(NEW, "1.5.0"), "older")
    bench.push(b"no image", "broken")
    bench.push(image(NEW, "2.0.0"))
    for name in ("older.img", "broken.img"):
        fs_error(bench, "fs_remove", 13, name)
    events = bench.run()
    assert events[-1]["status"] == "installed" and bench.flash_holds(NEW)
    told = [event["next_step"] for event in events if event["event"] == "refused"]
    assert any("fs rm :/updater/inbox/older.img" in text for text in told)


# --- messages ---


@pytest.mark.parametrize(
    "text", ["x" * 6000, "\n" * 3000, "\u20ac" * 4000], ids=["x", "n", "euro"]
)
def test_an_error_of_any_length_leaves_the_log_in_order(bench, text):
    def confirm(image):
        raise ValueError(text)

    bench.push(image(NEW, "2.0.0"))
    bench.updater(confirm=confirm).run()
    for _ in range(2):
        bench.boot()
        bench.run()
    lines = bench.read_file("/updater/log.0").splitlines()
    assert max(map(len, lines)) <= 1500
    numbers = [json.loads(line)["n"] for line in lines]
    assert numbers == sorted(set(numbers))


def test_a_roll_back_counts_what_it_has_done_itself(bench):
    bench.push(image(DEAD, "3.0.0"))
    updater = bench.updater()
    written = [event for event in updater.events() if event["event"] == "written"]
    assert [event["erased_pages"] for event in written] == [2, 2]
    bench.push(image(NEW, "2.0.0"))
    (last,) = [event for event in updater.events() if event["event"] == "written"]
    assert last["erased_pages"] == 2


def test_verified_is_what_this_run_has_verified(bench):
    bench.push(image(NEW, "2.0.0"))
    for event in bench.updater().events():
        if event["event"] == "starting":
            break
    bench.boot()
    result = bench.run()[-1]
    assert result["status"] == "installed" and "verified" not in result


def test_pages_outside_of_the_image_are_no_news_after_an_installation(bench):
    assert "pages_in_doubt" not in bench.updater().status()
    bench.push(image(NEW, "2.0.0"))
    run_until_cut(bench)
    assert bench.updater().status()["pages_in_doubt"] >= 2


# --- exactly the checked bytes are written ---


def fs_error(bench: Bench, call: str, number: int, name: str) -> None:
    """From now on the filesystem raises this error for paths that end with `name`."""
    real = bench.world.file_calls[call]

    def fails(path, *arguments):
        if str(path).endswith(name):
            raise OSError(number)
        return real(path, *arguments)

    bench.world.file_calls[call] = fails


EVENTS = ("checked", "installing", "loader", "compare", "write", "verify", "written", "starting")


@pytest.mark.parametrize("at", EVENTS)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_bytes_that_were_not_checked_are_never_installed_or_kept(product, at, first):
    """The candidate is overwritten at the first or at the last event of a kind."""
    evil = NEW[:2500] + bytes([NEW[2500] ^ 4]) + NEW[2501:]
    product.push(image(NEW, "2.0.0", key=signing_key()))
    others = known_images(known(OLD, "1.0.0"), known(NEW, "2.0.0"), known(evil, "2.0.0"))
    product.target.applications = others
    events, last = product.updater().events(), {}
    for event in events:
        kind = event.get("phase", event["event"])
        last_one = event["event"] != "progress" or event["done"] == event["total"]
        if kind == at and (first or last_one) and product.exists(CANDIDATE):
            product.write_file(CANDIDATE, image(evil, "2.0.0"))
        last = event
    held = bytes(product.target.flash.data[: len(NEW)])
    if product.target.running is Running.APPLICATION:
        assert held != evil
    assert held == NEW if last["ok"] else last["error"] == "image-damaged"
    assert product.read_file(CONFIRMED) in (
        image(OLD, "1.0.0", key=signing_key()),
        image(NEW, "2.0.0", key=signing_key()),
    )
    product.boot()
    assert product.run()[-1]["ok"] and product.target.running is Running.APPLICATION
    assert product.flash_holds(NEW) or product.flash_holds(OLD)


def test_a_bit_that_rots_in_the_file_after_the_check_leads_back_to_the_last_good_image(product):
    product.push(image(NEW, "2.0.0", key=signing_key()))
    for event in product.updater().events():
        if event["event"] == "loader":
            content = bytearray(product.read_file(CANDIDATE))
            content[512 + 3333] ^= 1
            product.write_file(CANDIDATE, bytes(content))
    assert event["error"] == "image-damaged"
    assert product.target.running is not Running.APPLICATION or product.flash_holds(OLD)
    product.boot()
    assert product.run()[-1]["ok"] and product.flash_holds(OLD)


def test_a_candidate_that_changes_while_the_application_proves_itself_is_not_kept(bench):
    bench.push(image(NEW, "2.0.0"))
    told = []
    for event in bench.updater().events():
        told.append(event)
        if event["event"] == "starting":
            bench.write_file(CANDIDATE, image(DEAD, "2.0.0"))
    assert [event["event"] for event in told[-2:]] == ["not-kept", "result"]
    assert told[-1]["status"] == "installed" and told[-2]["error"] == "image-damaged"
    assert bench.read_file(CONFIRMED) == image(OLD, "1.0.0") and not bench.exists(CANDIDATE)
    assert bench.run()[-1]["status"] == "idle" and bench.flash_holds(NEW)


def test_the_last_good_image_stays_if_its_successor_is_gone(bench):
    bench.push(image(NEW, "2.0.0"))
    for event in bench.updater().events():
        if event["event"] == "starting":
            bench.files.fs_remove(CANDIDATE)
    assert event["status"] == "installed" and bench.flash_holds(NEW)
    assert bench.read_file(CONFIRMED) == image(OLD, "1.0.0")
    bench.boot()
    assert bench.run()[-1]["ok"] and bench.read_file(CONFIRMED) == image(OLD, "1.0.0")


@pytest.mark.parametrize("number", [2, 5, 13, 17, 28, 30, 84])
def test_the_last_good_image_stays_whatever_a_rename_fails_with(bench, number):
    bench.push(image(NEW, "2.0.0"))
    for event in bench.updater().events():
        if event["event"] == "starting":
            fs_error(bench, "fs_rename", number, "/candidate.img")
    assert event["error"] == "store" and bench.flash_holds(NEW)
    assert bench.read_file(CONFIRMED) == image(OLD, "1.0.0")
    bench.world.file_calls["fs_rename"] = bench.files.fs_rename
    bench.boot()
    assert bench.run()[-1]["status"] == "installed"
    assert bench.read_file(CONFIRMED) == image(NEW, "2.0.0")


def test_an_image_stays_in_the_inbox_if_its_key_cannot_be_read_just_now(product):
    product.push(image(NEW, "2.0.0", key=signing_key()))
    fs_error(product, "fs_open", 5, ".pub")
    assert product.run()[-1]["error"] == "store" and product.exists("/updater/inbox/app.img")
    product.world.file_calls["fs_open"] = product.files.fs_open
    product.boot()
    assert product.run()[-1]["status"] == "installed" and product.flash_holds(NEW)


def test_a_record_that_cannot_be_read_counts_as_forgotten_and_no_page_is_believed(bench):
    """The readable one may be older: it must not end the current update."""
    bench.push(image(NEW, "2.0.0"))
    run_until_cut(bench)
    from_bytes = bench.device.imports("stm32_updater.record").from_bytes
    newest = max(STATES, key=lambda name: from_bytes(bench.read_file(f"/updater/{name}"))[0])
    erased = list(bench.target.flash.erase_counts)
    fs_error(bench, "fs_open", 5, newest)
    result = bench.run()[-1]
    assert result["error"] == "store" or result["ok"]
    bench.world.file_calls["fs_open"] = bench.files.fs_open
    bench.boot()
    bench.run()
    again = [a - b for a, b in zip(bench.target.flash.erase_counts, erased, strict=True)]
    assert all(again[:2]) and not any(again[2:])
    assert bench.target.running is Running.APPLICATION
    assert bench.flash_holds(NEW) or bench.flash_holds(OLD)


def test_want_of_memory_for_a_pushed_image_does_not_stop_an_update_under_way(bench):
    bench.push(image(NEW, "2.0.0"))
    run_until_cut(bench)
    bench.push(image(DEAD, "3.0.0"), "big")
    real = bench.world.file_calls["fs_open"]

    def no_memory(path, mode):
        if path.endswith("big.img"):
            raise MemoryError("memory allocation failed, allocating 4096 bytes")
        return real(path, mode)

    bench.world.file_calls["fs_open"] = no_memory
    assert bench.run()[-1]["status"] == "installed" and bench.flash_holds(NEW)
    last = bench.run()[-1]
    assert last["error"] == "memory" and bench.target.running is Running.APPLICATION


@pytest.mark.parametrize("at", ["checked", "superseded", "installing"])
def test_a_file_put_in_place_of_a_checked_one_is_not_installed(product, at):
    """At each event of the updater other tasks may run, and write to the inbox."""
    product.push(image(NEW, "2.0.0", key=signing_key()))
    product.push(image(NEW, "1.5.0", key=signing_key()), "older")
    told = []
    for event in product.updater().events():
        told.append(event["event"])
        if event["event"] == at:
            product.push(image(DEAD, "2.0.0"))
    assert at in told and told[-1] == "result"
    assert product.flash_holds(NEW)


def test_an_interrupted_update_is_not_resumed_when_its_key_was_revoked(product):
    product.push(image(NEW, "2.0.0", key=signing_key()))
    run_until_cut(product)
    revoke(product, signing_key())
    events = product.run()
    assert [event["error"] for event in events if event["event"] == "refused"] == ["image-key"]
    assert events[-1]["version"] == "1.0.0" and product.flash_holds(OLD)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"preserve": [[0x0800_0800, PAGE]]}, "image-fit"),
        ({"class_id": "ab" * 16}, "image-product"),
    ],
    ids=["preserved", "product"],
)
def test_an_interrupted_update_is_not_resumed_on_a_board_it_does_not_suit(bench, settings, error):
    bench.push(image(NEW, "2.0.0"))
    run_until_cut(bench)
    change_board(bench, **settings)
    erased = list(bench.target.flash.erase_counts)
    assert bench.run()[-1]["error"] == error
    assert bench.target.flash.erase_counts == erased
    assert bench.exists(CONFIRMED)


def test_a_roll_back_does_not_cover_a_region_preserved_since(bench):
    dead = image(payload(1000, 9), "3.0.0")
    change_board(bench, preserve=[[0x0800_0800, PAGE]])
    calibration = b"\x5a" * 64
    bench.target.flash.load(calibration, PAGE)
    result = bench.install(dead)
    assert "the earlier one cannot be installed" in result["message"]
    assert "preserved" in result["message"]
    assert bytes(bench.target.flash.data[PAGE : PAGE + 64]) == calibration


# --- the last good image ---


def test_a_host_without_a_record_rolls_back_to_the_confirmed_image(bench):
    bench.forget(*STATES)
    assert bench.install(image(DEAD, "3.0.0"))["status"] == "rolled-back"
    assert bench.flash_holds(OLD) and bench.target.running is Running.APPLICATION


def test_a_dead_application_is_never_reported_as_fine(bench):
    """There is no image for a rollback, and each start reports that until an image is pushed."""
    bench.forget(*STATES, "confirmed.img")
    assert "no earlier one" in bench.install(image(DEAD, "3.0.0"))["message"]
    for _ in range(2):
        bench.boot()
        result = bench.run()[-1]
        assert result["status"] == "waiting" and not result["ok"]
    bench.boot()
    assert bench.install(image(NEW, "3.1.0"))["error"] == "application-silent"  # answers 2.0.0
    assert bench.install(image(NEW, "2.0.0"))["ok"]


def test_the_confirmed_image_stays_when_another_takes_the_place_of_an_update(bench):
    """A push arrived during an update, and power failed when it had become the candidate."""
    bench.push(image(NEW, "2.0.0"))
    run_until_cut(bench)
    bench.write_file(CANDIDATE, image(DEAD, "3.0.0"))
    assert bench.run()[-1]["status"] == "rolled-back"
    assert bench.flash_holds(OLD)


def test_of_an_image_that_was_rolled_back_nothing_is_left_to_be_refused(bench):
    bench.push(image(DEAD, "3.0.0"))
    assert bench.run()[-1]["status"] == "rolled-back"
    assert not bench.exists(CANDIDATE)
    bench.boot()
    assert [event["event"] for event in bench.run()] == ["result"]


def test_status_names_the_image_that_was_rolled_back(bench):
    assert bench.updater().status()["failed"] is None
    bench.push(image(DEAD, "3.0.0"))
    bench.run()
    failed = bench.updater().status()["failed"]
    assert bytes.fromhex(failed) in image(DEAD, "3.0.0"), "its digest"


def test_a_folder_in_place_of_the_candidate_is_refused_as_a_folder(bench):
    bench.files.fs_mkdir(CANDIDATE)
    refused = bench.run()[0]
    assert refused["event"] == "refused" and "is a folder" in refused["message"]
    assert "Remove it" in refused["next_step"]


def test_the_confirmed_image_comes_back_although_its_key_was_revoked(product):
    new = signing_key(2048, 1)
    trust(product, new)
    revoke(product, signing_key())
    assert product.install(image(DEAD, "3.0.0", key=new))["status"] == "rolled-back"
    assert product.flash_holds(OLD)


def test_an_image_that_failed_once_and_was_confirmed_later_is_as_good_as_any(make_bench):
    """The application needs something that is missing at first."""
    moody = payload(3000, 5)
    bench = make_bench(applications=known_images(known(OLD, "1.0.0"), known(moody, "2.0.0")))
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.push(image(moody, "2.0.0"))
    assert bench.run(confirm=lambda image: image.version == "1.0.0")[-1]["status"] == "rolled-back"
    bench.push(image(moody, "2.0.0"))
    assert bench.updater().run(force=True)["ok"]
    assert bench.install(image(moody, "2.0.0"))["status"] == "up-to-date"
    bench.forget(*STATES)
    bench.target.flash.load(b"\0" * 16, 0)
    bench.target.power(False)
    bench.clock.advance(300_000_000)
    bench.target.power(True)
    bench.boot()
    assert bench.run()[-1]["version"] == "2.0.0"


def test_what_was_confirmed_is_written_again_where_another_may_run_by_now(make_bench):
    """Both answer the same version, and the image of the running one is lost."""
    full = payload(128 * 1024, 9)
    bench = make_bench(
        applications=known_images(known(full, "0.9.0"), known(OLD, "1.0.0"), known(NEW, "1.0.0"))
    )
    bench.install(image(full, "0.9.0"))  # no page is in doubt after that
    bench.boot()
    bench.install(image(OLD, "1.0.0"))
    bench.boot()
    bench.push(image(NEW, "1.0.0"))
    with bench.updater().events() as events:
        for event in events:
            if event["event"] == "starting":
                break
    bench.boot()
    bench.forget("candidate.img")
    assert bench.run()[-1]["status"] == "idle" and bench.flash_holds(NEW)
    bench.boot()
    assert bench.install(image(OLD, "1.0.0"))["status"] == "installed" and bench.flash_holds(OLD)


def test_a_push_of_what_was_confirmed_is_written_while_something_else_is_half_written(bench):
    bench.push(image(NEW, "2.0.0"))
    run_until_cut(bench)
    bench.push(image(OLD, "1.0.0"))
    result = bench.run(confirm=lambda image: True)[-1]
    assert result["status"] == "installed" and bench.flash_holds(OLD)


# --- the proof ---


def test_a_proof_that_ends_in_an_error_of_its_own_is_none(bench):
    def asks_a_dead_application(image):
        if image.version == "3.0.0":
            raise OSError(19)
        return True

    bench.push(image(DEAD, "3.0.0"))
    events = bench.run(confirm=asks_a_dead_application)
    (event,) = [event for event in events if event["event"] == "rolling-back"]
    assert "OSError" in event["reason"] and "19" in event["reason"]
    assert bench.flash_holds(OLD)


def cut_at_starts_of(bench: Bench, version: str, most: int) -> tuple[int, dict]:
    """Boots whose host loses power each time the application of `version` is started, at most
    `most` times; return how often that was, and the final result."""
    installing, cut = "", 0
    while True:
        for event in bench.updater().events():
            if event["event"] in ("installing", "resuming", "rolling-back"):
                installing = event["version"]
            if event["event"] == "starting" and installing == version and cut < most:
                cut += 1
                bench.device.end()
                break
        else:
            return cut, event
        bench.boot()


def test_an_application_that_takes_the_host_down_at_each_start_is_rolled_back(bench):
    bench.push(image(DEAD, "3.0.0"))
    cut, result = cut_at_starts_of(bench, "3.0.0", 100)
    assert cut == bench.settings["confirm"]["tries"] + 5
    assert result["status"] == "rolled-back" and bench.flash_holds(OLD)
    assert bench.install(image(DEAD, "3.0.0"))["error"] == "image-failed-before"


def test_a_few_cuts_at_its_start_are_not_held_against_an_application(bench):
    bench.push(image(NEW, "2.0.0"))
    cut, result = cut_at_starts_of(bench, "2.0.0", 5)
    assert cut == 5 and result["status"] == "installed" and bench.flash_holds(NEW)


def test_a_start_that_the_host_survives_is_not_held_against_an_application(make_bench):
    """Only the starts that took the host down count, and there were two."""
    tries = 3
    bench = make_bench(
        applications=APPLICATIONS, settings={"confirm": {"tries": tries, "timeout_ms": 500}}
    )
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.push(image(DEAD, "3.0.0"))
    for _ in range(2):
        bench.boot()
        for event in bench.updater().events():
            if event["event"] == "starting" and event["try"] == tries:
                bench.device.end()
                break
    bench.boot()
    (event,) = [event for event in bench.run() if event["event"] == "rolling-back"]
    assert event["reason"] == "it is silent"


def test_a_target_that_is_without_supply_for_long_is_not_held_against_its_application(bench):
    """The host keeps running and tries again, as firmware/main.py does."""
    bench.push(image(NEW, "2.0.0"))
    for event in bench.updater().events():
        if event["event"] == "written":
            bench.target.power(False)
    for _ in range(6):
        assert not event["ok"] and event["error"] != "application-silent"
        bench.clock.advance(10_000_000_000)
        event = bench.run()[-1]
    bench.target.power(True)
    bench.clock.advance(10_000_000_000)
    assert bench.run()[-1]["status"] == "installed" and bench.flash_holds(NEW)


def test_the_last_good_application_is_started_however_often_that_was_cut(bench):
    bench.push(image(DEAD, "3.0.0"))
    cut, result = cut_at_starts_of(bench, "1.0.0", 20)
    assert cut == 20 and result["status"] == "rolled-back"
    assert bench.flash_holds(OLD) and bench.target.running is Running.APPLICATION


def test_what_answers_but_is_in_doubt_is_written_again(bench):
    """A power cut hit the last granule of the update, which reads right; the image is lost. The
    record still has that page in doubt."""
    bench.push(image(NEW, "2.0.0"))

    def cut_in_first_granule(what: str, point: int) -> None:
        if what == "program" and bytes(bench.target.flash.data[8:16]) == NEW[8:16] and point > 2:
            raise HostPowerLost

    bench.target.flash.tap = cut_in_first_granule
    with pytest.raises(HostPowerLost):
        bench.run()
    bench.target.flash.tap = None
    bench.clock.advance(10_000_000)
    bench.forget("candidate.img")
    bench.boot()
    assert bench.run()[-1]["version"] == "1.0.0"
    assert bench.flash_holds(OLD)


def test_a_push_that_was_cut_before_it_was_recorded_is_not_put_off(bench):
    """It had replaced the image of an interrupted update."""
    bench.push(image(DEAD, "3.0.0"))
    run_until_cut(bench)
    bench.write_file(CANDIDATE, image(NEW, "3.1.0"))
    events = bench.run()
    assert [event["version"] for event in events if event["event"] == "installing"] == ["3.1.0"]


@pytest.mark.parametrize("why", ["too large for the part", "silent"])
def test_a_push_of_what_was_given_up_is_a_new_one_although_it_was_cut(make_bench, why):
    """It became the candidate, and the cut came before that was recorded. No other update is under
    way."""
    large = payload(100 * 1024, 4)
    if why == "silent":
        bench = make_bench(applications=APPLICATIONS)
    else:
        bench = make_bench(
            applications=APPLICATIONS, flash_size=64 * 1024, flash_size_readable=True
        )
        assert bench.install(image(OLD, "1.0.0"))["ok"]
    assert not bench.install(image(large, "4.0.0"))["ok"]
    assert not bench.exists(CANDIDATE)
    bench.write_file(CANDIDATE, image(large, "4.0.0"))
    bench.boot()
    events = bench.run()
    assert events[0]["image"] == CANDIDATE and events[0]["event"] in ("refused", "checked")
    assert "resuming" not in [event["event"] for event in events]


# --- files that cannot be read ---


@pytest.fixture
def unreadable(bench):
    """Makes files unreadable until they are replaced: `unreadable(path)`."""
    paths: set[str] = set()
    calls = bench.world.file_calls
    opens, renames = calls["fs_open"], calls["fs_rename"]

    def fs_open(path, mode):
        if path in paths and "r" in mode:
            raise OSError(5)
        return opens(path, mode)

    def fs_rename(old, new):
        renames(old, new)
        paths.discard(new)

    calls.update(fs_open=fs_open, fs_rename=fs_rename)
    yield paths.add
    calls.update(fs_open=opens, fs_rename=renames)


def test_a_file_in_the_inbox_that_cannot_be_read_hinders_no_recovery(bench, unreadable):
    bench.push(image(NEW, "2.0.0"))
    run_until_cut(bench)
    bench.push(image(DEAD, "3.0.0"), "bad")
    unreadable("/updater/inbox/bad.img")
    events = bench.run()
    assert events[-1]["version"] == "2.0.0" and bench.flash_holds(NEW)
    assert "refused" in [event["event"] for event in events]
    assert bench.exists("/updater/inbox/bad.img")


def test_a_candidate_that_cannot_be_read_hinders_no_other_image(bench, unreadable):
    bench.push(image(DEAD, "3.0.0"))
    run_until_cut(bench)
    bench.forget("confirmed.img")
    unreadable(CANDIDATE)
    bench.push(image(NEW, "2.0.0"))
    assert bench.run()[-1]["status"] == "installed" and bench.flash_holds(NEW)


@pytest.mark.parametrize("call", ["fs_read", "fs_seek"])
def test_an_image_that_cannot_be_read_to_its_end_is_an_error_of_the_filesystem(bench, call):
    """If any read or seek fails, the image does not count as damaged and is not removed."""
    pushed = "/updater/inbox/app.img"
    bench.push(image(NEW, "2.0.0"))
    calls = bench.world.file_calls
    opens, real = calls["fs_open"], calls[call]
    handles: set[int] = set()
    failing = 0

    def fs_open(path, mode):
        handle = opens(path, mode)
        (handles.add if path == pushed else handles.discard)(handle)
        return handle

    def fails_once(handle, *arguments):
        nonlocal failing
        if handle in handles:
            failing -= 1
            if failing == 0:
                raise OSError(5)
        return real(handle, *arguments)

    for nth in range(1, 200):
        failing = nth
        calls.update({"fs_open": fs_open, call: fails_once})
        result = bench.run()[-1]
        calls.update({"fs_open": opens, call: real})
        if failing > 0:
            break  # so many there are not
        assert result["error"] == "store" and pushed in result["message"], nth
        assert bench.exists(pushed) and bench.flash_holds(OLD), nth
    assert nth > 5 and result["status"] == "installed" and bench.flash_holds(NEW)


@pytest.mark.parametrize("gone", [True, False])
def test_an_image_that_goes_while_it_is_written_is_named_and_asked_for(bench, gone):
    bench.push(image(NEW, "2.0.0"))
    for event in bench.updater().events():
        if event["event"] == "loader" and gone:
            bench.forget("candidate.img")
        elif event["event"] == "loader":
            bench.write_file(CANDIDATE, image(NEW, "2.0.0")[:2000])
    assert event["error"] == "store" and CANDIDATE in event["message"]
    assert "Push the image again" in event["next_step"]
    bench.boot()
    bench.run()
    assert bench.target.running is Running.APPLICATION and bench.flash_holds(OLD)


@pytest.mark.parametrize("at", [1, 2])
def test_an_update_goes_on_as_the_same_although_its_image_could_not_be_read_once(bench, at):
    """Its starts are counted, and it is not admitted as another push."""
    bench.push(image(NEW, "2.0.0"))
    run_until_cut(bench)
    opens, count = bench.world.file_calls["fs_open"], []

    def fs_open(path, mode):
        if path == CANDIDATE:
            count.append(mode)
            if len(count) == at:
                raise OSError(5)
        return opens(path, mode)

    bench.world.file_calls["fs_open"] = fs_open
    events = [event["event"] for event in bench.run()]
    assert "resuming" in events and "installing" not in events and "refused" not in events
    assert bench.flash_holds(NEW)


def test_an_inbox_that_is_a_file_hinders_no_recovery_and_is_reported_then(bench):
    bench.push(image(NEW, "2.0.0"))
    run_until_cut(bench)
    bench.files.fs_rmdir("/updater/inbox")
    bench.write_file("/updater/inbox", b"")
    assert bench.run()[-1]["version"] == "2.0.0"
    result = bench.run()[-1]
    assert result["error"] == "store" and "/updater/inbox" in result["message"]


# --- without BOOT0 ---


@pytest.fixture
def by_command(make_bench):
    """Makes a bench without BOOT0, whose application opens the loader; OLD is installed."""

    def make(**arguments) -> Bench:
        arguments.setdefault("applications", APPLICATIONS)
        bench = make_bench(
            wiring=Wiring(boot0=None),
            settings={
                "pins": {"boot0": None},
                "enter": {"method": "command", "address": 0x2A, "command": "10424f4f54"},
            },
            **arguments,
        )
        assert bench.install(image(OLD, "1.0.0"))["ok"]
        switch_off_and_on(bench)
        return bench

    return make


def switch_off_and_on(bench: Bench) -> None:
    bench.target.power(False)
    bench.clock.advance(NS_PER_S)
    bench.target.power(True)
    bench.boot()


@pytest.mark.parametrize("line", ["scl_stuck", "sda_stuck"])
def test_a_line_held_for_two_seconds_does_not_lead_loader_3_into_blank_flash(by_command, line):
    bench = by_command(loader=3)
    bench.push(image(NEW, "2.0.0"))
    for event in bench.updater().events():
        if event.get("phase") == "verify" and event["done"] == 1:
            setattr(bench.world.bus, line, True)
            bench.clock.after(2 * NS_PER_S, lambda: setattr(bench.world.bus, line, False))
    assert event["status"] == "installed" and bench.flash_holds(NEW)


def test_a_shorted_line_is_named_and_the_application_not_reset_for_each_try(by_command):
    bench = by_command()
    bench.push(image(NEW, "2.0.0"))
    bench.world.bus.scl_stuck = True
    boots = len(bench.target.boots)
    result = bench.run()[-1]
    assert result["error"] == "bus-stuck" and "SCL" in result["message"]
    assert len(bench.target.boots) - boots <= 2


def test_a_dead_application_that_left_empty_set_is_rolled_back_without_boot0(by_command):
    """It was started by Go, so EMPTY still leads into the loader at a reset."""
    dead = known(DEAD, "3.0.0", answers=False, enters_loader=False)
    bench = by_command(applications=known_images(known(OLD, "1.0.0"), dead))
    assert bench.install(image(DEAD, "3.0.0"))["status"] == "rolled-back"
    assert bench.flash_holds(OLD) and bench.target.running is Running.APPLICATION


# --- what is known of an application that runs ---


def test_an_application_that_starts_slowly_is_not_replaced_by_a_host_that_forgot(bench):
    bench.forget(*STATES)
    bench.boot()
    asleep = bench.clock.now + NS_PER_S
    start = bench.target.application.start
    bench.target.application.start = lambda *frame: bench.clock.now > asleep and start(*frame)
    erased = list(bench.target.flash.erase_counts)
    assert bench.run()[-1]["status"] == "idle"
    assert list(bench.target.flash.erase_counts) == erased


def test_a_sound_application_is_left_alone_if_the_next_image_is_lost_before_any_erase(bench):
    bench.push(image(NEW, "2.0.0"))
    for event in bench.updater().events():
        if event["event"] == "installing":
            break
    bench.forget("candidate.img")
    bench.boot()
    erased = list(bench.target.flash.erase_counts)
    assert bench.run()[-1]["status"] == "idle"
    assert list(bench.target.flash.erase_counts) == erased


def test_an_application_in_interrupted_pages_is_replaced_although_the_update_was_given_up(bench):
    bench.push(image(NEW, "2.0.0"))
    run_until_cut(bench)
    store = bench.device.imports("stm32_updater.store").Store("/updater")
    record = store.load()
    assert record.doubt & 1
    record.phase, record.image = "unknown", None  # as an update that can never be leaves it
    store.save(record)
    bench.forget("candidate.img")
    bench.target.flash.load(OLD)  # reads right now
    switch_off_and_on(bench)
    assert [event["event"] for event in bench.run()].count("written") == 1
    assert bench.flash_holds(OLD)


def test_an_application_stopped_for_a_probe_runs_again_although_the_host_lost_power(bench):
    tap = bench.world.bus.tap

    def strike(*event):
        if bench.target.running is Running.LOADER:
            raise HostPowerLost
        tap(*event)

    bench.world.bus.tap = strike
    with pytest.raises(HostPowerLost):
        bench.updater().probe()
    bench.world.bus.tap = tap
    assert bench.target.running is not Running.APPLICATION
    bench.boot()
    assert bench.run()[-1]["ok"] and bench.target.running is Running.APPLICATION
    assert bench.run()[-1]["status"] == "idle"


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_an_image_pushed_again_replaces_its_lost_copy(bench, damage):
    if damage == "gone":
        bench.forget("confirmed.img")
    else:
        content = bytearray(bench.read_file(CONFIRMED))
        content[1000] ^= 1
        bench.write_file(CONFIRMED, bytes(content))
    assert bench.install(image(OLD, "1.0.0"))["status"] == "up-to-date"
    assert bench.install(image(DEAD, "3.0.0"))["status"] == "rolled-back"
    assert bench.flash_holds(OLD)
