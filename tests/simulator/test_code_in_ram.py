"""Code that a host writes to RAM and starts by Go."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from stm32sim.chip.application import KnownImage, known_images
from stm32sim.chip.families import family_of
from stm32sim.chip.option_bytes import FACTORY, OPTR
from stm32sim.chip.quirks import quirks_of
from stm32sim.chip.stm32 import Running
from stm32up import device
from tests.simulator.rig import ACK, RAM, Rig, word

FLASH_ACR, FLASH_KEYR, TIM2 = 0x4002_2000, 0x4002_2008, 0x4000_0000
APP = KnownImage(b"\x00\x10\x00\x20" + bytes(range(1, 125)), bytes(8), enters_loader=False)


def storing(address: int, value: int) -> bytes:
    """Vectors and code for RAM: store one word and idle. Not the bytes of the product."""
    # ldr r0, =address; ldr r1, =value; str r1, [r0]; b .
    code = struct.pack("<4H", 0x4801, 0x4902, 0x6001, 0xE7FE)
    return struct.pack("<II", RAM + 0x100, RAM + 8 + 1) + code + struct.pack("<II", address, value)


def blank_chip(part: str = "STM32G071RB", **arguments) -> Rig:
    """In its loader because EMPTY is set; an application is written, but the flag stays."""
    family = family_of(part)
    rig = Rig(
        quirks=arguments.pop("quirks", family.quirks()),
        family=family,
        optr=FACTORY[OPTR],
        boot0=False,
        applications=known_images(APP),
        start_up=None,
        powered=False,
        **arguments,
    )
    rig.power_cycle()
    rig.wait(10)
    rig.flash.load(APP.content)
    assert rig.running is Running.LOADER and rig.chip.empty_flag
    return rig


def run(rig: Rig, code: bytes, address: int = RAM, at: int | None = None) -> None:
    assert rig.write(address, code) == ACK
    assert rig.command(0x21) == ACK
    assert rig.ask(word(address if at is None else at)) == ACK
    rig.wait(20)


def product_code(address: int) -> bytes:
    return bytes(device.module("stm32_rom.empty_flag").program(address))


def crash(rig: Rig) -> str:
    assert rig.running is Running.CRASHED
    return rig.chip.boots[-1].reason


def test_the_products_code_clears_the_flag_of_a_written_chip_and_resets_it():
    rig = blank_chip()
    content = bytes(rig.flash.data), bytes(rig.options.data)
    run(rig, product_code(RAM))
    assert [boot.running for boot in rig.chip.boots[-2:]] == [Running.RAM, Running.APPLICATION]
    assert rig.chip.boots[-1].reason == "reset" and not rig.chip.empty_flag
    rig.reset()
    rig.wait(10)
    assert rig.running is Running.APPLICATION
    assert content == (bytes(rig.flash.data), bytes(rig.options.data))


def test_the_products_code_sets_the_flag_of_a_blank_chip():
    """An erased chip whose flag was cleared would otherwise run blank flash after a reset."""
    rig = blank_chip()
    assert rig.erase(0) == ACK
    rig.chip.set_empty_flag(False)
    run(rig, product_code(RAM))
    assert rig.chip.empty_flag and rig.in_step()


@pytest.mark.parametrize(
    "part", ["STM32G031K8", "STM32G051K8", "STM32C031C6", "STM32C071RB", "STM32U031R8"]
)
def test_it_runs_on_every_kind_of_family_that_has_the_flag_there(part):
    rig = blank_chip(part, quirks=replace(family_of(part).quirks(), clears_empty_flag=False))
    at = family_of(part).loader_ram_end
    run(rig, product_code(at), at)
    assert rig.running is Running.APPLICATION and not rig.chip.empty_flag


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (storing(FLASH_KEYR, 0x4567_0123), "FLASH register 0x08"),
        (storing(TIM2, 1), "write at 0x40000000"),
        (storing(0x0800_0000, 0), "write at 0x08000000"),
        (struct.pack("<II", RAM + 0x100, RAM + 8) + bytes(8), "Thumb"),
        (struct.pack("<II", RAM + 0x100, RAM + 0x401) + bytes(8), "not written"),
        (struct.pack("<II", RAM + 0x100, 0x6000_0001) + bytes(8), "0x60000000"),
    ],
)
def test_code_that_does_anything_else_is_a_fault_that_names_it(code, reason):
    rig = blank_chip()
    run(rig, code)
    assert reason in crash(rig)


def test_ram_that_was_not_written_is_not_executed():
    rig = blank_chip()
    run(rig, product_code(RAM), at=RAM + 0x200)
    assert "were not written" in crash(rig)


def test_what_was_written_before_a_power_cycle_is_not_executed():
    rig = blank_chip()
    assert rig.write(RAM, product_code(RAM)) == ACK
    rig.flash.data[:8] = b"\xff" * 8
    rig.power_cycle()
    rig.wait(10)
    assert rig.command(0x21) == ACK and rig.ask(word(RAM)) == ACK
    rig.wait(10)
    assert "were not written" in crash(rig)


def test_the_end_of_the_code_must_have_arrived():
    """A cut between the two parts that the host writes."""
    rig = blank_chip()
    run(rig, product_code(RAM)[:32])
    assert crash(rig) and rig.chip.empty_flag


def test_a_reset_stops_the_code():
    rig = blank_chip()
    run(rig, storing(RAM + 0x80, 1))
    assert rig.running is Running.RAM and rig.chip.led is None
    rig.reset()
    rig.wait(10)
    assert rig.in_step(), "the flag is still set"


def test_a_family_without_that_flag_does_not_run_it():
    rig = Rig(family=family_of("STM32L412KB"), quirks=family_of("STM32L412KB").quirks())
    at = family_of("STM32L412KB").loader_ram_end
    run(rig, product_code(at), at)
    assert "0x40022000" in crash(rig)


def test_the_flaw_of_a_loader_that_damages_ram_is_not_hidden():
    rig = blank_chip(quirks=replace(quirks_of(4), damages_ram=True))
    run(rig, product_code(RAM))
    assert rig.running is Running.CRASHED
