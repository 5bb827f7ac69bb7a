"""`logs pull`, `show` and `report`: what a person sees, and what a program gets."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stm32up.errors import UsageError
from stm32up.host import log_files, log_filters
from stm32up.host.log_runs import dated, runs_of
from stm32up.report import log_report, updates
from tests.host_tools.test_deploy import without_filesystem
from tests.host_tools.test_page import HOSTILE

ID = b"\xe6\x60\x58\x38\x83\x00\x00\x01"
BOARD = ID.hex()
SET, NEVER_SET = [2026, 11, 26, 15, 47, 14], [2021, 1, 1, 0, 0, 5]


def log(*events: dict[str, Any], first: int = 0) -> list[Any]:
    """Entries 100 ms apart; a "run" starts the time again."""
    entries, t = [], 0
    for n, event in enumerate(events, first):
        t = 100 if event["event"] == "run" else t + 100
        entries.append({"n": n, "t": t, **event})
    return entries


def begun(at: list[int] | None = None, reset: int = 1) -> dict[str, Any]:
    return {"event": "run", "at": at or SET, "reset": reset}


def ended(status: str, version: str = "1.1.0", **more: Any) -> dict[str, Any]:
    return {"event": "result", "ok": status == "installed", "status": status, **more} | {
        "version": version
    }


INSTALLING = {"event": "installing", "version": "1.1.0", "from": "1.0.0", "bytes": 5000}
RESUMING = {**INSTALLING, "event": "resuming"}
LOADER = {"event": "loader", "version": "11.4", "protocol": "1.2", "chip": "STM32G071RB"}
WRITTEN = {"event": "written", "bytes": 5000, "verified": 5000, "erased_pages": 3}
STARTING = {"event": "starting", "try": 1}
RETRY = {"event": "retry", "page": 3, "error": "bus", "message": "no answer"}
WHOLE = [begun(), INSTALLING, LOADER, WRITTEN, STARTING, ended("installed")]
FAILED = ended("failed", error="bus-stuck", message="SDA is low", next_step="Check the wires.")


@pytest.fixture
def board(fake):
    """A board with a unique ID and an empty log."""
    fake.machine.unique_id = lambda: ID
    fake.file("/updater").mkdir()

    def holds(entries: list[Any], file: str = "log.0") -> None:
        text = "".join(json.dumps(entry) + "\n" for entry in entries)
        fake.file(f"/updater/{file}").write_text(text)

    fake.holds = holds
    return fake


@pytest.fixture
def shown(run, tmp_path):
    """Runs `logs show` on these entries of one board."""

    def show(entries: list[Any], *options: object) -> Any:
        path = tmp_path / "log.jsonl"
        path.unlink(missing_ok=True)
        log_files.append(path, {"board": BOARD, "at": "2026"}, entries)
        return run("logs", "show", *options, path)

    return show


# pull


def test_a_pull_into_a_file_adds_only_what_is_new(run, board, tmp_path):
    pull = ("--port", board.port, "--json", "logs", "pull", "-o", tmp_path / "log")
    board.holds(log(*WHOLE))
    first = run(*pull).result
    assert (first["new"], first["entries"], first["board"]) == (6, 6, BOARD)
    board.holds(log(*WHOLE, *WHOLE))
    assert (run(*pull).result["new"], run(*pull).result["new"]) == (6, 0)
    numbers = [json.loads(line)["n"] for line in (tmp_path / "log").read_text().splitlines()]
    assert numbers == list(range(12))
    assert board.soft_resets == 0


def test_a_pull_says_what_was_overwritten_and_that_a_log_began_again(run, board, tmp_path):
    pull = ("--port", board.port, "logs", "pull", "-o", tmp_path / "log")
    board.holds(log(*WHOLE))
    run(*pull)
    board.holds(log(*WHOLE, first=20))
    assert "14 entries before these had been overwritten on the board" in run(*pull).out
    board.holds(log(begun(NEVER_SET), RETRY))
    assert "has begun again since the last pull" in run(*pull).out


def test_a_file_that_is_no_log_is_refused_before_a_board_is_looked_for(run, tmp_path):
    (tmp_path / "app.img").write_bytes(b"\x7fELF")
    ran = run("--port", "/dev/none", "logs", "pull", "-o", tmp_path / "app.img")
    assert ran.status == 2 and "is not a log" in ran.err


def test_a_board_without_a_unique_id_can_be_pulled(run, fake, tmp_path):
    fake.machine.unique_id = None
    fake.file("/updater").mkdir()
    fake.file("/updater/log.0").write_text('{"n": 0, "event": "run"}\n')
    for new in (1, 0):
        ran = run("--port", fake.port, "--json", "logs", "pull", "-o", tmp_path / "log")
        assert ran.result["new"] == new and ran.result["board"] is None


# show


def test_each_entry_is_a_line_with_its_time_number_and_words(shown):
    lines = shown(log(*WHOLE)).out.splitlines()
    assert lines[1] == "2026-11-26 15:47:14      1  installing 1.1.0 over 1.0.0 (5000 bytes)"
    assert lines[-1] == "6 entries"


def test_without_a_clock_the_time_is_how_long_the_host_was_on(shown):
    lines = shown(log(begun(NEVER_SET), *[RETRY] * 30)).out.splitlines()
    assert [line[:19].rstrip() for line in lines[:31:15]] == [
        "on for 0:00:05",
        "on for 0:00:06",
        "on for 0:00:08",
    ]


def test_without_the_beginning_of_a_run_the_time_is_that_of_the_run(shown):
    assert shown(log(RETRY)).out.startswith("0.1 s into a run")


def test_missing_entries_are_told_where_they_are_missing(shown):
    lines = shown(log(*WHOLE) + log(*WHOLE, first=16)).out.splitlines()
    assert lines[6].strip() == "(10 entries missing)" and " 16  run" in lines[7]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ([], [0, 1, 2, 3, 4, 5]),
        (["--last", 2], [4, 5]),
        (["--errors"], [2, 5]),
        (["--errors", "--last", 1], [5]),
        (["--event", "loader"], [1, 4]),
        (["--event", "loader", "--event", "retry"], [1, 2, 4]),
        (["--event", "none"], []),
        (["--since", "2026-11-26T15:47:14"], [3, 4, 5]),
        (["--since", "2026-11-27"], []),
    ],
)
def test_filters(shown, options, numbers):
    entries = log(begun(NEVER_SET), LOADER, RETRY, begun(), LOADER, FAILED)
    ran = shown(entries, "--json", *options)
    told = [event for event in ran.events if event["event"] == "log"]
    assert [event["entry"]["n"] for event in told] == numbers
    noted = [event["text"] for event in ran.events if event["event"] == "note"]
    assert bool(noted) == ("none" in options)
    assert not noted or "no event none; it has: loader, result, retry, run" in noted[0]
    assert ran.result["entries"] == len(numbers) and ran.result["of"] == 6


@pytest.mark.parametrize("text", ["soon", "2026-13-01", "-3h", "3 weeks", "", "999999d"])
def test_a_time_that_is_none_is_refused_with_examples(text):
    with pytest.raises(UsageError, match="is not a time.*90min"):
        log_filters.since(text, datetime.now(UTC))


def test_since_takes_a_time_ago_and_a_date():
    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    assert log_filters.since("90min", now) == datetime(2026, 11, 26, 10, 30, tzinfo=UTC)
    assert log_filters.since("3d", now) == datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert log_filters.since("2026-11-20", now) == datetime(2026, 11, 20, tzinfo=UTC)


def test_json_has_each_entry_with_its_board_and_time(shown):
    first = shown(log(*WHOLE), "--json").events[0]
    assert first["event"] == "log" and first["board"] == BOARD
    assert first["at"].startswith("2026-11-26T15:47:14") and first["entry"]["event"] == "run"


def test_the_log_of_a_board_is_shown_without_a_file(run, board):
    board.holds(log(*WHOLE))
    ran = run("--port", board.port, "logs", "show")
    assert ran.status == 0 and "installing 1.1.0 over 1.0.0" in ran.out
    assert board.soft_resets == 0


def test_several_boards_have_headings(run, tmp_path):
    for board in ("aa", "bb"):
        pulled = {"board": board, "at": "2026", "host": "a Pico"}
        log_files.append(tmp_path / "log", pulled, log(*WHOLE))
    out = run("logs", "show", tmp_path / "log").out
    assert "log of board aa, a Pico\n" in out and "log of board bb, a Pico\n" in out


def test_following_needs_a_board_with_a_program(run, board, tmp_path):
    (tmp_path / "log").write_text('{"n": 0}\n')
    ran = run("logs", "show", "--follow", tmp_path / "log")
    assert ran.status == 2 and "--follow is for a board" in ran.err
    board.updater.__version__ = "0.1.0"
    ran = run("--port", board.port, "logs", "show", "--follow")
    assert ran.status == 1 and "deploy --main" in ran.err


# runs and updates


def updates_of(*lives: list[Any]) -> list[updates.Update]:
    return updates.updates_of(log_files.History(BOARD, [*lives]))


def test_an_update_is_one_run_or_as_many_as_it_took(shown):
    cut = [begun(), INSTALLING, LOADER]
    again = [begun(reset=3), RESUMING, LOADER, RETRY, WRITTEN, STARTING, ended("installed")]
    first, second = updates_of(log(*WHOLE, *cut, *again))
    assert (first.title, first.cuts, first.retries) == ("1.0.0 \u2192 1.1.0: installed", 0, 0)
    assert (second.status, second.cuts, second.retries) == ("installed", 1, 1)
    spans, marks = updates.drawn(second)
    (gap,) = [span for span in spans if not span.what]
    assert "watchdog or machine.reset()" in gap.text
    assert [mark.what for mark in marks] == ["cut", "retry", "result"]
    assert all(a.end <= b.start for a, b in zip(spans, spans[1:], strict=False))


def test_a_cut_during_the_check_belongs_to_the_update_that_follows():
    (update,) = updates_of(log(begun(), *WHOLE))
    assert update.cuts == 1 and update.status == "installed"


def test_a_failed_run_and_the_next_one_are_one_update():
    (update,) = updates_of(
        log(begun(), INSTALLING, FAILED, begun(), RESUMING, LOADER, WRITTEN, ended("installed"))
    )
    assert update.cuts == 0 and update.status == "installed"


def test_another_image_that_is_pushed_meanwhile_begins_another_update():
    other = {**INSTALLING, "version": "1.2.0"}
    first, second = updates_of(log(begun(), INSTALLING, LOADER, begun(), other, FAILED))
    assert (first.status, first.cuts) == ("not finished", 1)
    assert (second.version, second.status) == ("1.2.0", "failed")


def test_an_update_that_the_log_ends_in_is_not_called_cut():
    (update,) = updates_of(log(begun(), INSTALLING, LOADER))
    assert update.cuts == 0 and update.status == "not finished"
    assert updates.drawn(update)[1][-1].tone == "warn"


def test_a_refused_image_is_named_with_its_reason():
    refused = {"event": "refused", "image": "/x/a.img", "error": "old", "message": "it is older"}
    (update,) = updates_of(log(begun(), refused, ended("failed", error="old")))
    assert update.title.endswith("refused") and update.tone == "bad"


def test_a_log_of_an_older_updater_has_runs_too():
    entries = log(INSTALLING, LOADER, WRITTEN, ended("installed"), INSTALLING, LOADER)
    assert [len(run.entries) for run in runs_of(entries)] == [4, 2]
    entries[5]["t"] = 0  # the time goes back: the host was started again
    assert [len(run.entries) for run in runs_of(entries)] == [4, 1, 1]


def test_the_phases_that_the_updater_measured_fill_the_writing():
    measured = {**WRITTEN, "compare_ms": 20, "write_ms": 60, "verify_ms": 10}
    (update,) = updates_of(log(begun(), INSTALLING, LOADER, measured, ended("installed")))
    spent = updates.phases(update)
    assert (spent["compare"], spent["write"], spent["verify"]) == (20, 60, 10)
    assert sum(spent.values()) == update.took_ms


NONSENSE: list[Any] = [
    None,
    True,
    -1,
    1e300,
    1 << 80,
    10**400,  # no float
    "x",
    [],
    {},
    [2026, 13, 99, 0, 0, 0],
    [1e9] * 6,
]


@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_no_value_in_a_log_breaks_what_is_made_of_it(value, run, tmp_path):
    names = ["run", "installing", "loader", "written", "starting", "retry", "rolling-back"]
    keys = ["t", "at", "reset", "version", "from", "bytes", "compare_ms", "write_ms", "try", "ok"]
    events = [{"event": name, **dict.fromkeys(keys, value)} for name in [*names, "result"]]
    entries = [{"n": n, **event} for n, event in enumerate([*events, *WHOLE, {"event": value}])]
    path = tmp_path / "log"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert run("logs", "show", path).status == 0
    assert run("logs", "report", path, "-o", tmp_path / "page.html").status == 0


def test_lines_that_only_look_like_entries_are_counted_and_left_out(run, tmp_path):
    lists = "[" * 500 + "]" * 500  # Python's JSON reads them
    lines = (
        f'{{"n": 1, "event": "run", "x": {lists}}}',
        '{"n": 2, "event": "run", "x": 1e999}',
        f'{{"n": {10**400}, "event": "run"}}',
        '{"n": -1, "event": "run"}',
        '{"n": true, "event": "run"}',
        '{"n": 3, "event": "log", "entry": 1}',  # only stm32up itself reports this
        '{"n": 4, "event": "bench"}',
    )
    path = tmp_path / "log"
    path.write_text("\n".join((*lines, json.dumps(log(begun())[0]))))
    ran = run("--json", "logs", "show", path)
    assert (ran.result["entries"], ran.result["damaged_lines"]) == (1, len(lines))
    assert run("logs", "report", path, "-o", tmp_path / "page.html").status == 0


# report


def test_a_page_never_replaces_the_log_that_it_is_made_of(run, tmp_path):
    log_files.append(tmp_path / "log", {"board": BOARD}, log(*WHOLE))
    before = (tmp_path / "log").read_bytes()
    ran = run("logs", "report", tmp_path / "log", "-o", tmp_path / "log")
    assert ran.status == 2 and "is the input itself" in ran.err
    assert (tmp_path / "log").read_bytes() == before


def report(*lives: list[Any], board: str = BOARD) -> str:
    history = log_files.History(board, [*lives], [{"board": board, "host": "a Pico"}])
    return log_report.page(log_files.Files([history], 0))[0].html()


def test_a_report_has_the_inventory_the_updates_and_the_errors_with_their_next_step(run, tmp_path):
    pulled = {"board": BOARD, "at": "2026-11-26T15:47:14Z", "host": "a Pico"}
    log_files.append(tmp_path / "log", pulled, log(*WHOLE, begun(), INSTALLING, FAILED))
    ran = run("logs", "report", tmp_path / "log", "-o", tmp_path / "new" / "page.html")
    assert ran.out.endswith("page.html: 1 board, 2 updates\n")
    html = (tmp_path / "new" / "page.html").read_text()
    for text in (BOARD, "a Pico", "SDA is low", "Check the wires.", "1.0.0 \u2192 1.1.0: failed"):
        assert text in html


def test_a_report_says_what_the_log_lacks():
    html = report(log(*WHOLE, first=5) + log(*WHOLE, first=20), log(begun(), FAILED))
    assert "begins with number 5" in html and "9 entries" in html and "began again 1 time" in html


def test_a_report_of_many_updates_draws_the_newest_and_all_that_failed():
    many = [*[begun(), INSTALLING, FAILED, begun(), RESUMING, ended("rolled-back")], *WHOLE * 60]
    html = report(log(*many))
    assert html.count('<svg class="drawing"') == 41
    assert "rolled back" in html and html.count('<tr role="row">') > 61


def test_a_report_of_an_empty_log_says_so():
    assert "The log is empty." in report()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_log_is_shown_as_text(run, tmp_path, text):
    entries = [{**entry, "version": text, "message": text, text: text} for entry in log(*WHOLE)]
    (tmp_path / "log").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    run("logs", "report", tmp_path / "log", "-o", tmp_path / "page.html")
    html = Path(tmp_path / "page.html").read_text()
    assert "<script" not in html and "<img" not in html and "<iframe" not in html
    assert html.isprintable() or all(c.isprintable() or c == "\n" for c in html)


def test_entries_are_dated_by_their_own_run():
    entries = log(begun(), LOADER, begun([2026, 12, 1, 0, 0, 0]), LOADER)
    days = [when.at.day for _, when, _ in dated([entries]) if when.at is not None]
    assert days == [26, 26, 1, 1]


def test_the_clock_of_a_host_is_set_before_an_update_unless_it_was_set(run, board, image):
    clock: list[Any] = []

    class RTC:
        def datetime(self, moment: Any) -> None:
            clock.append(moment)

    board.machine.RTC = RTC
    for year, count in ((2021, 1), (2026, 1), (2000, 2)):
        board.year = year
        assert run("--port", board.port, "update", image).status == 0
        assert len(clock) == count
    now = datetime.now(UTC)
    assert clock[0][:4] == (now.year, now.month, now.day, now.weekday())


def test_a_host_without_a_filesystem_is_named_and_has_no_empty_log(run, fake):
    assert "the log is empty" in run("--port", fake.port, "logs", "show").out
    fake.block = fake.free = 0
    fake._os = without_filesystem(fake._os)
    for verb in (("show",), ("pull",)):
        ran = run("--port", fake.port, "logs", *verb)
        assert ran.status == 1 and "error: nothing is mounted at /" in ran.err
