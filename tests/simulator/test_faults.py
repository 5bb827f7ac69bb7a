"""What goes wrong between host and target goes wrong where and how it was asked for."""

from __future__ import annotations

import pytest

from stm32sim.chip import Running
from stm32sim.faults import Fault, FaultyTarget
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
