"""doctor --wires: a fault is named while the person is at that wire, or by the examination at the
end."""

from __future__ import annotations

from typing import Any, cast

import pytest

from stm32sim.in_process import Bench
from stm32sim.world import Wiring
from stm32up.board.model import BoardJson
from stm32up.doctor import wire_by_wire
from stm32up.errors import UpdateFailed
from tests.host_tools.doctor.doctors_bench import DEPLOYED, OLD, BenchHost, installed, make
from tests.host_tools.test_cli import one_line


def settings_of(bench: Bench) -> BoardJson:
    return cast(BoardJson, {"uart": None, **bench.settings})


class Person:
    """Presses Enter, but goes on where a wire is wrong, and says no to these questions."""

    def __init__(self, *no: str) -> None:
        self.no = no
        self.asked: list[str] = []

    def __call__(self, text: str) -> str:
        self.asked.append(text)
        if text.startswith("Correct it"):
            return "s"
        return "n" if any(part in text for part in self.no) and "n: no" in text else ""


def walked(bench, person=None):
    """The result, and what each wire read."""
    told: list[Any] = []
    host = BenchHost(bench, DEPLOYED)
    found = wire_by_wire.walk_on(host, settings_of(bench), person or Person(), told.append)
    return found, {event["wire"].partition(" ")[0]: event for event in told}


@pytest.mark.parametrize("host", ["rp2", "esp32"])
def test_a_good_board_passes_wire_by_wire(host):
    found, read = walked(installed(host))
    assert found["ok"], found
    assert list(read) == ["NRST", "BOOT0", "SCL", "SDA"]
    assert not any(event["says"] for event in read.values())
    assert [(event["low"], event["high"]) for event in read.values()] == [(0, 1)] * 4


@pytest.mark.parametrize(
    ("wiring", "wire", "says"),
    [
        (Wiring(boot0=None), "boot0", "no resistor to ground"),
        (Wiring(pull_ups=""), "scl", "no resistor to 3.3 V"),
        (Wiring(nrst_held=True), "nrst", "something holds it low"),
        (Wiring(nrst=None), "nrst", "nothing pulls it up: it is not connected"),
    ],
)
def test_a_fault_that_the_host_reads_names_the_wire_at_once(wiring, wire, says):
    found, read = walked(make("rp2", OLD, wiring=wiring))
    assert not found["ok"] and found["error"] == f"wire-{wire}"
    assert says in read[wire.upper()]["says"]
    assert f"Check the wire from host pin {read[wire.upper()]['pin']}" in found["next_step"]


@pytest.mark.parametrize("line", ["scl", "sda"])
def test_a_short_to_ground_names_the_line(line):
    bench = installed("rp2")
    setattr(bench.world.bus, f"{line}_stuck", True)
    found, read = walked(bench)
    assert found["error"] == f"wire-{line}" and read[line.upper()]["says"]


def test_a_fault_that_only_the_target_shows_is_found_at_the_end():
    found, read = walked(make("rp2", OLD, wiring=Wiring(scl=4, sda=5)))
    assert found["error"] == "lines-exchanged"
    assert not any(event["says"] for event in read.values())


@pytest.mark.parametrize(
    ("question", "evidence"),
    [("about 0 V", "NRST (host pin 2) is low"), ("about 3.3 V", "NRST (host pin 2) is high")],
)
def test_what_the_person_measures_counts(question, evidence):
    found, _ = walked(installed("rp2"), Person(f"the target's NRST: {question}"))
    assert found["error"] == "wire-nrst"
    assert evidence in found["findings"][0]["evidence"][0]


def test_a_wire_is_looked_at_again_until_it_is_right():
    bench = make("rp2", OLD, wiring=Wiring(boot0=None))
    asked = []

    def person(text: str) -> str:
        asked.append(text)
        return "s" if text.startswith("Correct it") and asked.count(text) == 3 else ""

    told: list[Any] = []
    wire_by_wire.walk_on(BenchHost(bench, DEPLOYED), settings_of(bench), person, told.append)
    assert [event["wire"] for event in told].count("BOOT0 (host pin 3)") == 3


def test_a_target_that_may_be_at_work_is_left_alone():
    bench = installed("rp2")
    bench.write_file("/updater/hands-off", b'{"what": "unprotect", "stage": "sending"}')
    before = len(bench.trace)
    with pytest.raises(UpdateFailed, match="a bench operation was interrupted"):
        walked(bench)
    assert len(bench.trace) == before


def test_without_a_terminal_it_says_so(run, fake):
    ran = run("--port", fake.port, "doctor", "--wires")
    assert "doctor --wires asks for each wire, and there is no terminal" in one_line(ran, 2)
    assert fake.executed == []


def test_every_wire_of_a_board_is_visited():
    settings = {**make("rp2").settings, "pins": {"nrst": 2, "boot0": None, "supply": 6}}
    over_i2c = cast(BoardJson, settings | {"uart": None})
    assert [wire.name for wire in wire_by_wire.wires(over_i2c)] == [
        "NRST", "SUPPLY", "SCL", "SDA",
    ]  # fmt: skip
    uart: Any = {**settings, "i2c": None, "uart": {"id": 0, "tx": 0, "rx": 1, "baudrate": 115200}}
    assert [wire.name for wire in wire_by_wire.wires(uart)] == [
        "NRST",
        "SUPPLY",
        "TX",
        "RX",
    ]
