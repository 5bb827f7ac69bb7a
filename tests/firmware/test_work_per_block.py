"""How much the device code executes and allocates for one block of 256 bytes, in real MicroPython:
what an update of a larger image needs more, by block written and by block read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from stm32sim.chip.application import known_images
from stm32sim.in_process import Bench
from tests.support import image, in_micropython, known, over_uart, payload

pytestmark = pytest.mark.slow

BLOCK = 256
READ_BACK: dict[str, Any] = {"verify": "read"}
SMALL, LARGE = 8 * 1024, 24 * 1024
# Of today's code, rounded up; lower them when it gets better. Of the bytecodes for a block that is
# written some 1800 are its XOR, which an rp2 computes while the loader programs the block before.
MOST_BYTECODES = {"written": 2400, "read": 530}
MOST_BYTECODES_OVER_UART = {"written": 2400, "read": 510}
MOST_ALLOCATED = {"written": 60, "read": 100}

RUN = """
import machine
mark = machine.ADC(26).read_u16
from stm32_updater import Updater
updater = Updater.from_board("/board.json")
before = allocated()
mark()
ok = updater.run()["ok"]
mark()
result = [ok, allocated() - before]
"""
COUNT = "def allocated(): return 0\n"
# The shims allocate where a board's C code does not, so their share is subtracted. A wrapper has
# as many parameters as needed, because *args would allocate.
ALLOCATE = """
import gc, hashlib, machine, time
alloc = gc.mem_alloc
by_shims = 0
def allocated(): return alloc() - by_shims
def none(real):
    def call():
        global by_shims
        before = alloc()
        try: return real()
        finally: by_shims += alloc() - before
    return call
def one(real):
    def call(a):
        global by_shims
        before = alloc()
        try: return real(a)
        finally: by_shims += alloc() - before
    return call
def two(real):
    def call(a, b=-1):
        global by_shims
        before = alloc()
        try: return real(a, b)
        finally: by_shims += alloc() - before
    return call
def three(real):
    def call(a, b, c=-1):
        global by_shims
        before = alloc()
        try: return real(a, b, c)
        finally: by_shims += alloc() - before
    return call
time.ticks_ms, time.ticks_us = none(time.ticks_ms), none(time.ticks_us)
time.sleep_ms, time.sleep_us = one(time.sleep_ms), one(time.sleep_us)
time.ticks_add, time.ticks_diff = two(time.ticks_add), two(time.ticks_diff)
I2C, hashing = machine.I2C, hashlib.sha256
I2C.writeto, I2C.readfrom_into = three(I2C.writeto), three(I2C.readfrom_into)
UART = machine.UART
UART.write, UART.readinto = two(UART.write), three(UART.readinto)
UART.any, UART.flush = one(UART.any), one(UART.flush)
hashing.update, hashing.digest = two(hashing.update), one(hashing.digest)
with open("/board.json") as file: File = type(file)
File.readinto, File.seek, File.read = two(File.readinto), two(File.seek), two(File.read)
"""


class Update(NamedTuple):
    bytecodes: int
    allocated: int
    written: int
    """Blocks."""
    read: int


def bench_on(link: str, *contents: tuple[bytes, str]) -> Bench:
    """No heartbeat is looked at: how long that takes does not depend on the size."""
    applications = known_images(*(known(*content) for content in contents))
    unproven = over_uart(**READ_BACK, confirm={"method": "none"})
    return Bench(
        applications=applications, **(unproven if link == "uart" else {"settings": READ_BACK})
    )


def install(size: int, link: str) -> Bench:
    """Everything is written, and read back."""
    content = payload(size)
    bench = bench_on(link, (content, "1.0.0"))
    bench.push(image(content))
    return bench


def compare(size: int, link: str) -> Bench:
    """The target holds all but the end already, so nearly all is only read."""
    content = payload(size)
    changed = content[:-8] + bytes(8)
    bench = bench_on(link, (content, "1.0.0"), (changed, "1.1.0"))
    assert bench.install(image(content))["ok"]
    bench.push(image(changed, "1.1.0"))
    return bench


def run(bench: Bench, prepare: str) -> Update:
    world = bench.world
    serve, executed = world.call, world.executed
    total = [0, 0, 0]  # bytecodes, blocks written, blocks read
    marks: list[list[int]] = []

    def count(bytecodes: int, calls: int) -> None:
        total[0] += bytecodes
        executed(bytecodes, calls)

    def watch(name: str, *arguments: Any) -> Any:
        if name in ("i2c_write", "uart_write"):
            total[1] += len(arguments[-2 if name == "i2c_write" else -1]) == BLOCK + 2
        elif name in ("i2c_read", "uart_read"):
            total[2] += arguments[-2 if name == "i2c_read" else -1] == BLOCK
        elif name == "adc_read":
            marks.append(list(total))
        return serve(name, *arguments)

    world.call, world.executed = watch, count  # type: ignore[method-assign]
    ok, allocated = in_micropython(bench, prepare + RUN)
    assert ok
    bytecodes, written, read = (after - before for before, after in zip(*marks, strict=True))
    return Update(bytecodes, allocated, written, read)


def per_block(prepare: str, what: str, link: str) -> dict[str, float]:
    """How many of `what` a block needs."""

    def larger(make: Any) -> Update:
        small, large = (run(make(size, link), prepare) for size in (SMALL, LARGE))
        return Update(*(more - less for less, more in zip(small, large, strict=True)))

    comparison, installation = larger(compare), larger(install)
    assert comparison.written <= 1 < comparison.read
    read = getattr(comparison, what) / comparison.read
    rest = getattr(installation, what) - installation.read * read
    return {"written": rest / installation.written, "read": read}


@pytest.mark.parametrize(
    ("prepare", "what", "most", "link"),
    [
        (COUNT, "bytecodes", MOST_BYTECODES, "i2c"),
        (ALLOCATE, "allocated", MOST_ALLOCATED, "i2c"),
        (COUNT, "bytecodes", MOST_BYTECODES_OVER_UART, "uart"),
        (ALLOCATE, "allocated", MOST_ALLOCATED, "uart"),
    ],
    ids=["bytecodes", "allocated", "bytecodes over UART", "allocated over UART"],
)
def test_a_block_needs_no_more_than_it_did(prepare, what, most, link):
    needed = per_block(prepare, what, link)
    assert needed["written"] <= most["written"], needed
    assert needed["read"] <= most["read"], needed
    assert needed["written"] > 0 and needed["read"] >= 0, needed


ONLY_SHIMS = """
from machine import I2C, Pin
bus = I2C(0, scl=Pin(5), sda=Pin(4))
buffer, version, answer = bytearray(256), b"\\x01", bytearray(8)
file = open("/board.json", "rb")
hasher = hashlib.sha256()
def work():
    time.ticks_diff(time.ticks_ms(), 0)
    time.sleep_ms(1)
    file.seek(0)
    file.readinto(buffer)
    hasher.update(buffer)
    bus.writeto(0x2A, version)
    bus.readfrom_into(0x2A, answer)
work()
before = alloc(), allocated()
for _ in range(100): work()
result = [alloc() - before[0], allocated() - before[1]]
"""


def test_what_the_shims_allocate_is_subtracted():
    bench = install(SMALL, "i2c")
    assert bench.run()[-1]["ok"]  # the application answers
    everything, own = in_micropython(bench, ALLOCATE + ONLY_SHIMS)
    assert everything > 100 * 1000
    assert own < 100  # less than a byte for each round
