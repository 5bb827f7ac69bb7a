"""How an image is compared with flash: by the loader's checksums, or by reading; what is erased
and written because of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stm32sim.chip import loader
from stm32sim.chip.crc import crc_stm32
from stm32sim.chip.flash import PAGE
from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.chip.quirks import LOADERS, quirks_of
from stm32sim.wires.clock import NS_PER_MS
from tests.support import image, payload, restated, without_checksums

OLD, NEW = payload(9000, 1), payload(7000, 2)
ONE_PAGE = OLD[: 2 * PAGE] + bytes(PAGE) + OLD[3 * PAGE :]
GAP = OLD[: 2 * PAGE] + b"\xff" * PAGE + OLD[3 * PAGE :]
FULL = payload(128 * 1024, 3)
HALF_BLANK = FULL[: 64 * 1024] + b"\xff" * 60 * 1024 + FULL[-4096:]
ERASE, EVERY_PAGE, WRITE, CHECKSUM = b"\x45\xba", b"\xff\xff\x00", b"\x32\xcd", b"\xa1\x5e"


@pytest.fixture
def make(make_bench):
    """A bench whose applications need not prove themselves."""
    return lambda settings=None, **how: make_bench(
        settings={"confirm": {"method": "none"}, **(settings or {})}, **how
    )


def frames(bench) -> list[bytes]:
    """What the host sent to the loader."""
    return [
        data
        for address, reading, data in bench.trace.transactions
        if address == I2C_ADDRESS and not reading
    ]


def erased_since(bench, before: list[int]) -> list[int]:
    """How often each of the first pages was erased."""
    counts = bench.target.flash.erase_counts
    erased = [now - then for now, then in zip(counts, before, strict=True)]
    assert not any(erased[5:])
    return erased[:5]


def blocks_read(bench) -> int:
    return sum(reading and len(data) == 256 for _, reading, data in bench.trace.transactions)


def update(bench, content: bytes, version: str, **made) -> dict:
    """Install, with a new trace."""
    bench.trace = type(bench.trace)()
    bench.world.bus.tap = bench.trace.tap
    bench.world.bus.stream_tap = bench.trace.stream_tap
    return bench.install(image(content, version, **made))


def test_no_block_is_read_where_the_loader_computes_checksums(make):
    bench = make()
    assert update(bench, OLD, "1.0.0")["verified"] == len(OLD)
    assert update(bench, NEW, "1.1.0")["verified"] == len(NEW)
    assert blocks_read(bench) == 0 and bench.flash_holds(NEW)


@pytest.mark.parametrize(
    "how",
    [
        {"settings": {"verify": "read"}},
        {"quirks": LOADERS["openbl-g0"]},
        {"quirks": replace(quirks_of(4), checksum="unlisted")},
    ],
    ids=["board", "refused", "unlisted"],
)
def test_all_of_it_is_read_back_where_there_is_no_checksum(make, how):
    bench = make(**how)
    result = update(bench, OLD, "1.0.0")
    assert result["verified"] == len(OLD) and bench.flash_holds(OLD)
    assert blocks_read(bench) == len(OLD) // 256


def test_all_of_it_is_read_back_if_the_image_states_no_checksums(make):
    bench = make()
    result = bench.install(without_checksums(image(OLD, "1.0.0")))
    assert result["verified"] == len(OLD) and bench.flash_holds(OLD)
    assert CHECKSUM not in frames(bench) and blocks_read(bench) == len(OLD) // 256


def test_an_image_that_states_wrong_checksums_is_read_back_and_installed(make):
    bench = make()
    result = bench.install(restated(image(OLD, "1.0.0"), 0xA2, lambda value: bytes(len(value))))
    assert result["verified"] == len(OLD) and bench.flash_holds(OLD)
    # one page shows that checksums are of no use; it is read once, as all others
    assert blocks_read(bench) == len(OLD) // 256


def test_an_image_that_states_too_few_checksums_is_refused_before_anything_is_erased(make):
    bench = make()
    bench.install(image(OLD, "1.0.0"))
    erased = list(bench.target.flash.erase_counts)
    result = bench.install(restated(image(NEW, "1.1.0"), 0xA2, lambda value: value[:-4]))
    assert result["error"] == "image-damaged" and "checksum" in result["message"]
    assert bench.target.flash.erase_counts == erased and bench.flash_holds(OLD)


def test_a_loader_that_computes_another_checksum_is_read_back(make, monkeypatch):
    monkeypatch.setattr(loader, "crc_stm32", lambda data: crc_stm32(data) ^ 1)
    bench = make()
    assert update(bench, OLD, "1.0.0")["verified"] == len(OLD)
    assert blocks_read(bench) == len(OLD) // 256 and bench.flash_holds(OLD)


@pytest.mark.parametrize("verify", ["checksum", "read"])
@pytest.mark.parametrize("lost", [0, 2 * PAGE + 512, len(OLD) // 8 * 8 - 8])
def test_a_granule_that_was_not_programmed_is_found_and_written(make, verify, lost):
    bench = make(settings={"verify": verify})
    flash = bench.target.flash
    missed: list[int] = []
    start = flash.start_program

    def start_program(offset, data):
        if offset == lost and not missed:
            missed.append(offset)
            return start(offset, b"\xff" * 8) if offset else False
        return start(offset, data)

    flash.start_program = start_program
    flash.tap = lambda what, point: None  # so that each granule is programmed by itself
    events = [event["event"] for event in _run(bench, image(OLD, "1.0.0"))]
    assert "retry" in events and missed and bench.flash_holds(OLD)


def _run(bench, content: bytes):
    bench.push(content)
    return bench.run()


def test_a_page_that_differs_is_no_repeat(make):
    """Repeats are told to people as trouble on the bus."""
    bench = make(settings={"verify": "read"})
    bench.install(without_checksums(image(OLD, "1.0.0")))
    bench.push(without_checksums(image(NEW, "1.1.0")))
    assert [event["repeats"] for event in bench.run() if event["event"] == "written"] == [0]


def test_one_page_changed_costs_that_page_and_the_first(make):
    bench = make()
    bench.install(image(OLD, "1.0.0"))
    before = list(bench.target.flash.erase_counts)
    assert update(bench, ONE_PAGE, "1.2.0")["status"] == "installed"
    assert erased_since(bench, before) == [1, 0, 1, 0, 0]
    assert bench.flash_holds(ONE_PAGE) and blocks_read(bench) == 0


def test_a_page_that_reads_blank_is_erased_and_a_blank_block_not_written(make):
    """It may have been erased by an application that lost its supply meanwhile."""
    bench = make()
    bench.install(image(GAP, "1.1.0"))
    before = list(bench.target.flash.erase_counts)
    update(bench, OLD, "1.2.0")
    assert erased_since(bench, before) == [1, 0, 1, 0, 0]
    assert bench.flash_holds(OLD)
    update(bench, GAP, "1.3.0")  # zeros, the first page, and two granules of vectors
    assert bench.flash_holds(GAP) and frames(bench).count(WRITE) == PAGE // 256 + 3


@pytest.mark.parametrize("verify", ["checksum", "read"])
def test_a_part_full_of_other_data_is_erased_at_once(make, verify):
    bench = make(settings={"verify": verify})
    assert update(bench, FULL, "2.0.0")["verified"] == len(FULL)
    assert frames(bench).count(EVERY_PAGE) == 1 and bench.flash_holds(FULL)
    update(bench, HALF_BLANK, "2.1.0")
    assert EVERY_PAGE not in frames(bench)  # half of it is there already
    assert bench.flash_holds(HALF_BLANK)
    update(bench, FULL, "2.2.0")
    assert bench.flash_holds(FULL)


def test_pages_that_were_right_are_written_again_after_all_were_erased(make):
    bench = make()
    update(bench, FULL, "2.0.0")
    changed = bytes(byte ^ 0x55 for byte in FULL[4 * PAGE :])
    bench.push(image(FULL[: 4 * PAGE] + changed, "2.3.0"))
    events = []
    for event in bench.updater().events():
        events.append(event["event"])
        if event["event"] == "written":
            break
    assert "retry" not in events and frames(bench).count(EVERY_PAGE) == 2


@pytest.mark.parametrize(
    "how",
    [
        {"loader": 3},  # does not wait for its erases
        {"settings": {"chip": "STM32G071R8"}},  # the part may have more flash than that
    ],
    ids=["loader 11.3", "smaller part"],
)
def test_it_is_never_erased_at_once_where_that_is_not_safe(make, how):
    bench = make(**how)
    size = 64 if "settings" in how else 128
    content = FULL[: size * 1024]
    update(bench, content, "2.0.0")
    assert EVERY_PAGE not in frames(bench) and bench.flash_holds(content)


def test_pages_outside_the_image_are_never_erased_at_once(make):
    bench = make()
    bench.target.flash.data[-8:] = b"settings"
    update(bench, FULL[:-PAGE], "2.0.0")
    assert EVERY_PAGE not in frames(bench)
    assert bytes(bench.target.flash.data[-8:]) == b"settings"


def test_a_loader_that_refuses_to_erase_at_once_erases_page_by_page(make, monkeypatch):
    bench = make()
    monkeypatch.setattr(bench.target.flash, "start_mass_erase", lambda **_: False)
    assert update(bench, FULL, "2.0.0")["status"] == "installed"
    assert bench.flash_holds(FULL)


def test_an_image_whose_file_is_not_what_was_checked_is_not_taken_for_installed(make):
    """Flash holds what the file holds now, so nothing would be written."""
    bench = make()
    bench.install(image(OLD, "1.0.0"))
    bench.push(without_checksums(image(NEW, "1.1.0")))
    for event in bench.updater().events():
        if event["event"] == "installing":
            bench.write_file("/updater/candidate.img", without_checksums(image(OLD, "1.1.0")))
    assert event["ok"] is False or bench.flash_holds(NEW)


def test_a_long_wait_in_microseconds_feeds_the_watchdog(make):
    bench = make()
    fed: list[int] = []
    clock = bench.device.imports("stm32_rom.clock").Clock(lambda: fed.append(bench.clock.now))
    clock.now()  # the first call takes the time of importing
    fed.append(bench.clock.now)
    clock.sleep_us(650_000)
    fed.append(bench.clock.now)
    gaps = [later - before for before, later in zip(fed, fed[1:], strict=False)]
    assert sum(gaps) >= 650 * NS_PER_MS and max(gaps) < 110 * NS_PER_MS


def test_what_is_to_blame_is_not_told_by_a_checksum_that_differs(make, monkeypatch):
    """If the loader computes otherwise, flash is read: it holds what was written."""
    monkeypatch.setattr(loader, "crc_stm32", lambda data: crc_stm32(data) ^ 1)
    bench = make()
    bench.install(image(OLD, "1.0.0"))
    bench.boot()
    package = bench.device.imports("stm32_updater.image")
    flasher = bench.device.imports("stm32_updater.flasher")
    target = bench.updater()._board.target
    target.enter_loader()
    kept = package.open_image("/updater/confirmed.img")
    holding = flasher.Flasher(target).holds(kept)
    try:
        while True:
            next(holding)
    except StopIteration as stop:
        assert stop.value is True
