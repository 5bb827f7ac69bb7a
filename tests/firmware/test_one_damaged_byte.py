"""What only looks at the target believes no single damaged byte: not in what it says, and not in
what it does next."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterator

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.stm32 import Running
from stm32sim.faults import Fault, FaultyLine, FaultyTarget
from stm32sim.in_process import Bench
from stm32sim.world import Wiring
from tests.firmware.bench.verbs import plan, run
from tests.host_tools.doctor.doctors_bench import examined, power_cycle
from tests.support import image, known, over_uart, payload

APP = payload(3000, 1)
APPLICATIONS = known_images(known(APP, "1.0.0", blinks_ms=20))
ON_BUS = ("bit flipped to the target", "bit flipped to the host", "refused")
ON_LINE = (
    "bit flipped to the target",
    "bit flipped to the host",
    "byte lost to the target",
    "byte lost to the host",
    "byte doubled to the target",
    "refused",
)
LINKS = [*(("i2c", kind) for kind in ON_BUS), *(("uart", kind) for kind in ON_LINE)]
FAULTS = pytest.mark.parametrize(("link", "kind"), LINKS)


def installed(link: str) -> Bench:
    arguments = over_uart(115_200) if link == "uart" else {}
    bench = Bench(applications=APPLICATIONS, chip="STM32G071R4", **arguments)
    assert bench.install(image(APP, "1.0.0"))["ok"]
    power_cycle(bench)
    return bench


def damaged(link: str, kind: str) -> Iterator[Bench]:
    """Benches, each with a fault at another place, until that is beyond the end of what the caller
    does."""
    at = passed = 3
    while passed >= at:
        at = 2 * at + 5
        bench = installed(link)
        if link == "uart":
            line = FaultyLine(bench.world.line, bench.target, Fault(kind, at))
            yield bench
            passed = line.bytes
        else:
            bus = FaultyTarget(bench.world.bus, bench.target, Fault(kind, at))
            yield bench
            passed = bus.transactions


def read(bench: Bench, length: int) -> bytes:
    """As `stm32up read`. Raises the device's UpdaterError."""
    reads = bench.boot().imports("stm32_doctor.flash").read
    events = list(reads("/board.json", "/updater", [(0x0800_0000, length)], lambda: None))
    return b"".join(a2b_base64(event["data"]) for event in events if event["event"] == "flash")


@FAULTS
def test_flash_is_read_as_it_is(link, kind):
    for bench in damaged(link, kind):
        assert read(bench, 1024) == APP[:1024]
        assert bench.target.running is Running.APPLICATION


@FAULTS
def test_the_doctor_tells_no_protection_and_no_damage(link, kind):
    untrue = {"read-protected", "flash-torn", "another-chip", "option-bytes-torn", "flash-blank"}
    for bench in damaged(link, kind):
        said = {finding["code"] for finding in examined(bench)[1].findings}
        assert not said & untrue, said


@FAULTS
def test_erased_flash_is_found_blank(link, kind):
    for bench in damaged(link, kind):
        result = run(bench, "Erase", everything=True)
        assert result["ok"], result
        assert not any(byte != 0xFF for byte in bench.target.flash.data)


@pytest.mark.parametrize("verb", ["Provision", "Unprotect"])
@pytest.mark.parametrize("kind", ON_BUS)
def test_a_plan_for_a_chip_in_its_loader_tells_no_protection(kind, verb):
    status = {"Provision": "planned", "Unprotect": "not-protected"}[verb]
    for at in range(60):
        bench = Bench(provisioned=False)
        FaultyTarget(bench.world.bus, bench.target, Fault(kind, at))
        result = plan(bench, verb)[-1]
        assert result["ok"] and result["status"] == status, (at, result)


def test_a_refused_look_at_the_vectors_does_not_lead_into_blank_flash():
    """From there a chip without BOOT0 returns to its loader by a power-on only."""
    command = {"method": "command", "address": 0x2A, "command": "10424f4f54"}
    settings = {"pins": {"boot0": None}, "enter": command}
    bench = Bench(loader=3, wiring=Wiring(boot0=None), settings=settings)
    clock = bench.device.imports("stm32_rom.clock").Clock()
    board = bench.device.imports("stm32_updater.board").Board.load("/board.json", clock)
    board.target.enter_loader()
    board.target.may_be_blank = True  # as after an erase
    bench.target.refuse_next()
    board.target.start_application()
    bench.clock.advance(10**9)
    assert bench.target.running is Running.LOADER
