"""-v and --trace: what the host saw on the bus, in words and in files for a logic analyser."""

from __future__ import annotations

import csv
import io

import pytest

from stm32up.host.bus_trace import Tracer, Transaction
from stm32up.report import bus_file
from stm32up.say import words
from tests.host_tools.test_cli import one_line

COMMAND = Transaction(0, 60, 0x51, False, b"\x01\xfe", 2, None)
ACK = Transaction(100, 45, 0x51, True, b"\x79", 1, None)
BLOCK = Transaction(400, 6000, 0x51, False, bytes(range(256)) + b"\0\1", 258, None)
SHORT = Transaction(7000, 90, 0x51, False, b"\x31\xce\x07", 1, None)
SILENT = Transaction(8000, 30, 0x2A, True, b"", 0, 5)
ALL = [COMMAND, ACK, BLOCK, SHORT, SILENT]


def decoded(text: str) -> list[tuple[int, int, bool, bytes, list[bool]]]:
    """The transactions that an I2C decoder finds in a VCD file: time in ns, address, read, data,
    and whether each byte (the address first) was acknowledged."""
    body = text.partition("$enddefinitions $end\n")[2]
    level, at, began = {"c": 1, "d": 1, "e": 0}, 0, 0
    found: list[tuple[int, int, bool, bytes, list[bool]]] = []
    bits: list[int] = []
    for block in body.split("#")[1:]:
        time, *changes = block.split()
        assert not found or int(time) > at
        at, before = int(time), dict(level)
        level |= {change[1]: int(change[0]) for change in changes}
        if before["c"] and level["c"] and before["d"] != level["d"]:
            if not level["d"]:
                began, bits = at, []
            else:
                whole = [bits[n : n + 9] for n in range(0, len(bits) // 9 * 9, 9)]
                numbers = [int("".join(map(str, byte[:8])), 2) for byte in whole]
                acks = [not byte[8] for byte in whole]
                address, read = numbers[0] >> 1, bool(numbers[0] & 1)
                found.append((began, address, read, bytes(numbers[1:]), acks))
        elif level["c"] and not before["c"]:
            bits.append(level["d"])
    return found


def test_a_decoder_finds_the_transactions_in_the_vcd_file():
    found = decoded(bus_file.vcd(ALL, 400_000))
    assert [(address, read) for _, address, read, _, _ in found] == [
        (0x51, False), (0x51, True), (0x51, False), (0x51, False), (0x2A, True),
    ]  # fmt: skip
    assert [data for *_, data, _ in found] == [
        COMMAND.data, ACK.data, BLOCK.data, b"\x31\xce", b"",
    ]  # fmt: skip
    acks = [acked for *_, acked in found]
    assert acks[0] == [True, True, True]
    assert acks[1] == [True, False]  # the host does not acknowledge the last byte it reads
    assert acks[3] == [True, True, False] and acks[4] == [False]
    times = [at for at, *_ in found]
    assert all(0 <= at - one.at * 1000 <= 1 for at, one in zip(times, ALL, strict=True))


def test_transactions_without_a_measured_time_do_not_overlap():
    quick = [one._replace(at=n, us=0) for n, one in enumerate(ALL)]
    found = decoded(bus_file.vcd(quick, 100_000))
    assert [data for *_, data, _ in found] == [
        data for *_, data, _ in decoded(bus_file.vcd(ALL, 1))
    ]


def test_the_table_has_a_row_for_each_byte():
    rows = list(csv.reader(io.StringIO(bus_file.table(ALL))))
    assert rows[0] == ["Time [s]", "Packet ID", "Address", "Data", "Read/Write", "ACK/NAK"]
    assert rows[1] == ["0.000000", "0", "0x51", "0x01", "Write", "ACK"]
    assert rows[3] == ["0.000100", "1", "0x51", "0x79", "Read", "NAK"]
    assert rows[-1] == ["0.008000", "4", "0x2A", "", "Read", "NAK"]
    assert rows[-3:-1] == [
        ["0.007000", "3", "0x51", "0x31", "Write", "ACK"],
        ["0.007000", "3", "0x51", "0xCE", "Write", "NAK"],
    ]
    assert len(rows) == 1 + 2 + 1 + 258 + 2 + 1


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (COMMAND, "   0.000000 s  0x51 write 01 fe"),
        (ACK, "   0.000100 s  0x51 read  79 (ACK)"),
        (ACK._replace(data=b"\x12"), "   0.000100 s  0x51 read  12"),
        (SHORT, "   0.007000 s  0x51 write 31 ce 07 only 1 acknowledged"),
        (SILENT, "   0.008000 s  0x2A read   failed: EIO"),
        (SILENT._replace(errno=0x108), "   0.008000 s  0x2A read   failed: error 264"),
    ],
)
def test_a_transaction_is_one_line(one, line):
    event = {"event": "i2c", **one._asdict(), "data": one.data.hex(" ")}
    assert words.event(event) == line
    shown = words.event({**event, "data": BLOCK.data.hex(" "), "acked": 258, "errno": None})
    assert len(shown) < 80 or "..." in shown


@pytest.mark.parametrize("line", ["i2c: ", "i2c: [1]", "i2c: nonsense", "i2c: [0,0,0,0,5,0,0]"])
def test_what_only_looks_like_a_transaction_is_not_one(line):
    assert not Tracer().took(line)


def test_without_these_options_nothing_is_sent(run, fake):
    assert run("--port", fake.port, "status").status == 0
    assert not any("_i2c" in code for code in fake.executed)
    assert run("--port", fake.port, "status", "-v").status == 0
    assert any("_i2c_wrap" in code for code in fake.executed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trace", "bus.txt"], "--trace bus.txt is named neither .vcd nor .csv"),
        (["--trace", "no/bus.vcd"], "cannot write no/bus.vcd"),
        (["--port", "socket://a", "--trace", "bus.vcd"], "--trace is for one board"),
        (["-v", "--board", "pico_nucleo_g071rb_uart"], "has no I2C bus"),
    ],
    ids=" ".join,
)
def test_what_is_wrong_is_one_line(run, fake, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in one_line(run("status", "--port", fake.port, *arguments), 2)
