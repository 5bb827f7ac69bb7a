"""Small parts of the device package: chips, option bytes, clock, board."""

from __future__ import annotations

import pytest

from stm32sim.chip.option_bytes import FACTORY, OptionBytes


@pytest.fixture
def module(make_bench):
    """Imports a module of stm32_rom."""
    bench = make_bench()
    return lambda name: bench.device.imports(f"stm32_rom.{name}")


@pytest.mark.parametrize(
    ("name", "product_id", "address", "kilobytes"),
    [
        ("STM32G071RB", 0x460, 0x51, 128),
        ("STM32G071RBT6", 0x460, 0x51, 128),
        ("stm32g031k8", 0x466, 0x56, 64),
        ("STM32C011F6", 0x443, 0x64, 32),
        ("STM32L432KC", 0x435, 0x48, 256),
    ],
)
def test_a_part_number_tells_family_and_flash_size(module, name, product_id, address, kilobytes):
    chip = module("chips").by_name(name)
    assert (chip.product_id, chip.loader_address) == (product_id, address)
    assert chip.flash_size == kilobytes * 1024 and chip.pages == kilobytes // 2


@pytest.mark.parametrize("name", ["STM32F103C8", "STM32G071", "STM32G071R?", "", "G071RB"])
def test_an_unknown_part_is_named_with_what_is_known(module, name):
    with pytest.raises(module("errors").UnknownChip) as caught:
        module("chips").by_name(name)
    assert ("has no I2C" if "F103" in name else "STM32G071") in str(caught.value)


@pytest.mark.parametrize(
    ("loader_id", "settle"), [(0xB1, 0), (0xB2, 0), (0xB3, 40), (0xB4, 0), (None, 40)]
)
def test_work_arounds_go_by_the_loader_version(module, loader_id, settle):
    chip = module("chips").by_name("STM32G071RB")
    assert chip.quirks(loader_id).erase_settle_ms == settle


def test_factory_option_bytes_are_decoded(module):
    options = module("option_bytes").OptionBytes(bytes(OptionBytes().data))
    fields = options.as_dict()
    assert fields["OPTR"] == f"0x{FACTORY[0]:08X}" and fields["RDP"] == 0
    assert fields["nBOOT_SEL"] == fields["nBOOT0"] == fields["nBOOT1"] == 1
    assert fields["WRP1A"] is None and fields["BOOT_LOCK"] == 0
    assert not any(options.write_protected(page) for page in range(64))


@pytest.mark.parametrize(("rdp", "level"), [(0xAA, 0), (0xCC, 2), (0xBB, 1), (0x00, 1)])
def test_readout_protection_levels(module, rdp, level):
    area = OptionBytes()
    area.store(0, FACTORY[0] & ~0xFF | rdp)
    assert module("option_bytes").OptionBytes(bytes(area.data)).rdp_level == level


def test_write_protected_areas(module):
    area = OptionBytes()
    area.store(0x18, 5 << 16 | 3)
    area.store(0x20, 63 << 16 | 63)
    options = module("option_bytes").OptionBytes(bytes(area.data))
    assert [page for page in range(64) if options.write_protected(page)] == [3, 4, 5, 63]


def test_a_deadline_holds_over_the_wrap_of_the_tick_counter(module):
    clock = module("clock").Clock()
    for _ in range(200):
        deadline = clock.deadline(500)
        assert 0 < deadline.left() <= 500 and not deadline.expired()
        deadline.sleep(10_000)
        assert deadline.expired()


def test_sleeping_feeds_the_watchdog(module):
    fed = []
    module("clock").Clock(lambda: fed.append(1)).sleep(1000)
    assert len(fed) >= 10


@pytest.mark.parametrize("missing", ["chip", "i2c", "pins", "confirm", "preserve", "unsigned"])
def test_a_board_json_without_a_section_is_named(make_bench, missing):
    bench = make_bench()
    settings = dict(bench.settings)
    del settings[missing]
    errors = bench.device.imports("stm32_rom.errors")
    board = bench.device.imports("stm32_updater.board")
    with pytest.raises(errors.BoardError) as caught:
        board.Board(settings, bench.device.imports("stm32_rom.clock").Clock())
    assert missing in str(caught.value)


def test_a_board_json_with_a_bus_too_fast_for_the_loader_is_refused(make_bench):
    bench = make_bench(chip="STM32C051C8", settings={"i2c": {"freq": 1_000_000}})
    with pytest.raises(Exception, match=r"\[i2c\] freq is above the limit .*, 400000"):
        bench.updater()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'"chip"'])
def test_a_board_json_that_is_none_is_one_clear_error(make_bench, content):
    bench = make_bench()
    bench.write_file("/board.json", content)
    with pytest.raises(Exception) as caught:
        bench.updater()
    assert type(caught.value).__name__ == "BoardError"


def test_no_board_json_says_deploy(make_bench):
    bench = make_bench()
    bench.files.fs_remove("/board.json")
    with pytest.raises(Exception) as caught:
        bench.updater()
    assert "deploy" in caught.value.next_step  # type: ignore[attr-defined]
