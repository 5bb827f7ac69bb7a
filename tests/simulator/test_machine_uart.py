"""machine.UART of the simulated host: its arguments, its buffers and what they lose."""

from __future__ import annotations

from typing import Any

import pytest

from stm32sim.chip.stm32 import Running
from stm32sim.cuts.rig import BYTE, FRAME, Rig
from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import NUCLEO_UART, Bench
from stm32sim.wires.clock import NS_PER_MS, NS_PER_US
from stm32sim.wires.uart import Format, frame_time
from stm32sim.world import BUS, Wiring
from tests.simulator.rig import data_frame, word
from tests.support import in_micropython

PINS = {"tx": 4, "rx": 5}
BLOCK = bytes(range(256))


def enter(bench: Bench) -> None:
    """Reset the target into its loader."""
    machine, time = (bench.device.imports(name) for name in ("machine", "time"))
    machine.Pin(3, machine.Pin.OUT, value=1)
    nrst = machine.Pin(2, machine.Pin.OPEN_DRAIN, value=0)
    time.sleep_ms(5)
    nrst.value(1)
    time.sleep_ms(50)


def opened(bench: Bench, **settings: Any) -> Any:
    arguments = {
        "baudrate": 115_200,
        "parity": 0,
        "timeout": 100,
        "timeout_char": 20,
        **PINS,
        **settings,
    }
    return bench.device.imports("machine").UART(1, **arguments)


@pytest.fixture
def bench(host: str) -> Bench:
    """A target in its loader."""
    bench = Bench(host=host, uart=True)
    enter(bench)
    return bench


def ask(uart: Any, packet: bytes, count: int = 1) -> Any:
    assert uart.write(packet) == len(packet)
    return uart.read(count)


def read_memory(uart: Any) -> None:
    """Ask for 256 bytes, up to the last packet."""
    assert ask(uart, b"\x11\xee") == b"\x79"
    assert ask(uart, word(0x0800_0000)) == b"\x79"
    uart.write(b"\xff\x00")


def test_a_block_is_written_and_read_back(bench: Bench) -> None:
    uart = opened(bench, rxbuf=512)
    assert ask(uart, b"\x7f") == b"\x79"
    assert ask(uart, b"\x01\xfe", 5) == b"\x79\x31\x00\x00\x79"
    for packet in (b"\x31\xce", word(0x0800_0000), data_frame(BLOCK)):
        assert ask(uart, packet) == b"\x79"
    read_memory(uart)
    block = bytearray(257)
    assert uart.readinto(block) == 257
    assert block == b"\x79" + BLOCK
    assert bytes(bench.target.flash.data[:256]) == BLOCK


def test_what_passed_is_in_the_trace(bench: Bench) -> None:
    uart = opened(bench)
    ask(uart, b"\x7f")
    ask(uart, b"\x01\xfe", 5)
    assert bench.trace.transactions == [
        (0, False, b"\x7f"),
        (0, True, b"\x79"),
        (0, False, b"\x01\xfe"),
        (0, True, b"\x79\x31\x00\x00\x79"),
    ]
    assert bench.trace.commands() == [0x01]


def test_reading_takes_the_time_of_the_bytes(bench: Bench) -> None:
    uart = opened(bench, rxbuf=512)
    ask(uart, b"\x7f")
    read_memory(uart)
    began, spent = bench.clock.now, bench.world.spent[BUS]
    assert len(uart.read(257)) == 257
    took = bench.clock.now - began
    assert 257 * frame_time(Format(115_200, 0)) < took < 280 * frame_time(Format(115_200, 0))
    assert bench.world.spent[BUS] - spent > took - NS_PER_MS


def test_bytes_that_arrive_together_take_the_same_time(host: str) -> None:
    ends = []
    for watched in (False, True):
        bench = Bench(host=host, uart=True)
        enter(bench)
        if watched:
            bench.world.line.tap = bench.trace.tap
        uart = opened(bench, rxbuf=512)
        ask(uart, b"\x7f")
        for packet in (b"\x31\xce", word(0x0800_0000), data_frame(BLOCK)):
            ask(uart, packet)
        read_memory(uart)
        ends.append((uart.read(100), uart.read(200), bench.clock.now, bench.trace.transactions))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("timeout", [0, 1, 20, 70])
def test_a_read_waits_for_the_first_byte_up_to_its_timeout(bench: Bench, timeout: int) -> None:
    """An esp32 counts ticks of 10 ms, and the first one may end at once."""
    uart = opened(bench, timeout=timeout)
    began = bench.clock.now
    assert uart.read(1) is None
    assert uart.readinto(bytearray(4)) is None
    assert uart.any() == 0
    waits = timeout if bench.world.port == "rp2" else max(0, timeout // 10 - 1) * 10
    assert 0 <= bench.clock.now - began - 2 * waits * NS_PER_MS < 2 * NS_PER_MS


def test_a_read_that_gets_too_few_bytes_waits_for_the_rest_and_then_once_more() -> None:
    """For a character, and then as for a first byte: mp_stream_rw() asks the port again."""
    bench = Bench(uart=True)
    enter(bench)
    uart = opened(bench, timeout=100, timeout_char=3)
    began = bench.clock.now
    assert ask(uart, b"\x7f", 10) == b"\x79"
    assert 103 * NS_PER_MS < bench.clock.now - began < 106 * NS_PER_MS


@pytest.mark.parametrize(("timeout_char", "characters"), [(0, 0), (5, 5), (20, 20)])
def test_an_esp32_tells_of_a_byte_after_a_silence(timeout_char: int, characters: int) -> None:
    bench = Bench(host="esp32", uart=True)
    enter(bench)
    uart = opened(bench, timeout_char=timeout_char)
    character = frame_time(Format(115_200, 0))
    began = bench.clock.now
    assert ask(uart, b"\x7f") == b"\x79"
    took = bench.clock.now - began - 2 * character - 110 * NS_PER_US
    assert 0 <= took - characters * character < NS_PER_MS


@pytest.mark.parametrize("timeout_char", [0, 2, 20])
def test_a_long_reply_is_complete_in_one_read(bench: Bench, timeout_char: int) -> None:
    uart = opened(bench, rxbuf=512, timeout_char=timeout_char)
    assert ask(uart, b"\x7f") == b"\x79"
    read_memory(uart)
    assert uart.readinto(bytearray(257)) == 257


def test_a_long_reply_is_complete_though_the_timeout_of_an_rp2_ends_in_it() -> None:
    bench = Bench(uart=True)
    enter(bench)
    uart = opened(bench, rxbuf=512, timeout=5, timeout_char=2)
    assert ask(uart, b"\x7f") == b"\x79"
    read_memory(uart)
    assert len(uart.read(257)) == 257


def test_the_buffer_loses_what_does_not_fit(bench: Bench) -> None:
    uart = opened(bench, rxbuf=256)
    ask(uart, b"\x7f")
    read_memory(uart)
    bench.device.imports("time").sleep_ms(50)  # nothing reads
    received = uart.read(257)
    assert received == b"\x79" + b"\xff" * (len(received) - 1)
    assert len(received) < 257
    assert uart.read(1) is None


@pytest.mark.parametrize("rate", [115_200, 1_000_000])
def test_writing_a_file_while_an_answer_is_due_loses_bytes(bench: Bench, rate: int) -> None:
    uart = opened(bench, rxbuf=512, baudrate=rate)
    assert ask(uart, b"\x7f") == b"\x79"
    read_memory(uart)
    with bench.device.modules["builtins"].open("/notes", "w") as file:
        file.write("x" * 5000)
    assert len(uart.read(257) or b"") < 257


def test_writing_a_file_while_nothing_is_due_loses_nothing(bench: Bench) -> None:
    uart = opened(bench, rxbuf=512)
    ask(uart, b"\x7f")
    with bench.device.modules["builtins"].open("/notes", "w") as file:
        file.write("x" * 5000)
    read_memory(uart)
    assert len(uart.read(257)) == 257


def test_flush_waits_until_the_last_byte_is_sent(bench: Bench) -> None:
    uart = opened(bench, baudrate=1200)
    began = bench.clock.now
    uart.write(bytes(20))
    assert not uart.txdone()
    uart.flush()
    assert uart.txdone()
    assert bench.clock.now - began >= 20 * frame_time(Format(1200, 0))


def test_a_write_beyond_the_buffer_waits_and_an_rp2_gives_up(bench: Bench) -> None:
    uart = opened(bench, baudrate=1200, txbuf=32, timeout=0)
    taken = uart.write(bytes(300))
    assert taken == (64 if bench.world.port == "rp2" else 300)
    uart = opened(bench, baudrate=1200, txbuf=32, timeout=20)
    assert uart.write(bytes(300)) == 300


def test_without_parity_the_loader_answers_0x7f_and_no_command(bench: Bench) -> None:
    uart = opened(bench, parity=None)
    assert ask(uart, b"\x7f") == b"\x79"
    assert ask(uart, b"\x01\xfe", 5) != b"\x79\x31\x00\x00\x79"


def test_another_rate_gives_other_bytes_without_an_error(bench: Bench) -> None:
    uart = opened(bench)
    ask(uart, b"\x7f")
    uart.init(baudrate=57_600)
    assert ask(uart, b"\x01\xfe", 5) != b"\x79\x31\x00\x00\x79"


@pytest.mark.parametrize(
    "wiring",
    [
        Wiring(scl=None, sda=None, tx=5, rx=4),
        Wiring(scl=None, sda=None, tx=None, rx=5),
        Wiring(scl=None, sda=None, tx=4, rx=None),
        Wiring(),
    ],
    ids=["exchanged", "no TX", "no RX", "I2C only"],
)
def test_on_wrong_wires_nothing_arrives(wiring: Wiring) -> None:
    bench = Bench(uart=True, wiring=wiring)
    enter(bench)
    assert ask(opened(bench), b"\x7f") is None


def test_both_interfaces_may_be_wired_and_the_first_one_counts(host: str) -> None:
    bench = Bench(host=host, wiring=Wiring(tx=8, rx=9))
    i2c = bench.device.imports("machine").I2C(0, scl=5, sda=4)
    enter(bench)
    assert ask(opened(bench, tx=8, rx=9), b"\x7f") == b"\x79"
    with pytest.raises(OSError):
        i2c.writeto(0x51, b"\x01\xfe")
    enter(bench)
    assert i2c.writeto(0x51, b"\x01\xfe") == 2
    assert ask(opened(bench, tx=8, rx=9), b"\x7f") is None


def test_the_wiring_of_a_board_with_uart_has_no_i2c() -> None:
    wiring = Wiring.of(NUCLEO_UART)
    assert (wiring.scl, wiring.sda, wiring.tx, wiring.rx) == (None, None, 4, 5)


def test_a_soft_reset_closes_the_port(bench: Bench) -> None:
    uart = opened(bench)
    ask(uart, b"\x7f")
    bench.world.soft_reset()
    with pytest.raises(OSError):
        bench.world.call("uart_any", 1)


def test_a_closed_port_does_nothing(bench: Bench) -> None:
    uart = opened(bench)
    uart.deinit()
    for act in (uart.any, uart.flush, lambda: uart.write(b"\x7f"), lambda: uart.read(1)):
        with pytest.raises(OSError):
            act()
    assert len(bench.trace) == 0


def test_a_host_that_loses_power_ends_its_byte(bench: Bench) -> None:
    uart = opened(bench)
    ask(uart, b"\x7f")
    bench.clock.after(300 * NS_PER_US, bench.world.power_loss)
    uart.write(b"\x00\xff\x00\xff\x00\xff")
    bench.clock.advance(10 * NS_PER_MS)
    assert len(bench.trace.transactions[2][2]) < 6


def test_a_tx_pin_that_was_driven_low_is_noise_before_0x7f() -> None:
    bench = Bench(uart=True)
    enter(bench)
    bench.device.imports("machine").Pin(PINS["tx"], 1, value=0)
    assert ask(opened(bench), b"\x7f") is None
    enter(bench)
    assert ask(opened(bench), b"\x7f") == b"\x79"


# Arguments


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"tx": 9}, "bad TX pin"),
        ({"rx": 8}, "bad RX pin"),
        ({"tx": 0}, "bad TX pin"),  # of UART(0)
        ({"rx": 13}, "bad RX pin"),
        ({"rxbuf": 40_000}, "rxbuf too large"),
    ],
)
def test_an_rp2_refuses_pins_that_it_cannot_connect(settings: dict[str, Any], error: str) -> None:
    bench = Bench(uart=True)
    with pytest.raises(ValueError, match=error):
        opened(bench, **settings)


@pytest.mark.parametrize(("host", "id"), [("rp2", 2), ("esp32", 3), ("rp2", -1), ("esp32", 0)])
def test_a_port_refuses_uarts_that_it_does_not_have(host: str, id: int) -> None:
    with pytest.raises(ValueError):
        Bench(host=host, uart=True).device.imports("machine").UART(id, 115_200)


def test_an_esp32_refuses_a_long_timeout_between_bytes_and_a_short_buffer() -> None:
    bench = Bench(host="esp32", uart=True)
    with pytest.raises(OSError):
        opened(bench, timeout_char=1000)
    with pytest.raises(OSError):
        opened(bench, rxbuf=128)


def test_positional_arguments_and_init_keep_the_others(bench: Bench) -> None:
    uart = bench.device.imports("machine").UART(
        1, 9600, 8, 0, 1, timeout=100, timeout_char=20, **PINS
    )
    assert ask(uart, b"\x7f") == b"\x79"
    uart.init(timeout=200)
    assert ask(uart, b"\x01\xfe", 5) == b"\x79\x31\x00\x00\x79"
    with pytest.raises(TypeError, match="no argument flow"):
        uart.init(flow=3)


# Power cuts


def test_every_byte_and_every_end_of_a_burst_is_an_event(bench: Bench) -> None:
    seen: list[str] = []
    rig = Rig(bench)
    rig.on_event = lambda number, place: seen.append(place)
    uart = opened(bench)
    ask(uart, b"\x7f")
    uart.any()
    assert seen == [BYTE, FRAME, BYTE, FRAME]


def test_a_host_is_cut_between_two_bytes(bench: Bench) -> None:
    def strike(number: int, place: str) -> None:
        if number == 5:
            raise HostPowerLost

    uart = opened(bench)
    ask(uart, b"\x7f")
    Rig(bench).on_event = strike
    with pytest.raises(HostPowerLost):
        ask(uart, b"\x01\xfe", 5)
    assert bench.target.running is Running.LOADER
    with pytest.raises(HostPowerLost):
        uart.any()


# Real MicroPython

SESSION = """
import machine, time
machine.Pin(3, machine.Pin.OUT, value=1)
nrst = machine.Pin(2, machine.Pin.OPEN_DRAIN, value=0)
time.sleep_ms(5)
nrst.value(1)
time.sleep_ms(50)
tx, rx = machine.Pin(4), machine.Pin(5)
uart = machine.UART(1, 115200, 8, 0, 1, tx=tx, rx=rx, rxbuf=512, timeout=100, timeout_char=20)
uart.write(b"\\x7f")
result = [list(uart.read(1))]
uart.write(b"\\x01\\xfe")
buffer = bytearray(8)
result.append(uart.readinto(buffer))
result.append(list(buffer))
result.append(uart.read(1))
uart.write(memoryview(b"\\x00\\xff\\x00")[:2])
uart.flush()
time.sleep_ms(20)
result.append(uart.any())
result.append(list(uart.read()))
for settings in ({"tx": 9}, {"flow": 1}):
    try:
        uart.init(**settings)
    except (ValueError, TypeError) as error:
        result.append(str(error))
uart.deinit()
"""


def test_in_real_micropython_it_is_the_same() -> None:
    told = in_micropython(Bench(uart=True), SESSION)
    assert told[:5] == [[0x79], 5, [0x79, 0x31, 0, 0, 0x79, 0, 0, 0], None, 15]
    assert bytes(told[5]) == b"\x79\x0b\x31" + bytes.fromhex("0001021121314463738292") + b"\x79"
    assert told[6:] == ["bad TX pin", "UART has no argument flow here"]
