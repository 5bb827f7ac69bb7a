"""produce on a simulated board: from a blank part and a blank host to a tested product."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from stm32up.errors import NoBoard
from stm32up.host import calls
from tests.end_to_end.conftest import BOARDS, Commands

FACTORY = ("provisioned=0", "engineering=readable")
READABLE = FACTORY[1:]


@pytest.fixture
def blank(tmp_path, host, capfd) -> Commands:
    """The command, on a board from the factory."""
    return Commands(tmp_path / "unit", BOARDS[host], capfd)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_blank_part_becomes_a_product_with_a_row_and_a_label(blank, images, tmp_path):
    units = tmp_path / "units.csv"
    produce = ("produce", images / "app-1.0.0.img", "--inventory", units, "--yes")
    label = ("--label", tmp_path / "label-{serial}.txt")
    ran = blank(*produce, "--serial-number", "A-0001", *label, sim=FACTORY)
    assert ran.status == 0 and ran.result["result"] == "PASS", ran
    steps = [event["step"] for event in ran.events if event["event"] == "step"]
    assert steps == ["deploy", "provision", "clean up", "identify", "update", "verify"]
    (row,) = rows(units)
    assert row["serial_number"] == "A-0001" and row["version"] == "1.0.0"
    assert bytes.fromhex(row["target_id"]).startswith(b"sim")
    assert "S/N A-0001" in (tmp_path / "label-A-0001.txt").read_text().splitlines()
    assert blank("probe").result["application_version"] == "1.0.0"

    again = blank(*produce, "--serial-number", "auto", sim=READABLE)
    assert (again.result["serial_number"], again.result["try"]) == ("A-0001", 2)
    other = blank(*produce, "--serial-number", "A-0002", sim=READABLE)
    assert other.status == 2 and "is A-0001 already" in other.result["message"]
    assert len(rows(units)) == 2


def test_nothing_of_the_bench_is_left_on_a_product(blank, images, tmp_path):
    units = tmp_path / "units.csv"
    given = ("--serial-number", "1", "--inventory", units, "--yes")
    assert blank("produce", images / "app-1.0.0.img", *given, sim=FACTORY).status == 0
    deployed = blank("deploy").result
    assert deployed["removed"] == [] and deployed["copied"] == []


def test_a_unit_that_fails_has_a_row_that_says_why(blank, images, tmp_path, monkeypatch):
    units = tmp_path / "units.csv"
    produce = ("produce", images / "app-1.0.0.img", "--inventory", units, "--yes")
    ran = blank(*produce, "--serial-number", "1", sim=("target=absent",))
    assert ran.status == 1 and ran.result["result"] == "FAIL" and not ran.result["ok"]

    def pulled(*arguments, **options):
        raise NoBoard("the cable was pulled")

    monkeypatch.setattr(calls, "update", pulled)
    assert blank(*produce, "--serial-number", "1", sim=FACTORY).status == 1
    first, second = rows(units)
    assert first["failed_step"] == "provision" and first["serial_number"] == ""
    assert second["failed_step"] == "update" and "cable" in second["message"]
