"""Simulated chips of other families: what their loaders say, number, refuse and do wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stm32sim.chip.families import FAMILIES, family_of, flash_size_of
from stm32sim.chip.stm32 import NotModelled, Running
from tests.simulator.rig import ACK, BUSY, FLASH, NACK, OPTIONS, Rig

VERSIONS = [
    pytest.param(family, loader_id, id=f"{family.parts.split()[0]}-{loader_id:02X}")
    for family in FAMILIES
    for loader_id in family.versions
]


def chip_of(part: str, loader_id: int | None = None, **arguments) -> Rig:
    family = family_of(part)
    arguments.setdefault("flash_size", flash_size_of(part))
    quirks = arguments.pop("quirks", family.quirks(loader_id))
    made = Rig(family=family, quirks=quirks, start_up=family.start_up, powered=False, **arguments)
    made.power_cycle()
    made.wait(family.start_up / 1e6)
    return made


@pytest.mark.parametrize(("family", "loader_id"), VERSIONS)
def test_a_loader_states_its_family_and_version(family, loader_id):
    rig = Rig(family=family, quirks=family.quirks(loader_id), start_up=1)
    assert rig.command(0x02) == ACK
    assert rig.receive(3) == b"\x01" + family.product_id.to_bytes(2, "big")
    assert rig.status() == ACK
    assert rig.command(0x01) == ACK
    assert rig.receive(1) == bytes([family.protocol]) and rig.status() == ACK
    assert rig.read(family.loader_id_address, 1) == bytes([loader_id])
    assert rig.command(0xA1) == (ACK if family.protocol == 0x12 else NACK)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.parts.split()[0])
def test_a_loader_answers_after_its_start_up_and_at_its_address_only(family):
    rig = Rig(family=family, quirks=family.quirks(), start_up=None, powered=False)
    rig.chip.power(True)
    rig.clock.advance(family.start_up)
    seen = [rig.running]
    rig.wait(5)
    assert [*seen, rig.running] == [Running.RESET, Running.LOADER]
    others = {other.address for other in FAMILIES} - {family.address}
    assert not any(rig.bus.start(address, reading=False) for address in others)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.parts.split()[0])
def test_a_silent_host_is_given_up_after_the_familys_own_time(family):
    rig = Rig(family=family, quirks=family.quirks(), start_up=1)
    rig.command(0x11)
    starts = rig.starts
    rig.wait(family.timeout / 1e6 - 1)
    assert rig.starts == starts
    rig.wait(2)
    assert rig.starts == starts + 1


@pytest.mark.parametrize(
    ("numbering", "numbers"),
    [
        ("through", {64: 64, 127: 127, 128: None}),
        ("linear", {64: None, 127: None, 128: 64, 191: 127, 192: None, 256: None}),
        ("256", {64: None, 128: None, 256: 64, 319: 127, 320: None}),
        ("drops", {64: 0, 128: 0, 129: 1, 256: 64, 320: 64}),
        ("none", {64: None, 128: None, 256: None}),
    ],
)
def test_the_second_bank_of_a_part_with_256_kb_is_numbered(numbering, numbers):
    family = family_of("STM32G0B1RC")
    for number, page in {0: 0, 63: 63, **numbers}.items():
        assert family.page_of(number, 128, numbering) == page
    with pytest.raises(ValueError, match="no such numbering"):
        family.page_of(0, 128, "backwards")


def test_a_number_that_means_no_page_is_acknowledged_and_erases_nothing():
    rig = chip_of("STM32G0B1RC", numbering="256")
    assert rig.erase(64) == ACK and not sum(rig.flash.erase_counts)
    assert rig.erase(0) == ACK and not sum(rig.flash.erase_counts)  # the error flag stays
    rig.reset()
    assert rig.erase(256) == ACK and rig.flash.erase_counts[64] == 1


def test_of_several_pages_of_a_second_bank_only_the_first_is_erased():
    rig = chip_of("STM32G0B1RC", numbering="linear")
    assert rig.erase(1, 2) == ACK and rig.flash.erase_counts[:4] == [0, 1, 1, 0]
    assert rig.erase(128, 129) == ACK and rig.flash.erase_counts[64:67] == [1, 0, 0]


def test_pages_have_the_size_of_the_family():
    rig = chip_of("STM32WB55CE")
    rig.flash.load(bytes(3 * 4096))
    assert rig.erase(1) == ACK
    held = bytes(rig.flash.data[: 3 * 4096])
    assert held == bytes(4096) + b"\xff" * 4096 + bytes(4096)


def test_an_erase_that_never_answers_busy_holds_the_clock():
    rig = chip_of("STM32G051K8")
    assert rig.erase(0, code=0x45) == ACK and rig.flash.erase_counts[0] == 1
    rig.command(0x45)
    rig.ask(b"\0\0\0")
    rig.send(b"\0\1\1")
    assert rig.held(10)
    healthy = chip_of("STM32G031K8")
    healthy.command(0x45)
    healthy.ask(b"\0\0\0")
    healthy.send(b"\0\1\1")
    assert healthy.status() == BUSY


def test_what_v10_1_of_an_l47x_writes_to_ram_is_damaged():
    for loader_id, held in ((0xA1, b"\xff\xff\xff\xff"), (0xA3, bytes(4))):
        rig = chip_of("STM32L476RC", loader_id)
        assert rig.write(0x2000_4000, bytes(4)) == ACK
        assert rig.read(0x2000_4000, 4) == held


def test_write_unprotect_of_a_wb_erases_everything_and_is_beyond_this_model():
    rig = chip_of("STM32WB55CE")
    rig.flash.load(bytes(4096))
    rig.command(0x73)
    with pytest.raises(NotModelled):
        rig.wait(1000)
    assert bytes(rig.flash.data[:4096]) == b"\xff" * 4096


@pytest.mark.parametrize("part", ["STM32G431KB", "STM32L432KC", "STM32G0B1RC", "STM32U031R8"])
def test_option_bytes_of_an_unknown_layout_can_neither_be_read_nor_written(part):
    rig = chip_of(part)
    assert rig.read(OPTIONS, 4) is None and rig.write(OPTIONS, bytes(4)) == NACK
    with pytest.raises(NotModelled):
        rig.command(0x82)


@pytest.mark.parametrize("dbank", [True, False])
def test_the_option_word_with_dbank_can_be_read_and_not_written(dbank):
    family = replace(family_of("STM32G474RB"), dbank=dbank)
    rig = Rig(family=family, quirks=family.quirks())
    word = rig.read(OPTIONS, 8)
    assert word is not None and bytes(a ^ b for a, b in zip(word[:4], word[4:], strict=True)) == (
        b"\xff" * 4
    )
    assert bool(int.from_bytes(word[:4], "little") >> 22 & 1) == dbank
    assert rig.write(OPTIONS, bytes(8)) == NACK


def test_a_deaf_loader_answers_nothing():
    family = family_of("STM32G031K8")
    rig = chip_of("STM32G031K8", quirks=replace(family.quirks(0x51), deaf=True))
    assert rig.running is Running.LOADER and rig.send(b"\x01\xfe") == -1


@pytest.mark.parametrize("part", ["STM32G071RE", "STM32H563ZI", "STM32C011FC"])
def test_what_is_not_known_cannot_be_simulated(part):
    with pytest.raises((ValueError, KeyError)):
        flash_size_of(part)


def test_flash_can_be_read_and_written_up_to_its_end():
    rig = chip_of("STM32WB15CC")
    end = FLASH + 320 * 1024
    assert rig.write(end - 8, bytes(8)) == ACK and rig.read(end - 8, 8) == bytes(8)
    assert rig.read(end, 1) is None
