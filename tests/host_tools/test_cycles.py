"""bench: the plan of the strikes, its images, how long it goes on, and its figures."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stm32up import journal
from stm32up.board import boards
from stm32up.errors import UsageError
from stm32up.host import bench_run
from stm32up.host.bench_run import Kept, Order
from stm32up.host.cycles import HOST_KINDS, kinds_for, strikes
from stm32up.report import bench_page, figures
from stm32up.say import tables, words

BOARD = "pico_nucleo_g071rb"
ALL = ("nrst", "supply", "short", *HOST_KINDS)
NOON = datetime(2026, 5, 4, 12, 0)


def cycle(number: int, **values: Any) -> dict[str, Any]:
    return {
        "cycle": number,
        "version": "1.0.0",
        "cuts": [],
        "runs": 1,
        "retries": 0,
        "resets": 0,
        "phases": {"write": 10 * number, "cycle": 100 * number},
        "failure": None,
        **values,
    }


FAILURE = {
    "message": "flash does not hold 1.0.0",
    "next_step": "Read the log.",
    "events": [
        {"event": "progress", "phase": "write", "done": 1, "total": 2, "t": 40},
        {"event": "cut", "kind": "nrst", "t": 50, "ms": 3},
    ],
    "log": [{"n": 7, "t": 12, "event": "installing", "version": "1.0.0", "bytes": 9}],
}


def test_the_same_seed_strikes_at_the_same_instants():
    plan = [strikes(7, number, 0, ALL, 800) for number in range(50)]
    assert plan == [strikes(7, number, 0, ALL, 800) for number in range(50)]
    assert plan != [strikes(8, number, 0, ALL, 800) for number in range(50)]


def test_strikes_are_spread_over_the_whole_run_and_all_kinds():
    found = [one for number in range(300) for one in strikes(1, number, 0, ALL, 1000)]
    assert {one.kind for one in found} == {*ALL}
    tenths = {one.at_us // 100_000 for one in found}
    assert tenths == {*range(10)}
    assert all(one.for_us > 0 for one in found if one.kind not in HOST_KINDS)


def test_a_reset_of_the_host_is_the_last_strike_of_a_run():
    for number in range(200):
        kinds = [one.kind for one in strikes(1, number, 0, ALL, 1000)]
        assert not {*kinds[:-1]} & {*HOST_KINDS} and kinds


def test_the_runs_after_the_third_are_not_struck():
    assert any(strikes(1, number, 1, ALL, 1000) for number in range(20))
    assert any(strikes(1, number, 2, ALL, 1000) for number in range(20))
    assert not any(strikes(1, number, 3, ALL, 1000) for number in range(100))
    assert strikes(1, 1, 0, (), 1000) == []


def test_only_what_is_wired_is_cut():
    board = boards.load(BOARD)
    assert kinds_for(board, target=True, host=False, noise=False) == ("nrst",)
    assert kinds_for(board, target=False, host=True, noise=False) == HOST_KINDS
    with pytest.raises(UsageError, match="short_pin"):
        kinds_for(board, target=False, host=False, noise=True)


def test_a_board_with_a_supply_switch_and_a_short_offers_both(tmp_path):
    text = (boards.BOARDS / BOARD / "board.toml").read_text()
    text = text.replace("boot0 = 3", "boot0 = 3\nsupply = 14") + "\n[bench]\nshort_pin = 15\n"
    (tmp_path / "board.toml").write_text(text)
    board = boards.load(str(tmp_path))
    kinds = kinds_for(board, target=True, host=False, noise=True)
    assert kinds == ("nrst", "supply", "short")
    assert board.as_json()["pins"]["short"] == 15 and board.as_json()["bench"] is None


@pytest.mark.parametrize(
    ("text", "hours"),
    [("8h", 8), ("90m", 1.5), ("1h30m", 1.5), ("13:00", 1), ("07:00", 19), ("12:00", 24)],
)
def test_until_is_a_time_of_day_or_a_duration(text, hours):
    assert bench_run.deadline(text, NOON) == NOON.timestamp() + hours * 3600


@pytest.mark.parametrize(
    "text", ["", "soon", "25:00", "7", "8h ago", "-1h", "12:60", "0s", "9" * 400 + "h"]
)
def test_any_other_until_is_refused(run, text):
    ran = run("bench", "--until", text)
    assert ran.status == 2 and "--until" in ran.err


def test_mistakes_are_told_before_a_board_is_looked_for(run, image, tmp_path):
    for arguments, said in (
        (["--image", image], "needed twice"),
        (["--image", image, "--image", image], "are both 1.4.2"),
        (["--noise"], "short_pin"),
        (["--size", "129"], "--size 129 is more than 128 KB"),
        (["--state", image], "is not a journal"),
        (["--report", image, "--state", image], "is the input itself"),
        (["--state", "/dev/null"], "is not a journal"),
        (["--state", tmp_path / "no" / "state"], "no folder"),
    ):
        ran = run("bench", *arguments)
        assert ran.status == 2 and said in ran.err, arguments


def test_two_images_of_which_one_counts_as_older_cannot_take_turns(run, image, tmp_path):
    newer = tmp_path / "newer.img"
    source = tmp_path / "app.bin"
    assert run("image", "build", source, "--version", "1.5.0", "-o", newer).status == 0
    ran = run("bench", "--image", image, "--image", newer)
    assert ran.status == 2 and "--security-counter" in ran.err


def test_a_product_needs_a_key_for_the_benchs_own_images(run, tmp_path):
    text = (boards.BOARDS / BOARD / "board.toml").read_text()
    (tmp_path / "board.toml").write_text(text.replace("unsigned = true", "unsigned = false"))
    ran = run("--board", tmp_path, "bench", "--cycles", "1")
    assert ran.status == 2 and "--key" in ran.err


# the state file


class Clock:
    """time.time and time.monotonic; each cycle takes ten seconds."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    monotonic = time


class FakeCycles:
    failing: tuple[int, ...] = ()
    done: list[int] = []
    clock = Clock()

    def __init__(self, *arguments: object) -> None:
        pass

    def prepare(self) -> int:
        return 700

    def one(self, number: int, span_ms: int) -> Any:
        assert span_ms == 700
        self.done.append(number)
        self.clock.now += 10
        failure = FAILURE if number in self.failing else None
        return SimpleNamespace(as_json=lambda: cycle(number, failure=failure))


@pytest.fixture
def fake_cycles(monkeypatch):
    monkeypatch.setattr(FakeCycles, "failing", ())
    monkeypatch.setattr(FakeCycles, "done", [])
    monkeypatch.setattr(FakeCycles, "clock", Clock())
    monkeypatch.setattr(bench_run, "Cycles", FakeCycles)
    monkeypatch.setattr(bench_run, "time", FakeCycles.clock)
    return FakeCycles


PAIR: Any = [SimpleNamespace(version=v, content=v * 3) for v in ("1.0.0", "1.1.0")]


def bench(path: Path, report: Any = lambda event: None, **changed: Any) -> Kept:
    order = {"kinds": ["nrst"], "seed": 3, "cycles": 5, "until": None, **changed}
    return bench_run.run(None, PAIR, Order(BOARD, "gpio", state=path, **order), report)  # type: ignore[arg-type]


def test_a_torn_state_file_is_continued_without_its_last_line(tmp_path, fake_cycles):
    path = tmp_path / "state.jsonl"
    bench(path)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:20])
    fake_cycles.done.clear()
    assert len(bench(path).cycles) == 5 and fake_cycles.done == [3, 4, 5]
    assert path.read_bytes() == whole


def test_a_run_that_has_ended_is_not_continued(tmp_path, fake_cycles):
    bench(tmp_path / "state.jsonl")
    fake_cycles.done.clear()
    assert len(bench(tmp_path / "state.jsonl", cycles=2).cycles) == 2
    assert fake_cycles.done == [1, 2]


@pytest.mark.parametrize("changed", [{"seed": 4}, {"kinds": ["reset"]}])
def test_an_unfinished_run_is_not_replaced_by_another_one(tmp_path, fake_cycles, changed):
    path = tmp_path / "state.jsonl"
    bench(path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    before = path.read_bytes()
    with pytest.raises(UsageError, match="unfinished"):
        bench(path, **changed)
    assert path.read_bytes() == before


def test_it_ends_at_the_time_that_was_given(tmp_path, fake_cycles):
    seen: list[Any] = []
    kept = bench(tmp_path / "state.jsonl", seen.append, cycles=None, until=1045.0)
    assert len(kept.cycles) == 5  # the last one began before
    progress = [event for event in seen if event["event"] == "progress"]
    assert (progress[0]["total"], progress[0]["each_ms"], progress[0]["left_s"]) == (5, 10_000, 35)
    assert words.pace(progress[0]) == ", 10.0 s each, 35.0 s left"


def test_it_ends_when_the_board_is_broken(tmp_path, fake_cycles):
    """Three failed cycles in a row; two are not enough."""
    fake_cycles.failing = (2, 3, 5, 6, 7)
    assert len(bench(tmp_path / "state.jsonl", cycles=20).cycles) == 7


# the figures


def test_the_figures_are_counted():
    cycles = [cycle(number) for number in range(1, 101)]
    cycles[4]["cuts"] = [{"kind": "nrst", "t": 1}, {"kind": "reset", "t": 2}]
    cycles[5] |= {"cuts": [{"kind": "nrst", "t": 1}], "retries": 2, "failure": FAILURE}
    found = figures.figures(cycles)
    assert (found["cycles"], found["cuts"], found["failures"], found["retries"]) == (100, 3, 1, 2)
    assert found["cuts_by_kind"] == {"nrst": 2, "reset": 1}
    assert found["phases"]["write"] == {"min": 10, "median": 505, "p99": 990}
    assert found["failed"][0]["cycle"] == 6


def test_the_verdict_is_the_last_line():
    good = {**figures.figures([cycle(1)]), "seed": 1}
    assert tables.bench(good)[-1] == "all 1 cycle ended as they should"
    bad = {**figures.figures([cycle(1), cycle(2, failure=FAILURE)]), "seed": 1}
    assert tables.bench(bad)[-1] == "1 of 2 cycles FAILED"
    assert "cycle 2 failed: flash does not hold 1.0.0" in tables.bench(bad)


def test_the_page_shows_each_failure_with_the_log_around_it():
    facts = {
        "seed": 1,
        "kinds": ["nrst"],
        "versions": ["1.0.0", "1.1.0"],
        "board": "kettle",
        "host": "e66058fc0e4cb296",
        "began": "2026-11-27 22:10",
        "until": "2026-11-28 07:00",
    }
    cycles = [cycle(1), cycle(2, failure=FAILURE, cuts=[{"kind": "nrst", "t": 50}])]
    html = bench_page.page("Bench", cycles, facts, complete=False).html()
    for said in (
        "flash does not hold 1.0.0",
        "Read the log.",
        "installing 1.0.0",
        "nrst at 50 ms",
    ):
        assert said in html, said
    assert "has not ended" in html and "seed 1" in html
    assert "2026-11-27 22:10 to 2026-11-28 07:00; board kettle, host e66058fc0e4cb296" in html
    assert "versions 1.0.0, 1.1.0" in html


# the journal


def test_a_journal_loses_no_whole_line_and_keeps_no_torn_one(tmp_path):
    path = tmp_path / "journal"
    whole = [{"n": number, "text": "x" * 3000} for number in range(5)]
    journal.append(path, *whole)
    content = path.read_bytes()
    for cut in (1, 100, 3010, 3020, len(content) - 1):
        path.write_bytes(content[:cut])
        kept = journal.read(path)
        assert kept == whole[: content[:cut].count(b"\n")]
        journal.append(path, {"n": 99})
        assert journal.read(path) == [*kept, {"n": 99}]
        assert [json.loads(line) for line in path.read_text().splitlines()] == [*kept, {"n": 99}]


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "secret", '{"n": 1e999}\n', "1\n{"])
def test_a_file_of_another_kind_is_no_journal(tmp_path, content):
    (tmp_path / "other").write_text(content)
    with pytest.raises(UsageError, match="not a journal"):
        journal.read(tmp_path / "other")


def test_the_state_of_another_program_is_no_state_of_a_run(tmp_path, fake_cycles):
    path = tmp_path / "state.jsonl"
    bench(path)
    first = path.read_text().splitlines()[0]
    for lines in ('{"n": 1}\n', f'{first}\n{{"n": 1}}\n', '{"ended": true}\n'):
        path.write_text(lines)
        with pytest.raises(UsageError, match="not the state"):
            bench(path)
        assert path.read_text() == lines
