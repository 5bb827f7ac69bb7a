"""The loader's commands, frame by frame as in AN4221, and how long they take."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import pytest

from stm32sim.chip.crc import crc_stm32
from stm32sim.chip.flash import PAGE, TYPICAL, Cell, FlashTimes
from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.chip.quirks import Quirks, quirks_of
from stm32sim.chip.stm32 import Running
from stm32sim.wires.bus import Stretched
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from tests.simulator.rig import (
    ACK,
    APP,
    BUSY,
    EVERY_LOADER,
    FLASH,
    FLASH_END,
    NACK,
    RAM,
    RAM_END,
    Rig,
    count_frame,
    data_frame,
    pages_frame,
    rig_with,
    word,
)

CODES = bytes.fromhex("0001021121314463738292") + bytes.fromhex("324564748393a1")
BLOCK = bytes(range(256))
WRITES, ERASES = (0x31, 0x32), (0x44, 0x45)
MakeRig = Callable[..., Rig]


def independent_crc(data: bytes) -> int:
    """The CRC unit's value, computed with zlib: mirrored bits, swapped words."""

    def mirrored(value: int, width: int) -> int:
        return int(f"{value:0{width}b}"[::-1], 2)

    words = struct.unpack(f"<{len(data) // 4}I", data)
    turned = struct.pack(f">{len(words)}I", *words)
    return mirrored(zlib.crc32(bytes(mirrored(byte, 8) for byte in turned)) ^ 0xFFFF_FFFF, 32)


@pytest.fixture(params=EVERY_LOADER)
def make_rig(request: pytest.FixtureRequest) -> MakeRig:
    """Makes a Rig with this loader."""
    return rig_with(request.param)


# Frames


def test_get_answers_19_or_20_bytes_in_one_frame_between_two_acks(rig: Rig) -> None:
    codes = CODES[:-1] if rig.chip.quirks.checksum == "unlisted" else CODES
    assert rig.send(b"\x00\xff") == 2
    assert rig.receive(1) == b"\x79"
    assert rig.receive(2 + len(codes)) == bytes([len(codes), 0x12]) + codes  # N, version 1.2
    assert rig.receive(1) == b"\x79"
    assert rig.in_step()


def test_get_version_answers_one_byte(rig: Rig) -> None:
    rig.send(b"\x01\xfe")
    assert [rig.receive(1) for _ in range(3)] == [b"\x79", b"\x12", b"\x79"]
    assert rig.in_step()


def test_get_id_answers_01_04_60(rig: Rig) -> None:
    rig.send(b"\x02\xfd")
    assert [rig.receive(1), rig.receive(3), rig.receive(1)] == [b"\x79", b"\x01\x04\x60", b"\x79"]
    assert rig.in_step()


@pytest.mark.parametrize("count", [1, 3, 256])
def test_read_memory_sends_the_data_and_no_ack_after_it(make_rig: MakeRig, count: int) -> None:
    rig = make_rig(content=BLOCK * 2)
    assert rig.ask(b"\x11\xee") == ACK
    assert rig.ask(b"\x08\x00\x00\x05\x0d") == ACK
    assert rig.ask(bytes([count - 1, count - 1 ^ 0xFF])) == ACK
    assert rig.receive(count) == (BLOCK * 2)[5 : 5 + count]
    assert rig.in_step()


@pytest.mark.parametrize("code", WRITES)
def test_write_memory_programs_flash(rig: Rig, code: int) -> None:
    assert rig.ask(bytes([code, code ^ 0xFF])) == ACK
    assert rig.ask(b"\x08\x00\x08\x00\x00") == ACK
    assert rig.send(b"\x07" + b"ABCDEFGH" + b"\x0f") == 10
    assert rig.final() == ACK
    assert rig.read(0x0800_0800, 16) == b"ABCDEFGH" + b"\xff" * 8
    assert rig.in_step()


@pytest.mark.parametrize("code", WRITES)
def test_write_memory_takes_up_to_256_bytes(rig: Rig, code: int) -> None:
    assert rig.write(FLASH, BLOCK, code) == ACK
    assert rig.flash.data[:256] == BLOCK
    assert rig.flash.weak_granules() == []


def test_write_memory_writes_ram(rig: Rig) -> None:
    assert rig.write(RAM, b"12345678") == ACK
    assert rig.write(RAM_END - 4, b"last") == ACK
    assert rig.read(RAM, 8) == b"12345678"
    assert rig.read(RAM_END - 4, 4) == b"last"


@pytest.mark.parametrize("code", ERASES)
@pytest.mark.parametrize(
    ("count", "pages"),
    [(b"\x00\x00\x00", b"\x00\x01\x01"), (b"\x00\x01\x01", b"\x00\x01\x00\x02\x03")],
)
def test_erase_takes_the_number_of_pages_less_one_and_then_the_pages(
    make_rig: MakeRig, code: int, count: bytes, pages: bytes
) -> None:
    rig = make_rig(content=bytes(4 * PAGE))
    assert rig.ask(bytes([code, code ^ 0xFF])) == ACK
    assert rig.ask(count) == ACK
    assert rig.send(pages) == len(pages)
    assert rig.final() == ACK
    erased = 2 if len(pages) == 5 else 1
    expected = bytes(PAGE) + b"\xff" * PAGE * erased + bytes(PAGE) * (3 - erased)
    assert rig.flash.data[: 4 * PAGE] == expected
    assert rig.in_step()


@pytest.mark.parametrize("code", ERASES)
def test_mass_erase_is_ff_ff_00(make_rig: MakeRig, code: int) -> None:
    rig = make_rig(content=bytes(128 * 1024))
    assert rig.ask(bytes([code, code ^ 0xFF])) == ACK
    rig.send(b"\xff\xff\x00")
    assert rig.final() == ACK
    assert rig.flash.data == b"\xff" * 128 * 1024
    assert rig.in_step()


@pytest.mark.parametrize("code", ERASES)
@pytest.mark.parametrize("which", range(0xFFF0, 0xFFFF))
def test_bank_erases_and_reserved_ones_are_refused(
    make_rig: MakeRig, code: int, which: int
) -> None:
    rig = make_rig(content=BLOCK)
    assert rig.mass_erase(code, which) == NACK
    assert rig.flash.data[:256] == BLOCK
    assert rig.in_step()


def test_go_runs_the_application_after_its_second_ack(make_rig: MakeRig) -> None:
    rig = make_rig(content=APP.content)
    assert rig.ask(b"\x21\xde") == ACK
    assert rig.ask(b"\x08\x00\x00\x00\x08") == ACK
    assert rig.running is Running.APPLICATION
    assert rig.send(b"\x01\xfe") == -1  # the loader is gone


@pytest.mark.parametrize("address", [FLASH + 8, FLASH_END - 1, RAM, RAM_END - 1])
def test_go_to_where_no_application_is_crashes_as_it_checks_nothing(
    make_rig: MakeRig, address: int
) -> None:
    rig = make_rig(content=APP.content)
    assert rig.command(0x21) == ACK
    assert rig.ask(word(address)) == ACK
    assert rig.running is Running.CRASHED


@pytest.mark.parametrize("address", [0x1FFF_0000, 0x1FFF_7000, 0x1FFF_73FF, 0x1FFF_7800])
def test_go_to_where_neither_flash_nor_ram_is_is_refused(make_rig: MakeRig, address: int) -> None:
    rig = make_rig(content=APP.content)
    assert rig.command(0x21) == ACK
    assert rig.ask(word(address)) == NACK
    assert rig.in_step()


@pytest.mark.parametrize("size", [4, 256, 4096, 128 * 1024])
def test_get_checksum_answers_busy_then_ack_then_the_crc_and_its_xor(size: int) -> None:
    rig = Rig(content=BLOCK * 512)
    expected = independent_crc((BLOCK * 512)[:size]).to_bytes(4, "big")
    assert rig.ask(b"\xa1\x5e") == ACK
    assert rig.ask(b"\x08\x00\x00\x00\x08") == ACK
    assert rig.ask(word(size)) == ACK
    assert rig.final() == ACK
    answer = rig.receive(5)
    assert answer[:4] == expected
    assert answer[4] == expected[0] ^ expected[1] ^ expected[2] ^ expected[3]
    assert rig.in_step()


def test_the_crc_unit_gives_what_others_measured() -> None:
    assert crc_stm32(struct.pack("<I", 0x1234_5678)) == 0xDF8A_8A2B
    assert crc_stm32(b"\xff" * 4) == 0
    for length in (4, 8, 2048):
        data = (BLOCK * 8)[:length]
        assert crc_stm32(data) == independent_crc(data)


def test_get_checksum_of_a_long_range_is_busy_for_a_while() -> None:
    rig = Rig(content=BLOCK * 512)
    rig.ask(b"\xa1\x5e")
    rig.ask(word(FLASH))
    assert rig.ask(word(128 * 1024)) == ACK
    assert rig.status() == BUSY
    rig.wait(30)
    assert rig.status() == ACK


@pytest.mark.parametrize(
    ("address", "size"),
    [
        (FLASH, 0),
        (FLASH, 2),
        (FLASH, 128 * 1024 + 4),
        (FLASH_END - 4, 8),
        (FLASH + 2, 4),
        (FLASH, 0xFFFF_FFFC),
        (RAM, 4),
        (0x1FFF_0000, 4),
        (FLASH - 4, 8),
        (FLASH_END, 4),
    ],
)
def test_get_checksum_refuses_what_is_not_whole_words_of_flash(
    rom: Rig, address: int, size: int
) -> None:
    rom.command(0xA1)
    assert NACK in (rom.ask(word(address)), None) or rom.ask(word(size)) == NACK
    assert rom.in_step()


@pytest.mark.parametrize("listed", ["refused", "unlisted"])
def test_a_loader_may_refuse_the_checksum_whether_it_lists_it_or_not(
    make_rig: MakeRig, listed: str
) -> None:
    rig = make_rig(quirks=Quirks(4, checksum=listed))
    assert rig.command(0xA1) == NACK
    assert rig.in_step()


def test_versions_that_do_not_exist_are_not_modelled(make_rig: MakeRig) -> None:
    for version in (5, -1):
        with pytest.raises(ValueError, match="not modelled"):
            make_rig(version=version)


# Memories


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_the_loader_id_tells_the_version(make_rig: MakeRig, version: int) -> None:
    assert make_rig(version=version).read(0x1FFF_6FFE, 1) == bytes([0xB0 + version])


def test_option_bytes_are_read_as_words_and_complements(rig: Rig) -> None:
    data = rig.read(0x1FFF_7800, 128)
    assert data is not None
    assert data[:8] == b"\xaa\xfe\xff\xfe\x55\x01\x00\x01"
    assert data == bytes(rig.options.data)


@pytest.mark.parametrize(
    "address",
    [FLASH, FLASH_END - 1, RAM, RAM_END - 1, 0x1FFF_0000, 0x1FFF_7000, 0x1FFF_73FF, 0x1FFF_787F],
)
def test_every_memory_is_readable_to_its_last_byte(rig: Rig, address: int) -> None:
    assert rig.read(address, 1) is not None


UNREADABLE = {
    "flash registers": 0x4002_2000,
    "core registers": 0xE000_ED00,
    "the alias at 0": 0x0000_0000,
    "below flash": FLASH - 1,
    "above flash": FLASH_END,
    "the loader's own RAM": 0x2000_0000,
    "the end of the loader's own RAM": RAM - 1,
    "the end of RAM": RAM_END,
    "behind OTP": 0x1FFF_7400,
    "engineering bytes": 0x1FFF_7500,
    "the flash size": 0x1FFF_75E0,
    "behind the option bytes": 0x1FFF_7880,
    "the end of everything": 0xFFFF_FFFF,
}


@pytest.mark.parametrize("code", [0x11, 0x21, 0x31, 0x32, 0xA1])
@pytest.mark.parametrize("where", UNREADABLE)
def test_addresses_in_no_memory_are_refused(make_rig: MakeRig, where: str, code: int) -> None:
    rig = Rig() if code == 0xA1 else make_rig()
    assert rig.command(code) == ACK
    assert rig.ask(word(UNREADABLE[where])) == NACK
    assert rig.in_step()


@pytest.mark.parametrize("code", WRITES)
@pytest.mark.parametrize("address", [0x1FFF_0000, 0x1FFF_6FFE, 0x1FFF_7000, 0x1FFF_73F8])
def test_system_memory_and_otp_are_not_written(rig: Rig, address: int, code: int) -> None:
    assert rig.command(code) == ACK
    assert rig.ask(word(address)) == NACK


def test_the_engineering_area_is_readable_where_a_loader_shows_it(make_rig: MakeRig) -> None:
    rig = make_rig(engineering_area_readable=True)
    assert rig.read(0x1FFF_75E0, 2) == b"\x80\x00"


def test_ram_holds_noise_after_power_on(rig: Rig) -> None:
    data = rig.read(RAM, 256)
    assert data is not None and len(set(data)) > 100


@pytest.mark.parametrize(
    ("address", "left"), [(FLASH_END - 4, 4), (RAM_END - 1, 1), (0x1FFF_7878, 8)]
)
def test_a_read_that_runs_out_of_a_memory_ends_in_a_fault(
    rig: Rig, address: int, left: int
) -> None:
    for frame in (b"\x11\xee", word(address), b"\x0f\xf0"):
        assert rig.ask(frame) == ACK
    rig.bus.start(I2C_ADDRESS, reading=True)
    for _ in range(left):
        rig.bus.read(ack=True)
    rig.bus.stretch_limit = 30 * NS_PER_S
    with pytest.raises(Stretched):
        rig.bus.read(ack=True)


@pytest.mark.parametrize("code", WRITES)
@pytest.mark.parametrize("address", [FLASH_END - 8, RAM_END - 8])
def test_a_write_that_runs_out_of_a_memory_ends_in_a_fault(
    rig: Rig, address: int, code: int
) -> None:
    rig.command(code)
    assert rig.ask(word(address)) == ACK
    rig.send(data_frame(b"\x5a" * 16))
    rig.wait(5)
    assert crashed(rig)
    assert len(rig.chip.ram) == 36 * 1024
    assert rig.flash.size == len(rig.flash.data) == 128 * 1024
    rig.reset()
    assert rig.in_step()


def test_a_fault_in_a_read_may_lead_to_a_reset_instead(make_rig: MakeRig) -> None:
    rig = make_rig(quirks=Quirks(4, ecc_error="reset"))
    starts = rig.starts
    rig.read(FLASH_END - 4, 8)
    rig.wait(1)
    assert rig.starts == starts + 1


def crashed(rig: Rig) -> bool:
    """Whether the loader's address is not acknowledged, and there is no reset by itself."""
    starts = rig.starts
    silent = rig.status() is None and rig.send(b"\x01\xfe") == -1
    rig.wait(10_000)
    return silent and rig.scl() and (rig.running, rig.starts) == (Running.CRASHED, starts)


@pytest.mark.parametrize("address", [RAM + 1, RAM + 2, RAM + 3])
def test_an_unaligned_write_to_ram_is_a_fault(rig: Rig, address: int) -> None:
    before = bytes(rig.chip.ram)
    rig.command(0x31)
    assert rig.ask(word(address)) == ACK
    rig.send(data_frame(b"\x5a" * 8))
    assert crashed(rig)
    assert rig.chip.ram == before


def test_a_short_write_to_ram_takes_stale_bytes_along(rig: Rig) -> None:
    rig.write(RAM, b"abcdefgh")
    rig.write(RAM + 16, b"XY")
    assert rig.read(RAM + 16, 4) == b"XYcd"


# Flash behind the loader: ACK is not proof


@pytest.mark.parametrize("code", WRITES)
def test_programming_over_something_is_acked_and_where_errors_stay_all_after_it_is_refused(
    rig: Rig, code: int
) -> None:
    assert rig.write(FLASH, BLOCK, code) == ACK
    assert rig.write(FLASH, b"\xa5" * 256, code) == ACK
    assert rig.read(FLASH, 256) == BLOCK
    assert rig.write(FLASH + 2048, BLOCK, code) == ACK
    if rig.chip.quirks.clears_errors:
        assert rig.read(FLASH + 2048, 256) == BLOCK
        rig.write(FLASH, b"\xa5" * 256, code)
        assert rig.mass_erase() == ACK
        return
    assert rig.erase(0) == ACK
    assert rig.erase(0, code=0x45) == ACK
    assert rig.mass_erase() == NACK
    assert rig.read(FLASH, 256) == BLOCK
    assert rig.read(FLASH + 2048, 256) == b"\xff" * 256
    rig.reset()
    assert rig.erase(0) == ACK
    assert rig.write(FLASH, b"\xa5" * 256, code) == ACK
    assert rig.read(FLASH, 256) == b"\xa5" * 256


def writes_again(rig: Rig, code: int) -> bool:
    """Whether commands after a flash error behave right for this loader: they are ACKed, and
    executed only if errors are cleared."""
    assert rig.write(FLASH + 2048, BLOCK, code) == ACK
    done = rig.flash.data[2048 : 2048 + 256] == BLOCK
    return bool(done == rig.chip.quirks.clears_errors)


def test_a_block_over_one_programmed_granule_stops_there_where_errors_stay(rig: Rig) -> None:
    rig.write(FLASH + 64, b"occupied")
    assert rig.write(FLASH, b"\x5a" * 256) == ACK
    rest = b"\x5a" if rig.chip.quirks.clears_errors else b"\xff"
    assert rig.read(FLASH, 256) == b"\x5a" * 64 + b"occupied" + rest * 184


@pytest.mark.parametrize("code", WRITES)
def test_zeros_may_be_written_over_anything(rig: Rig, code: int) -> None:
    rig.write(FLASH, BLOCK, code)
    assert rig.write(FLASH, bytes(16), code) == ACK
    assert rig.read(FLASH, 24) == bytes(16) + BLOCK[16:24]
    assert rig.write(FLASH + 512, BLOCK, code) == ACK
    assert rig.read(FLASH + 512, 256) == BLOCK


@pytest.mark.parametrize("code", WRITES)
def test_zeros_over_ones_that_were_written_are_acked_and_an_error(rig: Rig, code: int) -> None:
    assert rig.write(FLASH, b"\xff" * 16, code) == ACK
    assert rig.write(FLASH, bytes(16), code) == ACK
    assert rig.read(FLASH, 16) == b"\xff" * 16
    assert writes_again(rig, code)


@pytest.mark.parametrize("length", [8, 256])
@pytest.mark.parametrize("code", WRITES)
def test_a_write_to_half_a_granule_is_acked_does_nothing_and_is_an_error(
    rig: Rig, length: int, code: int
) -> None:
    assert rig.write(FLASH + 4, BLOCK[:length], code) == ACK
    assert rig.flash.data == b"\xff" * 128 * 1024
    assert writes_again(rig, code)


@pytest.mark.parametrize("offset", [1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("length", [1, 8, 256])
@pytest.mark.parametrize("code", WRITES)
def test_an_unaligned_write_to_flash_crashes_the_loader_until_a_reset(
    rig: Rig, offset: int, length: int, code: int
) -> None:
    assert rig.command(code) == ACK
    assert rig.ask(word(FLASH + offset)) == ACK
    rig.send(data_frame(BLOCK[:length]))
    assert crashed(rig)
    assert rig.flash.data == b"\xff" * 128 * 1024 and rig.flash.weak_granules() == []
    rig.reset()
    assert rig.in_step()


def test_an_address_that_two_flipped_bits_made_unaligned_crashes_the_loader(rig: Rig) -> None:
    """As ST's code was seen to: `31 CE`, `08 00 09 02 03`."""
    assert rig.ask(b"\x31\xce") == ACK
    assert rig.ask(b"\x08\x00\x09\x02\x03") == ACK
    rig.send(data_frame(BLOCK))
    assert crashed(rig)


@pytest.mark.parametrize("code", WRITES)
def test_a_write_begins_with_its_last_byte_and_not_with_its_stop(rig: Rig, code: int) -> None:
    rig.command(code)
    rig.ask(word(FLASH))
    frame = data_frame(BLOCK)
    rig.send(frame[:-1], stop=False)
    busy = [rig.flash.busy]
    assert rig.bus.write(frame[-1])
    busy.append(rig.flash.busy)
    assert busy == [False, True]
    rig.wait(5)
    assert rig.flash.data[:256] == BLOCK
    rig.bus.stop()
    assert rig.final() == ACK
    assert rig.in_step()


@pytest.mark.parametrize("code", WRITES)
def test_the_data_of_a_frame_that_never_ends_is_in_flash(rig: Rig, code: int) -> None:
    rig.command(code)
    rig.ask(word(FLASH))
    rig.send(data_frame(BLOCK), stop=False)
    rig.bus.abandon()
    assert rig.resets_itself()
    assert rig.flash.data[:256] == BLOCK and rig.flash.weak_granules() == []


@pytest.mark.parametrize("code", WRITES)
def test_a_short_write_takes_stale_bytes_along(rig: Rig, code: int) -> None:
    rig.write(FLASH, b"ABCDEFGHIJKLMNOP", code)
    assert rig.write(FLASH + 64, b"wxyz", code) == ACK
    assert rig.read(FLASH + 64, 16) == b"wxyzEFGH" + b"\xff" * 8
    assert rig.write(FLASH + 68, b"full", code) == ACK
    assert rig.read(FLASH + 64, 8) == b"wxyzEFGH"


def test_the_first_short_write_takes_noise_along(rig: Rig) -> None:
    rig.write(FLASH, b"wxyz")
    data = rig.read(FLASH, 8)
    assert data is not None
    assert data[:4] == b"wxyz" and data[4:] not in (bytes(4), b"\xff" * 4)


@pytest.mark.parametrize("code", WRITES + ERASES)
def test_write_protected_pages_are_acked_and_left_alone(make_rig: MakeRig, code: int) -> None:
    rig = make_rig(content=BLOCK, protected=(0, 1))
    if code in WRITES:
        assert rig.write(FLASH + 2048, BLOCK, code) == ACK
    else:
        assert rig.erase(0, code=code) == ACK
    assert rig.flash.data[:2048] == BLOCK + b"\xff" * 1792
    assert rig.flash.data[2048:] == b"\xff" * 126 * 1024


@pytest.mark.parametrize("code", ERASES)
def test_a_mass_erase_with_a_protected_page_is_refused(make_rig: MakeRig, code: int) -> None:
    rig = make_rig(content=BLOCK, protected=(63, 63))
    assert rig.mass_erase(code) == NACK
    assert rig.flash.data[:256] == BLOCK


@pytest.mark.parametrize("page", [64, 255, 0x100, 0xFFFF])
@pytest.mark.parametrize("code", ERASES)
def test_erasing_a_page_that_does_not_exist_is_acked_and_an_error(
    make_rig: MakeRig, page: int, code: int
) -> None:
    rig = make_rig(content=BLOCK)
    assert rig.erase(page, code=code) == ACK
    assert rig.flash.data[:256] == BLOCK
    assert writes_again(rig, 0x31)


def test_512_pages_can_be_listed_and_not_one_more(rig: Rig) -> None:
    assert rig.erase(*[page % 64 for page in range(512)], code=0x45) == ACK
    assert rig.flash.erase_counts == [8] * 64
    rig.command(0x44)
    assert rig.ask(count_frame(512)) == NACK
    assert rig.in_step()


# Time


@pytest.mark.parametrize(
    ("code", "frame", "takes"),
    [
        (0x32, data_frame(BLOCK), 32 * TYPICAL.program),
        (0x45, pages_frame([0]), TYPICAL.page_erase),
        (0x45, pages_frame([0, 1, 2]), 3 * TYPICAL.page_erase),
        (0x45, b"\xff\xff\x00", TYPICAL.mass_erase),
    ],
)
def test_busy_is_answered_while_a_no_stretch_operation_runs(
    rom: Rig, code: int, frame: bytes, takes: int
) -> None:
    rom.command(code)
    if code == 0x32:
        rom.ask(word(FLASH))
    elif frame[0] != 0xFF:
        rom.ask(count_frame(len(frame) // 2 - 1))
    rom.send(frame)
    began = rom.clock.now
    rom.bus.stretch_limit = 100 * NS_PER_US  # SCL is never held for longer
    while (status := rom.status()) == BUSY:
        rom.wait(0.3)
    assert status == ACK
    assert takes <= rom.clock.now - began < takes + 40 * NS_PER_MS
    rom.bus.stretch_limit = None
    assert rom.in_step()


def test_a_host_that_waits_for_the_typical_time_never_sees_busy(rig: Rig) -> None:
    rig.command(0x45)
    rig.ask(count_frame(0))
    rig.send(pages_frame([0]))
    rig.wait(22)
    assert rig.status() == ACK


@pytest.mark.parametrize(
    ("code", "frame", "takes"),
    [
        (0x31, data_frame(BLOCK), 32 * TYPICAL.program),
        (0x44, pages_frame([0]), TYPICAL.page_erase),
        (0x44, pages_frame([0, 1, 2]), 3 * TYPICAL.page_erase),
        (0x44, b"\xff\xff\x00", TYPICAL.mass_erase),
    ],
)
def test_scl_is_held_while_a_stretching_operation_runs(
    rig: Rig, code: int, frame: bytes, takes: int
) -> None:
    rig.command(code)
    if code == 0x31:
        rig.ask(word(FLASH))
    elif frame[0] != 0xFF:
        rig.ask(count_frame(len(frame) // 2 - 1))
    rig.send(frame)
    began = rig.clock.now
    assert rig.scl()
    assert rig.bus.start(I2C_ADDRESS, reading=True)
    assert not rig.scl()
    assert rig.bus.read(ack=False) == ACK
    rig.bus.stop()
    assert takes <= rig.clock.now - began < takes + NS_PER_MS
    assert rig.in_step()


def test_a_no_stretch_command_may_stretch_anyway(make_rig: MakeRig) -> None:
    rig = make_rig(quirks=Quirks(4, stretches_anyway=True))
    rig.command(0x45)
    rig.ask(count_frame(0))
    rig.send(pages_frame([0]))
    began = rig.clock.now
    assert rig.status() == ACK
    assert rig.clock.now - began > TYPICAL.page_erase


def test_the_bus_is_free_for_others_while_a_no_stretch_operation_runs(rom: Rig) -> None:
    rom.command(0x45)
    rom.ask(count_frame(0))
    rom.send(pages_frame([0]))
    assert not rom.bus.start(0x2A, reading=False)
    rom.bus.stop()
    assert rom.status() == BUSY


def test_an_operation_longer_than_the_loaders_patience_does_not_reset_it(
    make_rig: MakeRig,
) -> None:
    slow = FlashTimes(TYPICAL.program, 5 * NS_PER_S, 5 * NS_PER_S)
    for code in ERASES:
        rig = make_rig(content=BLOCK, times=slow)
        assert rig.erase(0, code=code) == ACK
        assert rig.starts == 1
        assert rig.flash.data[:256] == b"\xff" * 256


def test_between_commands_there_is_no_timeout(rig: Rig) -> None:
    assert rig.in_step()
    rig.wait(3_600_000)
    assert rig.starts == 1
    assert rig.in_step()


def test_a_loader_with_a_timeout_between_commands_resets_itself_there_too(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(quirks=Quirks(4, idle_timeout=NS_PER_S))
    rig.wait(5_000)
    assert rig.starts == 1  # there was no connection yet
    assert rig.in_step()
    assert rig.resets_itself()


def test_the_first_address_match_stretches_for_2_us(rig: Rig) -> None:
    rig.bus.stretch_limit = 3 * NS_PER_US
    began = rig.clock.now
    rig.send(b"\x01\xfe")
    assert rig.clock.now - began == (10 + 18 + 1) * 2500 + 2 * NS_PER_US
    began = rig.clock.now
    rig.status()
    assert rig.clock.now - began == 20 * 2500


# V11.3


@pytest.mark.parametrize("code", ERASES)
def test_v11_3_does_not_wait_for_an_erase(make_rig: MakeRig, code: int) -> None:
    rig = make_rig(version=3, content=BLOCK)
    rig.command(code)
    rig.ask(count_frame(0))
    rig.send(pages_frame([0]))
    began = rig.clock.now
    assert rig.status() == ACK
    assert rig.clock.now - began < NS_PER_MS
    assert rig.flash.busy
    rig.wait(40)
    assert rig.read(FLASH, 256) == b"\xff" * 256
    assert rig.write(FLASH, BLOCK) == ACK
    assert rig.read(FLASH, 256) == BLOCK


@pytest.mark.parametrize(("wait", "programmed"), [(23, False), (40, True)])
def test_v11_3_is_given_the_slowest_erase_there_is(
    make_rig: MakeRig, wait: int, programmed: bool
) -> None:
    """AN2606 requires 40 ms: a host that relies on the typical 22 ms fails."""
    rig = make_rig(version=3)
    assert rig.erase(0) == ACK
    rig.wait(wait)
    assert rig.write(FLASH, BLOCK) == ACK
    assert (rig.flash.data[:256] == BLOCK) is programmed


def test_v11_3_writes_too_soon_after_an_erase_do_nothing_and_poison_what_follows(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(version=3)
    assert rig.erase(0) == ACK
    assert rig.write(FLASH, BLOCK) == ACK
    rig.wait(40)
    assert rig.write(FLASH, BLOCK) == ACK
    assert rig.flash.data == b"\xff" * 128 * 1024


@pytest.mark.parametrize("code", ERASES)
def test_v11_3_erases_only_the_first_of_several_pages(make_rig: MakeRig, code: int) -> None:
    rig = make_rig(version=3, content=bytes(4 * PAGE))
    assert rig.erase(0, 1, 2, code=code) == ACK
    rig.wait(100)
    assert rig.flash.data[: 3 * PAGE] == b"\xff" * PAGE + bytes(2 * PAGE)
    assert rig.erase(1) == ACK
    rig.wait(100)
    assert rig.flash.data[PAGE : 2 * PAGE] == bytes(PAGE)


def test_v11_3_reads_and_checksums_wait_for_the_erase(make_rig: MakeRig) -> None:
    for read in (lambda rig: rig.read(FLASH, 4), lambda rig: checksum(rig, 4)):
        rig = make_rig(version=3, content=BLOCK)
        rig.erase(0)
        assert read(rig) in (b"\xff" * 4, bytes(4))
        assert not rig.flash.busy


def checksum(rig: Rig, size: int) -> bytes:
    rig.command(0xA1)
    rig.ask(word(FLASH))
    assert rig.ask(word(size)) == ACK
    assert rig.final() == ACK
    return rig.receive(5)[:4]


def test_v11_3_mass_erase_after_an_unfinished_page_erase_is_refused(make_rig: MakeRig) -> None:
    rig = make_rig(version=3, content=BLOCK * 16)
    rig.erase(0)
    assert rig.mass_erase() == NACK
    assert rig.flash.data[PAGE : PAGE + 256] == BLOCK


def test_v11_3_go_waits_for_the_erase_and_finds_nothing(make_rig: MakeRig) -> None:
    rig = make_rig(version=3, content=APP.content)
    rig.erase(0)
    rig.command(0x21)
    assert rig.ask(word(FLASH)) == ACK
    rig.wait(40)
    assert rig.running is Running.CRASHED


def test_v11_3_holds_scl_at_connection_with_pc11_low(make_rig: MakeRig) -> None:
    rig = make_rig(quirks=quirks_of(3, pc11_low=True))
    rig.bus.stretch_limit = 13 * NS_PER_MS
    with pytest.raises(Stretched):
        rig.send(b"\x01\xfe")
    rig = make_rig(quirks=quirks_of(3, pc11_low=True))
    assert rig.in_step()
    began = rig.clock.now
    assert rig.in_step()
    assert rig.clock.now - began < NS_PER_MS
    assert quirks_of(4, pc11_low=True).connection_stretch == 2 * NS_PER_US


# Torn and weak cells


def tear(rig: Rig, offset: int) -> None:
    rig.flash.cells[offset // 8] = Cell.TORN


def test_reading_a_torn_granule_hangs_the_loader_until_a_reset(make_rig: MakeRig) -> None:
    rig = make_rig(content=BLOCK)
    tear(rig, 64)
    for frame in (b"\x11\xee", word(FLASH), b"\xff\x00"):
        assert rig.ask(frame) == ACK
    rig.bus.start(I2C_ADDRESS, reading=True)
    assert bytes(rig.bus.read(ack=True) for _ in range(64)) == BLOCK[:64]
    rig.bus.stretch_limit = 100 * NS_PER_S
    with pytest.raises(Stretched):
        rig.bus.read(ack=True)
    rig.bus.abandon()
    rig.bus.stretch_limit = None
    assert rig.starts == 1
    rig.reset()
    assert rig.in_step()


def test_reading_a_torn_granule_may_reset_the_loader(make_rig: MakeRig) -> None:
    rig = make_rig(content=BLOCK, quirks=Quirks(4, ecc_error="reset"))
    tear(rig, 64)
    data = rig.read(FLASH, 256)
    assert data is not None
    assert data[:62] == BLOCK[:62] and data[64:] == b"\xff" * 192
    rig.wait(1)
    assert rig.starts == 2


@pytest.mark.parametrize("address", [FLASH + 64, FLASH + 67])
def test_a_torn_granule_at_the_very_address_is_met_at_the_first_byte(
    make_rig: MakeRig, address: int
) -> None:
    rig = make_rig(content=BLOCK)
    tear(rig, 64)
    for frame in (b"\x11\xee", word(address), b"\x00\xff"):
        assert rig.ask(frame) == ACK
    assert rig.held(10_000)


def test_a_read_next_to_a_torn_granule_is_fine(make_rig: MakeRig) -> None:
    rig = make_rig(content=BLOCK)
    tear(rig, 64)
    assert rig.read(FLASH, 64) == BLOCK[:64]
    assert rig.read(FLASH + 72, 8) == BLOCK[72:80]


def test_a_checksum_over_a_torn_granule_hangs_the_loader() -> None:
    rig = Rig(content=BLOCK * 512)
    tear(rig, 100_000)
    rig.command(0xA1)
    rig.ask(word(FLASH))
    assert rig.ask(word(128 * 1024)) == ACK
    assert rig.held(10_000)


def test_weak_granules_read_right(make_rig: MakeRig) -> None:
    rig = make_rig(content=BLOCK)
    rig.flash.cells[3] = Cell.WEAK_PROGRAMMED
    assert rig.read(FLASH, 256) == BLOCK


@pytest.mark.parametrize("how", ["reset", "power"])
def test_a_reset_in_the_middle_of_an_erase_tears_the_page(make_rig: MakeRig, how: str) -> None:
    rig = make_rig(content=BLOCK * 16)
    rig.command(0x45)
    rig.ask(count_frame(0))
    rig.send(pages_frame([0]))
    rig.wait(11)
    if how == "reset":
        rig.reset()
    else:
        rig.power_cycle()
    assert len(rig.flash.weak_granules()) == PAGE // 8
    assert rig.erase(0) == ACK
    assert rig.flash.weak_granules() == []


def test_a_reset_in_the_middle_of_a_write_tears_one_granule_and_the_rest_is_missing(
    rig: Rig,
) -> None:
    rig.command(0x32)
    rig.ask(word(FLASH))
    rig.send(data_frame(BLOCK))
    rig.wait(1)
    rig.reset()
    (torn,) = rig.flash.weak_granules()
    assert 0 < torn < 248
    assert rig.flash.data[:torn] == BLOCK[:torn]
    assert rig.flash.data[torn + 8 : 256] == b"\xff" * (248 - torn)


def test_a_loader_that_resets_itself_in_the_middle_of_an_erase_tears_the_page() -> None:
    slow = FlashTimes(TYPICAL.program, 5 * NS_PER_S, 5 * NS_PER_S)
    rig = Rig(content=BLOCK * 16, times=slow)
    rig.command(0x45)
    rig.ask(count_frame(0))
    rig.send(pages_frame([0]))
    rig.bus.start(I2C_ADDRESS, reading=True)
    assert rig.bus.read(ack=False) == BUSY  # and then no STOP
    rig.bus.abandon()
    assert rig.resets_itself()
    assert not rig.flash.busy
    assert len(rig.flash.weak_granules()) == PAGE // 8


OPERATIONS = {
    "write": (b"\x32\xcd", word(FLASH + 512), data_frame(BLOCK)),
    "erase": (b"\x45\xba", count_frame(0), pages_frame([0])),
    "mass erase": (b"\x45\xba", b"\xff\xff\x00"),
}


@pytest.mark.parametrize("frames", OPERATIONS.values(), ids=OPERATIONS)
@pytest.mark.parametrize("point", range(4))
def test_a_cut_at_any_point_of_an_operation_leaves_doubt_that_an_erase_heals(
    make_rig: MakeRig, frames: tuple[bytes, ...], point: int
) -> None:
    rig = make_rig(content=BLOCK)
    for frame in frames[:-1]:
        assert rig.ask(frame) == ACK
    rig.flash.tap = lambda _, at: rig.chip.power(False) if at == point else None
    rig.send(frames[-1])
    rig.wait(50)
    assert rig.running is Running.OFF and not rig.flash.busy
    assert rig.send(b"\x01\xfe") == -1
    doubtful = rig.flash.weak_granules()
    assert len(doubtful) == {0x32: 1, 0x45: PAGE // 8 if len(frames) == 3 else 16384}[frames[0][0]]
    rig.flash.tap = None
    rig.power_cycle()
    assert rig.erase(0) == ACK
    assert rig.flash.weak_granules(0, PAGE) == []
    assert rig.write(FLASH, BLOCK) == ACK
    assert rig.read(FLASH, 256) == BLOCK


@pytest.mark.parametrize("frames", OPERATIONS.values(), ids=OPERATIONS)
def test_a_cut_between_any_two_bytes_before_an_operation_begins_leaves_flash_as_it_was(
    make_rig: MakeRig, frames: tuple[bytes, ...]
) -> None:
    last = frames[-1][:-1] if frames[0][0] == 0x32 else frames[-1]  # else the STOP begins it
    passed = 0
    cut_at = 0
    while passed >= cut_at:
        rig = make_rig(content=BLOCK)
        cut_at, passed = cut_at + 7, 0

        def tap(what: str, _: int, rig: Rig = rig, at: int = cut_at) -> None:
            nonlocal passed
            passed += 1
            if passed == at:
                rig.chip.power(False)

        rig.bus.tap = tap
        for frame in frames[:-1]:
            rig.ask(frame)
        rig.send(last, stop=False)
        rig.wait(50)
        assert rig.flash.data == BLOCK + b"\xff" * (128 * 1024 - 256)
        assert rig.flash.weak_granules() == []
    assert cut_at > 14
