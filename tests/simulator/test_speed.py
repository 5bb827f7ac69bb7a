"""The simulated rp2 is as fast as the port was in an emulation of an RP2040, within 10 %.

What is measured are durations that the emulated board itself reported, with 5 to 20 % of load by
the emulation's USB host taken out. The counts of work are those of the very package that ran
there, in the simulated MicroPython: they do not change with the device code.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from stm32sim.chip.application import known_images
from stm32sim.host.speed import ESP32, RP2
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS, NS_PER_US
from stm32sim.world import BUS, COMPUTE, FILES, HOST_FLASH, KINDS, PYTHON, SLEEP
from tests.support import image, in_micropython, known, payload

# That package folded a big integer to XOR a frame, in C that no bytecodes show. Measured: 1.64 s
# in 512 blocks, and 197 us for an address, both with the load.
XOR_BLOCK = 2.7 * NS_PER_MS
XOR_ADDRESS = 165 * NS_PER_US
BIT = 2500  # ns at 400 kHz


@dataclass(frozen=True)
class Work:
    """Of one update, from the first frame to the result. `bytes` on the bus have the address with
    them; `flash` is the time of the host's own flash in ns."""

    bytecodes: int
    calls: int
    transactions: int
    bytes: int
    short_calls: int
    slept_us: int
    blocks: int
    addresses: int
    file_calls: int
    metadata: int
    data: int
    flash: int

    def duration(self) -> float:
        """In ms, on an rp2."""
        bits = 9 * self.bytes + 2 * self.transactions  # START and STOP
        return (
            RP2.python(self.bytecodes, self.calls)
            + self.transactions * RP2.i2c_call
            + bits * (BIT + RP2.i2c_bit)
            + self.short_calls * RP2.pin_call
            + self.slept_us * NS_PER_US
            + self.blocks * XOR_BLOCK
            + self.addresses * XOR_ADDRESS
            + self.file_calls * RP2.file_call
            + self.metadata * RP2.metadata_byte
            + self.data * RP2.data_byte
            + self.flash
        ) / NS_PER_MS


# KB of random bytes: the work, and the time measured, in ms
MEASURED = {
    5: (
        Work(59_613, 3_108, 403, 13_599, 410, 199_200, 19, 57, 176, 129_600, 25_600, 52_200_000),
        (750, 850),
    ),
    40: (
        Work(
            *(345_640, 17_742, 2_325, 90_748, 2_226, 993_200, 159, 337, 1_022, 175_520, 169_000),
            flash=145_000_000,
        ),
        (4670, 4670),
    ),
    128: (
        Work(
            *(1_066_149, 54_634, 7_165, 284_744, 6_802, 3_017_200, 511, 1_041, 3_149, 199_488),
            data=529_000,
            flash=148_600_000,
        ),
        (13_800, 13_800),
    ),
}


@pytest.mark.parametrize("size", MEASURED)
def test_an_update_takes_as_long_as_was_measured(size):
    work, (shortest, longest) = MEASURED[size]
    assert 0.9 * shortest <= work.duration() <= 1.1 * longest


def test_single_operations_take_as_long_as_was_measured():
    assert 9 * (BIT + RP2.i2c_bit) == pytest.approx(24_400, rel=0.001)  # ns, a byte at 400 kHz
    assert RP2.power(3072, multiplications=17) == pytest.approx(327 * NS_PER_MS, rel=0.01)
    # `for byte in data: xor ^= byte` over 256 bytes, 7 bytecodes a byte: 2.61 ms with the load
    assert RP2.python(7 * 256, 1) == pytest.approx(2.61 / 1.2 * NS_PER_MS, rel=0.1)


SEARCHES = """
import time
def search():
    for _ in range(10):
        try: import nothing
        except ImportError: pass
begun = time.ticks_us()
search()
result = time.ticks_diff(time.ticks_us(), begun)
"""


def test_a_search_for_a_module_takes_as_long_as_was_measured():
    """Six times stat, in a filesystem as large as a deployed board's: 1.5 ms each with the load;
    each finding nothing."""
    assert in_micropython(Bench(), SEARCHES) / 60 == pytest.approx(1500 / 1.2, rel=0.2)


def test_a_boot_takes_as_long_as_was_measured():
    """From a reset to main.py's own work, with nothing to update: 700 ms without the load. Of 266
    calls of stat 192 searched for built-in modules; in the simulation these are 253 and 186."""
    ns = (
        RP2.boot
        + RP2.python(bytecodes=9_435, calls=448)
        + 433 * RP2.file_call
        + 1_315_648 * RP2.metadata_byte
        + 44_256 * RP2.data_byte
        + 41_306 * RP2.bytecode_byte
        + 1_361 * RP2.source_byte  # main.py
        + 46_600_000  # one erase and four programs of the host's flash
    )
    assert ns / NS_PER_MS == pytest.approx(700, rel=0.1)


LOOP = """
import time
def loop(rounds):
    while rounds:
        rounds -= 1
times = []
for rounds in (0, 100, 10_000):
    begun = time.ticks_us()
    loop(rounds)
    times.append(time.ticks_diff(time.ticks_us(), begun))
result = times
"""


@pytest.mark.parametrize("speed", [RP2, ESP32], ids=["rp2", "esp32"])
def test_bytecodes_take_time(speed):
    none, some, many = in_micropython(Bench(host="rp2" if speed is RP2 else "esp32"), LOOP)
    each = 6 * speed.bytecode / NS_PER_US  # see test_bytecodes.py
    assert some - none == pytest.approx(100 * each, abs=2)
    assert many - none == pytest.approx(10_000 * each, abs=2)


def test_the_world_says_where_time_went():
    content = payload(20_000)
    bench = Bench(applications=known_images(known(content)))
    bench.push(image(content))
    bench.boot()
    began, before = bench.clock.now, dict(bench.world.spent)
    assert bench.run()[-1]["ok"]
    spent = {kind: bench.world.spent[kind] - before[kind] for kind in KINDS}
    assert sum(spent.values()) == bench.clock.now - began
    bits = 9 * 2 * len(content)
    assert spent[BUS] > bits / 2 * BIT
    assert spent[SLEEP] >= 10 * 22 * NS_PER_MS  # ten page erases
    assert spent[COMPUTE] >= len(content) * RP2.sha256_byte
    assert min(spent[PYTHON], spent[FILES], spent[HOST_FLASH]) > 0


@pytest.mark.parametrize("size", [5, 40])
def test_uncounted_python_takes_as_long_as_counted(size):
    content = payload(size * 1024)
    benches = [Bench(applications=known_images(known(content))) for _ in range(2)]
    for bench in benches:
        bench.push(image(content))
    code = "from stm32_updater import Updater\nresult = Updater.from_board('/board.json').run()\n"
    uncounted, counted = benches[0].run()[-1], in_micropython(benches[1], code)
    assert uncounted["ok"] and counted["ok"]
    assert uncounted["target_ms"] == pytest.approx(counted["target_ms"], rel=0.15)
