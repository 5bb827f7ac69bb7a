"""Bytes that are transferred together have the same result as one by one."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.flash import GRANULE, PAGE
from stm32sim.chip.loader_steps import I2C_ADDRESS, xor
from stm32sim.chip.quirks import quirks_of
from stm32sim.faults import KINDS, LINE_KINDS, Fault, FaultyLine, FaultyTarget
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS
from stm32sim.wires.controller import HARDWARE, SoftController
from tests.support import image, known, payload

OLD, NEW = payload(2500, 1), payload(4700, 2)


def one_by_one(bench: Bench) -> None:
    for wires in (bench.world.bus, bench.world.line):
        wires.tap = bench.trace.tap


def world(bench: Bench) -> dict[str, Any]:
    target = bench.target
    return {
        "now": bench.clock.now,
        "trace": bench.trace.transactions,
        "boots": target.boots,
        "flash": bytes(target.flash.data + target.flash.cells),
    }


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"settings": {"i2c": {"id": None}}},
        {"settings": {"i2c": {"freq": 20_000}}},
        {"quirks": replace(quirks_of(4), stretches_anyway=True)},
        {"quirks": quirks_of(3, pc11_low=True), "settings": {"i2c": {"id": None}}},
        {"fat": True},
        {"uart": True},
        {"uart": True, "settings": {"uart": {"baudrate": 1_000_000}, "verify": "read"}},
    ],
    ids=str,
)
def test_an_update_is_the_same(host: str, arguments: dict[str, Any]) -> None:
    worlds, events = [], []
    for prepare in (one_by_one, lambda bench: None):
        applications = known_images(
            known(OLD, "1.0.0", blinks_ms=20), known(NEW, "1.1.0", blinks_ms=20)
        )
        bench = Bench(host=host, applications=applications, **arguments)
        prepare(bench)
        for content, version in ((OLD, "1.0.0"), (NEW, "1.1.0")):
            bench.push(image(content, version))
            events.append(bench.run())
        worlds.append(world(bench))
    assert events[:2] == events[2:]
    assert worlds[0] == worlds[1]


@pytest.mark.parametrize("kind", LINE_KINDS)
def test_a_fault_of_a_line_strikes_the_same(kind: str) -> None:
    """With a fault on one wire the other one still transfers bytes together."""
    for at in (5, 1500):
        worlds = []
        for prepare in (one_by_one, lambda bench: None):
            bench = Bench(uart=True, applications=known_images(known(OLD, blinks_ms=20)))
            prepare(bench)
            FaultyLine(bench.world.line, bench.target, Fault(kind, at))
            bench.push(image(OLD))
            bench.run()
            worlds.append(world(bench))
        assert worlds[0] == worlds[1], f"{kind}@{at}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_strikes_the_same(host: str, kind: str) -> None:
    for at in range(5, 250, 31):
        worlds = []
        for prepare in (one_by_one, lambda bench: None):
            bench = Bench(host=host, applications=known_images(known(OLD)))
            prepare(bench)
            FaultyTarget(bench.world.bus, bench.target, Fault(kind, at))
            bench.push(image(OLD))
            bench.run()
            worlds.append(world(bench))
        assert worlds[0] == worlds[1], f"{kind}@{at}"


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("kind", [*HARDWARE, "soft"])
def test_frames_of_any_length_do_the_same(kind: str, seed: int) -> None:
    """Commands that stop in the middle, reads too short and too long, pauses, garbage."""
    worlds = []
    for prepare in (one_by_one, lambda bench: None):
        choice = random.Random(seed)
        bench = Bench()
        prepare(bench)
        bench.world.call("pin_init", 3, 1, 0, 1)  # BOOT0 high
        bench.world.call("pin_init", 2, 1, 0, 0)
        bench.world.call("pin_write", 2, 1)  # NRST
        bench.clock.advance(NS_PER_MS)
        controller = {**HARDWARE, "soft": SoftController}[kind](bench.world.bus, 400_000, 5000)
        seen: list[Any] = []
        for _ in range(40):
            try:
                if choice.random() < 0.5:
                    seen.append(controller.read(I2C_ADDRESS, choice.choice((1, 1, 1, 3, 20, 300))))
                else:
                    seen.append(controller.write(I2C_ADDRESS, frame(choice)))
            except OSError as error:
                seen.append(error.errno)
                controller = type(controller)(bench.world.bus, 400_000, 5000)
            bench.clock.advance(choice.choice((0, 0, 0, NS_PER_MS, 1200 * NS_PER_MS)))
        worlds.append({**world(bench), "seen": seen})
    assert worlds[0] == worlds[1]


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("stretches", [False, True])
def test_a_block_is_programmed_the_same(seed: int, stretches: bool) -> None:
    """Granule by granule with a tap, in one operation without: over cells in any state, while the
    host asks too early, until the chip is reset or loses its supply."""
    worlds = []
    for tap in (None, lambda what, point: None):
        choice = random.Random(seed)
        bench = Bench(quirks=replace(quirks_of(4), stretches_anyway=stretches))
        target, call = bench.target, bench.world.call
        target.flash.tap = tap
        start = choice.choice((0, 64, PAGE - 128, target.flash.size - 128))
        for _ in range(choice.choice((0, 0, 1, 3))):  # it fails there, or takes weak cells
            at = start + choice.randrange(32) * GRANULE
            if at < target.flash.size:
                target.flash.cells[at // GRANULE] = choice.choice((1, 3))
        data = bytearray(choice.randbytes(choice.choice((8, 20, 256))))
        data[8:16] = choice.choice((b"\xff" * 8, bytes(8)))[: len(data[8:16])]
        controller = HARDWARE["rp2"](bench.world.bus, 400_000, 50_000)
        body = bytes([len(data) - 1, *data])
        address = (0x0800_0000 + start).to_bytes(4, "big")
        seen: list[Any] = []
        for sent in (b"\x32\xcd", address + bytes([xor(address)])):
            seen += [controller.write(I2C_ADDRESS, sent), controller.read(I2C_ADDRESS, 1)]
        seen.append(controller.write(I2C_ADDRESS, body + bytes([xor(body)])))
        for _ in range(choice.randrange(4)):
            bench.clock.advance(choice.randrange(1_500_000))
            try:
                seen.append(controller.read(I2C_ADDRESS, 1))
            except OSError as error:
                seen.append(error.errno)
        bench.clock.advance(choice.choice((0, 85_000, choice.randrange(3_000_000))))
        if choice.random() < 0.5:
            target.power(False)
        else:
            call("pin_init", 2, 1, 0, 0)  # NRST
        flash = target.flash
        worlds.append(
            {**world(bench), "seen": seen, "ones": flash.ones, "next": flash.randomness.random()}
        )
    assert worlds[0] == worlds[1]


def frame(choice: random.Random) -> bytes:
    """A frame that is valid or almost valid."""
    address = 0x0800_0000.to_bytes(4, "big")
    frames = (
        bytes([0x31, 0xCE]),
        bytes([0x11, 0xEE]),
        bytes([0x45, 0xBA]),
        address + b"\x08",
        b"\xff\x00",
        b"\x00\x00\x00",
        bytes(choice.randbytes(choice.choice((1, 2, 5, 66, 258)))),
        b"\xff" + b"\xff" * 256 + b"\xff",
    )
    chosen = choice.choice(frames)
    return chosen[: choice.randint(1, len(chosen))] if choice.random() < 0.1 else chosen
