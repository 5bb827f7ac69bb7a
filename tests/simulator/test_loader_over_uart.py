"""The loader over UART: AN3155, packet by packet, and what breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stm32sim.chip.families import family_of
from stm32sim.chip.flash import PAGE, TYPICAL
from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.chip.quirks import LOADERS, quirks_of
from stm32sim.chip.stm32 import Running
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from stm32sim.wires.uart import EVEN, ODD
from tests.simulator.rig import (
    ACK,
    APP,
    FLASH,
    NACK,
    OPTIONS,
    RAM,
    count_frame,
    data_frame,
    word,
    xor,
)
from tests.simulator.uart_rig import SYNC, UartRig, pages_packet

CODES = bytes.fromhex("0001021121314463738292")
BLOCK = bytes(range(256))
FULL = bytes(128 * 1024)
YEAR = 365 * 24 * 3600 * NS_PER_S
MakeRig = Callable[..., UartRig]
C031 = family_of("STM32C031C6")


@pytest.fixture
def uart() -> UartRig:
    return UartRig()


@pytest.fixture
def fresh() -> UartRig:
    """A loader that has seen nothing yet."""
    return UartRig(synchronised=False)


# Start


@pytest.mark.parametrize("rate", [1_200, 9_600, 115_200, 460_800, 921_600, 1_000_000, 1_500_000])
def test_0x7f_sets_the_rate_and_is_acknowledged_once(rate: int) -> None:
    rig = UartRig(rate=rate, synchronised=False)
    rig.hand_over(SYNC)
    assert rig.hear(2) == b"\x79"
    assert rig.answers()


def test_the_ack_comes_after_the_connection_time(fresh: UartRig) -> None:
    fresh.hand_over(SYNC)
    sent = fresh.clock.now
    assert fresh.hear(1) == b"\x79"
    assert fresh.clock.now - sent == 110 * NS_PER_US + fresh.byte_time


@pytest.mark.parametrize("rate", [300, 1_600_000, 2_000_000, 3_000_000])
def test_rates_out_of_range_are_not_detected(rate: int) -> None:
    rig = UartRig(rate=rate, synchronised=False)
    assert rig.say(SYNC) is None


@pytest.mark.parametrize("first", [b"\x00", b"\x80", b"\x55", b"\xfe", b"\x01\xfe", b"\xff\x7f"])
def test_anything_before_0x7f_makes_uart_dead_until_a_reset(fresh: UartRig, first: bytes) -> None:
    fresh.hand_over(first)
    fresh.clock.advance(YEAR)
    assert fresh.say(SYNC) is None
    assert fresh.in_step()  # I2C is not
    fresh.reset()
    assert fresh.say(SYNC) == ACK


def test_0x7f_that_begins_before_the_loader_listens_is_noise(fresh: UartRig) -> None:
    fresh.chip.nrst(False)
    fresh.wait(1)
    fresh.chip.nrst(True)
    fresh.clock.advance(300 * NS_PER_US)  # of 390
    fresh.line.to_target.send(SYNC, fresh.format)
    fresh.wait(10)
    assert fresh.end.received == b""
    assert fresh.say(SYNC) is None


def test_0x7f_that_ends_before_the_loader_listens_is_not_seen(fresh: UartRig) -> None:
    fresh.chip.nrst(False)
    fresh.wait(1)
    fresh.chip.nrst(True)
    assert fresh.say(SYNC) is None
    fresh.wait(1)
    assert fresh.say(SYNC) == ACK


@pytest.mark.parametrize(("parity", "bits"), [(ODD, 8), (EVEN, 7), (None, 7)])
def test_a_frame_that_shows_another_pattern_is_not_0x7f(parity: int | None, bits: int) -> None:
    rig = UartRig(parity=parity, bits=bits, synchronised=False)
    assert rig.say(SYNC) is None


def test_a_second_0x7f_is_half_a_command(uart: UartRig) -> None:
    uart.hand_over(SYNC)
    assert uart.hear(1) == b""
    assert uart.say(SYNC) == NACK
    assert uart.answers()


# Commands


def test_get_lists_eleven_commands_and_none_without_stretching(uart: UartRig) -> None:
    assert uart.order(0x00) == ACK
    assert uart.hear(14) == bytes([11, 0x31]) + CODES + b"\x79"
    assert uart.answers()


@pytest.mark.parametrize("code", bytes.fromhex("3243456474839350517fa1"))
def test_other_codes_are_refused(uart: UartRig, code: int) -> None:
    assert uart.order(code) == NACK
    assert uart.answers()


def test_a_wrong_complement_is_refused(uart: UartRig) -> None:
    assert uart.say(b"\x01\xff") == NACK
    assert uart.answers()


def test_get_version_has_two_bytes_more(uart: UartRig) -> None:
    uart.hand_over(b"\x01\xfe")
    assert uart.hear(9) == b"\x79\x31\x00\x00\x79"


def test_get_id_answers_the_product_id(uart: UartRig) -> None:
    uart.hand_over(b"\x02\xfd")
    assert uart.hear(9) == b"\x79\x01\x04\x60\x79"


@pytest.mark.parametrize("count", [1, 3, 256])
def test_read_memory_sends_the_data_without_anything_after_it(count: int) -> None:
    rig = UartRig(content=BLOCK * 2)
    assert rig.get(FLASH + 5, count) == (BLOCK * 2)[5 : 5 + count]
    assert rig.answers()


def test_write_memory_acknowledges_after_programming(uart: UartRig) -> None:
    for packet in (b"\x31\xce", word(FLASH)):
        assert uart.say(packet) == ACK
    uart.hand_over(data_frame(BLOCK))
    began = uart.clock.now
    assert uart.hear(1) == b"\x79"
    took = uart.clock.now - began - uart.byte_time
    assert took == 32 * TYPICAL.program
    assert uart.flash.data[:256] == BLOCK
    assert uart.answers()


def test_write_memory_ignores_the_result() -> None:
    rig = UartRig(content=BLOCK)
    assert rig.put(FLASH, b"\x00\x11" * 8) == ACK
    assert rig.flash.data[:256] == BLOCK


def test_write_memory_writes_ram(uart: UartRig) -> None:
    assert uart.put(RAM, b"12345678") == ACK
    assert uart.get(RAM, 8) == b"12345678"


def test_a_wrong_checksum_is_refused_and_nothing_written(uart: UartRig) -> None:
    for packet in (b"\x31\xce", word(FLASH)):
        assert uart.say(packet) == ACK
    packet = data_frame(BLOCK)
    assert uart.say(packet[:-1] + bytes([packet[-1] ^ 1])) == NACK
    assert uart.flash.data[:256] == b"\xff" * 256
    assert uart.answers()


@pytest.mark.parametrize("pages", [(1,), (1, 2), (3, 0, 7)])
def test_erase_is_one_packet_and_its_ack_comes_after_the_erase(pages: tuple[int, ...]) -> None:
    rig = UartRig(content=FULL)
    assert rig.order(0x44) == ACK
    rig.hand_over(pages_packet(*pages))
    began = rig.clock.now
    assert rig.hear(1, limit_ms=200) == b"\x79"
    took = rig.clock.now - began - rig.byte_time
    assert took == len(pages) * TYPICAL.page_erase
    blank = [page for page in range(64) if rig.flash.data[page * PAGE] == 0xFF]
    assert blank == sorted(pages)


def test_two_packets_as_over_i2c_are_one_wrong_packet() -> None:
    rig = UartRig(content=FULL)
    assert rig.order(0x44) == ACK
    assert rig.say(b"\x00\x00\x00") is None  # half of a page number
    assert rig.say(b"\x00\x01\x01") == NACK
    assert rig.flash.data == FULL
    assert rig.say(b"\xfe") == ACK  # the last byte was the first of the next command


def test_mass_erase_is_ff_ff_00() -> None:
    rig = UartRig(content=FULL)
    assert rig.order(0x44) == ACK
    rig.hand_over(b"\xff\xff\x00")
    began = rig.clock.now
    assert rig.hear(1) == b"\x79"
    assert rig.clock.now - began >= TYPICAL.mass_erase
    assert rig.flash.data == b"\xff" * len(FULL)


def test_mass_erase_of_a_protected_page_is_refused() -> None:
    rig = UartRig(content=FULL, protected=(3, 3))
    assert rig.order(0x44) == ACK
    assert rig.say(b"\xff\xff\x00") == NACK
    assert rig.flash.data == FULL


@pytest.mark.parametrize("which", range(0xFFF0, 0xFFFF))
def test_bank_erases_and_reserved_ones_are_refused(which: int) -> None:
    rig = UartRig(content=FULL)
    assert rig.order(0x44) == ACK
    assert rig.say(count_frame(which)) == NACK
    assert rig.flash.data == FULL
    assert rig.answers()


@pytest.mark.parametrize(("count", "status"), [(512, ACK), (513, NACK)])
def test_at_most_512_pages_are_erased_at_once(count: int, status: int) -> None:
    rig = UartRig(content=FULL, rate=1_000_000)
    assert rig.order(0x44) == ACK
    rig.hand_over(pages_packet(*[5] * count))
    assert rig.hear(1, limit_ms=512 * 25) == bytes([status])
    assert (rig.flash.data[5 * PAGE] == 0xFF) == (status == ACK)


def test_v11_3_does_not_wait_for_erases_over_uart_either() -> None:
    rig = UartRig(version=3, content=FULL)
    assert rig.erase_pages(1, 2, 3) == ACK
    assert rig.flash.data[3 * PAGE] == 0


def test_go_runs_the_application_after_its_ack() -> None:
    rig = UartRig(content=APP.content)
    assert rig.order(0x21) == ACK
    assert rig.say(word(FLASH)) == ACK
    rig.wait(1)
    assert rig.running is Running.APPLICATION
    assert rig.say(b"\x01\xfe") is None


def test_the_checksum_command_is_there_where_get_lists_it() -> None:
    rig = UartRig(content=BLOCK, quirks=replace(quirks_of(4), checksum_over_uart=True))
    assert rig.order(0x00) == ACK
    assert rig.hear(15) == bytes([12, 0x33]) + CODES + b"\xa1\x79"
    for packet in (b"\xa1\x5e", word(FLASH), word(256)):
        assert rig.say(packet) == ACK
    assert rig.hear(1) == b"\x79"
    crc = rig.hear(5)
    assert len(crc) == 5 and xor(crc) == 0


# Protection


def test_write_protect_is_one_packet_then_a_reset(uart: UartRig) -> None:
    assert uart.order(0x63) == ACK
    assert uart.say(bytes([1, 2, 5, 1 ^ 2 ^ 5])) == ACK
    uart.wait(5)
    assert uart.say(b"\x01\xfe") is None  # that is no 0x7F
    uart.reset()
    assert uart.say(SYNC) == ACK
    assert uart.erase_pages(*range(7)) == ACK
    assert uart.flash.write_protected == {2, 3, 4, 5}


@pytest.mark.parametrize("code", [0x73, 0x82])
def test_other_protection_is_acknowledged_twice_then_a_reset(uart: UartRig, code: int) -> None:
    assert uart.order(code) == ACK
    assert uart.hear(1) == b"\x79"
    starts = uart.starts
    uart.wait(5)
    assert uart.starts == starts + 1
    assert uart.say(SYNC) == ACK


@pytest.mark.parametrize("unprotect_ack", ["late", "early", "never"])
def test_readout_unprotect_is_acknowledged_twice_before_it_erases(unprotect_ack: str) -> None:
    quirks = replace(quirks_of(4), unprotect_ack=unprotect_ack)
    rig = UartRig(content=FULL, quirks=quirks)
    assert rig.order(0x92) == ACK
    assert rig.hear(1) == b"\x79"
    assert rig.flash.data[:256] == bytes(256)
    starts = rig.starts
    rig.wait(200)
    assert rig.starts == starts + 1
    assert rig.flash.data == b"\xff" * len(FULL)
    assert rig.say(SYNC) == ACK


def test_readout_protection_refuses_all_but_the_way_out() -> None:
    rig = UartRig(content=BLOCK)
    assert [rig.order(0x82), *rig.hear(1)] == [ACK, ACK]
    rig.power_cycle()
    assert rig.say(SYNC) == ACK
    assert [rig.order(code) for code in (0x11, 0x21, 0x31, 0x44, 0x63, 0x73, 0x82)] == [NACK] * 7
    assert rig.answers()
    assert rig.order(0x92) == ACK


@pytest.mark.parametrize(("version", "launches"), [(1, True), (2, False), (3, True), (4, True)])
def test_v11_2_forgets_to_load_option_bytes(version: int, launches: bool) -> None:
    rig = UartRig(version=version)
    optr = rig.options.word(OPTIONS - OPTIONS) & ~(1 << 26)
    starts = rig.starts
    assert rig.put(OPTIONS, optr.to_bytes(4, "little")) == ACK
    rig.wait(50)
    assert (rig.starts == starts + 1) == launches
    if not launches:
        assert rig.answers()
    rig.power_cycle()
    assert not rig.chip.options.nboot0


# A line that is not perfect


def test_a_loader_within_a_command_waits_without_limit(uart: UartRig) -> None:
    assert uart.order(0x31) == ACK
    uart.hand_over(word(FLASH)[:3])
    starts = uart.starts
    uart.clock.advance(YEAR)
    assert uart.starts == starts
    assert uart.say(b"\x01\xfe") == NACK  # the rest of the address
    assert uart.answers()


def test_filler_bytes_end_in_a_nack(uart: UartRig) -> None:
    for packet in (b"\x31\xce", word(FLASH)):
        assert uart.say(packet) == ACK
    uart.hand_over(data_frame(BLOCK)[:100])
    sent = 100
    while not (answer := uart.hear(1, limit_ms=1)):
        uart.hand_over(b"\xff")
        sent += 1
    assert (answer, sent) == (b"\x1f", 258)
    assert uart.flash.data[:256] == b"\xff" * 256
    assert uart.answers()


def test_a_byte_waits_while_the_loader_sends_and_the_next_one_is_lost(uart: UartRig) -> None:
    uart.hand_over(b"\x00\xff" + b"\x01\xfe")  # Get and, too early, Get Version
    assert uart.hear(20) == b"\x79" + bytes([11, 0x31]) + CODES + b"\x79"
    assert uart.say(b"\xfe") == ACK  # the loader has 0x01
    assert uart.hear(4) == b"\x31\x00\x00\x79"


@pytest.mark.parametrize("version", ["11.4", "openbl"])
def test_a_wrong_parity_refuses_the_packet_or_is_not_seen(version: str) -> None:
    rig = UartRig(quirks=LOADERS[version])
    rig.line.to_target.distortion = lambda byte: [(byte, True)]
    assert rig.order(0x01) == (NACK if version == "11.4" else ACK)


def test_two_flips_in_one_packet_pass_the_checksum_and_the_parity() -> None:
    rig = UartRig()
    for packet in (b"\x31\xce", word(FLASH)):
        assert rig.say(packet) == ACK
    flips = iter([0] * 9 + [0x11, 0x11] + [0] * 1000)
    rig.line.to_target.distortion = lambda byte: [(byte ^ next(flips), False)]
    assert rig.say(data_frame(BLOCK)) == ACK
    assert rig.flash.data[:256] != BLOCK


def test_without_parity_the_start_works_and_commands_are_refused() -> None:
    """0x7F and idle are the same with parity and without it, and 0x01 without is not."""
    rig = UartRig(parity=None, synchronised=False)
    assert rig.say(SYNC) == ACK
    assert rig.order(0x00) != ACK


@pytest.mark.parametrize("rate", [57_600, 76_800, 230_400, 921_600])
def test_another_rate_than_that_of_0x7f_is_not_understood(rate: int) -> None:
    rig = UartRig()
    rig.format = rig.format._replace(rate=rate)
    for _ in range(5):
        assert rig.order(0x01) != ACK


def test_a_reset_ends_a_byte_that_is_being_sent(uart: UartRig) -> None:
    uart.hand_over(b"\x00\xff")
    assert uart.hear(1) == b"\x79"
    uart.clock.advance(uart.byte_time * 5 // 11)  # of 0x0B the start bit, and 1, 1, 0, 1
    uart.chip.nrst(False)
    assert uart.hear(9) == b"\xfb"


# Which interface


def test_i2c_is_dead_after_0x7f_until_a_reset(uart: UartRig) -> None:
    assert uart.send(b"\x01\xfe") == -1
    assert uart.scl() and uart.sda()
    uart.reset()
    assert uart.in_step()


def test_uart_is_dead_after_an_i2c_address_until_a_reset(fresh: UartRig) -> None:
    assert fresh.send(b"") == 0  # another master probes
    assert fresh.say(SYNC) is None
    fresh.reset()
    assert fresh.say(SYNC) == ACK


def test_other_i2c_addresses_do_not_choose_i2c(fresh: UartRig) -> None:
    assert not fresh.bus.start(I2C_ADDRESS + 1, reading=False)
    fresh.bus.stop()
    assert fresh.say(SYNC) == ACK


def test_an_i2c_probe_does_not_disturb_a_uart_session(uart: UartRig) -> None:
    assert uart.order(0x31) == ACK
    assert uart.send(b"\x01\xfe") == -1
    assert uart.say(word(FLASH)) == ACK


def test_a_loader_that_chose_another_interface_is_deaf(fresh: UartRig) -> None:
    fresh.chip.deafen()
    assert fresh.say(SYNC) is None
    assert fresh.send(b"\x01\xfe") == -1


def test_an_application_does_not_answer_0x7f() -> None:
    rig = UartRig(content=APP.content, boot0=False, synchronised=False)
    assert rig.running is Running.APPLICATION
    assert rig.say(SYNC) is None


def test_a_write_to_an_odd_address_stops_the_loader_until_a_reset(uart: UartRig) -> None:
    assert uart.put(FLASH + 2, b"12345678") is None
    uart.clock.advance(10 * 1000 * NS_PER_MS)
    assert uart.say(b"\x01\xfe") is None
    uart.reset()
    assert uart.say(SYNC) == ACK


# That of a C031


def c031(**arguments: Any) -> UartRig:
    """Its loader listens."""
    rig = UartRig(
        family=C031, quirks=C031.quirks(), start_up=C031.start_up, synchronised=False, **arguments
    )
    rig.clock.advance(C031.start_up)
    return rig


@pytest.mark.parametrize("rate", [1_200, 9_600, 57_600, 115_200, 117_000])
def test_a_c031_connects_at_the_rates_that_st_tested(rate: int) -> None:
    rig = c031(rate=rate)
    assert rig.say(SYNC) == ACK and rig.answers()


@pytest.mark.parametrize("rate", [600, 120_000, 128_000, 230_400, 460_800, 1_000_000, 1_500_000])
def test_a_c031_connects_at_no_other_rate(rate: int) -> None:
    rig = c031(rate=rate)
    assert rig.say(SYNC) is None
    rig.format = rig.end.format = rig.format._replace(rate=115_200)
    assert rig.say(SYNC) is None  # until a reset
    rig.reset()
    rig.clock.advance(C031.start_up)
    assert rig.say(SYNC) == ACK and rig.answers()


def test_a_c031_says_over_uart_what_it_is_and_lists_no_checksum_command() -> None:
    rig = c031()
    assert rig.say(SYNC) == ACK
    rig.hand_over(b"\x02\xfd")
    assert rig.hear(5) == b"\x79\x01\x04\x53\x79"
    assert rig.order(0x00) == ACK
    assert rig.hear(14) == bytes([11, 0x31]) + CODES + b"\x79"
    assert rig.order(0xA1) == NACK and rig.answers()


def test_a_c031_takes_its_own_times_to_listen_and_to_acknowledge() -> None:
    rig = UartRig(family=C031, quirks=C031.quirks(), start_up=C031.start_up, synchronised=False)
    assert rig.say(SYNC) is None  # its end is before the loader listens
    rig.wait(2)
    rig.hand_over(SYNC)
    sent = rig.clock.now
    assert rig.hear(1) == b"\x79"
    assert rig.clock.now - sent == 168 * NS_PER_US + rig.byte_time


def test_a_c031_waits_without_a_limit_within_a_command() -> None:
    rig = c031()
    assert rig.say(SYNC) == ACK and rig.order(0x31) == ACK
    rig.clock.advance(YEAR)
    assert rig.say(word(FLASH)) == ACK and rig.say(data_frame(BLOCK)) == ACK
    assert rig.flash.data[:256] == BLOCK
