"""Leaving the loader of a chip whose EMPTY flag is still set, without a supply switch."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from typing import Any

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.loader import Loader
from stm32sim.chip.polled import Program
from stm32sim.chip.stm32 import Running
from stm32sim.cuts.judge import Judge
from stm32sim.cuts.rig import BOTH, HOST, TARGET, Cut, Rig, Scenario, replay, run_host
from stm32sim.in_process import Bench
from stm32sim.world import Wiring
from stm32up import device
from tests.families.worlds import bench_of, image_of, new, writes
from tests.support import image, known, over_uart, payload

NEW, DEAD = payload(4000, 2), payload(3000, 3)
# It does not clear the flag by itself, as the demo application does.
APPLICATIONS = known_images(
    known(NEW, "1.1.0", enters_loader=False, blinks_ms=20),
    known(DEAD, "2.0.0", enters_loader=False, answers=False),
)
SOURCE = device.ROM / "empty_flag.py"
FREE_RAM = 0x2000_2700
NO_BOOT0: dict[str, Any] = {
    "wiring": Wiring(boot0=None),
    "settings": {
        "pins": {"boot0": None},
        "enter": {"method": "command", "address": 0x2A, "command": "10424f4f54"},
    },
}


def code(address: int = FREE_RAM) -> bytes:
    return bytes(device.module("stm32_rom.empty_flag").program(address))


def blank(make_bench, **arguments: Any) -> Bench:
    return make_bench(applications=APPLICATIONS, **arguments)


def reset(bench: Bench) -> None:
    bench.target.nrst(False)
    bench.clock.advance(1_000_000)
    bench.target.nrst(True)
    bench.clock.advance(20_000_000)


def started_code(bench: Bench) -> bool:
    return any(boot.running is Running.RAM for boot in bench.target.boots)


# --- the code ---


@pytest.mark.skipif(not shutil.which("arm-none-eabi-as"), reason="needs arm-none-eabi-as")
def test_the_code_is_what_its_comment_says(tmp_path):
    comment = re.findall(r"^#   (?=\S|        )(.*)$", SOURCE.read_text("utf-8"), re.MULTILINE)
    source = ".syntax unified\n.thumb\n" + "\n".join(comment) + "\n"
    (tmp_path / "code.s").write_text(source)
    for command in (
        ["arm-none-eabi-as", "-mcpu=cortex-m0plus", "code.s", "-o", "code.o"],
        ["arm-none-eabi-objcopy", "-O", "binary", "code.o", "code.bin"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    assert code()[8:] == (tmp_path / "code.bin").read_bytes()


def test_the_code_has_no_key_of_flash_or_option_bytes():
    """Nor any other address of a register than FLASH_ACR and AIRCR."""
    content = code()
    for key in (0x0819_2A3B, 0x4C5D_6E7F, 0x4567_0123, 0xCDEF_89AB):
        for half in (key.to_bytes(4, "little"), key.to_bytes(4, "big")):
            assert half not in content and half[:2] not in content and half[2:] not in content
    constants = struct.unpack("<4I", content[-16:])
    assert constants == (0x4002_2000, 0x0800_0000, 0xE000_ED0C, 0x05FA_0004)
    assert len(content) <= 64


# --- leaving the loader ---


@pytest.mark.parametrize("link", ["i2c", "uart"])
def test_a_reset_leads_to_the_application_after_a_first_installation(make_bench, link):
    bench = blank(make_bench, **(over_uart() if link == "uart" else {}))
    assert bench.install(image(NEW, "1.1.0"))["ok"]
    assert started_code(bench) and not bench.target.empty_flag
    reset(bench)
    assert bench.target.running is Running.APPLICATION


def test_only_free_ram_and_flash_are_written(make_bench):
    bench = blank(make_bench)
    options = bytes(bench.target.option_bytes.data)
    assert bench.install(image(NEW, "1.1.0"))["ok"]
    end = FREE_RAM + len(code())
    written = writes(bench)
    in_ram = [(at, length) for at, length in written if at >> 28 == 2]
    assert in_ram == [(FREE_RAM, 32), (FREE_RAM + 32, end - FREE_RAM - 32)]
    assert all(0x0800_0000 <= at < 0x0802_0000 for at, _ in written if at >> 28 != 2)
    assert bytes(bench.target.option_bytes.data) == options


def test_a_chip_without_the_flag_gets_no_code(make_bench):
    bench = blank(make_bench)
    assert bench.install(image(NEW, "1.1.0"))["ok"]
    bench.target.boots.clear()
    bench.boot()
    assert bench.install(image(NEW, "1.2.0"))["status"] in ("installed", "rolled-back", "failed")
    assert not started_code(bench)


def test_a_dead_application_is_still_found_by_boot0(make_bench):
    bench = blank(make_bench)
    result = bench.install(image(DEAD, "2.0.0"))
    assert not result["ok"] and started_code(bench)
    assert bench.install(image(NEW, "1.1.0"))["status"] == "installed"


def test_without_boot0_the_flag_stays_as_the_way_back_from_a_dead_application(make_bench):
    bench = blank(make_bench, **NO_BOOT0)
    result = bench.install(image(DEAD, "2.0.0"))
    assert not result["ok"] and not started_code(bench) and bench.target.empty_flag
    assert bench.install(image(NEW, "1.1.0"))["status"] == "installed"


def test_boot0_that_is_ignored_is_no_way_back(make_bench):
    bench = blank(make_bench, provisioned=False)
    assert not bench.install(image(DEAD, "2.0.0"))["ok"] and not started_code(bench)
    assert bench.install(image(NEW, "1.1.0"))["status"] == "installed"


def test_a_loader_that_go_does_not_leave_is_left_by_the_code(make_bench):
    """Whatever the reason; there is no supply switch here."""
    bench = blank(make_bench, **NO_BOOT0)
    jump = bench.target.jump

    def only_to_ram(address: int) -> None:
        if address == FREE_RAM:
            jump(address)
        else:
            bench.target.system_reset()

    bench.target.jump = only_to_ram  # type: ignore[method-assign]
    assert bench.install(image(NEW, "1.1.0"))["ok"]
    assert bench.target.running is Running.APPLICATION and not bench.target.empty_flag


@pytest.mark.parametrize("link", ["i2c", "uart"])
def test_damaged_ram_is_not_started(make_bench, link):
    """What is read back is not what was written: Go to the application instead."""
    bench = blank(make_bench, **(over_uart() if link == "uart" else {}))
    poke = bench.target.poke_ram

    def damage(address: int, data: bytes) -> None:
        poke(address, bytes([data[0] ^ 1]) + data[1:])

    bench.target.poke_ram = damage  # type: ignore[method-assign]
    assert bench.install(image(NEW, "1.1.0"))["ok"]
    assert not started_code(bench) and bench.target.running is Running.APPLICATION


def test_ram_that_is_not_known_to_be_free_is_not_written():
    bench = bench_of("STM32C031C6")
    assert bench.install(image_of("STM32C031C6", new("STM32C031C6"), "1.1.0"))["ok"]
    assert not started_code(bench) and all(at >> 28 != 2 for at, _ in writes(bench))


@pytest.mark.parametrize("link", ["i2c", "uart"])
def test_go_that_is_refused_once_is_repeated(monkeypatch, link):
    """Where no proof is asked for, nothing else would start the application."""
    part = "STM32C031C6"
    world: dict[str, Any] = {"uart": True} if link == "uart" else {}
    bench = bench_of(part, settings={"confirm": {"method": "none"}}, **world)
    go, times = Loader._go, 0

    def once(loader: Loader) -> Program:
        nonlocal times
        times += 1
        if times == 1:
            bench.target.refuse_next()
        yield from go(loader)

    monkeypatch.setattr(Loader, "_go", once)
    assert bench.install(image_of(part, new(part), "1.1.0"))["ok"]
    assert times == 2 and bench.target.running is Running.APPLICATION


@pytest.mark.parametrize("part", ["STM32G031K8", "STM32G051K8"])
def test_other_families_have_it_too(part):
    bench = bench_of(part)
    assert bench.install(image_of(part, new(part), "1.1.0"))["ok"]
    assert started_code(bench) and bench.target.running is Running.APPLICATION


# --- cuts ---


def first_installation() -> Bench:
    bench = Bench(applications=APPLICATIONS)
    bench.push(image(NEW, "1.1.0"))
    return bench


def events_of_the_code(scenario: Scenario) -> range:
    """The events of an uncut run from the first byte of the code until it is started."""
    bench = scenario.build()
    rig, seen = Rig(bench), []
    poke, jump = bench.target.poke_ram, bench.target.jump

    def poked(address: int, data: bytes) -> None:
        seen.append(rig.count)
        poke(address, data)

    def jumped(address: int) -> None:
        seen.append(rig.count)
        jump(address)

    bench.target.poke_ram, bench.target.jump = poked, jumped  # type: ignore[method-assign]
    rig.on_event = lambda number, place: None
    run_host(bench)
    return range(seen[0] - len(code()), seen[-1] + 10)


@pytest.mark.slow
def test_a_cut_while_the_flag_is_corrected_leads_to_the_application():
    scenario = Scenario("empty", first_installation, lambda bench: Judge.of(bench, NEW))
    events = events_of_the_code(scenario)
    assert len(events) > 100
    cases = [
        replay(scenario, [Cut(what, at)])
        for at in events[:: len(events) // 25]
        for what in (HOST, TARGET, BOTH)
    ]
    assert [case.id for case in cases if case.verdict.violations] == []
