"""The link over UART: the loader's state is never taken for granted, and every wait ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stm32up import device
from tests.firmware.uart_loader import DOUBLED, FLASH, LOST, PAGE, Rig

ERRORS = device.module("stm32_rom.errors")
FAULTS = (LOST, DOUBLED, 0x01, 0x80)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


@pytest.fixture
def make_rig(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rig]:
    def make(**arguments: Any) -> Rig:
        return Rig(monkeypatch, **arguments)

    return make


def block(content: bytes) -> Any:
    commands = device.module("stm32_rom.commands")
    made = commands.Block(memoryview(bytearray(commands.FRAME)))
    made.begin()
    made.data[:] = content
    return made


def write(rig: Rig, address: int, content: bytes) -> None:
    rig.loader.begin_write(address, block(content))
    rig.loader.end_write()


CONTENT = bytes(range(1, 256)) + b"\x01"


# --- the beginning ---


def test_a_loader_that_was_reset_is_greeted_by_one_byte(rig):
    assert rig.loader.get_version() == 0x31
    assert rig.target.received == b"\x7f\x01\xfe"


def test_a_loader_that_waits_for_a_command_is_greeted_too(rig):
    rig.loader.get_version()
    assert rig.loader.get_version() == 0x31
    assert rig.loader.get_id() == 0x460


@pytest.mark.parametrize("code", [b"\x01", b"\x31", b"\x7f", b"\x80"])
def test_a_loader_that_waits_for_half_a_command_is_greeted_too(rig, code):
    rig.loader.get_version()
    rig.link.send(code)
    assert rig.loader.get_version() == 0x31


def test_a_loader_that_greets_twice_is_understood(make_rig):
    rig = make_rig(acks=2)
    assert rig.loader.get_version() == 0x31
    assert rig.loader.get_id() == 0x460


def test_a_silent_line_is_reported_soon_and_in_words_of_a_uart(rig):
    rig.link._uart.exchanged = True
    with pytest.raises(ERRORS.NoAnswer) as told:
        rig.loader.get_version()
    wait = device.module("stm32_rom.uart").read_timeout_ms(115_200) * 1000  # us
    assert rig.target.now <= 4 * wait
    assert "UART 1 at 115200 baud, 8E1" in told.value.message
    assert "RX" in told.value.next_step and "SDA" not in told.value.next_step
    assert told.value.next_step.endswith("stm32up doctor")
    assert rig.link.silent_advice.endswith("stm32up doctor")


# --- the rate ---


def entered(rig: Rig) -> bool:
    """As Target.reach_loader, and Get Version."""
    rig.reset()
    rig.loader.recover()
    try:
        return bool(rig.loader.get_version())
    except ERRORS.NoAnswer:
        return False


def test_a_rate_that_the_loader_does_not_measure_is_replaced_by_the_safe_one(make_rig):
    rig = make_rig(rate=1_000_000, fastest=500_000)
    assert [entered(rig) for _ in range(3)] == [False, True, True]
    assert rig.rates == [1_000_000, 115_200]


def test_a_rate_that_works_is_kept_although_an_application_is_silent(make_rig):
    rig = make_rig(rate=1_000_000)
    assert entered(rig)
    with pytest.raises(ERRORS.NoAnswer):
        rig.link._uart.exchanged = True  # the application runs, and does not answer
        rig.loader.get_version()
    rig.link._uart.exchanged = False
    assert entered(rig)
    assert rig.rates == [1_000_000]


def test_both_rates_are_tried_in_turn_while_nothing_answers(make_rig):
    rig = make_rig(rate=1_000_000)
    rig.target.reset = lambda: None
    rig.target.rate = 9600
    assert not any(entered(rig) for _ in range(3))
    assert rig.rates == [1_000_000, 115_200, 1_000_000]


# --- commands ---


def test_a_page_is_erased_by_one_packet(rig):
    rig.loader.get_version()
    rig.target.received.clear()
    rig.loader.erase_page(0x3A)
    assert rig.target.received == b"\x44\xbb\x00\x00\x00\x3a\x3a"
    assert rig.target.erased == [0x3A]


def test_all_pages_are_erased_by_one_packet(rig):
    rig.loader.get_version()
    rig.target.received.clear()
    rig.loader.erase_all()
    assert rig.target.received == b"\x44\xbb\xff\xff\x00"


def test_a_block_is_written_and_read_back(rig):
    rig.loader.get_version()
    write(rig, FLASH + 0x1000, CONTENT)
    assert rig.target.received[-258:-256] == b"\xff\x01"
    found = bytearray(256)
    rig.loader.read_into(FLASH + 0x1000, found)
    assert found == CONTENT == rig.target.flash[0x1000:0x1100]


def test_the_write_ends_when_the_loader_has_programmed_and_not_before(rig):
    rig.loader.get_version()
    rig.loader.begin_write(FLASH, block(CONTENT))
    sent = rig.target.now
    rig.loader.end_write()
    assert 2700 < rig.target.now - sent < 4000


def test_a_loader_that_never_heard_of_no_stretch_is_not_asked_for_it(make_rig):
    rig = make_rig(version=0x33)
    rig.loader.get_version()
    assert rig.loader.write_code == 0x31


def test_the_checksum_command_is_used_as_over_i2c(rig):
    rig.loader.get_version()
    assert bytes(rig.loader.checksum(FLASH, PAGE)) == b"\x01\x02\x03\x04"


def test_a_loader_without_the_checksum_command_refuses_it(make_rig):
    rig = make_rig(sums=False)
    rig.loader.get_version()
    with pytest.raises(ERRORS.LoaderRefused):
        rig.loader.checksum(FLASH, PAGE)


# --- faults ---


def attempt(rig: Rig) -> bool:
    """Erase a page, write a block, and read it back; whether no error was noticed."""
    try:
        rig.loader.get_version()
        rig.loader.get_id()
        rig.loader.erase_page(1)
        write(rig, FLASH + PAGE, CONTENT)
        found = bytearray(256)
        rig.loader.read_into(FLASH + PAGE, found)
        return found == CONTENT
    except (ERRORS.LoaderError, ERRORS.BusError) as error:
        assert error.message and error.next_step
        return False


def bytes_of_an_attempt(make_rig: Callable[..., Rig]) -> tuple[int, int]:
    rig = make_rig()
    assert attempt(rig)
    return rig.target._sent, rig.target._answered


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("direction", ["to_target", "to_host"])
def test_after_any_damaged_byte_the_next_attempt_succeeds(make_rig, direction, fault):
    """Without a reset, except where the loader waits for 100 KB of page numbers."""
    counts = bytes_of_an_attempt(make_rig)
    for at in range(direction == "to_target", counts[direction == "to_host"]):
        rig = make_rig()
        getattr(rig.target, direction)[at] = fault
        noticed = not attempt(rig)
        assert rig.target.now < 2_000_000, at
        rig.loader.recover()
        waits = rig.target.pages_due
        if waits > 250:
            rig.reset()
            rig.loader.recover()
        assert attempt(rig), at
        assert noticed or rig.target.flash[PAGE : PAGE + 256] == CONTENT, at


def test_an_answer_that_breaks_off_is_an_error_that_says_where(rig):
    """What was in the buffer before must not be taken for flash."""
    rig.loader.get_version()
    rig.target.to_host[rig.target._answered + 50] = LOST
    with pytest.raises(ERRORS.BusTimeout, match="broke off after .* of 256 bytes"):
        rig.loader.read_into(FLASH, bytearray(256))


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_damaged_first_byte_the_next_attempt_succeeds_with_a_reset(make_rig, fault):
    rig = make_rig()
    rig.target.to_target[0] = fault
    attempt(rig)
    rig.reset()
    rig.loader.recover()
    assert attempt(rig)


def test_a_loader_is_brought_back_from_anywhere_in_a_command(make_rig):
    """The host was reset in the middle, and does not know what the loader waits for."""
    frames = (
        b"\x31\xce" + b"\x08\x00\x08\x00\x00" + b"\xff" + CONTENT + b"\xff",
        b"\x44\xbb" + b"\x00\x00\x00\x05\x05",
        b"\x11\xee" + b"\x08\x00\x00\x00\x08" + b"\xff\x00",
        b"\xa1\x5e" + b"\x08\x00\x00\x00\x08" + b"\x00\x00\x08\x00\x08",
    )
    for whole in frames:
        for end in range(1, len(whole)):
            rig = make_rig()
            rig.loader.get_version()
            rig.link.send(whole[:end])
            rig.target.now += 100_000
            rig.loader.recover()
            if rig.target.pages_due > 250:
                continue  # its count is made of what brings it back: only a reset helps
            assert rig.loader.get_version() == 0x31, (whole[:2], end)


def test_no_page_but_the_meant_one_is_erased_whatever_of_the_frame_is_lost(make_rig):
    """Any bytes of it, and the loader is brought back by others: they must not name a page, not
    even of the largest part."""
    for page in (0, 5, 0x3F):
        frame = b"\x44\xbb\x00\x00" + bytes([0, page, page])
        for lost in range(1 << 5):
            kept = frame[:2] + bytes(b for i, b in enumerate(frame[2:]) if not lost >> i & 1)
            rig = make_rig()
            rig.loader.get_version()
            rig.link.send(kept)
            rig.target.now += 100_000
            rig.loader.recover()
            assert set(rig.target.erased) <= {page} | set(range(256, 1 << 16)), (page, kept)


def test_a_line_that_nothing_answers_is_filled_for_a_second_at_most(rig):
    rig.link._uart.exchanged = True
    rig.loader.recover()
    assert rig.target.now < 1_300_000


def test_a_late_answer_is_not_taken_for_that_of_the_next_command(rig):
    rig.loader.get_version()
    rig.target._answers.append((rig.target.now, 0x1F))
    assert rig.loader.get_id() == 0x460
