"""Flipped bits on the bus and on the heartbeat line."""

from __future__ import annotations

import random
from typing import Any

from stm32sim.chip.application import known_images
from stm32sim.chip.flash import PAGE
from stm32sim.chip.stm32 import Running
from stm32sim.faults import Noise
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_S
from stm32sim.world import Wiring
from tests.cases.case import Cases, expect
from tests.cases.device_worlds import NEW, OLD, by_first_page, calls, push, runs, told, update
from tests.support import Changed, image, known

CASES = Cases()

# Two flips in one bit column, which the XOR of a frame does not detect: (sent, arrived).
ERASES = {
    "an erase of page 1 instead of 3 is mended": (b"\0\3\3", b"\0\1\1"),
    "an erase of page 2 instead of 3 is mended": (b"\0\3\3", b"\0\2\2"),
    "an erase of page 0 instead of 2 is mended": (b"\0\2\2", b"\0\0\0"),
}


def mended(sent: bytes, arrived: bytes) -> str:
    bench = update(applications=by_first_page)
    strike = Changed(bench, sent, arrived)
    result = bench.run()[-1]
    expect(strike.struck, "the frame was never sent")
    hole = bytes(bench.target.flash.data[PAGE : 2 * PAGE]) == b"\xff" * PAGE
    right = result["status"] == "installed" and runs(bench, "1.1.0")
    return expect(right, f"{told(result)}{'; page 1 is blank' if hole else ''}")


for name, frames in ERASES.items():
    tried = f"{frames[0].hex(' ')} arrives as {frames[1].hex(' ')}"
    CASES.add(name, tried, mended, *frames)


@CASES("a write to 08 00 08 00 arrives as one to 08 00 00 00 or 08 00 18 00")
def a_write_to_another_address_is_mended() -> str:
    result = {}
    for changed in (b"\x08\x00\x00\x00\x08", b"\x08\x00\x18\x00\x10"):
        bench = update(applications=by_first_page)
        strike = Changed(bench, b"\x08\x00\x08\x00\x00", changed)
        result = bench.run()[-1]
        if not result["ok"]:
            bench.boot()
            result = bench.run()[-1]
        expect(strike.struck, "the frame was never sent")
        expect(result["ok"] and runs(bench, "1.1.0"), told(result))
    return told(result)


@CASES("flipped bits at 5e-4 a byte, 3 seeds; what is sent to the loader is counted")
def the_command_two_flips_from_readout_protect_is_sent_once_a_run() -> str:
    for seed in range(3):
        bench = update()
        Noise(bench.world.bus, bench.target, 5e-4, seed)
        before = len(bench.trace)
        bench.run()
        asked = [data for _, _, data in bench.trace.transactions[before:] if data == b"\x02\xfd"]
        expect(len(asked) <= 1, f"seed {seed}: Get ID was sent {len(asked)} times")
    return "Get ID (02 FD) is sent once, however often the loader was reset"


@CASES("02 FD (Get ID) arrives as 82 7D (Readout Protect), then a power cycle and a next update")
def a_protected_target_is_told_and_its_application_runs() -> str:
    bench = update()
    strike = Changed(bench, b"\x02\xfd", b"\x82\x7d")
    bench.run()
    if not strike.struck:
        return expect(runs(bench, "1.1.0"), "Get ID is not sent")
    for power in (False, True):
        bench.target.power(power)
        bench.clock.advance(NS_PER_S)
    push(bench, "1.2.0")
    bench.boot()
    result = bench.run()[-1]
    running = bench.target.running is Running.APPLICATION
    whole = bench.flash_holds(OLD) or bench.flash_holds(NEW)
    right = running and whole and result["error"] == "read-protected" and result["next_step"]
    return expect(right, f"{told(result)}; the application runs: {running and whole}")


@CASES("flipped bits at 1e-4 a byte, 6 seeds")
def an_update_on_a_noisy_bus_installs_by_itself() -> str:
    for seed in range(100, 106):
        bench = update()
        Noise(bench.world.bus, bench.target, 1e-4, seed)
        result = bench.run()[-1]
        expect(result["status"] == "installed" and runs(bench, "1.1.0"), f"{seed}: {told(result)}")
    return "6 of 6 installed"


@CASES("flipped bits at 1e-3 a byte, 4 seeds")
def a_very_noisy_bus_never_leaves_a_wrong_byte_in_what_runs() -> str:
    ends = []
    for seed in range(200, 204):
        bench = update()
        noise = Noise(bench.world.bus, bench.target, 1e-3, seed)
        ends.append(bench.run()[-1]["status"])
        running = bench.target.running is Running.APPLICATION
        expect(not running or runs(bench, "1.1.0") or runs(bench, "1.0.0"), f"{seed}: wrong byte")
        noise.repair()
        bench.boot()
        result = bench.run()[-1]
        expect(runs(bench, "1.1.0") or runs(bench, "1.0.0"), f"{seed}: then {told(result)}")
    return f"{', '.join(ends)}; the next run without noise leaves a whole application"


def beating(wrong: float, blinks_ms: int) -> Bench:
    """1.1.0 does not answer and blinks as given; the fraction `wrong` of the samples is wrong."""
    heartbeat = {"method": "gpio", "pin": 9, "edges": 4, "address": None, "register": None}
    bench = Bench(
        applications=known_images(
            known(OLD, "1.0.0", answers=False, blinks_ms=50),
            known(NEW, "1.1.0", answers=False, blinks_ms=blinks_ms),
        ),
        wiring=Wiring(heartbeat=9),
        settings={"confirm": heartbeat},
    )
    expect(bench.install(image(OLD, "1.0.0"))["ok"], "1.0.0 cannot be installed")
    randomness = random.Random(3)

    def noisy(real: Any, name: str, *args: Any) -> Any:
        value = real(name, *args)
        is_wrong = name == "pin_read" and args[0] == 9 and randomness.random() < wrong
        return 1 - value if is_wrong else value

    calls(bench, noisy)
    bench.boot()
    push(bench, "1.1.0")
    return bench


@CASES("a dead application; 1 of 100 samples of the heartbeat is wrong")
def noise_on_the_heartbeat_proves_no_dead_application() -> str:
    ends = []
    for wrong in (0.0, 0.001, 0.01):
        result = beating(wrong, 0).run()[-1]
        expect(not result["ok"], f"{wrong:g} wrong: {told(result)}")
        ends.append(result["status"])
    return ", ".join(ends)


@CASES("a living application; 1 of 100 samples of the heartbeat is wrong")
def noise_on_the_heartbeat_fails_no_living_application() -> str:
    result = beating(0.01, 50).run()[-1]
    return expect(result["status"] == "installed", told(result))
