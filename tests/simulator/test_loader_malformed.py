"""The loader's reaction to frames that are wrong, too short, too long, or out of order.

There are two outcomes: a NACK, after which it accepts the next command; or it is out of step until
its own timeout, or something else, resets it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.chip.quirks import Quirks
from tests.simulator.rig import (
    ACK,
    BUSY,
    EVERY_LOADER,
    FLASH,
    NACK,
    Rig,
    count_frame,
    data_frame,
    pages_frame,
    rig_with,
    word,
)

BLOCK = bytes(range(256))
WRITES, ERASES = (0x31, 0x32), (0x44, 0x45)
KNOWN = bytes.fromhex("0001021121314463738292324564748393a1")
MakeRig = Callable[..., Rig]


@pytest.fixture(params=EVERY_LOADER)
def make_rig(request: pytest.FixtureRequest) -> MakeRig:
    """Makes a Rig with this loader."""
    return rig_with(request.param)


def untouched(rig: Rig) -> bool:
    """Whether flash still holds BLOCK and nothing else."""
    return holds(rig, BLOCK)


def holds(rig: Rig, content: bytes) -> bool:
    """Whether flash holds exactly this, soundly."""
    flash = rig.flash
    blank = b"\xff" * (flash.size - len(content))
    return flash.data == content + blank and flash.weak_granules() == []


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """A connected loader, BLOCK at the start of flash."""
    rig = make_rig(content=BLOCK)
    assert rig.in_step()
    return rig


# Wrong contents: NACK, and back to the wait for a command


@pytest.mark.parametrize("code", KNOWN)
@pytest.mark.parametrize("error", [0x01, 0x80, 0xFF])
def test_a_wrong_complement_of_the_code_is_nacked(rig: Rig, code: int, error: int) -> None:
    assert rig.ask(bytes([code, code ^ 0xFF ^ error])) == NACK
    assert rig.in_step() and untouched(rig)


@pytest.mark.parametrize("code", sorted(set(range(256)) - set(KNOWN)))
def test_an_unknown_code_is_nacked(rig: Rig, code: int) -> None:
    assert rig.command(code) == NACK
    assert rig.in_step()


@pytest.mark.parametrize("code", [0x11, 0x21, 0x31, 0x32, 0xA1])
@pytest.mark.parametrize("byte", range(5))
def test_a_wrong_bit_anywhere_in_the_address_is_nacked(rig: Rig, code: int, byte: int) -> None:
    frame = bytearray(word(FLASH))
    frame[byte] ^= 0x08
    assert rig.command(code) == ACK
    assert rig.ask(bytes(frame)) == NACK
    assert rig.in_step() and untouched(rig)


@pytest.mark.parametrize("frame", [b"\x0f\xf1", b"\x0e\xf0", b"\xff\xff", b"\x00\x00"])
def test_a_wrong_complement_of_the_count_is_nacked(rig: Rig, frame: bytes) -> None:
    rig.command(0x11)
    rig.ask(word(FLASH))
    assert rig.ask(frame) == NACK
    assert rig.in_step()


@pytest.mark.parametrize("code", WRITES)
@pytest.mark.parametrize("byte", [1, 4, 8, 9])
def test_a_wrong_bit_anywhere_in_the_data_is_nacked_and_nothing_is_written(
    rig: Rig, code: int, byte: int
) -> None:
    frame = bytearray(data_frame(b"ABCDEFGH"))
    frame[byte] ^= 0x08
    rig.command(code)
    rig.ask(word(FLASH + 1024))
    assert rig.ask(bytes(frame)) == NACK
    assert rig.in_step() and untouched(rig)


@pytest.mark.parametrize("code", ERASES)
@pytest.mark.parametrize(
    "frame", [b"\x00\x00\x01", b"\xff\xff\xff", b"\xff\xff\x01", b"\x01\x00\x00"]
)
def test_a_wrong_xor_of_the_number_of_pages_is_nacked(rig: Rig, code: int, frame: bytes) -> None:
    rig.command(code)
    assert rig.ask(frame) == NACK
    assert rig.in_step() and untouched(rig)


@pytest.mark.parametrize("code", ERASES)
def test_a_wrong_xor_of_the_page_list_is_nacked_and_nothing_is_erased(rig: Rig, code: int) -> None:
    rig.command(code)
    rig.ask(count_frame(1))
    assert rig.ask(b"\x00\x00\x00\x01\x00") == NACK
    rig.wait(50)
    assert rig.in_step() and untouched(rig)


def test_a_wrong_xor_of_the_size_to_sum_up_is_nacked(rom: Rig) -> None:
    rom.command(0xA1)
    rom.ask(word(FLASH))
    assert rom.ask(b"\x00\x00\x01\x00\x00") == NACK
    assert rom.in_step()


@pytest.mark.parametrize("code", ERASES)
def test_count_and_pages_in_one_frame_as_over_usart_erase_nothing(rig: Rig, code: int) -> None:
    """The old stm32flash did that: AN3155's layout."""
    rig.command(code)
    rig.bus.start(I2C_ADDRESS, reading=False)
    for byte in b"\x00\x00\x00\x00\x00":
        if rig.scl():
            rig.bus.write(byte)
    assert not rig.scl()
    rig.bus.abandon()
    assert rig.resets_itself() and untouched(rig)


# Too short: the loader waits for the rest, then resets itself


FRAMES: dict[str, list[bytes]] = {
    "command": [b"\x01\xfe"],
    "address": [b"\x11\xee", word(FLASH)],
    "count": [b"\x11\xee", word(FLASH), b"\x0f\xf0"],
    "data": [b"\x31\xce", word(FLASH + 512), data_frame(b"ABCDEFGH")],
    "data, no stretch": [b"\x32\xcd", word(FLASH + 512), data_frame(b"ABCDEFGH")],
    "number of pages": [b"\x44\xbb", count_frame(0)],
    "pages": [b"\x44\xbb", count_frame(1), pages_frame([0, 1])],
    "pages, no stretch": [b"\x45\xba", count_frame(1), pages_frame([0, 1])],
    "size": [b"\xa1\x5e", word(FLASH), word(256)],
}


# Beyond BLOCK, once the frame "data" has come with its XOR.
WRITTEN = b"\xff" * 256 + b"ABCDEFGH"


def acted_upon(frames: list[bytes]) -> bytes:
    """The content of flash after the last byte of the last frame, without a STOP."""
    return BLOCK + (WRITTEN if frames[0][0] in WRITES else b"")


def lead_up_to(rig: Rig, frames: list[bytes]) -> bytes:
    """All frames but the last, ACKed; the last one."""
    for frame in frames[:-1]:
        assert rig.ask(frame) == ACK
    return frames[-1]


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("missing", [1, 2])
def test_a_truncated_frame_ends_in_a_self_reset_and_does_nothing(
    rig: Rig, frames: list[bytes], missing: int
) -> None:
    last = lead_up_to(rig, frames)
    rig.send(last[:-missing])
    assert rig.resets_itself()
    assert rig.in_step() and untouched(rig)


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
def test_a_byte_that_takes_a_second_ends_in_a_self_reset(rig: Rig, frames: list[bytes]) -> None:
    last = lead_up_to(rig, frames)
    rig.send(last[:1], stop=False)
    assert rig.resets_itself()
    assert not rig.bus.write(last[1])  # no device is addressed
    rig.bus.stop()
    assert rig.in_step() and untouched(rig)


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
def test_bytes_may_take_nearly_a_second_each(rig: Rig, frames: list[bytes]) -> None:
    last = lead_up_to(rig, frames)
    rig.bus.start(I2C_ADDRESS, reading=False)
    for byte in last:
        rig.wait(990)
        assert rig.bus.write(byte)
    rig.wait(990)
    rig.bus.stop()
    assert rig.final() == ACK
    assert rig.starts == 1


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
def test_a_host_that_goes_away_between_frames_is_not_waited_for(
    rig: Rig, frames: list[bytes]
) -> None:
    rig.send(lead_up_to(rig, frames))
    rig.wait(100)  # whatever it does is done
    assert rig.starts == 1
    starts = rig.starts
    rig.wait(1_100)
    assert rig.starts == starts + 1
    assert rig.in_step()


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
def test_the_host_may_take_nearly_a_second_between_frames(rig: Rig, frames: list[bytes]) -> None:
    for frame in frames:
        rig.send(frame)
        rig.wait(990)
        assert rig.status() == ACK
        rig.wait(990)
    assert rig.starts == 1


def test_a_frame_without_its_stop_ends_in_a_self_reset(rig: Rig) -> None:
    rig.send(b"\x01\xfe", stop=False)
    rig.bus.abandon()
    assert rig.resets_itself()
    assert rig.in_step()


def test_an_answer_without_its_stop_ends_in_a_self_reset(rig: Rig) -> None:
    rig.send(b"\x01\xfe")
    assert rig.receive(1, stop=False) == b"\x79"
    rig.bus.abandon()
    assert rig.resets_itself()


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
def test_a_repeated_start_instead_of_a_stop_is_held_until_the_self_reset(
    rig: Rig, frames: list[bytes]
) -> None:
    rig.send(lead_up_to(rig, frames), stop=False)
    assert rig.bus.start(I2C_ADDRESS, reading=True)
    assert not rig.scl()
    assert rig.resets_itself()
    assert rig.scl()
    assert rig.bus.read(ack=False) == 0xFF
    rig.bus.stop()
    assert rig.in_step() and holds(rig, acted_upon(frames))


def test_a_repeated_start_after_a_read_is_held_too(rig: Rig) -> None:
    rig.send(b"\x01\xfe")
    rig.receive(1, stop=False)
    assert rig.bus.start(I2C_ADDRESS, reading=True)
    assert not rig.scl()
    assert rig.resets_itself()


def test_a_frame_that_ends_in_a_start_to_somebody_else_has_no_stop(rig: Rig) -> None:
    rig.send(b"\x01\xfe", stop=False)
    assert not rig.bus.start(0x2A, reading=False)
    rig.bus.stop()
    assert rig.held()
    rig.wait(1_000)
    assert rig.starts == 2
    assert rig.in_step()


# Too long


@pytest.mark.parametrize(("name", "frames"), FRAMES.items(), ids=FRAMES)
def test_one_byte_too_many_is_the_first_of_the_next_frame(
    rig: Rig, name: str, frames: list[bytes]
) -> None:
    last = lead_up_to(rig, frames)
    assert rig.send(last + b"\x55") == len(last) + 1
    assert rig.final() == ACK
    if name == "command":
        assert [rig.status(), rig.status()] == [0x12, ACK]
    elif name == "address":
        assert rig.ask(b"\x0f\xf0") == NACK
    elif name == "count":
        assert rig.receive(16) == BLOCK[:16]
    elif name == "number of pages":
        assert rig.ask(pages_frame([0])) == NACK
    elif name == "size":
        assert rig.final() == ACK
        assert len(rig.receive(5)) == 5
    for _ in range(3):
        assert rig.command(0x01) == NACK  # always one byte behind
    rig.reset()
    assert rig.in_step()


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("extra", [2, 3])
def test_two_bytes_too_many_hold_scl_until_the_self_reset(
    rig: Rig, frames: list[bytes], extra: int
) -> None:
    last = lead_up_to(rig, frames)
    rig.bus.start(I2C_ADDRESS, reading=False)
    for byte in last + b"\x55\x55":
        assert rig.bus.write(byte)
    assert not rig.scl()
    assert rig.resets_itself()
    rig.bus.stop()
    assert rig.in_step() and holds(rig, acted_upon(frames))


def test_257_bytes_of_data_do_not_fit_the_length_byte(rig: Rig) -> None:
    rig.command(0x31)
    rig.ask(word(FLASH + 1024))
    frame = b"\x00" + b"\x5a" * 257
    rig.bus.start(I2C_ADDRESS, reading=False)
    sent = 0
    while rig.scl() and sent < len(frame):
        rig.bus.write(frame[sent])
        sent += 1
    assert sent == 5  # length, 1 byte, its XOR by chance, and two too many
    rig.bus.abandon()
    assert rig.resets_itself()
    assert rig.flash.data[:256] == BLOCK
    assert rig.flash.data[1024] == 0x5A and rig.flash.data[1025:1032] != b"\xff" * 7


# Reading at the wrong time or the wrong length


def test_reading_a_status_twice_takes_the_loader_out_of_step(rig: Rig) -> None:
    rig.send(b"\x11\xee")
    assert rig.status() == ACK
    assert rig.held()
    rig.wait(1_000)
    assert rig.starts == 2
    assert rig.in_step()


def test_reading_a_status_when_a_command_is_expected_takes_it_out_of_step(rig: Rig) -> None:
    assert rig.bus.start(I2C_ADDRESS, reading=True)
    assert not rig.scl()
    assert rig.resets_itself()
    assert rig.bus.read(ack=False) == 0xFF
    rig.bus.stop()
    assert rig.in_step()


def test_reading_nothing_at_all_when_a_status_is_due_takes_it_out_of_step(rig: Rig) -> None:
    rig.send(b"\x01\xfe")
    rig.bus.start(I2C_ADDRESS, reading=True)
    rig.bus.stop()
    assert rig.resets_itself()


@pytest.mark.parametrize("frame", [b"\x11", word(FLASH), b"\x01\xfe"])
def test_writing_when_a_status_is_due_takes_it_out_of_step(rig: Rig, frame: bytes) -> None:
    rig.send(b"\x11\xee")
    rig.bus.start(I2C_ADDRESS, reading=False)
    for byte in frame[:1]:
        rig.bus.write(byte)
    rig.bus.stop()
    assert rig.resets_itself()
    assert rig.in_step()


def test_writing_while_a_no_stretch_operation_runs_takes_it_out_of_step(rig: Rig) -> None:
    rig.command(0x45)
    rig.ask(count_frame(0))
    rig.send(pages_frame([5]))
    rig.wait(1)
    rig.send(b"\x01")
    assert rig.resets_itself()
    assert rig.in_step()


def test_a_status_read_of_two_bytes_is_held_until_the_self_reset(rig: Rig) -> None:
    rig.send(b"\x01\xfe")
    rig.bus.start(I2C_ADDRESS, reading=True)
    assert rig.bus.read(ack=True) == ACK
    assert not rig.scl()
    assert rig.resets_itself()


def test_a_busy_read_of_two_bytes_is_held_too(rom: Rig) -> None:
    rom.command(0x45)
    rom.ask(count_frame(0))
    rom.send(pages_frame([5]))
    rom.bus.start(I2C_ADDRESS, reading=True)
    assert rom.bus.read(ack=True) == BUSY
    assert rom.resets_itself()


def codes_listed(rig: Rig) -> bytes:
    return KNOWN[:-1] if rig.chip.quirks.checksum == "unlisted" else KNOWN


def replies(rig: Rig) -> dict[str, tuple[list[bytes], bytes]]:
    """Frames up to a reply, and the reply."""
    codes = codes_listed(rig)
    return {
        "Get": ([b"\x00\xff"], bytes([len(codes), 0x12]) + codes),
        "Get ID": ([b"\x02\xfd"], b"\x01\x04\x60"),
        "Read Memory": ([b"\x11\xee", word(FLASH), b"\x0f\xf0"], BLOCK[:16]),
    }


REPLIES = ("Get", "Get ID", "Read Memory")


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_read_one_byte_too_long_is_held_until_the_self_reset(rig: Rig, name: str) -> None:
    frames, reply = replies(rig)[name]
    length = len(reply)
    for frame in frames:
        assert rig.ask(frame) == ACK
    rig.bus.start(I2C_ADDRESS, reading=True)
    for _ in range(length):
        rig.bus.read(ack=True)
    assert not rig.scl()
    assert rig.resets_itself()
    rig.bus.read(ack=False)
    rig.bus.stop()
    assert rig.in_step()


@pytest.mark.parametrize("missing", [2, 5, 18])
def test_gets_reply_read_much_too_short_leaves_the_loader_waiting_to_send(
    rig: Rig, missing: int
) -> None:
    rig.command(0x00)
    length = 2 + len(codes_listed(rig)) - missing
    assert len(rig.receive(length)) == length
    assert rig.held()
    rig.wait(1_000)
    assert rig.starts == 2
    assert rig.in_step()


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_read_one_byte_too_short_leaves_all_answers_one_late(rig: Rig, name: str) -> None:
    """The last byte stays in the transmit register, which is never emptied."""
    frames, reply = replies(rig)[name]
    for frame in frames:
        assert rig.ask(frame) == ACK
    assert rig.receive(len(reply) - 1) == reply[:-1]
    if name != "Read Memory":
        assert rig.status() == reply[-1]  # not the final ACK: the byte left over
    else:
        assert rig.command(0x01) == reply[-1]
        assert [rig.status(), rig.status()] == [ACK, 0x12]
    assert rig.command(0xEE) == ACK  # a NACK to come
    assert rig.command(0x01) == NACK
    rig.reset()
    assert rig.in_step()


def test_a_byte_left_over_may_pass_for_an_ack(make_rig: MakeRig) -> None:
    rig = make_rig(content=bytes([ACK]) * 16, protected=(0, 63))
    for frame in replies(rig)["Read Memory"][0]:
        assert rig.ask(frame) == ACK
    rig.receive(15)
    assert rig.ask(b"\x45\xbb") == ACK  # a wrong complement


def test_gets_reply_read_byte_by_byte_does_not_work(rig: Rig) -> None:
    rig.command(0x00)
    assert rig.receive(1) == bytes([len(codes_listed(rig))])
    assert rig.held()
    rig.wait(1_000)
    assert rig.starts == 2


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("connected", [False, True])
def test_a_zero_length_probe_ends_in_a_self_reset(
    make_rig: MakeRig, version: int, connected: bool
) -> None:
    rig = make_rig(version=version)
    if connected:
        assert rig.in_step()
    assert rig.send(b"") == 0  # it does ACK its address
    assert rig.resets_itself()
    assert rig.in_step()


def test_after_a_probe_the_next_command_is_held(rig: Rig) -> None:
    rig.send(b"")
    assert rig.bus.start(I2C_ADDRESS, reading=False)
    assert not rig.scl()


def test_a_loader_that_bears_probes_takes_commands_after_them(make_rig: MakeRig) -> None:
    rig = make_rig(quirks=Quirks(4, survives_probe=True))
    for _ in range(3):
        assert rig.send(b"") == 0
    assert rig.in_step()
    rig.wait(2_000)
    assert rig.starts == 1


def test_a_probe_within_a_command_ends_in_a_self_reset_all_the_same(make_rig: MakeRig) -> None:
    rig = make_rig(quirks=Quirks(4, survives_probe=True))
    rig.send(b"\x01\xfe")
    rig.send(b"")
    assert rig.resets_itself()


def test_other_addresses_are_not_answered_and_do_no_harm(rig: Rig) -> None:
    for address in set(range(128)) - {I2C_ADDRESS}:
        assert not rig.bus.start(address, reading=False)
        rig.bus.stop()
    assert rig.in_step()
    assert rig.starts == 1


@pytest.mark.parametrize("frame", [b"\xff\x00", b"\xff\xff", b"\x00\x00"])
def test_an_invalid_command_is_a_way_to_find_out_whether_it_is_in_step(
    rig: Rig, frame: bytes
) -> None:
    assert rig.ask(frame) == NACK
    assert rig.in_step()


def test_after_a_self_reset_it_boots_whatever_the_pins_say(rig: Rig) -> None:
    rig.chip.boot0(False)
    rig.send(b"\x01")
    rig.wait(1_100)
    assert rig.starts == 1
    assert rig.send(b"\x01\xfe") == -1
