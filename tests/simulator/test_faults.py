"""Faults between host and target occur where and how a test requests them."""

from __future__ import annotations

from typing import cast

import pytest

from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.chip.stm32 import Running, Stm32
from stm32sim.faults import Fault, FaultyTarget, Noise
from stm32sim.wires.bus import Bus
from stm32sim.wires.clock import Clock
from tests.simulator.rig import ACK, FLASH, NACK, Rig, data_frame, word

BLOCK = bytes(range(256))


def struck(rig: Rig, kind: str, at: int, byte: int = 0) -> Rig:
    FaultyTarget(rig.bus, rig.chip, Fault(kind, at, byte))
    return rig


def test_a_refused_command_is_over_and_the_loader_in_step(rig: Rig) -> None:
    struck(rig, "refused", 0)
    assert rig.command(0x32) == NACK
    assert rig.in_step()
    assert rig.write(FLASH, BLOCK) == ACK


def test_a_block_that_is_refused_may_have_been_written(rig: Rig) -> None:
    struck(rig, "refused", 4)
    assert rig.write(FLASH, BLOCK) == NACK
    assert rig.in_step()
    assert rig.read(FLASH, 256) == BLOCK


def test_what_is_refused_anyway_does_not_use_up_a_refusal(rig: Rig) -> None:
    struck(rig, "refused", 0)
    assert rig.ask(b"\xff\x00") == NACK
    assert rig.command(0x01) == NACK
    assert rig.in_step()


@pytest.mark.parametrize("byte", [0, 100, 257])
def test_a_byte_that_is_not_acknowledged_is_missed(rig: Rig, byte: int) -> None:
    struck(rig, "byte not acknowledged", 4, byte)
    for frame in (b"\x32\xcd", word(FLASH)):
        assert rig.ask(frame) == ACK
    assert rig.send(data_frame(BLOCK)) == byte
    assert rig.resets_itself()
    assert rig.flash.data[:256] == b"\xff" * 256


def test_a_deaf_loader_does_nothing_until_it_is_reset_from_outside(rig: Rig) -> None:
    struck(rig, "loader is deaf", 2)
    assert rig.command(0x32) == ACK
    assert rig.send(word(FLASH)) == -1
    rig.wait(5_000)
    assert rig.send(b"\x01\xfe") == -1
    assert (rig.running, rig.starts) == (Running.LOADER, 1)
    rig.reset()
    assert rig.in_step()


@pytest.mark.parametrize("byte", [0, 128, 255])
def test_a_bit_may_flip_in_any_byte_that_is_read(rig: Rig, byte: int) -> None:
    rig.flash.load(BLOCK)
    struck(rig, "bit flipped to the host", 6, byte)
    wanted = bytearray(BLOCK)
    wanted[byte] ^= 0x10
    assert rig.read(FLASH, 256) == bytes(wanted)
    assert rig.read(FLASH, 256) == BLOCK


@pytest.mark.parametrize("byte", [0, 128, 257])
def test_a_bit_may_flip_in_any_byte_that_is_written(rig: Rig, byte: int) -> None:
    struck(rig, "bit flipped to the target", 4, byte)
    for frame in (b"\x32\xcd", word(FLASH)):
        assert rig.ask(frame) == ACK
    assert rig.send(data_frame(BLOCK)) == (258 if byte else 244)  # 0: the length, now 240
    if byte:
        assert rig.final() == NACK
        assert rig.in_step()
    assert rig.flash.data[:256] == b"\xff" * 256


# --- noise ---

MANY = 100_000  # bytes that pass together


class Zeros:
    """A target that accepts everything and sends zeros, one by one or together."""

    resets = 0

    def __init__(self) -> None:
        self.taken = bytearray()

    def start(self, address: int, reading: bool) -> bool:
        return True

    def write(self, byte: int) -> bool:
        self.taken.append(byte)
        return True

    def read(self) -> int:
        return 0

    def ready_to_take(self) -> int:
        return MANY

    def take(self, data: bytes) -> None:
        self.taken += data

    def ready_to_give(self) -> int:
        return MANY

    def give(self, count: int) -> bytes:
        return bytes(count)

    def acked(self, ack: bool) -> None: ...

    def stop(self) -> None: ...

    def holding_scl(self) -> bool:
        return False


def noisy_bytes(rate: float, seed: int, count: int, together: bool = True) -> tuple[bytes, Noise]:
    """`count` zeros, half of them to the target and half from it, as they arrive."""
    bus, target = Bus(Clock()), Zeros()
    bus.devices.append(target)
    noise = Noise(bus, cast(Stm32, target), rate, seed)
    assert bus.start(I2C_ADDRESS, reading=False)
    while len(target.taken) < count // 2:
        if not (together and bus.write_stream(bytes(min(MANY, count // 2 - len(target.taken))))):
            bus.write(0)
    bus.stop()
    given = bytearray()
    assert bus.start(I2C_ADDRESS, reading=True)
    while len(given) < count // 2:
        given += bus.read_stream(count // 2 - len(given)) if together else b""
        if not together:
            given.append(bus.read(ack=True))
    bus.stop()
    return bytes(target.taken + given), noise


def flipped(data: bytes) -> int:
    return sum(byte.bit_count() for byte in data)


@pytest.mark.parametrize(("rate", "seeds"), [(1e-3, 1), (1e-4, 10), (1e-5, 40)])
def test_noise_flips_bits_at_its_rate_in_both_directions(rate: float, seeds: int) -> None:
    count = 2_000_000
    expected = rate * count * seeds / 2  # in each direction
    there = back = 0
    for seed in range(seeds):
        data, noise = noisy_bytes(rate, seed, count)
        assert (noise.bytes, noise.flips) == (count, flipped(data))
        there += flipped(data[: count // 2])
        back += flipped(data[count // 2 :])
    assert 0.85 * expected < there < 1.15 * expected
    assert 0.85 * expected < back < 1.15 * expected


def test_noise_strikes_every_bit_of_a_byte() -> None:
    data, _ = noisy_bytes(0.01, 1, 100_000)
    assert {byte for byte in data if byte} == {1 << bit for bit in range(8)}


def test_noise_of_one_seed_is_the_same_whether_bytes_pass_together_or_not() -> None:
    together, _ = noisy_bytes(0.01, 1, 10_000)
    assert noisy_bytes(0.01, 1, 10_000, together=False)[0] == together
    assert noisy_bytes(0.01, 1, 10_000)[0] == together
    assert noisy_bytes(0.01, 2, 10_000)[0] != together


def test_noise_reaches_the_loader_and_the_host(rig: Rig) -> None:
    noise = Noise(rig.bus, rig.chip, rate=0.02, seed=1)
    statuses = [rig.ask(b"\xff\x00") for _ in range(200)]  # refused, whichever bit is flipped
    assert set(statuses) > {NACK}
    noise.repair()
    assert rig.in_step()


@pytest.mark.parametrize("rate", [0, 1, -1])
def test_noise_needs_a_rate_between_0_and_1(rig: Rig, rate: float) -> None:
    with pytest.raises(ValueError, match="not between 0 and 1"):
        Noise(rig.bus, rig.chip, rate, seed=1)
