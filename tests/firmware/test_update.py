"""Installing and updating, with every loader version, both controllers and every way into the
loader."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.flash import PAGE, SLOWEST, TYPICAL
from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.chip.quirks import quirks_of
from stm32sim.chip.stm32 import DISCHARGE, Running
from stm32sim.wires.clock import NS_PER_US
from stm32sim.world import Wiring
from stm32up import device
from stm32up.image import image_format
from tests.support import FLASH, image, known, payload, reset_in_erase, restated, run_until_cut

OLD, NEW = payload(9000, 1), payload(7000, 2)
BOTH = known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0"))


FREE_RAM = 0x2000_2700
IN_RAM = bytes(device.module("stm32_rom.empty_flag").program(FREE_RAM))


def loader_frames(bench):
    """What the host sent to the loader."""
    return [
        data
        for address, reading, data in bench.trace.transactions
        if address == I2C_ADDRESS and not reading
    ]


@pytest.mark.parametrize("loader", [1, 2, 3, 4])
def test_an_image_is_installed_and_runs(make_bench, loader):
    bench = make_bench(loader=loader, applications=BOTH)
    result = bench.install(image(OLD, "1.0.0"))
    assert result["ok"] and result["status"] == "installed"
    assert result["bytes"] == result["verified"] == len(OLD)
    assert bench.flash_holds(OLD)
    assert bench.target.running is Running.APPLICATION


def test_a_full_flash_image_is_installed_byte_for_byte(make_bench):
    full = payload(128 * 1024, 3)
    bench = make_bench(applications=known_images(known(full)))
    result = bench.install(image(full))
    assert result["verified"] == len(full) == bench.target.flash.size
    assert bytes(bench.target.flash.data) == full


def test_an_update_replaces_the_old_application(make_bench):
    bench = make_bench(applications=BOTH)
    bench.install(image(OLD, "1.0.0"))
    result = bench.install(image(NEW, "1.1.0"))
    assert result["status"] == "installed" and result["version"] == "1.1.0"
    assert bench.flash_holds(NEW)


@pytest.mark.parametrize("loader", [1, 3])
def test_the_slowest_flash_is_waited_for(make_bench, loader):
    bench = make_bench(loader=loader, applications=BOTH, times=SLOWEST)
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    assert bench.flash_holds(OLD)


def test_a_block_is_waited_for_as_long_as_the_one_before_took(make_bench):
    took = []
    for program in (95 * NS_PER_US, SLOWEST.program):
        bench = make_bench(applications=BOTH, times=replace(TYPICAL, program=program))
        bench.push(image(OLD, "1.0.0"))
        took += [event["write_ms"] for event in bench.run() if event["event"] == "written"]
    slower, slowest = took
    assert slower < slowest - 10


def test_software_i2c_serves_as_well(make_bench):
    bench = make_bench(applications=BOTH, settings={"i2c": {"id": None}})
    assert bench.install(image(OLD, "1.0.0"))["ok"]


@pytest.mark.parametrize("frequency", [40_000, 100_000, 1_000_000])
def test_any_bus_speed_serves(make_bench, frequency):
    bench = make_bench(applications=BOTH, settings={"i2c": {"freq": frequency}})
    assert bench.install(image(OLD, "1.0.0"))["ok"]


def test_nothing_to_do_touches_nothing(make_bench):
    bench = make_bench(applications=BOTH)
    bench.install(image(OLD, "1.0.0"))
    bench.boot()
    before, operations = len(bench.trace.transactions), bench.host_flash.progs
    assert bench.run()[-1] == {"event": "result", "ok": True, "status": "idle"}
    assert len(bench.trace.transactions) == before
    assert bench.host_flash.progs - operations < 12  # the log's one line


def test_the_same_image_again_is_up_to_date(make_bench):
    bench = make_bench(applications=BOTH)
    bench.install(image(OLD, "1.0.0"))
    erased = list(bench.target.flash.erase_counts)
    assert bench.install(image(OLD, "1.0.0"))["status"] == "up-to-date"
    assert bench.target.flash.erase_counts == erased
    assert not bench.exists("/updater/inbox/app.img")


def test_of_several_pushed_images_the_newest_is_installed_and_the_others_go(make_bench):
    bench = make_bench(applications=BOTH)
    bench.push(image(NEW, "1.1.0"), "a")
    bench.push(image(OLD, "1.0.0"), "b")
    assert bench.run()[-1]["version"] == "1.1.0"
    assert bench.run()[-1]["status"] == "idle"
    assert bench.flash_holds(NEW)


def test_what_is_no_pushed_image_stays_in_the_inbox_untouched(make_bench):
    """An unfinished push has another name until it is complete."""
    bench = make_bench(applications=BOTH)
    bench.install(image(OLD, "1.0.0"))
    whole = image(NEW, "1.1.0")
    others = {"app.part": whole[:3000], "whole.part": whole, "app.img.part": whole, "img": whole}
    for name, content in others.items():
        bench.write_file(f"/updater/inbox/{name}", content)
    assert bench.updater().status()["inbox"] == []
    assert [event["event"] for event in bench.run()] == ["result"]
    assert {name: bench.read_file(f"/updater/inbox/{name}") for name in others} == others
    bench.push(whole)
    assert bench.run()[-1]["version"] == "1.1.0"
    assert {name: bench.read_file(f"/updater/inbox/{name}") for name in others} == others


def test_the_build_number_is_part_of_the_version_where_there_is_one(make_bench):
    bench = make_bench(applications=BOTH)
    bench.push(image(OLD, "1.0.0+45"))
    assert {event["version"] for event in bench.run() if "image" in event} == {"1.0.0+45"}


def test_what_was_done_is_told_as_it_was(make_bench):
    bench = make_bench(applications=BOTH)
    bench.install(image(OLD, "1.0.0"))
    before = sum(bench.target.flash.erase_counts)
    bench.push(image(NEW, "1.1.0"))
    (written,) = [event for event in bench.run() if event["event"] == "written"]
    assert written["bytes"] == written["verified"] == len(NEW)
    assert written["erased_pages"] == sum(bench.target.flash.erase_counts) - before > 0


def test_progress_counts_up_to_its_total_in_each_phase(make_bench):
    bench = make_bench(applications=BOTH)
    bench.install(image(OLD, "1.0.0"))
    bench.push(image(NEW, "1.1.0"))
    phases: dict[str, list[tuple[int, int]]] = {}
    for event in bench.run():
        if event["event"] == "progress":
            phases.setdefault(event["phase"], []).append((event["done"], event["total"]))
    assert {"compare", "write"} <= set(phases)
    assert phases.pop("verify") == [(4, 4)]  # by one checksum
    for phase, told in phases.items():
        total = told[-1][1]
        assert total > 1, phase
        assert told == [(done, total) for done in range(1, total + 1)], phase


# --- the order of things ---


def test_the_first_granule_is_written_last(make_bench):
    """Only the code for RAM, which corrects EMPTY, comes after it."""
    bench = make_bench(applications=BOTH)
    bench.install(image(OLD, "1.0.0"))
    writes = [f for f in loader_frames(bench) if f[:2] in (b"\x32\xcd", b"\x31\xce")]
    first_granule = [f for f in loader_frames(bench) if len(f) == 10 and f[1:9] == OLD[:8]]
    data_frames = [f for f in loader_frames(bench) if len(f) > 8 and len(f) == f[0] + 3]
    assert len(first_granule) == 1 and data_frames[-3] == first_granule[0]
    assert data_frames[-2][1:-1] + data_frames[-1][1:-1] == IN_RAM
    assert len(writes) == len(data_frames)


def test_the_old_vectors_are_overwritten_with_zeros_before_anything_else(make_bench):
    bench = make_bench(applications=BOTH)
    bench.install(image(OLD, "1.0.0"))
    before = len(loader_frames(bench))
    bench.install(image(NEW, "1.1.0"))
    frames = loader_frames(bench)[before:]
    changes = [i for i, f in enumerate(frames) if f in (b"\x32\xcd", b"\x45\xba")]
    first = changes[0]
    assert frames[first] == b"\x32\xcd" and frames[first + 1][:4] == FLASH.to_bytes(4, "big")
    assert frames[first + 2] == b"\x0f" + bytes(16) + b"\x0f"  # up to HardFault
    assert frames[changes[1]] == b"\x45\xba"


def test_a_reset_that_loader_11_3_would_not_tell_is_noticed(make_bench):
    """The loader acknowledges an erase before it is done."""
    bench = make_bench(applications=BOTH, loader=3)
    bench.push(image(OLD, "1.0.0"))
    bench.target.flash.times = SLOWEST
    reset_in_erase(bench, 2, 15)
    events = bench.run()
    (retry,) = [event for event in events if event["event"] == "retry"]
    assert "reset" in retry["message"]
    assert events[-1]["ok"] and not bench.target.flash.weak_granules()


def test_a_page_is_tried_three_times(make_bench):
    bench = make_bench(applications=BOTH)
    bench.push(image(OLD, "1.0.0"))
    reset_in_erase(bench, 2, 8)
    tried_again = []
    for event in bench.updater().events():
        if event["event"] == "retry":
            tried_again.append(event["page"])
            if len(tried_again) == 1:
                reset_in_erase(bench, 1, 8)
    assert tried_again == [1, 1] and event["ok"] and bench.flash_holds(OLD)


def test_flash_that_takes_no_zeros_is_updated_all_the_same(make_bench):
    bench = make_bench(applications=BOTH)
    bench.install(image(OLD, "1.0.0"))
    bench.target.flash.takes_zeros = False
    bench.push(image(NEW, "1.1.0"))
    events = bench.run()
    assert events[-1]["status"] == "installed" and bench.flash_holds(NEW)
    assert [event["page"] for event in events if event["event"] == "retry"] == [0, 0]


def test_page_0_is_erased_before_any_other(make_bench):
    bench = make_bench(applications=BOTH)
    bench.install(image(OLD, "1.0.0"))
    frames = loader_frames(bench)
    erases = [index for index, frame in enumerate(frames) if frame == b"\x45\xba"]
    pages = [frames[index + 2][1] for index in erases]  # command, count, page
    assert pages == [0, 1, 2, 3, 4]


def test_every_byte_is_read_back_after_it_was_written_where_the_board_says_so(make_bench):
    bench = make_bench(applications=BOTH, settings={"verify": "read"})
    bench.install(image(OLD, "1.0.0"))
    read = b"".join(
        data
        for address, reading, data in bench.trace.transactions
        if address == I2C_ADDRESS and reading and len(data) == 256
    )
    vectors = [
        data for _, reading, data in bench.trace.transactions if reading and len(data) == 16
    ]
    assert OLD[:16] == vectors[-1] and OLD[16:256] in read
    for start in range(256, len(OLD) - 256, 256):
        assert OLD[start : start + 256] in read


def test_each_page_is_erased_by_a_command_of_its_own(make_bench):
    bench = make_bench(applications=BOTH)
    bench.install(image(OLD, "1.0.0"))
    frames = loader_frames(bench)
    for index, frame in enumerate(frames):
        if frame == b"\x45\xba":
            assert frames[index + 1] == b"\0\0\0"  # one page


def test_only_the_pages_that_differ_are_erased(make_bench):
    changed = bytearray(OLD)
    changed[3 * PAGE + 5] ^= 1
    bench = make_bench(applications=known_images(known(OLD), known(bytes(changed), "1.0.1")))
    bench.install(image(OLD, "1.0.0"))
    before = list(bench.target.flash.erase_counts)
    result = bench.install(image(bytes(changed), "1.0.1"))
    assert result["verified"] == len(OLD)
    erased = [a - b for a, b in zip(bench.target.flash.erase_counts, before, strict=True)]
    assert [page for page, count in enumerate(erased) if count] == [0, 3]


def test_flash_outside_the_image_is_left_alone(make_bench):
    bench = make_bench(applications=BOTH)
    bench.target.flash.load(b"calibration", 20 * PAGE)
    bench.install(image(OLD, "1.0.0"))
    assert bytes(bench.target.flash.data[20 * PAGE :][:11]) == b"calibration"
    assert not any(bench.target.flash.erase_counts[5:])


def test_writes_go_to_main_flash_only(make_bench):
    """And, after a first installation, the code that corrects EMPTY to free RAM."""
    bench = make_bench(applications=BOTH)
    bench.install(image(OLD, "1.0.0"))
    first = len(loader_frames(bench))
    bench.install(image(NEW, "1.1.0"))
    frames = loader_frames(bench)
    to_ram = []
    for index, frame in enumerate(frames):
        if frame in (b"\x32\xcd", b"\x31\xce"):
            address = int.from_bytes(frames[index + 1][:4], "big")
            if index < first and FREE_RAM <= address < FREE_RAM + len(IN_RAM):
                to_ram.append(frames[index + 2][1:-1])
            else:
                assert FLASH <= address < FLASH + len(OLD) + 256
    assert b"".join(to_ram) == IN_RAM


# --- pages that an image does not cover ---

HOLE = (2 * PAGE, 3 * PAGE)  # offset, length
SECRET = b"SERIAL-0042-CALIBRATION!"


@pytest.fixture
def with_hole():
    """A payload of 7 pages of which the image does not cover 3."""
    start, length = HOLE
    content = payload(7 * PAGE, 4)
    return content[:start] + b"\xff" * length + content[start + length :]


@pytest.fixture
def calibrated(make_bench, with_hole):
    """OLD is installed; a page without data in the next image has content."""

    def make(**arguments):
        applications = known_images(known(OLD, "1.0.0"), known(filled, "1.1.0"))
        bench = make_bench(applications=applications, **arguments)
        bench.install(image(OLD, "1.0.0"))
        bench.target.flash.load(SECRET, 3 * PAGE)
        return bench

    content = bytearray(with_hole)
    content[2 * PAGE : len(OLD)] = OLD[2 * PAGE :]
    content[3 * PAGE : 3 * PAGE + len(SECRET)] = SECRET
    filled = bytes(content)
    return make, filled


def preserve(bench, page):
    settings = {**bench.settings, "preserve": [[FLASH + page * PAGE, PAGE]]}
    bench.write_file("/board.json", json.dumps(settings).encode())


def test_pages_in_a_hole_stay_as_they_are(calibrated, with_hole):
    make, filled = calibrated
    bench = make()
    before = list(bench.target.flash.erase_counts)
    result = bench.install(image(with_hole, "1.1.0", kept=(HOLE,)))
    assert result["status"] == "installed"
    assert result["bytes"] == result["verified"] == 4 * PAGE
    assert bench.flash_holds(filled)
    erased = [a - b for a, b in zip(bench.target.flash.erase_counts, before, strict=True)]
    assert [bool(count) for count in erased[:7]] == [True, True, False, False, False, True, True]
    assert bench.run()[-1]["status"] == "idle"


def test_a_preserved_region_may_lie_in_a_hole(calibrated, with_hole):
    make, filled = calibrated
    bench = make()
    preserve(bench, 3)
    result = bench.install(image(with_hole, "1.1.0", kept=(HOLE,)))
    assert result["status"] == "installed" and bench.flash_holds(filled)


@pytest.mark.parametrize("page", [1, 5])
def test_a_preserved_region_beside_a_hole_is_refused(calibrated, with_hole, page):
    make, filled = calibrated
    bench = make()
    preserve(bench, page)
    assert bench.install(image(with_hole, "1.1.0", kept=(HOLE,)))["error"] == "image-fit"


@pytest.mark.parametrize(
    ("kept", "error"),
    [
        (((0, PAGE),), "image-damaged"),  # the first page
        (((6 * PAGE, PAGE),), "image-damaged"),  # the last
        (((2 * PAGE, 0),), "image-damaged"),
        (((2 * PAGE, PAGE), (3 * PAGE, PAGE)), "image-damaged"),  # one region in two
        (((4 * PAGE, PAGE), (2 * PAGE, PAGE)), "image-damaged"),
        (((2 * PAGE, 2 * PAGE), (3 * PAGE, PAGE)), "image-damaged"),
        (((2 * PAGE, 100 * PAGE),), "image-damaged"),
        (((2 * PAGE + 8, PAGE),), "image-fit"),  # not whole pages
        (((2 * PAGE, PAGE - 8),), "image-fit"),
    ],
)
def test_a_list_of_holes_that_makes_no_sense_is_refused(calibrated, with_hole, kept, error):
    make, filled = calibrated
    bench = make()
    erased = list(bench.target.flash.erase_counts)
    result = bench.install(image(with_hole, "1.1.0", kept=kept))
    assert result["error"] == error
    assert error != "image-fit" or f"at 0x{FLASH + kept[0][0]:08X}" in result["message"]
    assert bench.target.flash.erase_counts == erased


def test_a_list_of_holes_of_a_wrong_length_is_refused(calibrated, with_hole):
    make, filled = calibrated
    content = image(with_hole, "1.1.0", kept=(HOLE,))
    cut = restated(content, image_format.KEPT, lambda value: value + value[:4])
    assert make().install(cut)["error"] == "image-damaged"


def test_a_reset_vector_that_leads_into_a_hole_is_refused(calibrated, with_hole):
    """The content there does not belong to this image."""
    make, filled = calibrated
    bench = make()
    reset = (FLASH + HOLE[0] + 0x101).to_bytes(4, "little")
    astray = with_hole[:4] + reset + with_hole[8:]
    assert bench.install(image(astray, "1.1.0", kept=(HOLE,)))["error"] == "image-fit"


def test_an_interrupted_update_keeps_the_hole_too(calibrated, with_hole):
    make, filled = calibrated
    bench = make()
    bench.push(image(with_hole, "1.1.0", kept=(HOLE,)))
    run_until_cut(bench)
    assert bench.run()[-1]["status"] == "installed" and bench.flash_holds(filled)


@pytest.mark.parametrize("vectors", [b"\xff" * 8, b"\x55" * 8], ids=["blank", "there"])
def test_vectors_of_faults_that_stay_blank_are_neither_programmed_nor_overwritten(
    make_bench, vectors
):
    """Zeros over a granule that was programmed with ones fail (STM32G071 erratum 2.2.5)."""
    first = OLD[:8] + vectors + OLD[16:]
    bench = make_bench(applications=known_images(known(first, "1.0.0"), known(NEW, "1.1.0")))
    bench.install(image(first, "1.0.0"))
    assert 1 not in bench.target.flash.ones
    bench.push(image(NEW, "1.1.0"))
    events = bench.run()
    assert events[-1]["status"] == "installed"
    assert not [event for event in events if event["event"] == "retry"]


def test_an_application_whose_blank_vectors_another_tool_programmed_is_replaced(make_bench):
    first = OLD[:8] + b"\xff" * 8 + OLD[16:]
    bench = make_bench(applications=known_images(known(first, "1.0.0"), known(NEW, "1.1.0")))
    bench.install(image(first, "1.0.0"))
    bench.target.flash.load(b"\xff" * 8, 8)
    assert 1 in bench.target.flash.ones
    bench.boot()
    bench.push(image(NEW, "1.1.0"))
    events = bench.run()
    assert events[-1]["status"] == "installed" and bench.flash_holds(NEW)
    assert not [event for event in events if event["event"] == "retry"]


# --- ways into the loader and out of it ---


def test_a_factory_chip_is_entered_by_its_empty_flag_and_left_by_go(make_bench):
    bench = make_bench(provisioned=False, applications=BOTH)
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    assert bench.target.boots[-1].reason == "Go"


def test_a_provisioned_blank_chip_is_left_by_go_as_the_empty_flag_is_latched(make_bench):
    bench = make_bench(applications=BOTH)
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    assert bench.target.running is Running.APPLICATION


def test_the_application_can_be_asked_to_enter_the_loader(make_bench):
    bench = make_bench(
        applications=BOTH,
        wiring=Wiring(nrst=None, boot0=None),
        settings={
            "pins": {"nrst": None, "boot0": None},
            "enter": {"method": "command", "address": 0x2A, "command": "10424f4f54"},
        },
    )
    assert bench.install(image(OLD, "1.0.0"))["ok"]  # blank: the EMPTY flag leads to the loader
    assert bench.install(image(NEW, "1.1.0"))["ok"]
    assert bench.flash_holds(NEW)


def test_vectors_that_were_overwritten_only_are_not_started_without_boot0(make_bench):
    """The bus fails between the zeros and the erase. A reset would boot from the zeros, which
    cannot be recovered."""
    bench = make_bench(
        applications=BOTH,
        wiring=Wiring(boot0=None),
        settings={
            "pins": {"boot0": None},
            "enter": {"method": "command", "address": 0x2A, "command": "10424f4f54"},
        },
    )
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    erase, bench.target.flash.start_page_erase = bench.target.flash.start_page_erase, no_erase
    assert not bench.install(image(NEW, "1.1.0"))["ok"]
    bench.target.flash.start_page_erase = erase
    assert bench.target.running is Running.LOADER
    assert bench.run()[-1]["status"] == "installed" and bench.flash_holds(NEW)


def no_erase(page):
    return False


def test_boot0_ignored_by_the_option_bytes_is_reported(make_bench):
    bench = make_bench(provisioned=False, applications=BOTH)
    bench.target.flash.load(OLD)
    bench.target.power(False)
    bench.clock.advance(DISCHARGE)
    bench.target.power(True)
    result = bench.install(image(NEW, "1.1.0"))
    assert result["error"] == "loader-silent" and "nBOOT_SEL" in result["next_step"]
    assert bytes(bench.target.flash.data[: len(OLD)]) == OLD
    assert not any(bench.target.flash.erase_counts)


def test_a_chip_of_another_family_is_not_touched(make_bench):
    bench = make_bench(quirks=replace(quirks_of(4), product_id=0x466), applications=BOTH)
    result = bench.install(image(OLD, "1.0.0"))
    assert result["error"] == "wrong-chip" and "0x466" in result["message"]
    assert not any(bench.target.flash.erase_counts)


def test_a_write_protected_page_is_found_before_anything_is_erased(make_bench):
    bench = make_bench(applications=BOTH)
    bench.target.option_bytes.store(0x18, 2 << 16 | 2)  # WRP area A: page 2
    bench.target.power(False)
    bench.clock.advance(DISCHARGE)
    bench.target.power(True)
    result = bench.install(image(OLD, "1.0.0"))
    assert result["error"] == "page-protected" and "page 2" in result["message"]
    assert not any(bench.target.flash.erase_counts)


def write_protect_page_2(bench):
    """Its option bytes take effect at a power-on."""
    bench.target.option_bytes.store(0x18, 2 << 16 | 2)  # WRP area A
    bench.target.power(False)
    bench.clock.advance(DISCHARGE)
    bench.target.power(True)
    bench.clock.advance(100_000_000)


@pytest.mark.parametrize("method", ["i2c-version", "none"])
def test_an_update_that_can_never_begin_is_given_up_if_the_application_runs(make_bench, method):
    """Also if nothing was done to it and it cannot be asked."""
    settings = {"confirm": {"method": "none"}} if method == "none" else {}
    bench = make_bench(applications=BOTH, settings=settings)
    bench.install(image(OLD, "1.0.0"))
    write_protect_page_2(bench)
    assert bench.install(image(NEW, "1.1.0"))["error"] == "page-protected"
    bench.boot()
    resets = len(bench.target.boots)
    assert bench.run()[-1]["status"] == "idle"
    assert len(bench.target.boots) == resets and bench.flash_holds(OLD)


def test_it_is_given_up_by_a_host_that_forgot_what_was_there_as_well(make_bench):
    """Every page may be half written according to the record, but the application answers."""
    bench = make_bench(applications=BOTH)
    bench.install(image(OLD, "1.0.0"))
    bench.forget("state.0", "state.1", "confirmed.img")
    write_protect_page_2(bench)
    assert bench.install(image(NEW, "1.1.0"))["error"] == "page-protected"
    bench.boot()
    resets = len(bench.target.boots)
    assert bench.run()[-1]["status"] == "idle"
    assert len(bench.target.boots) == resets and bench.flash_holds(OLD)


def test_a_part_with_less_flash_than_its_name_says_is_found_before_anything_is_erased(make_bench):
    large = payload(100 * 1024, 3)
    bench = make_bench(
        flash_size=64 * 1024,
        flash_size_readable=True,
        applications=known_images(known(OLD, "1.0.0"), known(large, "1.1.0")),
    )
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    erased = list(bench.target.flash.erase_counts)
    result = bench.install(image(large, "1.1.0"))
    assert result["error"] == "image-fit"
    assert "64 KB" in result["message"] and "128 KB" in result["message"]
    assert bench.target.flash.erase_counts == erased
    assert bench.target.running is Running.APPLICATION
    assert bench.run()[-1]["status"] == "idle", "it was given up"


def test_a_blank_part_with_less_flash_is_not_asked_again_and_again(make_bench):
    large = payload(100 * 1024, 3)
    bench = make_bench(
        flash_size=64 * 1024,
        flash_size_readable=True,
        applications=known_images(known(large, "1.1.0")),
    )
    assert bench.install(image(large, "1.1.0"))["error"] == "image-fit"
    bench.boot()
    boots = len(bench.target.boots)
    assert bench.run()[-1]["status"] == "waiting"
    assert len(bench.target.boots) == boots


@pytest.mark.parametrize("readable", [True, False])
def test_a_part_as_large_as_its_name_says_takes_all_of_it(make_bench, readable):
    full = payload(128 * 1024, 3)
    bench = make_bench(flash_size_readable=readable, applications=known_images(known(full)))
    assert bench.install(image(full))["ok"]


def test_a_read_protected_chip_is_reported_as_such(make_bench):
    bench = make_bench(applications=BOTH)
    options = bench.target.option_bytes
    options.store(0x00, options.word(0x00) & ~0xFF | 0xBB)
    bench.target.power(False)
    bench.clock.advance(DISCHARGE)
    bench.target.power(True)
    assert bench.install(image(OLD, "1.0.0"))["error"] == "read-protected"


def test_v11_3_with_pc11_low_is_borne_by_a_host_that_bears_stretching():
    from stm32sim.in_process import Bench

    bench = Bench(host="rp2", quirks=quirks_of(3, pc11_low=True), applications=BOTH)
    assert bench.install(image(OLD, "1.0.0"))["ok"]


# --- confirming ---


def test_an_application_that_never_answers_is_rolled_back(make_bench):
    dead = payload(5000, 9)
    bench = make_bench(
        applications=known_images(known(OLD, "1.0.0"), known(dead, "2.0.0", answers=False))
    )
    bench.install(image(OLD, "1.0.0"))
    result = bench.install(image(dead, "2.0.0"))
    assert result["status"] == "rolled-back" and not result["ok"]
    assert bench.flash_holds(OLD) and bench.target.running is Running.APPLICATION
    again = bench.install(image(dead, "2.0.0"))
    assert again["status"] == "rolled-back"  # it was silent, but may not be to blame
    assert bench.install(image(dead, "2.0.0"))["error"] == "image-failed-before"


@pytest.mark.parametrize(
    ("version", "answers", "reason"),
    [
        ("1.2.3", True, "built as 2.0.0, answers 1.2.3: was --version right?"),
        ("2.0.0", False, "it is silent"),
    ],
)
def test_a_roll_back_says_what_the_new_application_did(make_bench, version, answers, reason):
    wrong = payload(5000, 9)
    bench = make_bench(
        applications=known_images(known(OLD, "1.0.0"), known(wrong, version, answers=answers))
    )
    bench.install(image(OLD, "1.0.0"))
    bench.push(image(wrong, "2.0.0"))
    events = bench.run()
    (event,) = [event for event in events if event["event"] == "rolling-back"]
    assert event["reason"] == reason
    told = f"the new application did not prove itself ({reason}); 1.0.0 is back"
    assert events[-1]["message"] == told


def test_a_roll_back_that_another_start_ends_knows_no_reason(make_bench):
    dead = payload(5000, 9)
    bench = make_bench(
        applications=known_images(known(OLD, "1.0.0"), known(dead, "2.0.0", answers=False))
    )
    bench.install(image(OLD, "1.0.0"))
    bench.push(image(dead, "2.0.0"))
    for event in bench.updater().events():
        if event["event"] == "rolling-back":
            break
    bench.boot()
    result = bench.run()[-1]
    assert result["message"] == "the new application did not prove itself; 1.0.0 is back"


def test_a_command_into_the_loader_is_no_proof_of_an_application(make_bench):
    """Without confirmation no register is read."""
    bench = make_bench(
        applications=BOTH,
        settings={
            "enter": {"method": "command", "address": 0x2A, "command": "10424f4f54"},
            "confirm": {"method": "none"},
        },
    )
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    assert not any(address == 0x2A and reading for address, reading, _ in bench.trace.transactions)


def test_without_an_earlier_image_a_dead_application_is_reported(make_bench):
    dead = payload(5000, 9)
    bench = make_bench(applications=known_images(known(dead, answers=False)))
    result = bench.install(image(dead))
    assert result["error"] == "application-silent" and "no earlier one" in result["message"]
    assert bench.flash_holds(dead)


def test_a_board_without_confirmation_trusts_what_it_verified(make_bench):
    dead = payload(5000, 9)
    bench = make_bench(
        applications=known_images(known(dead, answers=False)),
        settings={
            "confirm": {
                "method": "none",
                "address": None,
                "register": None,
                "timeout_ms": None,
                "tries": None,
            }
        },
    )
    assert bench.install(image(dead))["status"] == "installed"


def test_the_product_can_bring_its_own_proof(make_bench):
    bench = make_bench(applications=BOTH)
    seen = []

    def proven(image):
        seen.append(image.version)
        return len(seen) == 3

    bench.push(image(OLD, "1.0.0"))
    assert bench.run(confirm=proven)[-1]["ok"]
    assert seen == ["1.0.0"] * 3


def test_a_proof_of_the_products_own_is_waited_for_where_the_board_names_none(make_bench):
    nothing = {"address": None, "register": None, "timeout_ms": None, "tries": None}
    bench = make_bench(applications=BOTH, settings={"confirm": {"method": "none", **nothing}})
    asked = []

    def proven(image):
        asked.append(bench.clock.now)
        return asked[-1] - asked[0] > 5_000_000_000

    bench.push(image(OLD, "1.0.0"))
    assert bench.run(confirm=proven)[-1]["status"] == "installed"


def test_the_watchdog_is_fed_at_least_every_half_second(make_bench):
    bench = make_bench(applications=BOTH)
    fed = []
    bench.push(image(OLD, "1.0.0"))
    bench.run(feed=lambda: fed.append(bench.clock.now))
    assert max(b - a for a, b in zip(fed, fed[1:], strict=False)) < 500_000_000


# --- looking ---


def test_probe_tells_what_is_there_and_changes_nothing(make_bench):
    bench = make_bench(applications=BOTH)
    bench.install(image(OLD, "1.0.0"))
    target = bench.target
    before = (bytes(target.flash.data), bytes(target.flash.cells), bytes(target.option_bytes.data))
    erased = list(target.flash.erase_counts)
    found = bench.updater().probe()
    assert found["product_id"] == "0x460" and found["loader"] == "11.4"
    assert found["protocol"] == "1.2"
    assert found["option_bytes"]["nBOOT_SEL"] == 0 and found["option_bytes"]["RDP"] == 0
    assert found["application"] == "running"
    after = (bytes(target.flash.data), bytes(target.flash.cells), bytes(target.option_bytes.data))
    assert after == before and target.flash.erase_counts == erased
    assert target.running is Running.APPLICATION


def test_probing_a_blank_chip_leaves_it_in_its_loader(make_bench):
    bench = make_bench(loader=3)
    assert bench.updater().probe()["application"] == "blank"
    assert bench.target.running is Running.LOADER


def test_status_tells_what_the_host_knows(make_bench):
    bench = make_bench(applications=BOTH)
    assert bench.updater().status()["phase"] == "unknown"
    bench.install(image(OLD, "1.0.0"))
    status = bench.updater().status()
    assert status["phase"] == "idle" and status["confirmed"] == "1.0.0"


def test_events_can_be_awaited_beside_other_tasks(make_bench):
    import asyncio

    bench = make_bench(applications=BOTH)
    bench.push(image(OLD, "1.0.0"))

    async def watch():
        return [event async for event in bench.updater().events()]

    assert asyncio.run(watch())[-1]["status"] == "installed"
