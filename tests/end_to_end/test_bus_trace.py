"""-v and --trace on a simulated board: the host records what passes on the wires."""

from __future__ import annotations

import csv

from tests.end_to_end.conftest import FLASH_SIZE

GET_VERSION, ACK = "01 fe", "79"


def test_each_transaction_is_reported_in_order(updated):
    ran = updated("probe", "-v")
    assert ran.status == 0
    seen = [event for event in ran.events if event["event"] == "i2c"]
    times = [event["at"] for event in seen]
    assert times == sorted(times) and times[0] == 0
    first = next(n for n, event in enumerate(seen) if event["data"] == GET_VERSION)
    assert (seen[first]["address"], seen[first]["read"]) == (0x51, False)
    assert (seen[first + 1]["read"], seen[first + 1]["data"]) == (True, ACK)
    # The application's version was read before: 8 bytes from 0x2A.
    assert any(e["address"] == 0x2A and e["read"] and len(e["data"]) == 23 for e in seen[:first])


def test_an_update_is_the_same_with_a_trace_and_the_file_has_all_of_it(stm32up, images, tmp_path):
    ran = stm32up("update", images / "full.img", "--trace", tmp_path / "bus.csv")
    assert ran.status == 0 and ran.result["status"] == "installed"
    assert stm32up.flash() == (images / "full.bin").read_bytes()
    assert not any(event["event"] == "i2c" for event in ran.events)
    with (tmp_path / "bus.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    written = [row for row in rows if row["Read/Write"] == "Write" and row["ACK/NAK"] == "ACK"]
    assert len(written) > FLASH_SIZE
    times = [float(row["Time [s]"]) for row in rows]
    assert times == sorted(times)


def test_the_doctor_is_traced_too_and_a_failure_keeps_the_file(updated, tmp_path):
    ran = updated("doctor", "--trace", tmp_path / "bus.vcd", sim=("target=absent",))
    assert ran.status == 1
    assert "$var wire 1 c SCL $end" in (tmp_path / "bus.vcd").read_text()
    assert "1e" in (tmp_path / "bus.vcd").read_text().split()  # a transaction that failed
