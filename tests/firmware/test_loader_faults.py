"""Any fault at any transaction of an update: the run ends in time, and the next run completes the
update."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.faults import KINDS, Fault, FaultyTarget
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_S
from tests.support import image, known, payload

pytestmark = pytest.mark.slow

PAYLOAD = payload(2304)  # two pages: every kind of frame, and few enough to try them all
OLD = payload(2304, seed=2)
LASTING = ("data held low", "clock held low")  # a transient fault is handled in the same run
LONGEST = 90 * NS_PER_S  # three attempts of everything, each with a deadline


def bench_on(host: str) -> Bench:
    return Bench(host=host, applications=known_images(known(OLD), known(PAYLOAD)))


@functools.cache
def transactions_of_one_update(host: str) -> list[tuple[bool, int]]:
    """For each transaction: whether it is a read, and its number of bytes."""
    bench = bench_on(host)
    assert bench.install(image(PAYLOAD))["ok"]
    return [
        (reading, len(data))
        for address, reading, data in bench.trace.transactions
        if address == I2C_ADDRESS
    ]


def forbidden(bench: Bench) -> list[bytes]:
    """Frames with a command code that can change option bytes or protection."""
    dangerous = (0x63, 0x64, 0x73, 0x74, 0x82, 0x83, 0x92, 0x93)
    return [
        data
        for address, reading, data in bench.trace.transactions
        if not reading and len(data) == 2 and data[0] in dangerous and data[0] ^ data[1] == 0xFF
    ]


EVERY = {"rp2": 2, "esp32": 16, "esp32-new": 16}  # hosts differ in their controllers only
# Faults in one direction only, and those similar to another kind, are tried less often.
THINNED = {"byte not acknowledged": 2, "refused": 2, "loader is deaf": 5}


def faults_of(kind: str, host: str) -> Iterator[Fault]:
    """A fault at every second transaction, of one half of the kinds at the even ones; for long
    ones also in the middle and at the end."""
    transactions = transactions_of_one_update(host)
    begin = [*KINDS].index(kind) % 2
    for at in range(begin, len(transactions), EVERY[host] * THINNED.get(kind, 1)):
        yield Fault(kind, at)
    struck = {"bit flipped to the host": (True,), "byte not acknowledged": (False,)}
    struck["bit flipped to the target"] = (False,)
    for at, (reading, length) in enumerate(transactions):
        if length > 128 and reading in struck.get(kind, ()):
            yield from (Fault(kind, at, byte) for byte in (length // 2, length - 1))


@pytest.mark.parametrize("host", EVERY)
@pytest.mark.parametrize("kind", KINDS)
def test_every_transaction_may_fail(host: str, kind: str) -> None:
    for fault in faults_of(kind, host):
        bench = bench_on(host)
        faulty = FaultyTarget(bench.world.bus, bench.target, fault)
        began = bench.clock.now
        bench.push(image(PAYLOAD))
        first = bench.run()[-1]
        case = f"{fault} on {host}: {first}"
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


@functools.cache
def first_granule_written() -> int:
    """The transaction with the stack pointer and the reset vector."""
    bench = bench_on("rp2")
    bench.push(image(PAYLOAD))
    bench.run()
    frames = [data for address, _, data in bench.trace.transactions if address == I2C_ADDRESS]
    return next(at for at, data in enumerate(frames) if data[1:9] == PAYLOAD[:8])


def vectors_at_erases(bench: Bench) -> list[bytes]:
    """The first 16 bytes of flash when each erase begins, from now on."""
    found: list[bytes] = []

    def tap(what: str, point: int) -> None:
        if what == "erase" and not point:
            found.append(bytes(bench.target.flash.data[:16]))

    bench.target.flash.tap = tap
    return found


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in LASTING])
def test_page_0_is_not_erased_while_the_new_vectors_lead_into_it(kind: str) -> None:
    """In the middle of an erase the vectors could still be right, but not the code that they point
    to."""
    for at in range(first_granule_written(), len(transactions_of_one_update("rp2"))):
        bench = bench_on("rp2")
        FaultyTarget(bench.world.bus, bench.target, Fault(kind, at))
        found = vectors_at_erases(bench)
        bench.push(image(PAYLOAD))
        assert bench.run()[-1]["ok"], f"{kind} at {at}"
        assert PAYLOAD[:8] not in [vectors[:8] for vectors in found], f"{kind} at {at}"


@functools.cache
def reads_before_the_first_erase() -> list[int]:
    """The transactions of an update from OLD in which the target answers with several bytes."""
    bench = bench_on("rp2")
    assert bench.install(image(OLD))["ok"]
    before = sum(each[0] == I2C_ADDRESS for each in bench.trace.transactions)
    assert bench.install(image(PAYLOAD))["ok"]
    loader = [each[1:] for each in bench.trace.transactions if each[0] == I2C_ADDRESS][before:]
    erase = loader.index((False, b"\x45\xba"))
    return [at for at, (reading, data) in enumerate(loader[:erase]) if reading and len(data) > 1]


@pytest.mark.parametrize("byte", [0, 8])
@pytest.mark.parametrize("kind", ["bit flipped to the host", "supply fails in an answer"])
def test_page_0_is_not_erased_while_the_old_vectors_lead_into_it(kind: str, byte: int) -> None:
    """They may read as erased flash, because nothing drives the bus any more."""
    for at in reads_before_the_first_erase():
        bench = bench_on("rp2")
        assert bench.install(image(OLD))["ok"]
        FaultyTarget(bench.world.bus, bench.target, Fault(kind, at, byte))
        found = vectors_at_erases(bench)
        bench.push(image(PAYLOAD))
        assert bench.run()[-1]["ok"], f"{kind} at {at}"
        assert found and OLD[:8] != found[0][:8] and OLD[8:16] != found[0][8:], f"{kind} at {at}"


def test_vectors_whose_reading_is_disturbed_once_are_read_again_and_not_written_again() -> None:
    bench = bench_on("rp2")
    answer = first_granule_written() + 8  # behind its status and the frames of Read Memory
    assert transactions_of_one_update("rp2")[answer] == (True, 16)
    FaultyTarget(bench.world.bus, bench.target, Fault("answer lost", answer))
    bench.push(image(PAYLOAD))
    events = bench.run()
    (written,) = [event for event in events if event["event"] == "written"]
    assert written["erased_pages"] == 2 and written["repeats"] == 1
    assert not [event for event in events if event["event"] == "retry"]


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
