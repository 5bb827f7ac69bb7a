"""Logs of many pulls: nothing twice, nothing lost, and what is missing is said."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from stm32up.errors import UsageError
from stm32up.host import log_files
from stm32up.host.logs import Entry

BOARD, OTHER = "e660583883000001", "240ac4000001"


def entries(*numbers: int, life: str = "") -> list[Entry]:
    return [{"n": n, "t": n * 10, "event": f"e{n}{life}"} for n in numbers]


def span(first: int, last: int, life: str = "") -> list[Entry]:
    return entries(*range(first, last + 1), life=life)


def pulled(at: int = 0, board: str = BOARD) -> dict[str, Any]:
    return {"board": board, "at": f"2026-11-26T15:{at:02}:00Z"}


class Pulls:
    """Pulls of one board into one file, a minute apart."""

    def __init__(self, path: Path, board: str = BOARD) -> None:
        self.path = path
        self.board = board
        self.count = 0

    def __call__(self, block: list[Entry]) -> log_files.Added:
        self.count += 1
        return log_files.append(self.path, pulled(self.count, self.board), block)

    @property
    def lives(self) -> list[list[int]]:
        history = log_files.read([self.path]).of(self.board)
        return [[entry["n"] for entry in life] for life in history.lives]


@pytest.fixture
def pull(tmp_path) -> Pulls:
    return Pulls(tmp_path / "log.jsonl")


def test_many_pulls_become_one_log_without_doubles(pull):
    assert len(pull(span(0, 9)).entries) == 10
    assert len(pull(span(0, 9)).entries) == 0
    assert [entry["n"] for entry in pull(span(4, 14)).entries] == [10, 11, 12, 13, 14]
    assert pull.lives == [list(range(15))]
    assert len(pull.path.read_text().splitlines()) == 15


def test_a_pull_says_how_many_entries_were_overwritten_before_it(pull):
    assert pull(span(0, 9)).overwritten == 0
    assert pull(span(25, 30)).overwritten == 15
    assert pull(span(28, 33)).overwritten == 0
    assert log_files.missing(log_files.read([pull.path]).of(BOARD).lives[0]) == 15


def test_the_first_pull_of_an_old_board_says_it_too(pull):
    assert pull(span(300, 310)).overwritten == 300


def test_an_entry_that_the_board_could_not_write_is_not_called_overwritten(pull):
    pull(span(0, 9))
    assert pull(entries(8, 9, 10, 12, 13)).overwritten == 0
    assert log_files.missing(log_files.read([pull.path]).of(BOARD).lives[0]) == 1


def test_a_log_that_began_again_is_a_new_life(pull):
    pull(span(0, 30))
    added = pull(span(0, 5, "again"))
    assert added.new_life and added.overwritten == 0
    assert not pull(span(0, 8, "again")).new_life
    assert pull.lives == [list(range(31)), list(range(9))]


def test_a_log_that_began_again_and_went_further_is_a_new_life(pull):
    pull(span(0, 30))
    assert pull(span(20, 60, "again")).new_life
    assert pull.lives == [list(range(31)), list(range(20, 61))]


def test_a_log_that_lost_its_newest_file_goes_on_in_a_new_life_without_doubles(pull):
    """A power cut on FAT."""
    pull(span(0, 60))
    assert pull(span(10, 40) + span(41, 45, "again")).new_life
    pull(span(10, 40) + span(41, 50, "again"))
    assert pull.lives == [list(range(61)), list(range(41, 51))]


def test_numbers_in_a_gap_of_the_past_are_a_new_life(pull):
    pull(span(0, 9))
    pull(span(50, 60))
    assert pull(span(20, 30, "again")).new_life
    assert pull.lives == [[*range(10), *range(50, 61)], list(range(20, 31))]


def test_three_lives_are_kept_apart(pull):
    for life in ("a", "b", "c"):
        pull(span(0, 9, life))
        pull(span(5, 14, life))
    assert pull.lives == [list(range(15))] * 3


def test_boards_in_one_file_are_kept_apart(tmp_path):
    one, two = (Pulls(tmp_path / "log", board) for board in (BOARD, OTHER))
    one(span(0, 5))
    two(span(0, 9, "other"))
    one(span(3, 8))
    assert (one.lives, two.lives) == ([list(range(9))], [list(range(10))])
    assert [each.board for each in log_files.read([tmp_path / "log"]).histories] == [OTHER, BOARD]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 0, 2, 1, 2)])
def test_files_of_one_board_are_merged_in_any_order(tmp_path, order):
    blocks = span(0, 9), span(15, 25), span(5, 20)
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.jsonl"
        log_files.append(path, pulled(number), block)
    read = log_files.read([tmp_path / f"{number}.jsonl" for number in order])
    (history,) = read.histories
    assert [[entry["n"] for entry in life] for life in history.lives] == [list(range(26))]
    assert len(history.pulls) == 3


def test_a_file_of_an_earlier_life_adds_nothing_twice(tmp_path):
    whole = Pulls(tmp_path / "whole")
    for block in (span(0, 9), span(0, 4, "again")):
        whole(block)
    log_files.append(tmp_path / "early", pulled(0), span(0, 7))
    for order in (["whole", "early"], ["early", "whole"]):
        (history,) = log_files.read([tmp_path / name for name in order]).histories
        assert [len(life) for life in history.lives] == [10, 5]


@pytest.mark.parametrize("seed", range(30))
def test_random_pulls_give_what_was_ever_on_the_board(pull, seed):
    """A board with a ring of 40 entries that is sometimes erased."""
    chance = random.Random(seed)
    expected: list[set[int]] = [set()]
    life, end = 0, 0
    for _ in range(25):
        if chance.random() < 0.15 and expected[-1]:
            life, end = life + 1, 0
            expected.append(set())
        # A log that was erased is pulled before it passes the old numbers; see log_files.py.
        most = 60 if life == 0 or expected[life] else min(40, max(expected[life - 1]))
        end += chance.randrange(1, max(2, most))
        ring = range(max(0, end - 40), end)
        pull(entries(*ring, life=str(life)))
        expected[life] |= set(ring)
    assert [set(life) for life in pull.lives] == [numbers for numbers in expected if numbers]
    assert all(life == sorted(set(life)) for life in pull.lives)


def test_a_line_that_was_torn_while_the_file_was_written_is_pulled_again(pull):
    pull(span(0, 9))
    pull.path.write_bytes(pull.path.read_bytes()[:-8])
    assert [entry["n"] for entry in pull(span(0, 11)).entries] == [9, 10, 11]
    read = log_files.read([pull.path])
    assert read.damaged == 1 and pull.lives == [list(range(12))]


def test_a_pull_without_news_leaves_the_file_as_it_is(pull):
    pull(span(0, 9))
    before = pull.path.read_bytes()
    pull(span(0, 9))
    assert pull.path.read_bytes() == before


def test_an_empty_log_adds_nothing_to_a_file(pull):
    assert pull([]).entries == [] and pull.path.read_bytes() == b""
    pull(span(0, 3))
    pull([])
    assert pull.lives == [[0, 1, 2, 3]]


def test_the_board_does_not_name_itself_in_an_entry(pull):
    """What a log says about its board is only text."""
    lying: list[Any] = [{**entry, "board": OTHER} for entry in span(0, 3)]
    assert len(pull(lying).entries) == 4
    assert not pull([{**entry, "board": 7} for entry in lying]).entries
    assert [each.board for each in log_files.read([pull.path]).histories] == [BOARD]


def test_entries_of_an_unknown_board_are_shown_but_nothing_is_added_to_them(tmp_path):
    path = tmp_path / "log"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in span(0, 4)))
    (history,) = log_files.read([path]).histories
    assert history.board == "" and len(history.entries) == 5
    with pytest.raises(UsageError, match="do not say which board"):
        log_files.append(path, pulled(), span(0, 9))


@pytest.mark.parametrize("content", [b"\x7fELF\x02\x01", b"{}\n", b'{"n": "one"}\n'])
def test_a_file_that_is_no_log_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "app.img"
    path.write_bytes(content)
    for attempt in (
        lambda: log_files.read([path]),
        lambda: log_files.append(path, pulled(), span(0, 9)),
    ):
        with pytest.raises(UsageError, match="is not a log"):
            attempt()
    assert path.read_bytes() == content


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="cannot read .*none"):
        log_files.read([tmp_path / "none"])
