"""`chip = "auto"`: the chip is found by its loader, without a command to any other device."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stm32sim.chip.stm32 import Running
from stm32sim.world import Wiring
from stm32up import device
from stm32up.board import boards
from stm32up.doctor import examine, identify
from stm32up.errors import BoardFileError, DeviceError, UsageError
from tests.families.facts import FACTS, TWO_BANKS
from tests.families.worlds import bench_of, image_of, old
from tests.host_tools.doctor.doctors_bench import DEPLOYED, BenchHost, Eeprom

TEXT = (boards.BOARDS / "pico_nucleo_g071rb" / "board.toml").read_text()
PRESERVE = "preserve = [{start = 0x08000800, length = 0x800}]\n"
AUTO = TEXT.replace('chip = "STM32G071RB"', 'chip = "auto"')


def board_of(tmp_path, text=AUTO, chip=None):
    assert text != TEXT
    path = tmp_path / "board.toml"
    path.write_text(text)
    return boards.load(str(path), chip)


def identified(bench, board):
    return identify.chip_of(BenchHost(bench, DEPLOYED), board)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.part)
def test_a_chip_of_every_family_is_identified_and_its_application_runs_again(tmp_path, fact):
    bench = bench_of(fact.part, flash_size_readable=True)
    assert bench.install(image_of(fact.part, old(fact.part), "1.0.0"))["ok"]
    found = identified(bench, board_of(tmp_path))
    assert (found.product_id, found.flash_size) == (fact.product_id, fact.flash_kb * 1024)
    bench.clock.advance(2 * bench.target.start_up)
    assert bench.target.running is Running.APPLICATION
    assert bench.flash_holds(old(fact.part))


@pytest.mark.parametrize("host", ["rp2", "esp32"])
def test_a_blank_chip_is_identified_too(tmp_path, host):
    bench = bench_of("STM32G031K8", host=host, flash_size_readable=True)
    assert identified(bench, board_of(tmp_path)).name == "STM32G030X8"


def test_other_devices_at_addresses_of_loaders_get_no_byte(tmp_path):
    bench = bench_of("STM32G071RB", flash_size_readable=True)
    others = [Eeprom(address) for address in device.loaders() if address != 0x51]
    bench.world.bus.devices.extend(others)
    assert identified(bench, board_of(tmp_path)).product_id == 0x460
    assert not any(other.received for other in others)


def test_the_identified_part_is_checked_against_all_of_board_toml(tmp_path):
    assert board_of(tmp_path).as_json()["chip"] == "auto"
    fast = AUTO.replace("400_000", "1_000_000")
    assert board_of(tmp_path, fast, "STM32G071RB").as_json()["chip"] == "STM32G071RB"
    with pytest.raises(BoardFileError, match=r"frequency is above the limit .* 400000 Hz"):
        board_of(tmp_path, fast, "STM32C051C8")
    region = AUTO.replace("preserve = []\n", PRESERVE)
    with pytest.raises(BoardFileError, match="whole pages of 0x1000"):
        board_of(tmp_path, region, "STM32WB55CE")


def test_it_needs_boot0(tmp_path):
    command = "command = {address = 0x2A, bytes = [0x10]}"
    text = AUTO.replace('method = "boot0"', f'method = "command"\n{command}')
    lines = [line for line in text.splitlines() if not line.startswith("boot0")]
    with pytest.raises(BoardFileError, match=r'boot0 is needed by chip = "auto"'):
        board_of(tmp_path, "\n".join(lines))


def test_a_chip_that_cannot_be_identified_is_told(tmp_path):
    board = board_of(tmp_path)
    bench = bench_of("STM32G071RB", wiring=Wiring(boot0=None))
    assert bench.install(image_of("STM32G071RB", old("STM32G071RB"), "1.0.0"))["ok"] is True
    with pytest.raises(DeviceError, match="no loader answers"):
        identified(bench, board)
    unreadable = bench_of("STM32G071RB")
    with pytest.raises(DeviceError, match="states nothing as its flash size"):
        identified(unreadable, board)


def test_a_recognised_chip_is_refused_and_gets_nothing_but_its_identity_asked(tmp_path):
    bench = bench_of("STM32G071RB", flash_size_readable=True)
    bench.target.quirks = replace(bench.target.quirks, product_id=0x484)
    bench.target.power(False)
    bench.clock.advance(10**9)
    bench.target.power(True)
    with pytest.raises(DeviceError, match="product states"):
        identified(bench, board_of(tmp_path))
    assert set(bench.trace.commands()) <= {0x01, 0x02}


def test_what_needs_the_chip_before_it_is_known_says_so(tmp_path):
    board = board_of(tmp_path)
    with pytest.raises(UsageError, match='chip = "auto"'):
        _ = board.chip.flash_size
    bench = bench_of("STM32G071RB")
    bench.files.fs_remove("/board.json")
    with pytest.raises(UsageError, match="the host does not know it yet"):
        examine.examine(BenchHost(bench, DEPLOYED), board.as_json())


def test_the_doctor_examines_with_the_chip_that_was_deployed(tmp_path):
    bench = bench_of("STM32G071RB")
    facts = examine.examine(BenchHost(bench, DEPLOYED), board_of(tmp_path).as_json())
    assert facts.settings["chip"] == "STM32G071RB" and "chip" not in facts.differs


def test_every_part_that_can_be_identified_has_a_name_that_board_json_may_have():
    for fact in FACTS:
        for name in (fact.part, TWO_BANKS.get(fact.part, fact.part)):
            size = device.chip(name).flash_size
            part = device.part_of(fact.product_id, size)
            assert part is not None and device.chip(part.name).flash_size == size
    assert device.part_of(0x460, 100 * 1024) is None
