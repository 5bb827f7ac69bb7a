"""The host's I2C objects: results, error numbers, and times."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.wires.bus import Bus
from stm32sim.wires.clock import NS_PER_MS, NS_PER_US, Clock
from stm32sim.wires.controller import (
    HARDWARE,
    Controller,
    Esp32Controller,
    Rp2Controller,
    SoftController,
)
from stm32sim.wires.controller import Esp32NewController as NewController
from tests.simulator.rig import BUSY, FLASH, Rig, count_frame, data_frame, pages_frame, word
from tests.simulator.test_clock_and_bus import OURS, Peg

EIO, ENODEV, ETIMEDOUT, ESP_TIMEDOUT = 5, 19, 110, 116
INVALID_STATE, INVALID_RESPONSE = 0x103, 0x108
KINDS = {**HARDWARE, "soft": SoftController}
Kind = type[Controller]
everywhere = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


class Place:
    """A bus with a Peg on it."""

    def __init__(self, bytes_out: bytes = b"\x0f\xa5\x00") -> None:
        self.clock = Clock()
        self.bus = Bus(self.clock)
        self.peg = Peg(self.clock, bytes_out)
        self.bus.devices.append(self.peg)

    def sda(self) -> bool:
        return self.bus.sda_high

    def host(self, kind: Kind, timeout_us: int = 50_000, hertz: int = 100_000) -> Controller:
        return kind(self.bus, hertz, timeout_us)


@pytest.fixture
def place() -> Place:
    return Place()


def errno_of(action: Callable[[], object]) -> int:
    with pytest.raises(OSError) as raised:
        action()
    (number,) = raised.value.args
    assert isinstance(number, int)
    return number


def hold_when_started(place: Place, duration: int) -> None:
    """The target stretches right after its next address byte."""
    place.bus.tap = lambda what, _: place.peg.hold(duration) if what == "ack" else None


# What works


@everywhere
def test_a_write_is_one_frame_and_returns_its_length(place: Place, kind: Kind) -> None:
    assert place.host(kind).write(OURS, b"\x01\x02") == 2
    assert place.peg.log == [("start", OURS, False), 1, 2, "stop"]


@everywhere
def test_a_read_acks_all_bytes_but_the_last(place: Place, kind: Kind) -> None:
    assert place.host(kind).read(OURS, 3) == b"\x0f\xa5\x00"
    assert place.peg.log == [("start", OURS, True), "ack", "ack", "nack", "stop"]


@everywhere
def test_without_stop_the_next_one_is_a_repeated_start(place: Place, kind: Kind) -> None:
    host = place.host(kind)
    host.write(OURS, b"\x01", stop=False)
    host.read(OURS, 1)
    assert place.peg.log == [
        ("start", OURS, False),
        1,
        ("start", OURS, True),
        "nack",
        "stop",
    ]


@everywhere
def test_a_read_of_nothing_is_refused(place: Place, kind: Kind) -> None:
    with pytest.raises(ValueError, match="0 bytes"):
        place.host(kind).read(OURS, 0)


@everywhere
def test_frequency_is_the_objects_own(place: Place, kind: Kind) -> None:
    slow, fast = place.host(kind, hertz=100_000), place.host(kind, hertz=400_000)
    slow.write(OURS, b"\x01")
    assert place.clock.now == 200 * NS_PER_US
    fast.write(OURS, b"\x01")
    assert place.clock.now == 250 * NS_PER_US


# Nobody there, or no more


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (Rp2Controller, EIO),
        (Esp32Controller, ENODEV),
        (NewController, INVALID_RESPONSE),
        (SoftController, ENODEV),
    ],
)
def test_nobody_at_the_address(place: Place, kind: Kind, number: int) -> None:
    host = place.host(kind)
    assert errno_of(lambda: host.write(0x12, b"\x01")) == number
    assert errno_of(lambda: host.read(0x12, 1)) == number
    assert place.peg.log[-1] == "stop"
    assert host.write(OURS, b"\x01") == 1


@everywhere
def test_a_write_of_nothing_is_a_probe_with_soft_i2cs_error(place: Place, kind: Kind) -> None:
    host = place.host(kind)
    assert host.write(OURS, b"") == 0
    assert place.peg.log == [("start", OURS, False), "stop"]
    number = INVALID_RESPONSE if kind is NewController else ENODEV
    assert errno_of(lambda: host.write(0x12, b"")) == number


@pytest.mark.parametrize("kind", [Rp2Controller, SoftController])
@pytest.mark.parametrize("acked", [0, 1, 3])
def test_a_data_nack_shows_only_in_the_count(place: Place, kind: Kind, acked: int) -> None:
    place.peg.nacks_after = acked
    assert place.host(kind).write(OURS, b"\x01\x02\x03\x04") == acked
    assert place.peg.log[-2:] == [acked + 1, "stop"]


@pytest.mark.parametrize(
    ("kind", "number"), [(Esp32Controller, ENODEV), (NewController, INVALID_RESPONSE)]
)
def test_a_data_nack_is_an_error_on_esp32(place: Place, kind: Kind, number: int) -> None:
    place.peg.nacks_after = 1
    assert errno_of(lambda: place.host(kind).write(OURS, b"\x01\x02")) == number
    assert place.peg.log[-1] == "stop"


# Patience


@pytest.mark.parametrize("hertz", [47_000, 100_000])
def test_rp2s_timeout_is_for_the_whole_transaction(place: Place, hertz: int) -> None:
    frame = bytes(300)
    limit = 50_000 if hertz == 47_000 else 27_000
    host = place.host(Rp2Controller, timeout_us=limit, hertz=hertz)
    assert errno_of(lambda: host.write(OURS, frame)) == ETIMEDOUT
    assert place.clock.now == limit * NS_PER_US
    assert "stop" not in place.peg.log


def test_rp2_counts_several_stretches_together(place: Place) -> None:
    host = place.host(Rp2Controller, timeout_us=10_000)
    place.bus.tap = lambda what, _: place.peg.hold(4 * NS_PER_MS) if what == "write" else None
    assert errno_of(lambda: host.write(OURS, b"\x01\x02\x03\x04")) == ETIMEDOUT
    assert place.clock.now == 10 * NS_PER_MS


def test_soft_i2c_counts_each_stretch(place: Place) -> None:
    host = place.host(SoftController, timeout_us=5_000)
    place.bus.tap = lambda what, _: place.peg.hold(4 * NS_PER_MS) if what == "write" else None
    assert host.write(OURS, bytes(20)) == 20
    assert place.clock.now > 80 * NS_PER_MS
    place.bus.tap = lambda what, _: place.peg.hold(6 * NS_PER_MS) if what == "write" else None
    assert errno_of(lambda: host.write(OURS, b"\x01\x02")) == ETIMEDOUT


def test_soft_i2c_may_take_any_time_in_all(place: Place) -> None:
    assert (
        place.host(SoftController, timeout_us=1_000, hertz=10_000).write(OURS, bytes(300)) == 300
    )


@pytest.mark.parametrize("timeout_us", [50_000, 1_000_000, 60_000_000])
@pytest.mark.parametrize(
    ("kind", "number", "limit_us"),
    [(Esp32Controller, ESP_TIMEDOUT, 13_107), (NewController, INVALID_STATE, 2_000)],
)
def test_esp32_bears_a_short_stretch_only_whatever_timeout_says(
    place: Place, kind: Kind, number: int, limit_us: int, timeout_us: int
) -> None:
    host = place.host(kind, timeout_us)
    hold_when_started(place, (limit_us - 100) * NS_PER_US)
    assert host.write(OURS, b"\x01") == 1
    hold_when_started(place, (limit_us + 100) * NS_PER_US)
    began = place.clock.now
    assert errno_of(lambda: host.write(OURS, b"\x01")) == number
    assert place.clock.now - began < (limit_us + 1_000) * NS_PER_US


def test_esp32s_new_driver_has_one_limit_for_a_transaction(place: Place) -> None:
    host = place.host(NewController, timeout_us=20_000, hertz=100_000)
    assert errno_of(lambda: host.write(OURS, bytes(300))) == INVALID_STATE


def test_esp32_bears_less_if_told_so(place: Place) -> None:
    hold_when_started(place, 3 * NS_PER_MS)
    host = place.host(Esp32Controller, timeout_us=2_000)
    assert errno_of(lambda: host.write(OURS, b"\x01")) == ESP_TIMEDOUT


def test_esp32s_limit_for_all_of_it_grows_with_the_length(place: Place) -> None:
    host = place.host(Esp32Controller, timeout_us=1_000, hertz=10_000)
    assert host.write(OURS, bytes(300)) == 300


# After a timeout


def test_rp2_is_wedged_until_made_anew(place: Place) -> None:
    host = place.host(Rp2Controller, timeout_us=5_000)
    hold_when_started(place, 6 * NS_PER_MS)
    assert errno_of(lambda: host.write(OURS, b"\x01")) == ETIMEDOUT
    assert place.peg.log == [("start", OURS, False)]  # no STOP
    place.bus.tap = None
    place.clock.advance(10 * NS_PER_MS)
    began = place.clock.now
    for action in (lambda: host.write(OURS, b"\x01"), lambda: host.read(OURS, 1)):
        assert errno_of(action) == ETIMEDOUT
    assert place.clock.now - began == 10 * NS_PER_MS
    assert place.host(Rp2Controller).write(OURS, b"\x01") == 1


def test_a_new_rp2_object_still_meets_a_target_that_holds_sda(place: Place) -> None:
    host = place.host(Rp2Controller, timeout_us=5_000)
    hold_when_started(place, 6 * NS_PER_MS)
    assert errno_of(lambda: host.read(OURS, 1)) == ETIMEDOUT
    place.bus.tap = None
    place.clock.advance(10 * NS_PER_MS)
    assert not place.sda()
    again = place.host(Rp2Controller, timeout_us=5_000)
    began = place.clock.now
    assert errno_of(lambda: again.write(OURS, b"\x01")) == ETIMEDOUT
    assert place.clock.now - began == 5 * NS_PER_MS
    while not place.sda():
        place.bus.pulse_scl()
    place.bus.stop_by_hand()
    assert place.host(Rp2Controller).write(OURS, b"\x01") == 1


def test_esp32_clears_the_bus_by_itself(place: Place) -> None:
    host = place.host(Esp32Controller, timeout_us=5_000)
    hold_when_started(place, 6 * NS_PER_MS)
    assert errno_of(lambda: host.read(OURS, 1)) == ESP_TIMEDOUT
    place.bus.tap = None
    place.clock.advance(10 * NS_PER_MS)
    assert not place.sda()
    assert errno_of(lambda: host.write(OURS, b"\x01")) == ESP_TIMEDOUT
    assert place.sda()
    assert place.peg.log[-1] == "stop"
    assert host.write(OURS, b"\x01") == 1


def test_soft_i2c_clocks_a_hanging_target_free_and_sees_nobody(place: Place) -> None:
    host = place.host(SoftController, timeout_us=5_000)
    hold_when_started(place, 6 * NS_PER_MS)
    assert errno_of(lambda: host.read(OURS, 1)) == ETIMEDOUT
    place.bus.tap = None
    place.clock.advance(10 * NS_PER_MS)
    assert not place.sda()
    assert errno_of(lambda: host.write(OURS, b"\x01")) == ENODEV
    assert host.write(OURS, b"\x01") == 1


# Shorts


@pytest.mark.parametrize(
    ("kind", "number"), [(Rp2Controller, ETIMEDOUT), (Esp32Controller, ESP_TIMEDOUT)]
)
@pytest.mark.parametrize("line", ["sda_stuck", "scl_stuck"])
def test_a_line_shorted_to_ground_is_a_timeout(
    place: Place, kind: Kind, number: int, line: str
) -> None:
    setattr(place.bus, line, True)
    host = place.host(kind, timeout_us=5_000)
    assert errno_of(lambda: host.write(OURS, b"\x01")) == number
    assert 5 * NS_PER_MS <= place.clock.now < 6 * NS_PER_MS
    setattr(place.bus, line, False)
    assert place.host(kind).write(OURS, b"\x01") == 1


def test_soft_i2c_takes_a_shorted_sda_for_acks_and_zeros(place: Place) -> None:
    place.bus.sda_stuck = True
    host = place.host(SoftController)
    assert host.write(OURS, b"\x01\x02") == 2
    assert host.write(0x12, b"") == 0
    assert host.read(OURS, 3) == bytes(3)
    assert place.peg.log == []


def test_soft_i2c_waits_for_a_shorted_scl_in_vain(place: Place) -> None:
    place.bus.scl_stuck = True
    assert errno_of(lambda: place.host(SoftController).write(OURS, b"\x01")) == ETIMEDOUT
    assert place.clock.now == 50 * NS_PER_MS


# A host that dies in the middle


class HostDied(BaseException):
    """As the power cuts of the host world: no Exception."""


@everywhere
@pytest.mark.parametrize("reading", [False, True])
def test_a_host_that_dies_in_mid_transaction_leaves_it_unfinished(
    kind: Kind, reading: bool
) -> None:
    def tap(what: str, _: int) -> None:
        if what in ("read", "write"):
            raise HostDied

    place = Place(b"\xff\x00\x00")
    place.bus.tap = tap
    host = place.host(kind)
    with pytest.raises(HostDied):
        if reading:
            host.read(OURS, 3)
        else:
            host.write(OURS, b"\x01\x02")
    assert "stop" not in place.peg.log
    assert place.sda() is not reading  # a target in mid-read holds it


# With a loader behind


def started(rig: Rig, kind: Kind, code: int, timeout_us: int = 50_000) -> Controller:
    """A page erase was requested; its status must be read."""
    host = kind(rig.bus, 400_000, timeout_us)
    for frame in (bytes([code, code ^ 0xFF]), count_frame(0)):
        host.write(I2C_ADDRESS, frame)
        assert host.read(I2C_ADDRESS, 1) == b"\x79"
    host.write(I2C_ADDRESS, pages_frame([0]))
    return host


@pytest.mark.parametrize("kind", [Rp2Controller, SoftController])
def test_a_stretched_erase_fits_into_50_ms(rig: Rig, kind: Kind) -> None:
    assert started(rig, kind, 0x44).read(I2C_ADDRESS, 1) == b"\x79"


def test_esp32_never_bears_a_stretched_erase(rig: Rig) -> None:
    host = started(rig, Esp32Controller, 0x44, timeout_us=1_000_000)
    assert errno_of(lambda: host.read(I2C_ADDRESS, 1)) == ESP_TIMEDOUT


def test_esp32_that_waits_first_sees_no_stretch(rig: Rig) -> None:
    host = started(rig, Esp32Controller, 0x44)
    rig.wait(25)
    assert host.read(I2C_ADDRESS, 1) == b"\x79"


@everywhere
def test_busy_reaches_the_host(rig: Rig, kind: Kind) -> None:
    host = started(rig, kind, 0x45)
    assert host.read(I2C_ADDRESS, 1) == bytes([BUSY])
    rig.wait(25)
    assert host.read(I2C_ADDRESS, 1) == b"\x79"


def test_a_status_given_up_under_stretch_hangs_sda_and_is_lost(rig: Rig) -> None:
    host = started(rig, Rp2Controller, 0x44, timeout_us=10_000)
    assert errno_of(lambda: host.read(I2C_ADDRESS, 1)) == ETIMEDOUT
    assert not rig.scl()
    rig.wait(20)
    assert rig.scl() and not rig.sda()  # the ACK, 0x79, begins with a zero
    for _ in range(9):
        rig.bus.pulse_scl()
    rig.bus.stop_by_hand()
    assert rig.in_step()


def test_a_reset_frees_sda(rig: Rig) -> None:
    host = started(rig, Rp2Controller, 0x44, timeout_us=10_000)
    assert errno_of(lambda: host.read(I2C_ADDRESS, 1)) == ETIMEDOUT
    rig.wait(20)
    rig.chip.nrst(False)
    assert rig.sda()
    rig.chip.nrst(True)
    rig.wait(1)
    assert rig.in_step()


def test_258_bytes_below_47_khz_do_not_fit_into_rp2s_default(rig: Rig) -> None:
    host = Rp2Controller(rig.bus, 46_000, 50_000)
    for frame in (b"\x32\xcd", word(FLASH)):
        host.write(I2C_ADDRESS, frame)
        assert host.read(I2C_ADDRESS, 1) == b"\x79"
    assert errno_of(lambda: host.write(I2C_ADDRESS, data_frame(bytes(256)))) == ETIMEDOUT
    assert rig.resets_itself()
    assert rig.flash.data == b"\xff" * rig.flash.size
