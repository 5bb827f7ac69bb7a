"""A UART line: byte times, formats that differ, and faults."""

from __future__ import annotations

import random

import pytest

from stm32sim.chip.stm32 import Running
from stm32sim.faults import LINE_KINDS, Fault, FaultyLine, LineNoise
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S, Clock
from stm32sim.wires.uart import EVEN, ODD, Format, Line, frame_time
from tests.simulator.rig import ACK, FLASH, NACK, data_frame, word
from tests.simulator.uart_rig import SYNC, End, UartRig

HOST = Format(115_200, EVEN)
BYTES = bytes(range(256))


class Pair:
    """A sender and a receiver of a format of its own."""

    def __init__(self, sender: Format, receiver: Format) -> None:
        self.clock = Clock()
        self.line = Line(self.clock)
        self.sender = sender
        self.end = End(self.clock, receiver)
        self.line.to_host.receiver = self.end

    def send(self, data: bytes, gap: int = 0) -> bytes:
        """Send bytes with a gap of so many bits after each; what was received."""
        wire, form = self.line.to_host, self.sender
        for byte in data:
            self.clock.advance_to(wire.send(bytes([byte]), form))
            self.clock.advance(round(gap * NS_PER_S / form.rate))
        self.clock.advance(NS_PER_S)
        return bytes(self.end.received)


@pytest.mark.parametrize(
    ("form", "bits"), [(HOST, 11), (Format(115_200, None), 10), (Format(115_200, ODD, 8, 2), 12)]
)
def test_a_byte_takes_its_bits(form: Format, bits: int) -> None:
    pair = Pair(form, form)
    assert pair.send(BYTES) == BYTES
    assert pair.end.instants[-1] == 256 * frame_time(form)
    assert frame_time(form) == round(bits * NS_PER_S / 115_200)


@pytest.mark.parametrize("part", [0.971, 0.99, 1.01, 1.029])
def test_rates_may_differ_by_three_percent(part: float) -> None:
    assert Pair(HOST, HOST._replace(rate=115_200 * part)).send(BYTES) == BYTES


@pytest.mark.parametrize("part", [0.5, 0.9, 0.94, 1.06, 1.1, 2, 8])
def test_at_another_rate_bytes_are_wrong(part: float) -> None:
    pair = Pair(HOST, HOST._replace(rate=115_200 * part))
    received = pair.send(BYTES)
    assert received and received != BYTES
    assert any(pair.end.faulty)


def test_half_the_rate_shows_every_second_bit() -> None:
    pair = Pair(HOST, HOST._replace(rate=57_600))
    # 0 1010 1010 0 1: sampled in the middle of two bits, start bit and 1, 0 and 1, ...
    assert pair.send(b"\x00")[:1] == b"\xf0"


def test_with_pauses_a_receiver_without_parity_gets_every_byte() -> None:
    """Its stop bit is the parity bit, so half of them look broken."""
    pair = Pair(HOST, HOST._replace(parity=None))
    assert pair.send(BYTES, gap=2) == BYTES
    wrong = [byte for byte in BYTES if byte.bit_count() % 2 == 0]
    assert [byte for byte, faulty in zip(BYTES, pair.end.faulty, strict=True) if faulty] == wrong


def test_without_pauses_a_receiver_with_parity_loses_step() -> None:
    pair = Pair(HOST._replace(parity=None), HOST)
    received = pair.send(BYTES)
    assert len(received) < len(BYTES) and any(pair.end.faulty)


def test_the_other_parity_is_an_error_in_every_byte() -> None:
    pair = Pair(HOST._replace(parity=ODD), HOST)
    assert pair.send(BYTES) == BYTES
    assert all(pair.end.faulty)


def test_a_sender_that_stops_leaves_the_rest_of_its_byte_high() -> None:
    pair = Pair(HOST, HOST)
    pair.line.to_host.send(b"\x00\x00", HOST)
    pair.clock.advance(round(5 * NS_PER_S / HOST.rate))  # the start bit and four of the byte
    pair.line.to_host.abort()
    pair.clock.advance(NS_PER_S)
    assert pair.end.received == b"\xf0"


def test_a_tap_sees_where_a_sender_begins_each_byte_and_where_it_ends() -> None:
    pair = Pair(HOST, HOST)
    seen: list[tuple[str, int]] = []
    pair.line.tap = lambda what, value: seen.append((what, value))
    pair.line.to_host.send(b"\x01\x02", HOST)
    pair.clock.advance(NS_PER_S)
    assert seen == [("start", 1), ("read", 1), ("read", 2), ("stop", 0)]


def test_a_byte_is_received_though_the_tap_raises() -> None:
    pair = Pair(HOST, HOST)

    def strike(what: str, value: int) -> None:
        if value == 2:
            raise KeyboardInterrupt

    pair.line.tap = strike
    pair.line.to_host.send(b"\x01\x02\x03", HOST)
    with pytest.raises(KeyboardInterrupt):
        pair.clock.advance(NS_PER_S)
    pair.clock.advance(NS_PER_S)
    assert pair.end.received == b"\x01\x02\x03"


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("ms", [1, 10, 20])
def test_a_target_that_is_reset_within_a_packet_takes_its_rest_for_noise(
    watched: bool, ms: int
) -> None:
    rig = UartRig()
    if watched:
        rig.line.tap = lambda what, value: None
    assert rig.order(0x31) == ACK
    assert rig.say(word(FLASH)) == ACK
    rig.clock.after(ms * NS_PER_MS, lambda: rig.chip.nrst(False))
    rig.clock.after(ms * NS_PER_MS + 100, lambda: rig.chip.nrst(True))
    rig.hand_over(data_frame(BYTES))
    assert rig.running is Running.LOADER
    assert rig.say(SYNC) is None


# Faults


def struck(kind: str, at: int) -> UartRig:
    rig = UartRig()
    FaultyLine(rig.line, rig.chip, Fault(kind, at))
    return rig


def test_a_lost_byte_leaves_the_loader_waiting() -> None:
    rig = struck("byte lost to the target", 1)
    assert rig.order(0x01) is None
    assert rig.say(b"\xfe") == ACK


@pytest.mark.parametrize("at", [3, 5, 100])
def test_a_doubled_byte_refuses_its_packet(at: int) -> None:
    rig = struck("byte doubled to the target", at)
    assert rig.order(0x31) == ACK
    status = rig.say(word(FLASH))
    if status == ACK:
        status = rig.say(data_frame(BYTES))
    assert status == NACK
    assert rig.flash.data[:256] == b"\xff" * 256


@pytest.mark.parametrize("kind", ["bit flipped to the target", "two bits flipped to the target"])
def test_flipped_bits_of_one_byte_are_seen_by_the_checksum(kind: str) -> None:
    rig = struck(kind, 1)
    assert rig.order(0x31) == NACK
    assert rig.answers()


def test_noise_between_bytes_refuses_the_packet() -> None:
    rig = struck("noise to the target", 1)
    assert rig.order(0x01) == NACK


@pytest.mark.parametrize(
    ("kind", "received"),
    [
        ("byte lost to the host", b"\x79\x00\x00\x79"),
        ("byte doubled to the host", b"\x79\x31\x31\x00\x00\x79"),
        ("bit flipped to the host", b"\x79\x21\x00\x00\x79"),
        ("noise to the host", b"\x79\x00\x31\x00\x00\x79"),
    ],
)
def test_a_fault_to_the_host_changes_what_it_gets(kind: str, received: bytes) -> None:
    rig = struck(kind, 1)
    rig.hand_over(b"\x01\xfe")
    assert rig.hear(9) == received
    assert rig.answers()


def test_a_refused_command_is_over_and_the_loader_in_step() -> None:
    rig = struck("refused", 3)
    assert rig.order(0x31) == ACK
    assert rig.say(word(FLASH)) == NACK
    assert rig.answers()


def test_noise_before_0x7f_leaves_the_loader_deaf_until_a_reset() -> None:
    rig = UartRig(synchronised=False)
    FaultyLine(rig.line, rig.chip, Fault("noise to the target", 0))
    assert rig.say(SYNC) is None
    rig.reset()
    assert rig.say(SYNC) == ACK


def test_a_probe_of_another_master_steals_a_loader_that_is_not_synchronised() -> None:
    rig = UartRig(synchronised=False)
    FaultyLine(rig.line, rig.chip, Fault("another master probes", 0))
    assert rig.say(SYNC) is None
    rig.reset()
    assert rig.say(SYNC) == ACK


@pytest.mark.parametrize("kind", ["loader is deaf", "loader resets itself"])
def test_a_loader_that_left_does_not_answer(kind: str) -> None:
    rig = struck(kind, 2)
    assert rig.order(0x31) == ACK
    assert rig.say(word(FLASH)) is None
    assert rig.running is Running.LOADER
    rig.reset()
    assert rig.say(SYNC) == ACK


def test_faults_that_do_not_exist_are_refused() -> None:
    rig = UartRig()
    with pytest.raises(ValueError, match="no such fault of a line: 'data held low'"):
        FaultyLine(rig.line, rig.chip, Fault("data held low", 0))
    assert len(set(LINE_KINDS)) == len(LINE_KINDS)


def test_noise_flips_the_share_of_bytes_that_was_asked_for_and_its_seed_decides_which() -> None:
    sent = random.Random(1).randbytes(20_000)
    received = []
    for seed in (1, 1, 2):
        pair = Pair(HOST, HOST)
        noise = LineNoise(pair.line, rate=0.01, seed=seed)
        got = pair.send(sent)
        received.append(got)
        wrong = [a != b for a, b in zip(sent, got, strict=True)]
        assert wrong == pair.end.faulty
        assert sum(wrong) == noise.flips and 150 < noise.flips < 250
    assert received[0] == received[1] != received[2]
