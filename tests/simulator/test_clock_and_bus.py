"""Virtual time, and the rules of the wires."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stm32sim.wires.bus import Bus, BusStuck, Stretched
from stm32sim.wires.clock import NS_PER_MS, NS_PER_US, Clock

OURS = 0x33


class Peg:
    """A target that records its input, answers with `bytes_out`, and stretches on demand."""

    def __init__(self, clock: Clock, bytes_out: bytes = b"", address: int = OURS) -> None:
        self.clock = clock
        self.address = address
        self.bytes_out = list(bytes_out)
        self.log: list[object] = []
        self.held_until = 0
        self.nacks_after: int | None = None
        self.resets = 0

    def hold(self, duration: int) -> None:
        self.held_until = self.clock.now + duration
        self.clock.at(self.held_until, lambda: None)

    def last(self) -> object:
        return self.log[-1]

    def start(self, address: int, reading: bool) -> bool:
        self.log.append(("start", address, reading))
        return address == self.address

    def write(self, byte: int) -> bool:
        self.log.append(byte)
        written = sum(isinstance(entry, int) for entry in self.log)
        return self.nacks_after is None or written <= self.nacks_after

    def read(self) -> int:
        return self.bytes_out.pop(0) if self.bytes_out else 0xFF

    def acked(self, ack: bool) -> None:
        self.log.append("ack" if ack else "nack")

    def stop(self) -> None:
        self.log.append("stop")

    def holding_scl(self) -> bool:
        return self.clock.now < self.held_until


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bus(clock: Clock) -> Bus:
    bus = Bus(clock)
    bus.set_frequency(100_000)
    bus.devices.append(Peg(clock, b"\x0f\xa5\x00"))
    return bus


def peg(bus: Bus) -> Peg:
    device = bus.devices[0]
    assert isinstance(device, Peg)
    return device


def sda(bus: Bus) -> bool:
    return bus.sda_high


# Time


def test_what_is_due_happens_in_order_and_at_its_instant(clock: Clock) -> None:
    seen: list[tuple[str, int]] = []

    def note(name: str) -> Callable[[], None]:
        return lambda: seen.append((name, clock.now))

    for name, at in [("late", 30), ("early", 10), ("also early", 10)]:
        clock.at(at, note(name))
    clock.advance(20)
    assert seen == [("early", 10), ("also early", 10)]
    clock.advance(20)
    assert seen[-1] == ("late", 30) and clock.now == 40


def test_what_an_alarm_sets_within_the_same_stretch_of_time_happens_too(clock: Clock) -> None:
    seen: list[int] = []

    def again() -> None:
        clock.after(5, lambda: seen.append(clock.now))

    clock.after(10, again)
    clock.advance(100)
    assert seen == [15]


def test_a_cancelled_alarm_does_not_happen(clock: Clock) -> None:
    alarm = clock.after(10, lambda: pytest.fail("it was cancelled"))
    alarm.cancel()
    clock.advance(20)


def test_an_instant_gone_by_means_now(clock: Clock) -> None:
    seen: list[int] = []
    clock.advance(50)
    clock.at(10, lambda: seen.append(clock.now))
    clock.advance(0)
    assert seen == [50]


def test_time_never_runs_backwards(clock: Clock) -> None:
    clock.advance(50)
    clock.advance_to(10)
    clock.advance(-5)
    assert clock.now == 50


def test_waiting_ends_at_the_alarm_that_changes_things_or_at_the_limit(clock: Clock) -> None:
    done: list[bool] = []
    clock.after(30, lambda: done.append(True))
    assert not clock.advance_until(lambda: bool(done), limit=20)
    assert clock.now == 20
    assert clock.advance_until(lambda: bool(done), limit=100)
    assert clock.now == 30


# Bits take time


@pytest.mark.parametrize("hertz", [10_000, 100_000, 400_000, 1_000_000])
def test_every_bit_takes_its_time(bus: Bus, clock: Clock, hertz: int) -> None:
    bit = 10**9 // hertz
    bus.set_frequency(hertz)
    bus.start(OURS, reading=False)
    assert clock.now == 10 * bit  # START, 7 bits, direction, ACK
    bus.write(1)
    assert clock.now == 19 * bit
    bus.stop()
    assert clock.now == 20 * bit
    bus.start(OURS, reading=True)
    bus.read(ack=False)
    assert clock.now == 39 * bit


@pytest.mark.parametrize("hertz", [0, -1, 1_000_001, 3_400_000])
def test_a_clock_no_g0_can_follow_is_refused(bus: Bus, hertz: int) -> None:
    with pytest.raises(ValueError, match="Hz"):
        bus.set_frequency(hertz)


def test_the_tap_sees_everything_that_passes(bus: Bus) -> None:
    seen: list[tuple[str, int]] = []
    bus.tap = lambda what, value: seen.append((what, value))
    bus.start(OURS, reading=False)
    bus.write(0x55)
    bus.stop()
    bus.start(OURS, reading=True)
    bus.read(ack=False)
    bus.abandon()
    bus.start(0x12, reading=False)
    assert seen == [
        ("start", OURS << 1),
        ("ack", 0),
        ("write", 0x55),
        ("stop", 0),
        ("start", OURS << 1 | 1),
        ("ack", 0),
        ("read", 0x0F),
        ("abandon", 0),
        ("start", 0x12 << 1),
        ("nack", 0),
    ]


# Who answers


def test_nobody_at_an_address_means_nack_and_reads_as_ones(bus: Bus) -> None:
    assert not bus.start(0x12, reading=True)
    assert bus.read(ack=False) == 0xFF
    assert not bus.write(0x00)


def test_a_device_that_disappears_within_a_byte_has_not_sent_it(bus: Bus, clock: Clock) -> None:
    bus.start(OURS, reading=True)
    clock.after(75 * NS_PER_US, peg(bus).bytes_out.clear)  # at the eighth bit
    assert bus.read(ack=False) == 0xFF


def test_two_targets_sending_at_once_are_wired_and(bus: Bus, clock: Clock) -> None:
    bus.devices.append(Peg(clock, b"\xf1"))
    bus.start(OURS, reading=True)
    assert bus.read(ack=False) == 0x0F & 0xF1


# Stretching


def test_a_stretch_within_the_limit_only_takes_time(bus: Bus, clock: Clock) -> None:
    bus.stretch_limit = 5 * NS_PER_MS
    bus.start(OURS, reading=False)
    peg(bus).hold(4 * NS_PER_MS)
    assert bus.write(1)
    assert clock.now == 4 * NS_PER_MS + 190 * NS_PER_US


@pytest.mark.parametrize("step", ["start", "write", "read", "stop"])
def test_a_stretch_beyond_the_limit_ends_the_transaction(
    bus: Bus, clock: Clock, step: str
) -> None:
    bus.stretch_limit = 5 * NS_PER_MS
    bus.start(OURS, reading=step == "read")
    began = clock.now
    peg(bus).hold(6 * NS_PER_MS)
    steps = {
        "start": lambda: bus.start(OURS, reading=False),  # a repeated one
        "write": lambda: bus.write(1),
        "read": lambda: bus.read(ack=False),
        "stop": bus.stop,
    }
    with pytest.raises(Stretched):
        steps[step]()
    assert clock.now - began == 5 * NS_PER_MS


def test_the_deadline_counts_bits_as_well_as_stretches(bus: Bus, clock: Clock) -> None:
    bus.deadline = 50 * NS_PER_MS
    bus.set_frequency(47_000)
    bus.start(OURS, reading=False)
    sent = 0
    with pytest.raises(Stretched):
        while sent < 300:
            bus.write(0)
            sent += 1
    assert sent == 260  # (50 ms * 47 kHz - 10 bits) / 9
    assert clock.now == 50 * NS_PER_MS


def test_scl_shorted_to_ground_is_waited_for_in_vain(bus: Bus, clock: Clock) -> None:
    bus.scl_stuck = True
    bus.deadline = 20 * NS_PER_MS
    with pytest.raises(Stretched):
        bus.start(OURS, reading=False)
    assert clock.now == 20 * NS_PER_MS


# SDA held low


def test_sda_shorted_to_ground_prevents_start_bits_and_stop(bus: Bus) -> None:
    bus.start(OURS, reading=False)
    bus.sda_stuck = True
    for step in (lambda: bus.write(1), bus.stop, lambda: bus.start(OURS, reading=False)):
        with pytest.raises(BusStuck):
            step()
    assert peg(bus).log == [("start", OURS, False)]


def test_sda_shorted_to_ground_reads_as_zeros(bus: Bus) -> None:
    bus.start(OURS, reading=True)
    bus.sda_stuck = True
    assert bus.read(ack=True) == 0


def test_a_controller_that_does_not_look_takes_low_sda_for_acks_and_no_target_hears_it(
    bus: Bus,
) -> None:
    bus.arbitrates = False
    bus.sda_stuck = True
    assert bus.start(0x12, reading=False)
    assert bus.write(0x55)
    bus.stop()
    assert bus.start(OURS, reading=True)
    assert bus.read(ack=False) == 0
    assert peg(bus).log == []


@pytest.mark.parametrize("byte", [0x00, 0x7F, 0x80, 0xA5])
def test_a_target_left_in_mid_read_holds_sda_until_its_byte_is_clocked_out(
    bus: Bus, byte: int
) -> None:
    device = peg(bus)
    device.bytes_out = [0xFF, byte]
    bus.start(OURS, reading=True)
    bus.read(ack=True)
    bus.abandon()
    for shift in range(7, -1, -1):
        assert sda(bus) is bool(byte >> shift & 1)
        if not sda(bus):
            with pytest.raises(BusStuck):
                bus.start(OURS, reading=False)
        bus.pulse_scl()
    assert sda(bus)  # the ninth bit is the controller's
    assert device.last() == "ack"
    bus.pulse_scl()
    assert device.last() == "nack"
    assert bus.start(OURS, reading=False)


def test_a_target_that_still_stretches_takes_sda_once_it_lets_go_of_scl(
    bus: Bus, clock: Clock
) -> None:
    bus.stretch_limit = NS_PER_MS
    bus.start(OURS, reading=True)
    peg(bus).hold(5 * NS_PER_MS)
    with pytest.raises(Stretched):
        bus.read(ack=False)
    bus.abandon()
    assert sda(bus)
    bus.pulse_scl()  # SCL is held: no pulse appears
    clock.advance(5 * NS_PER_MS)
    assert not sda(bus)  # 0x0F begins with zeros
    for _ in range(4):
        bus.pulse_scl()
    assert sda(bus)


def test_a_stop_by_hand_frees_the_target_only_while_sda_is_high(bus: Bus) -> None:
    device = peg(bus)
    device.bytes_out = [0b0100_0000]
    bus.start(OURS, reading=True)
    bus.abandon()
    bus.stop_by_hand()
    assert device.last() == ("start", OURS, True)
    bus.pulse_scl()
    bus.stop_by_hand()
    assert device.last() == "stop"
    bus.pulse_scl()
    assert sda(bus)


def test_a_reset_makes_the_target_let_go_of_sda(bus: Bus) -> None:
    bus.start(OURS, reading=True)
    bus.abandon()
    assert not sda(bus)
    peg(bus).resets += 1
    assert sda(bus)
    assert bus.start(OURS, reading=False)


def test_a_target_left_in_mid_write_leaves_sda_alone(bus: Bus) -> None:
    bus.start(OURS, reading=False)
    bus.write(1)
    bus.abandon()
    assert sda(bus)
    assert bus.start(OURS, reading=False)
