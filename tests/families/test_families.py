"""Every supported family: its data, the way of an update, cuts, and the faults of its loader."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.families import FAMILIES, family_of
from stm32sim.chip.flash import SLOWEST
from stm32sim.chip.stm32 import Running
from stm32sim.cuts.campaign import Campaign, explore
from stm32sim.cuts.judge import Judge
from stm32sim.cuts.rig import BOTH, BYTE, FRAME, HOST_FLASH, TARGET, TARGET_FLASH, Scenario
from stm32sim.faults import Noise
from stm32up import device
from stm32up.errors import UsageError
from tests import support
from tests.families import __main__ as page
from tests.families.facts import (
    CLEARS_EMPTY,
    DBANK,
    FACTS,
    REFUSED,
    TWO_BANKS,
    WIDE_ID,
)
from tests.families.worlds import (
    DANGEROUS,
    bench_of,
    commands,
    erases,
    image_of,
    large,
    new,
    old,
    writes,
)
from tests.support import FLASH, over_uart

SUPPORTED = [fact.part for fact in FACTS]
C031 = "STM32C031C6"
BANKED = [*TWO_BANKS, *TWO_BANKS.values()]
NO_BOOT0 = {
    "pins": {"boot0": None},
    "enter": {"method": "command", "address": 0x2A, "command": "10424f4f54"},
}


# --- the tables ---


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.part)
def test_the_devices_table_says_what_the_sources_say(fact):
    family = family_of(fact.part)
    chip = device.module("stm32_rom.chips").by_name(fact.part)
    assert (chip.product_id, chip.loader_address) == (fact.product_id, fact.address)
    assert (chip.flash_size, chip.page_size) == (fact.flash_kb * 1024, fact.page)
    assert chip.ram_size == fact.ram_kb * 1024
    known_id = 0 if fact.product_id == WIDE_ID else fact.loader_id_at
    assert chip.loader_id_address == known_id
    assert (chip.flash_size_address, chip.options_address) == (fact.flash_size_at, fact.options_at)
    assert chip.bus_limit == fact.bus_khz * 1000 and chip.loader_timeout_ms == fact.timeout_ms
    assert chip.free_ram == fact.free_ram and fact.free_ram in (0, family.loader_ram_end)
    assert bool(fact.free_ram) <= family.empty_in_acr
    assert fact.start_up_ms + 19 < chip.startup_ms <= fact.start_up_ms + 20
    assert (chip.second_bank != chip.pages) == (fact.part in TWO_BANKS)
    assert chip.has_dbank == (fact.part in DBANK)
    assert chip.quirks(0xFF).clears_empty_flag == (fact.part in CLEARS_EMPTY)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.part)
def test_the_simulators_table_says_what_the_sources_say(fact):
    family = family_of(fact.part)
    assert (family.product_id, family.address) == (fact.product_id, fact.address)
    assert (family.page, family.ram) == (fact.page, fact.ram_kb * 1024)
    assert family.loader_id_address == fact.loader_id_at
    assert family.flash_size_address == fact.flash_size_at
    assert family.has_options == bool(fact.options_at)
    assert family.start_up == round(fact.start_up_ms * 1e6)
    assert family.timeout == fact.timeout_ms * 10**6
    assert (family.uart.fastest if family.uart else 0) == fact.uart_baud
    assert family.two_banks == (fact.part in TWO_BANKS)
    assert (family.dbank is not None) == (fact.part in DBANK)
    flaws = family.quirks()
    assert flaws.clears_empty_flag == (fact.part in CLEARS_EMPTY)


def test_both_tables_have_the_same_families_and_parts():
    rows = [row.split() for row in device.families().SUPPORTED]
    assert len(rows) == len(FAMILIES) == len(FACTS)
    simulated = {family.product_id: sorted(family.parts.split()) for family in FAMILIES}
    assert {int(row[0], 16): sorted(row[1].split(",")) for row in rows} == simulated
    for row in rows:
        largest = int(row[4].rpartition("=")[2]) * 1024
        assert largest == next(f.largest for f in FAMILIES if f.product_id == int(row[0], 16))


@pytest.mark.parametrize(("part", "product_id", "reason"), REFUSED)
def test_a_part_that_cannot_be_written_safely_is_refused_with_the_reason(part, product_id, reason):
    with pytest.raises(UsageError) as caught:
        device.chip(part)
    assert reason in str(caught.value) and part in str(caught.value)
    if product_id:
        assert "not supported" in device.family(product_id)
        assert reason in device.family(product_id) and not device.knows(product_id)


@pytest.mark.parametrize("part", ["STM32G071RE", "STM32C011FC", "STM32WB15CE", "STM32L4R5ZQ"])
def test_a_flash_size_that_no_part_of_the_family_has_is_refused(part):
    with pytest.raises(UsageError, match="flash size letter"):
        device.chip(part)


def test_another_chip_that_is_recognised_is_refused_by_its_product_id():
    bench = bench_of("STM32G071RB")
    bench.target.quirks = replace(bench.target.quirks, product_id=0x484)
    result = bench.install(image_of("STM32G071RB", old("STM32G071RB"), "1.0.0"))
    assert result["error"] == "wrong-chip" and "product states" in result["message"]
    assert not sum(bench.target.flash.erase_counts)


@pytest.mark.parametrize("part", ["STM32G474RB", "STM32C011F6"])
def test_a_uart_that_is_not_simulated_is_refused(part):
    with pytest.raises(ValueError, match="UART of an STM32.* is not simulated, only of C031, G0"):
        bench_of(part, uart=True)


# --- an update ---


def to_flash(bench):
    """All writes but those of the code that corrects EMPTY, in RAM that the loader leaves free."""
    free = bench.target.family.loader_ram_end
    return [(at, length) for at, length in writes(bench) if not free <= at < free + 64]


def is_the_last_write_the_first_granule(bench):
    address, length = to_flash(bench)[-1]
    return (address, length) == (FLASH, 8)


@pytest.mark.parametrize("part", SUPPORTED)
def test_a_first_installation_and_an_update(part):
    bench = bench_of(part)
    end = 3 * bench.target.flash.page
    bench.target.flash.load(b"not of the image", end)
    for content, version in ((old(part), "1.0.0"), (new(part), "1.1.0")):
        result = bench.install(image_of(part, content, version))
        assert result["status"] == "installed", result
        assert bench.flash_holds(content) and bench.target.running is Running.APPLICATION
        assert is_the_last_write_the_first_granule(bench)
    assert bytes(bench.target.flash.data[end : end + 16]) == b"not of the image"
    assert not bench.target.flash.weak_granules()
    assert not {code for code, _, _ in commands(bench)} & DANGEROUS
    sent = to_flash(bench)  # whole granules only
    assert all(FLASH <= at < FLASH + end and at % 8 == length % 8 == 0 for at, length in sent)
    assert all(len(pages) == 2 for pages in erases(bench))  # one page in each command


@pytest.mark.slow
@pytest.mark.parametrize("part", SUPPORTED)
def test_every_version_of_the_loader_is_told_and_served(part):
    family = family_of(part)
    for loader_id in family.versions:
        bench = bench_of(part, loader=loader_id)
        bench.push(image_of(part, old(part), "1.0.0"))
        events = bench.run()
        assert events[-1]["status"] == "installed"
        told = next(event["version"] for event in events if event["event"] == "loader")
        known = family.product_id != WIDE_ID
        assert told == (f"{loader_id >> 4}.{loader_id & 15}" if known else "?")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "world"),
    [*((part, {}) for part in SUPPORTED), (C031, over_uart(115_200))],
    ids=[*SUPPORTED, f"{C031}-uart"],
)
def test_an_update_survives_cuts(part, world):
    def build():
        bench = bench_of(part, **world)
        assert bench.install(image_of(part, old(part), "1.0.0"))["ok"]
        bench.push(image_of(part, new(part), "1.1.0"))
        return bench

    scenario = Scenario(part, build, lambda bench: Judge.of(bench, new(part), old(part)))
    cases = explore(scenario, Campaign({BYTE: 4001, FRAME: 211, TARGET_FLASH: 211, HOST_FLASH: 9}))
    bad = [str(case.verdict) for case in cases if case.verdict.violations]
    assert len(cases) >= 8 and not bad, bad[:3]


# --- over UART ---


@pytest.mark.parametrize("rate", [9600, 115_200, 230_400, 1_000_000])
def test_a_c031_is_updated_over_uart_and_at_115200_baud_if_the_board_asks_for_more(rate):
    bench = bench_of(C031, **over_uart(rate))
    for content, version in ((old(C031), "1.0.0"), (new(C031), "1.1.0")):
        result = bench.install(image_of(C031, content, version))
        assert result["status"] == "installed", result
        assert result["verified"] == len(content)
        assert bench.flash_holds(content) and bench.target.running is Running.APPLICATION
    assert not set(bench.trace.commands()) & DANGEROUS
    assert not bench.target.flash.weak_granules()


# --- what is read from the chip ---


@pytest.mark.parametrize("part", ["STM32G431KB", "STM32WB55CE"])
def test_readout_protection_is_seen_without_option_bytes(part):
    bench = bench_of(part)
    bench.target.option_bytes.store(0, bench.target.option_bytes.word(0) & ~0xFF | 0xBB)
    bench.target.power(False)
    bench.clock.advance(10**9)
    bench.target.power(True)
    bench.clock.advance(10**8)
    result = bench.install(image_of(part, old(part), "1.0.0"))
    assert result["error"] == "read-protected"


@pytest.mark.parametrize("bits", [{"dbank": False}, {"bfb2": True}], ids=str)
@pytest.mark.parametrize("part", DBANK)
def test_a_chip_with_one_bank_or_exchanged_ones_is_refused_before_anything_is_erased(part, bits):
    bench = bench_of(part)
    bench.target.family = replace(bench.target.family, **bits)
    result = bench.install(image_of(part, old(part), "1.0.0"))
    assert result["error"] == "wrong-chip" and "DBANK" in result["message"]
    assert not sum(bench.target.flash.erase_counts)


@pytest.mark.parametrize("part", TWO_BANKS)
def test_a_chip_with_another_second_bank_than_the_boards_is_refused(part):
    size = bench_of(part).target.flash.size
    bench = bench_of(part, flash_size=size // 2, flash_size_readable=True)
    result = bench.install(image_of(part, old(part), "1.0.0"))
    assert result["error"] == "wrong-chip" and "two banks" in result["message"]
    assert not sum(bench.target.flash.erase_counts)


# --- the second bank ---


@pytest.mark.slow
@pytest.mark.parametrize("numbering", ["through", "linear", "256", "drops"])
@pytest.mark.parametrize("part", BANKED)
def test_the_second_bank_is_found_however_its_pages_are_numbered(part, numbering):
    bench = bench_of(part, numbering=numbering)
    assert bench.install(image_of(part, old(part), "1.0.0"))["ok"]
    flash = bench.target.flash
    beyond = flash.size - flash.page
    flash.load(b"not of the image", beyond)
    flash.load(b"earlier!" * (3 * flash.page // 8), flash.size // 2)
    result = bench.install(image_of(part, large(part), "2.0.0"))
    assert result["status"] == "installed", result
    assert bench.flash_holds(large(part)) and is_the_last_write_the_first_granule(bench)
    assert bytes(flash.data[beyond : beyond + 16]) == b"not of the image"
    assert all(len(pages) == 2 for pages in erases(bench))


@pytest.mark.slow
@pytest.mark.parametrize("numbering", ["through", "linear", "256", "drops", "none"])
@pytest.mark.parametrize("part", BANKED)
def test_finding_it_erases_no_page_but_its_first_one_and_page_0(part, numbering):
    bench = bench_of(part, numbering=numbering)
    flash = bench.target.flash
    second = flash.pages // 2
    tried = []

    def tap(what, point):
        if what == "erase" and not point:
            tried.append(flash.page_at_work)

    flash.tap = tap
    bench.install(image_of(part, large(part), "2.0.0"))
    assert set(tried[: tried.index(second)] if second in tried else tried) == {0}
    assert (second in tried) == (numbering != "none")


@pytest.mark.slow
@pytest.mark.parametrize("part", BANKED)
def test_without_a_number_for_it_the_first_bank_is_used_and_the_last_good_image_returns(part):
    bench = bench_of(part, numbering="none")
    assert bench.install(image_of(part, old(part), "1.0.0"))["ok"]
    result = bench.install(image_of(part, large(part), "2.0.0"))
    assert result["error"] == "image-fit" and "second bank" in result["message"]
    limit = bench.target.flash.size // 2048
    assert f"first {limit} KB" in result["next_step"]
    bench.boot()
    assert bench.run()[-1]["status"] == "installed"
    assert bench.flash_holds(old(part)) and bench.target.running is Running.APPLICATION


@pytest.mark.parametrize("part", TWO_BANKS)
def test_no_number_is_tried_if_the_first_page_of_the_second_bank_must_stay(part):
    bench = bench_of(part)
    flash = bench.target.flash
    half = flash.size // 2
    settings = {**bench.settings, "preserve": [[FLASH + half, flash.page]]}
    bench = bench_of(part, settings=settings)
    assert bench.install(image_of(part, old(part), "1.0.0"))["ok"]
    before = list(bench.target.flash.erase_counts)
    content = image_of(part, large(part), "2.0.0", kept=((half, flash.page),))
    result = bench.install(content)
    assert result["error"] == "image-fit" and "second bank" in result["message"]
    assert before == bench.target.flash.erase_counts
    assert bench.target.running is Running.APPLICATION


@pytest.mark.parametrize("seed", [4, 9, 11])  # they hid it when each block was read once
def test_noise_does_not_hide_the_number_of_the_second_bank(seed):
    part = "STM32G474RB"
    bench = bench_of(part)
    assert bench.install(image_of(part, old(part), "1.0.0"))["ok"]
    Noise(bench.world.bus, bench.target, rate=1e-3, seed=seed)
    result = bench.install(image_of(part, large(part), "2.0.0"))
    assert result.get("error") != "image-fit", result


@pytest.mark.parametrize("numbering", ["linear", "drops"])
def test_a_page_that_was_programmed_with_ones_proves_its_number_too(numbering):
    part = "STM32G0B1RC"
    bench = bench_of(part, numbering=numbering)
    flash = bench.target.flash
    flash.load(b"\xff" * (flash.size // 2), flash.size // 2)
    assert bench.install(image_of(part, large(part), "2.0.0"))["status"] == "installed"
    assert bench.flash_holds(large(part))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "numbering", "every"),
    [
        *(("STM32G474RB", numbering, 43) for numbering in ("linear", "256", "drops")),
        *((part, "drops", 701) for part in TWO_BANKS),
    ],
)
def test_finding_the_second_bank_survives_cuts(part, numbering, every):
    def build():
        bench = bench_of(part, numbering=numbering)
        assert bench.install(image_of(part, old(part), "1.0.0"))["ok"]
        flash = bench.target.flash
        flash.load(b"earlier!" * (3 * flash.page // 8), flash.size // 2)
        bench.push(image_of(part, large(part), "2.0.0"))
        return bench

    scenario = Scenario(part, build, lambda bench: Judge.of(bench, large(part), old(part)))
    steps = {BYTE: 10**6, FRAME: 10**6, TARGET_FLASH: every, HOST_FLASH: 10**6}
    cases = explore(scenario, Campaign(steps, only=(TARGET, BOTH)))
    bad = [f"{case.id} {case.verdict}" for case in cases if case.verdict.violations]
    assert cases and not bad, bad[:3]


@pytest.mark.slow
@pytest.mark.parametrize("numbering", ["linear", "256", "drops"])
def test_finding_it_again_for_another_page_survives_cuts(numbering):
    """The first page of the second bank would stay, but shows its number by an erase."""
    part = "STM32G474RB"
    changed = large(part)[:-8] + b"changed!"
    known = known_images(support.known(large(part), "2.0.0"), support.known(changed, "2.1.0"))

    def build():
        bench = bench_of(part, numbering=numbering, applications=known)
        assert bench.install(image_of(part, large(part), "2.0.0"))["ok"]
        bench.push(image_of(part, changed, "2.1.0"))
        return bench

    scenario = Scenario(part, build, lambda bench: Judge.of(bench, changed, large(part)))
    steps = {BYTE: 10**6, FRAME: 10**6, TARGET_FLASH: 5, HOST_FLASH: 10**6}
    cases = explore(scenario, Campaign(steps, only=(TARGET, BOTH)))
    bad = [f"{case.id} {case.verdict}" for case in cases if case.verdict.violations]
    assert len(cases) > 20 and not bad, bad[:3]


# --- faults of loaders ---


@pytest.mark.parametrize("part", [*CLEARS_EMPTY, "STM32G071RB"])
def test_a_blank_chip_whose_loader_clears_the_empty_flag_is_never_reset_without_boot0(part):
    loader = 3 if part == "STM32G071RB" else None
    bench = bench_of(part, loader=loader, settings=NO_BOOT0)
    bench.push(image_of(part, old(part), "1.0.0"))
    resets = []
    real = bench.target.nrst

    def nrst(high):
        resets.append((high, bytes(bench.target.flash.data[:8]) == b"\xff" * 8))
        real(high)

    bench.target.nrst = nrst  # type: ignore[method-assign]
    assert bench.run()[-1]["status"] == "installed"
    assert (False, True) not in resets


@pytest.mark.parametrize("host", ["rp2", "esp32"])
def test_an_erase_that_stretches_the_clock_is_waited_for(host):
    part = "STM32G051K8"
    bench = bench_of(part, host=host, times=SLOWEST)
    assert bench.target.quirks.erase_stretches
    assert bench.install(image_of(part, old(part), "1.0.0"))["status"] == "installed"
    assert bench.flash_holds(old(part))


@pytest.mark.parametrize("loader", [0x51, 0x52])
def test_a_loader_that_is_deaf_because_of_pa3_leaves_the_application_running(loader):
    part = "STM32G031K8"
    bench = bench_of(part)
    assert bench.install(image_of(part, old(part), "1.0.0"))["ok"]
    bench.target.quirks = replace(bench.target.family.quirks(loader), deaf=True)
    result = bench.install(image_of(part, new(part), "1.1.0"))
    assert result["error"] == "loader-silent"
    assert bench.flash_holds(old(part)) and bench.target.running is Running.APPLICATION


@pytest.mark.parametrize("part", ["STM32WB15CC", "STM32WB55CE"])
def test_all_of_a_wbs_flash_is_never_erased_at_once(part):
    bench = bench_of(part)
    content = old(part).ljust(bench.target.flash.size, b"\xff")
    assert bench.install(image_of(part, content, "1.0.0"))["status"] == "installed"
    assert b"" not in erases(bench) and len(erases(bench)) >= bench.target.flash.pages


def test_all_of_a_single_banks_flash_is_still_erased_at_once():
    part = "STM32C011F6"
    bench = bench_of(part)
    content = old(part).ljust(bench.target.flash.size, b"\xff")
    assert bench.install(image_of(part, content, "1.0.0"))["status"] == "installed"
    assert b"" in erases(bench)


@pytest.mark.parametrize("part", SUPPORTED)
def test_a_start_up_as_slow_as_stated_is_waited_for(part):
    bench = bench_of(part, start_up=family_of(part).start_up + 15 * 10**6)
    assert bench.install(image_of(part, old(part), "1.0.0"))["status"] == "installed"
    assert not any(event["event"] == "retry" for event in bench.run())


# --- the documentation ---


@pytest.mark.parametrize("name", page.sections())
def test_the_page_about_families_is_current(name):
    text = page.DOCUMENT.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    found = text.partition(begin)[2].partition(end)[0]
    assert found.strip() == "\n".join(page.sections()[name]), "python -m tests.families"
