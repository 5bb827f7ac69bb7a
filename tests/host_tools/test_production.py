"""produce: serial numbers and the inventory."""

from __future__ import annotations

import csv
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from stm32up import journal
from stm32up.errors import UsageError
from stm32up.host.inventory import AUTO, FAIL, PASS, Inventory
from stm32up.say.large import large


@pytest.fixture
def units(tmp_path: Path) -> Path:
    return tmp_path / "units.csv"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def add(path: Path, unit: str, wanted: str = AUTO, **values: Any) -> dict[str, Any]:
    return Inventory(path).add(unit, wanted, {"result": PASS, "version": "1.0.0", **values})


def test_numbers_go_on_from_the_first_with_all_their_digits(units):
    assert add(units, "a", "SN-0099")["serial_number"] == "SN-0099"
    assert add(units, "b")["serial_number"] == "SN-0100"
    assert [row["serial_number"] for row in rows(units)] == ["SN-0099", "SN-0100"]


def test_the_first_number_cannot_be_counted_from_nothing(units):
    with pytest.raises(UsageError, match="0001"):
        Inventory(units).check(AUTO)


def test_a_unit_that_comes_again_keeps_its_number(units):
    add(units, "a", "1")
    add(units, "b")
    again = add(units, "a")
    assert (again["serial_number"], again["try"]) == ("1", 2)
    assert add(units, "c")["serial_number"] == "3"


def test_a_unit_gets_no_second_number_and_a_number_no_second_unit(units):
    add(units, "a", "1")
    with pytest.raises(UsageError, match="is 1 already"):
        Inventory(units).serial_for("a", "2")
    with pytest.raises(UsageError, match="another unit"):
        Inventory(units).serial_for("b", "1")


def test_a_unit_that_fails_takes_no_number(units):
    add(units, "a", "1")
    assert add(units, "b", result=FAIL, message="no loader")["serial_number"] == ""
    assert add(units, "b")["serial_number"] == "2"
    assert [row["try"] for row in rows(units)] == ["1", "1", "2"]
    assert rows(units)[1]["message"] == "no loader"


def test_a_torn_row_is_in_neither_file(units):
    """The computer went down while a row was written."""
    add(units, "a", "1")
    add(units, "b")
    path = units.with_suffix(".jsonl")
    path.write_bytes(path.read_bytes()[:-10])
    units.write_text("serial_num")
    assert add(units, "c")["serial_number"] == "2"
    assert [row["unit"] for row in journal.read(path)] == ["a", "c"]
    assert [row["serial_number"] for row in rows(units)] == ["1", "2"]


def test_a_row_whose_csv_could_not_be_written_comes_with_the_next(units, monkeypatch):
    add(units, "a", "1")
    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "replace", lambda self, other: (_ for _ in ()).throw(OSError(13, "no"))
        )
        with pytest.raises(UsageError, match=r"the row is in .*units\.jsonl"):
            add(units, "b")
    add(units, "c")
    assert [row["serial_number"] for row in rows(units)] == ["1", "2", "3"]
    assert not list(units.parent.glob("*.part"))


def test_a_text_is_no_formula_for_a_spreadsheet(units):
    add(units, "a", "1", message="=1+1")
    assert rows(units)[0]["message"] == "'=1+1"


def _station(path: str, name: str) -> None:
    for number in range(8):
        add(Path(path), f"{name}{number}")


@pytest.mark.posix
def test_two_stations_never_take_the_same_number(units):
    add(units, "first", "100")
    context = multiprocessing.get_context("fork")
    stations = [context.Process(target=_station, args=(str(units), name)) for name in "ab"]
    for station in stations:
        station.start()
    for station in stations:
        station.join(60)
    numbers = [row["serial_number"] for row in rows(units)]
    assert sorted(map(int, numbers)) == [*range(100, 117)]


def test_a_lock_that_was_left_behind_is_named(units, monkeypatch):
    monkeypatch.setattr(journal, "_LOCKED_S", 0.0)
    lock = units.with_name("units.jsonl.lock")
    lock.touch()
    with pytest.raises(UsageError, match=r"remove .*units\.jsonl\.lock"):
        add(units, "a", "1")
    lock.unlink()
    add(units, "a", "1")
    assert not lock.exists()


def test_mistakes_are_told_before_a_board_is_looked_for(run, image, units, tmp_path):
    given = ["produce", image, "--yes"]
    for arguments, said in (
        ([*given, "--serial-number", "auto", "--inventory", units], "the first one"),
        ([*given, "--serial-number", "", "--inventory", units], "--serial-number"),
        ([*given, "--serial-number", "1", "--inventory", tmp_path / "units.txt"], ".csv"),
        (
            [*given, "--serial-number", "1", "--inventory", tmp_path / "no/units.csv"],
            "cannot lock",
        ),
        (["produce", image, "--serial-number", "1", "--inventory", units], "--yes"),
    ):
        ran = run(*arguments)
        assert ran.status == 2 and said in ran.err, (arguments, ran)
    assert not units.exists()


def test_a_table_or_journal_of_something_else_is_left_alone(units):
    units.write_text("customer,city\n")
    with pytest.raises(UsageError, match="journal .* has no row"):
        Inventory(units)
    units.with_suffix(".jsonl").write_text('{"n": 1, "event": "run"}\n')
    with pytest.raises(UsageError, match="is not a journal"):
        Inventory(units)
    assert units.read_text() == "customer,city\n"


def test_numbers_are_not_given_twice_when_the_journal_is_lost(units):
    add(units, "a", "0001")
    units.with_suffix(".jsonl").unlink()
    with pytest.raises(UsageError, match="given twice"):
        add(units, "b", "0001")


def test_a_label_never_replaces_an_input(run, image, units):
    given = ["produce", image, "--yes", "--serial-number", "1", "--inventory", units]
    before = image.read_bytes()
    ran = run(*given, "--label", image)
    assert ran.status == 2 and "is the input itself" in ran.err and image.read_bytes() == before


def test_the_large_letters_are_of_one_height_and_fit_a_terminal():
    for word in (PASS, FAIL):
        lines = large(word)
        assert len(lines) == 5 and max(map(len, lines)) < 60
        assert all(set(line) <= {"#", " "} for line in lines)
    assert large(PASS) != large(FAIL)
