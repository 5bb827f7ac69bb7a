"""The benchmarks count what happened, and the committed results are what the documents show."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from benchmarks import __main__, measure, picture, rows, stm32flash, table
from benchmarks.cases import CASES, NEW, OLD, Case
from benchmarks.floor import UART, floor
from benchmarks.timeline import (
    BUS,
    ERASE,
    KINDS,
    PROGRAMMING,
    PYTHON,
    VERIFY,
    WAITING,
    Timeline,
)
from stm32sim.chip.flash import GRANULE, PAGE, TYPICAL, Flash
from stm32sim.chip.loader_steps import I2C_ADDRESS
from stm32sim.wires.clock import NS_PER_MS, Clock
from stm32up.host import deploy
from tests.support import payload

SMALL = Case("small", payload(5000, 1), payload(6000, 2))


def seconds(before: bytes, image: bytes, hertz: int, verify: str) -> float:
    return round(floor(before, image, hertz, TYPICAL, verify) / 1e9, 2)


# The floor


@pytest.mark.parametrize(
    ("hertz", "verify", "least"),
    [(400_000, "read", 7.74), (400_000, "checksum", 4.57), (1_000_000, "read", 3.94)],
)
def test_the_floor_is_wires_and_flash(hertz, verify, least):
    assert seconds(OLD, NEW, hertz, verify) == least


@pytest.mark.parametrize(("baud", "least"), [(115_200, 29.0), (460_800, 9.3), (1_000_000, 5.8)])
def test_the_floor_over_uart_is_that_of_its_frames(baud, least):
    """With the pages erased one by one, as it was computed from AN3155 by hand."""
    one_by_one = 64 * TYPICAL.page_erase - TYPICAL.mass_erase
    over_uart = floor(OLD, NEW, baud, TYPICAL, "read", UART)
    assert (over_uart + one_by_one) / 1e9 == pytest.approx(least, abs=0.06)


def test_pages_that_stay_are_only_verified():
    assert floor(OLD, OLD, 400_000, TYPICAL, "checksum") == 0
    assert seconds(OLD, OLD, 400_000, "read") == 3.17


def test_pages_are_erased_one_by_one_where_some_stay():
    changed = OLD[:PAGE] + NEW[PAGE : 3 * PAGE] + OLD[3 * PAGE :]
    assert seconds(OLD, changed, 400_000, "checksum") == round(2 * (0.022 + 8 * 0.008885), 2)


def test_blank_blocks_are_not_written():
    blank = b"\xff" * len(OLD)
    assert floor(OLD, blank, 400_000, TYPICAL, "checksum") == TYPICAL.mass_erase


# The split


class Recorded:
    """A timeline, and a host and a flash that do what the test says."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.flash = Flash(self.clock, 128 * 1024)
        self.timeline = Timeline(self.flash)

    def host(self, what: str, ms: int) -> None:
        self.clock.advance(ms * NS_PER_MS)
        self.timeline.spent(what, ms * NS_PER_MS)

    def split(self, start: int = 0, end: int | None = None) -> dict[str, int]:
        """In ms, without zeros."""
        last = self.clock.now if end is None else end * NS_PER_MS
        split = self.timeline.split(start * NS_PER_MS, last)
        return {kind: ns // NS_PER_MS for kind, ns in split.items() if ns}


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def test_what_a_host_does_while_flash_works_is_hidden_behind_that(recorded):
    recorded.host(BUS, 5)
    assert recorded.flash.start_page_erase(1)  # 22 ms
    recorded.host(PYTHON, 4)
    recorded.host(WAITING, 30)
    assert recorded.split() == {BUS: 5, ERASE: 22, WAITING: 12}


def test_double_words_add_up_to_one_time_of_programming(recorded):
    for index in range(1000):
        assert recorded.flash.start_program(index * GRANULE, bytes(GRANULE))
        recorded.clock.advance(85_000)
    recorded.timeline.spent(BUS, recorded.clock.now)
    recorded.host(PYTHON, 1)
    assert recorded.split() == {PROGRAMMING: 85, PYTHON: 1}
    assert len(recorded.timeline.flash) == 1


def test_only_the_asked_interval_counts(recorded):
    recorded.host(PYTHON, 10)
    recorded.flash.start_page_erase(1)
    recorded.host(WAITING, 22)
    recorded.host(BUS, 10)
    assert recorded.split(5, 37) == {PYTHON: 5, ERASE: 22, BUS: 5}


def test_a_read_is_verify_from_its_code_to_its_data(recorded):
    timeline = recorded.timeline
    # The second frame looks like Write Memory, and is the count of this read.
    for frame in (b"\x11\xee", b"\x08\x00\x00\x00\x08", b"\x31\xce"):
        timeline.sends(I2C_ADDRESS, frame)
        recorded.host(BUS, 1)
        recorded.host(BUS, 1)
        timeline.received(I2C_ADDRESS, 1)
        recorded.host(PYTHON, 1)
    recorded.host(BUS, 7)
    timeline.received(I2C_ADDRESS, 0x32)
    recorded.host(WAITING, 1)
    timeline.sends(I2C_ADDRESS, b"\x32\xcd")
    recorded.host(BUS, 2)
    assert recorded.split() == {VERIFY: 13, PYTHON: 3, WAITING: 1, BUS: 2}
    assert (timeline.read, timeline.checksums) == (0x32, 0)


def test_waiting_for_a_checksum_is_verify(recorded):
    recorded.timeline.sends(I2C_ADDRESS, b"\xa1\x5e")
    recorded.host(BUS, 1)
    recorded.host(WAITING, 16)
    recorded.host(BUS, 1)
    recorded.timeline.received(I2C_ADDRESS, 5)
    recorded.host(WAITING, 1)
    assert recorded.split() == {VERIFY: 18, WAITING: 1}
    assert recorded.timeline.checksums == 1


def test_frames_to_the_application_are_no_commands(recorded):
    recorded.timeline.sends(0x2A, b"\x11\xee")
    recorded.host(BUS, 1)
    assert recorded.split() == {BUS: 1}


# Rows


def check(row: rows.Row) -> None:
    assert list(row.split) == list(KINDS)
    assert sum(row.split.values()) == pytest.approx(row.seconds, abs=0.001)
    assert all(part >= 0 for part in row.split.values())
    if row.floor:
        assert row.efficiency == pytest.approx(row.floor / row.seconds, abs=0.001)
        assert row.floor < row.seconds


@pytest.mark.slow
@pytest.mark.posix
def test_a_small_update_is_measured_in_micropython():
    row = measure.updater(SMALL, "rp2", "read")
    check(row)
    assert (row.case, row.host, row.hz, row.verify) == ("small", "rp2", 400_000, "read")
    assert row.read >= len(SMALL.after)
    assert row.split[ERASE] >= 3 * 0.022
    programmed = len(SMALL.after) / GRANULE * TYPICAL.program / 1e9
    assert row.split[PROGRAMMING] == pytest.approx(programmed, abs=0.001)


@pytest.mark.slow
@pytest.mark.posix
def test_a_run_that_does_not_install_is_no_measurement(monkeypatch):
    monkeypatch.setattr(deploy, "product_modules", dict)
    with pytest.raises(measure.NotMeasured, match="small on rp2 ended with"):
        measure.updater(SMALL, "rp2", "read")


@pytest.mark.slow
@pytest.mark.posix
def test_a_start_with_nothing_to_do_is_measured():
    row = measure.updater(Case("idle", SMALL.before, SMALL.before), "rp2", "none")
    check(row)
    assert row.read == row.floor == row.split[BUS] == 0 < row.split[PYTHON]


@pytest.mark.skipif(stm32flash.found() is None, reason="stm32flash is not installed")
def test_stm32flash_is_measured():
    row = measure.peer(SMALL, stm32flash.fetched())
    check(row)
    assert row.program.startswith("stm32flash 0.")
    assert row.read == len(SMALL.after)


SMALL_OVER_UART = replace(SMALL, link="uart", hertz=460_800)


@pytest.mark.slow
@pytest.mark.posix
def test_a_small_update_over_uart_is_measured():
    row = measure.updater(SMALL_OVER_UART, "rp2", "read")
    check(row)
    assert (row.hz, row.link) == (460_800, "uart")
    assert row.read >= len(SMALL.after) and row.split[VERIFY] > row.read * 11 / row.hz
    assert row.split[BUS] > len(SMALL.after) * 11 / row.hz


@pytest.mark.skipif(stm32flash.found() is None, reason="stm32flash is not installed")
@pytest.mark.parametrize("program", [measure.STM32FLASH, measure.STM32LOADER])
def test_programs_for_linux_are_measured_over_uart(program):
    path = stm32flash.fetched() if program == measure.STM32FLASH else program
    row = measure.peer(SMALL_OVER_UART, path)
    check(row)
    assert row.program.startswith(f"{program} 0.")
    assert row.read == len(SMALL.after) and row.split[VERIFY] > row.read * 11 / row.hz


# What is committed


def test_the_latest_results_are_complete():
    latest = rows.load()
    for row in latest:
        check(row)
    assert [(row.case, row.hz, row.link, row.host, row.verify) for row in latest] == [
        (one.case.name, one.case.hertz, one.case.link, one.host, one.verify)
        for one in __main__.measurements()
    ]
    programs = {row.program.partition(" ")[0] for row in latest if row.host == rows.LINUX}
    assert programs == {measure.STM32FLASH, measure.STM32LOADER}


def test_document_and_picture_show_the_latest_results():
    latest = rows.load()
    text = __main__.DOCUMENT.read_text(encoding="utf-8")
    assert "\n".join(table.markdown(latest)) in text
    assert __main__.PICTURE.read_text(encoding="utf-8") == picture.draw(latest)


def test_the_document_explains_every_case():
    text = __main__.DOCUMENT.read_text(encoding="utf-8")
    assert [case.name for case in CASES if f"\n| {case.name} | " not in text] == []


def test_the_picture_names_every_bar_and_the_floor():
    drawn = picture.draw(rows.load())
    assert drawn.count('class="floor"') == drawn.count(" s</text>") + 1  # in the legend
    assert "prefers-color-scheme: dark" in drawn
    assert "stm32flash 0.7, read back" in drawn


# The command


@pytest.fixture
def command(monkeypatch, capsys):
    """`python -m benchmarks` with these arguments; returns its status and what it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        printed = capsys.readouterr()
        return int(str(ended.value.code)), printed.out + printed.err

    return run


def test_a_wrong_name_is_an_error(command):
    status, printed = command("--only", "no such case")
    assert status == 2 and "no such case" in printed


def test_names_can_be_listed(command):
    status, printed = command("--list", "--only", "one page", "--only", "rp2")
    assert status == 0
    assert printed.splitlines() == [
        "one page, 400 kHz, rp2, checksum",
        "one page, 400 kHz, rp2, read",
    ]
