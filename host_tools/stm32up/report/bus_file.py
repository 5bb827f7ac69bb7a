"""The transactions on the bus as a file that programs for logic analysers read.

*.csv has a row for each byte, with the columns of Saleae's I2C analyser. *.vcd has the lines SCL
and SDA, for GTKWave or the I2C decoder of PulseView. The lines are computed: the host measured
when each transaction began and ended, and the bits are spread evenly between. What happened
inside, such as a stretched clock, is not in them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stm32up import outputs
from stm32up.errors import UsageError
from stm32up.host.bus_trace import Transaction

_COLUMNS = ("Time [s]", "Packet ID", "Address", "Data", "Read/Write", "ACK/NAK")
_NS = 1000  # in a us
_SCL, _SDA, _ERROR = "c", "d", "e"
_HEADER = """$comment stm32up: bits are computed, begin and end of a transaction are measured $end
$timescale 1 ns $end
$scope module i2c $end
$var wire 1 c SCL $end
$var wire 1 d SDA $end
$var wire 1 e error $end
$upscope $end
$enddefinitions $end
"""


def check_name(path: Path) -> None:
    """Raise UsageError for a name that does not say which kind of file is meant."""
    if path.suffix.lower() not in (".vcd", ".csv"):
        raise UsageError(
            f"--trace {path} is named neither .vcd nor .csv", "The name says what is written."
        )


def write(path: Path, transactions: Sequence[Transaction], frequency: int) -> None:
    """Write the file. `frequency`: of the bus, in Hz, for what took no measured time. Raises
    UsageError."""
    text = table(transactions) if path.suffix.lower() == ".csv" else vcd(transactions, frequency)
    with outputs.written(path):
        path.write_text(text, encoding="utf-8", newline="")


def table(transactions: Iterable[Transaction]) -> str:
    """A row for each byte. A transaction without any byte has one row without data."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(_COLUMNS)
    for number, one in enumerate(transactions):
        way = "Read" if one.read else "Write"
        rows_of = [(f"0x{data:02X}", acked) for data, acked in _bytes(one)]
        for shown, acked in rows_of or [("", False)]:
            ack = "ACK" if acked else "NAK"
            rows.writerow((f"{one.at / 1e6:.6f}", number, f"0x{one.address:02X}", shown, way, ack))
    return text.getvalue()


def _bytes(one: Transaction) -> list[tuple[int, bool]]:
    """Each byte, and whether it was acknowledged. The host does not acknowledge the last byte that
    it reads; what follows a byte without an ACK was not sent."""
    if one.errno is not None:
        return []
    if one.read:
        return [(byte, n + 1 < len(one.data)) for n, byte in enumerate(one.data)]
    sent = one.data[: one.acked + 1]
    return [(byte, n < one.acked) for n, byte in enumerate(sent)]


def vcd(transactions: Iterable[Transaction], frequency: int) -> str:
    """SCL and SDA; `error` is 1 during a transaction that failed."""
    lines = [_HEADER, f"#0\n1{_SCL}\n1{_SDA}\n0{_ERROR}\n"]
    end, levels = 0, {_SCL: 1, _SDA: 1, _ERROR: 0}
    for one in transactions:
        edges = list(_edges(one))
        shortest = len(edges) * 250_000_000 // frequency  # a quarter of a bit each
        begin = max(end + 1, one.at * _NS)
        length = max(shortest, one.us * _NS)
        for number, changes in enumerate(edges):
            new = {line: level for line, level in changes.items() if levels[line] != level}
            levels |= new
            if new:
                at = begin + number * length // len(edges)
                lines.append(f"#{at}\n" + "".join(f"{v}{line}\n" for line, v in new.items()))
        end = begin + length
    lines.append(f"#{end + 1}\n")
    return "".join(lines)


def _edges(one: Transaction) -> Iterator[dict[str, int]]:
    """The levels in each quarter of a bit: START, the bits, STOP."""
    failed = one.errno is not None
    yield {_SDA: 0, _ERROR: int(failed)}
    yield {_SCL: 0}
    frames = [((one.address << 1 | one.read), not failed), *_bytes(one)]
    for byte, acked in frames:
        bits = [byte >> place & 1 for place in range(7, -1, -1)]
        for bit in [*bits, int(not acked)]:
            yield {_SDA: bit}
            yield {_SCL: 1}
            yield {}
            yield {_SCL: 0}
    yield {_SDA: 0}
    yield {_SCL: 1}
    yield {_SDA: 1, _ERROR: 0}
    yield {}
