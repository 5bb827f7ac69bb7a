"""Whatever goes wrong at whatever transaction of an update, it ends in time, and the next run
mends it."""

from __future__ import annotations

import pytest

from stm32sim.application import known_images
from stm32sim.bench import Bench
from stm32sim.clock import NS_PER_S
from stm32sim.faults import KINDS, Fault, FaultyTarget
from tests.support import image, known, payload

PAYLOAD = payload(2304)  # two pages: every kind of frame, and few enough to try them all
LASTING = ("data held low", "clock held low")  # what passes is mended within the same run
LONGEST = 90 * NS_PER_S  # three attempts of everything, each with a deadline


def bench_on(host: str) -> Bench:
    return Bench(host=host, applications=known_images(known(PAYLOAD)))


def transactions_of_one_update(host: str) -> int:
    bench = bench_on(host)
    counter = FaultyTarget(bench.world.bus, bench.target, Fault("none", -1))
    assert bench.install(image(PAYLOAD))["ok"]
    return counter.transactions


def forbidden(bench: Bench) -> list[bytes]:
    """Frames that carry a command code which can change option bytes or protection."""
    dangerous = (0x63, 0x64, 0x73, 0x74, 0x82, 0x83, 0x92, 0x93)
    return [
        data
        for address, reading, data in bench.trace.transactions
        if not reading and len(data) == 2 and data[0] in dangerous and data[0] ^ data[1] == 0xFF
    ]


EVERY = {"rp2": 1, "esp32": 3}  # the hosts differ in their controllers only


@pytest.mark.parametrize("kind", KINDS)
def test_every_transaction_may_fail(host: str, kind: str) -> None:
    for at in range(0, transactions_of_one_update(host), EVERY[host]):
        bench = bench_on(host)
        faulty = FaultyTarget(bench.world.bus, bench.target, Fault(kind, at))
        began = bench.clock.now
        bench.push(image(PAYLOAD))
        first = bench.run()[-1]
        case = f"{kind} at transaction {at} on {host}: {first}"
        assert first["event"] == "result", case
        assert bench.clock.now - began < LONGEST, case
        assert first["ok"] or kind in LASTING, case
        if not first["ok"]:
            assert first["message"] and first["next_step"], case
        faulty.repair()
        bench.boot()
        second = bench.run()[-1]
        assert second["ok"], f"{case}, then {second}"
        assert bench.flash_holds(PAYLOAD), case
        assert forbidden(bench) == [], case


def test_a_page_that_is_tried_again_is_told_and_logged() -> None:
    bench = bench_on("rp2")
    bench.push(image(PAYLOAD))
    done = False

    def reset_once(what: str, value: int) -> None:
        """The target resets itself between two frames, after its second page erase."""
        nonlocal done
        if what == "start" and not done and sum(bench.target.flash.erase_counts) == 2:
            done = True
            bench.target.system_reset()

    bench.world.bus.tap = reset_once
    events = bench.run()
    (retry,) = [event for event in events if event["event"] == "retry"]
    assert retry["error"] and retry["message"] and retry["page"] in (0, 1)
    assert events[-1]["ok"] and bench.flash_holds(PAYLOAD)
    assert b'"event": "retry"' in bench.read_file("/updater/log.0")
