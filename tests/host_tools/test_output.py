"""Output for people: order, wording, width, and no control codes in a pipe."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stm32up import device
from stm32up.errors import Stm32upError, UpdateFailed
from stm32up.events import progress
from stm32up.say import endings, output, tables, words

PROBED: dict[str, Any] = {
    "application_version": None,
    "loader": "11.4",
    "product_id": "0x460",
    "protocol": "1.2",
    "chip": "STM32G071RB",
    "application": "blank",
    "option_bytes": {
        "WWDG_SW": 1,
        "nBOOT_SEL": 0,
        "BORF_LEV": 3,
        "NRST_MODE": 3,
        "WRP1A": None,
        "BORR_LEV": 3,
        "IWDG_SW": 1,
        "nBOOT1": 1,
        "nBOOT0": 1,
        "OPTR": "0xFEFFFEAA",
        "BOR_EN": 0,
        "WRP1B": [3, 5],
        "BOOT_LOCK": 0,
        "RDP": 0,
    },
}
NEWER: Any = {"mood": "good"}
STATUS: Any = {
    "phase": "idle",
    "inbox": ["/updater/inbox/a.img", "/updater/inbox/b.img"],
    "installed": "ab" * 32,
    "log_lines_lost": 0,
    "candidate": None,
    "confirmed": "1.1.0",
    "failed": "cd" * 32,
    "pages_in_doubt": 2,
}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            {"event": "installing", "image": "x", "version": "1.1.0", "bytes": 131072},
            "installing 1.1.0 (131072 bytes)",
        ),
        (
            {
                "event": "checked",
                "image": "x",
                "version": "1.1.0",
                "hash_ms": 141,
                "signature_ms": 280,
                "key": "0123456789abcdef",
            },
            "checked 1.1.0: sound (141 ms), signed by 0123456789abcdef (280 ms)",
        ),
        (
            {"event": "checked", "image": "x", "version": "1", "hash_ms": 1, "key": None},
            "checked 1: sound (1 ms), not signed by a key of this board, which allows unsigned "
            "images",
        ),
        (
            {"event": "retry", "page": 3, "error": "loader-timeout", "message": "no answer"},
            "page 3 again: no answer",
        ),
        (
            {"event": "loader", "chip": "STM32G071RB", "version": "11.4", "protocol": "1.2"},
            "loader V11.4, protocol V1.2, STM32G071RB",
        ),
        (
            {"event": "written", "bytes": 4096, "verified": 4096, "erased_pages": 3, "repeats": 0},
            "written: 4096 of 4096 bytes verified, 3 page erases",
        ),
        (
            {"event": "written", "bytes": 8, "verified": 8, "erased_pages": 1, "repeats": 1},
            "written: 8 of 8 bytes verified, 1 page erase; 1 block sent or read again",
        ),
        (
            {"event": "written", "bytes": 8, "verified": 8, "erased_pages": 2, "repeats": 5},
            "written: 8 of 8 bytes verified, 2 page erases; 5 blocks sent or read again",
        ),
        (
            {
                "event": "not-kept",
                "image": "/updater/candidate.img",
                "error": "image-damaged",
                "message": "candidate.img is damaged",
                "next_step": "Push the image again.",
            },
            "it runs, but the host cannot keep it: candidate.img is damaged; the last good image "
            "is still the earlier one. To keep this one: stm32up update --force IMAGE",
        ),
        (
            {
                "event": "rolling-back",
                "version": "1.1.0",
                "reason": "built as 1.2.0, answers 1.1.0: was --version right?",
            },
            "the new application did not prove itself: built as 1.2.0, answers 1.1.0: was "
            "--version right? "
            "Going back to 1.1.0",
        ),
        (
            {"event": "rolling-back", "version": "1.1.0", "reason": "it is silent"},
            "the new application did not prove itself: it is silent; going back to 1.1.0",
        ),
        (
            {"event": "written", "bytes": 4096, "verified": 4096, "erased_pages": 0},
            "nothing to write: 4096 of 4096 bytes verified",
        ),
        ({"event": "starting", "try": 1}, "starting the application"),
        ({"event": "starting", "try": 2}, "starting the application again, try 2"),
        ({"event": "refused", "image": "x", "message": "x is bad"}, "refused: x is bad"),
        ({"event": "output", "text": "hello {you} [red]"}, "board: hello {you} [red]"),
        ({"event": "brand-new", "b": 2, "a": "x"}, "brand new: a x, b 2"),
        ({"event": "loader"}, "loader V?, protocol V?, ?"),
    ],
    ids=lambda value: value["event"] if isinstance(value, dict) else "",
)
def test_every_event_is_one_line(event, line):
    assert words.event(event) == line


def test_every_event_of_the_host_has_words_of_its_own():
    told: set[str] = set()
    for package in (*device.product(), device.BENCH):
        for path in device.sources(package):
            source = path.read_text(encoding="utf-8")
            for names in re.findall(r'"event": ("[a-z-]+"(?: \| "[a-z-]+")*)', source):
                told.update(re.findall("[a-z-]+", names))
    assert {"loader", "resuming", "rolling-back", "seen"} <= told  # the pattern finds them
    assert told - {"progress"} <= set(words.EVENTS)


def test_the_end_of_an_update_says_what_runs_and_how_long_it_took():
    installed = {"status": "installed", "version": "1.1.0", "bytes": 8, "target_ms": 9814}
    assert endings.ending("update", installed) == ["installed 1.1.0 in 9.8 s"]
    without = {"status": "installed", "version": "1.1.0"}
    assert endings.ending("update", without) == ["installed 1.1.0"]
    assert "nothing" in endings.ending("update", {"status": "idle"})[0]
    assert endings.ending("update", {"status": "up-to-date", "version": "1.1.0"})[0].startswith(
        "1.1.0 is already installed"
    )


def test_each_phase_of_the_updater_has_words():
    for phase in ("compare", "write", "verify"):
        doing, unit = words.phase(progress(phase, 1, 2))
        assert doing.endswith("ing flash") and unit == "pages"


def test_pages_are_told_only_while_an_update_is_under_way():
    for phase in ("idle", "unknown"):  # older updaters always report them
        assert not any("pages" in line for line in tables.status(STATUS | {"phase": phase}))
    (line,) = [
        line
        for line in tables.status(STATUS | {"phase": "installing", "pages_in_doubt": 41})
        if "pages" in line
    ]
    told = "pages to do at least 41 uncertain: the next run erases and writes them"
    assert line.split() == told.split()


def test_status_shows_a_push_that_was_interrupted():
    pushes = [
        {"file": "/updater/inbox/app.part", "done": 3000, "bytes": 5604},
        {"file": "/updater/inbox/done.part", "done": 6000, "bytes": 5604},
        {"file": "/updater/inbox/odd.part", "done": 12, "bytes": None},
    ]
    lines = tables.status(STATUS | {"interrupted_pushes": pushes})
    assert [re.split("  +", line)[1] for line in lines if line.startswith("push")] == [
        "app: interrupted after 3000 of 5604 bytes; push it again",
        "done: interrupted after 5604 of 5604 bytes; push it again",
        "odd: interrupted after 12 bytes; push it again",
    ]
    assert max(map(len, lines)) < 80


LOG: list[dict[str, Any]] = [
    {"event": "result", "ok": True, "status": "idle"},
    {"event": "installing", "version": "1.0.0"},
    {"event": "result", "ok": True, "status": "installed", "version": "1.0.0", "bytes": 1096},
    {"event": "installing", "version": "1.1.0"},
    {"event": "resuming", "version": "1.1.0"},
    {"event": "result", "ok": True, "status": "installed", "version": "1.1.0", "bytes": 131072},
    {"event": "refused", "message": "old.img is older"},
    {"event": "result", "ok": False, "status": "failed", "message": "old.img is older"},
    {"event": "installing", "version": "2.0.0"},
    {"event": "rolling-back", "version": "1.1.0", "reason": "it is silent"},
    {"event": "result", "ok": False, "status": "rolled-back", "version": "1.1.0"},
    {"event": "result", "ok": False, "status": "failed", "message": "SDA is held low"},
]


def test_a_log_becomes_a_story():
    assert words.story(LOG) == [
        "- 1.0.0 was installed: 1096 bytes",
        "- the installation of 1.1.0 was interrupted; the next start continued it",
        "- 1.1.0 was installed: 131072 bytes",
        "- refused: old.img is older",
        "- 2.0.0 did not prove itself (it is silent)",
        "- 1.1.0 was restored",
        "- it failed: SDA is held low",
    ]


def test_the_end_of_a_log_is_told():
    assert endings.ending("logs pull", {"entries": 0, "first": None}) == ["the log is empty"]
    one = {"entries": 1, "first": 4, "last": 4}
    assert endings.ending("logs pull", one) == ["1 entry, numbers 4 to 4"]


REFUSED = {"event": "refused", "error": "image-older", "message": "app.img: 1.0.0 is older"}


@pytest.mark.parametrize("message, refusals", [(REFUSED["message"], 1), ("another", 2)])
def test_a_refusal_that_the_end_repeats_is_said_once(run, fake, image, message, refusals):
    end = {"event": "result", "ok": False, "error": "image-older", "message": message}
    fake.updater.events_to_come = [REFUSED, end]
    ran = run("--port", fake.port, "update", image)
    assert ran.status == 1
    assert (ran.out + ran.err).count("older") == 1
    assert f"{ran.out}{ran.err}".count("refused") == refusals - 1
    as_json = run("--port", fake.port, "--json", "update", image)
    assert REFUSED in as_json.events


def test_a_refusal_before_something_else_is_told_in_order(run, fake, image):
    fake.updater.events_to_come = [
        REFUSED,
        {"event": "superseded", "version": "1.3.0"},
        {"event": "result", "ok": True, "status": "installed", "version": "1.4.2"},
    ]
    lines = run("--port", fake.port, "update", image).out.splitlines()
    assert lines[1:] == [
        f"refused: {REFUSED['message']}",
        "skipped 1.3.0: another image is newer, or as new",
        "installed 1.4.2",
    ]


def test_a_deployment_lists_what_changed_but_not_everything_anew():
    done = {"board": "b", "copied": ["/x", "/y"], "unchanged": 0, "removed": ["/z"], "bytes": 5}
    assert endings.ending("deploy", done) == [
        "removed /z",
        "deployed for b: 2 files copied (5 bytes), 0 unchanged",
    ]
    assert endings.ending("deploy", {**done, "unchanged": 9})[:2] == ["copied /x", "copied /y"]
    nothing = {**done, "copied": [], "removed": [], "unchanged": 9}
    assert endings.ending("deploy", nothing) == ["b: all 9 files are up to date"]


def test_probe_is_grouped_explained_and_narrow():
    lines = tables.probe(PROBED)
    assert lines[:4] == [
        "chip         STM32G071RB, product ID 0x460",
        "loader       V11.4, protocol V1.2",
        "application  none: the flash is blank",
        "option bytes (OPTR 0xFEFFFEAA)",
    ]
    assert "  RDP        0    not protected" in lines
    assert "  nBOOT_SEL  0    BOOT0 pin is used" in lines
    assert "  WRP1B      3-5  pages 3 to 5 are write-protected" in lines
    assert max(map(len, lines)) < 80
    assert tables.probe(dict(reversed(PROBED.items()))) == lines  # whatever order it came in


def test_probe_in_short_shows_what_matters_and_what_is_unusual():
    usual = {**PROBED, "option_bytes": {**PROBED["option_bytes"], "WRP1B": None}}
    assert tables.probe_in_short(usual) == [
        *tables.probe(usual)[:3],
        "option bytes",
        "  RDP        0  not protected",
        "  nBOOT_SEL  0  BOOT0 pin is used",
        "for every bit: stm32up probe --all",
    ]
    for name, value in {
        "WRP1A": [3, 5], "BOOT_LOCK": 1, "NRST_MODE": 2, "nBOOT1": 0, "IWDG_SW": 0, "WWDG_SW": 0,
    }.items():  # fmt: skip
        unusual = {**usual, "option_bytes": {**usual["option_bytes"], name: value}}
        lines = tables.probe_in_short(unusual)
        assert len(lines) == 8 and any(line.startswith(f"  {name} ") for line in lines)
    ignored = {**usual, "option_bytes": {**usual["option_bytes"], "nBOOT_SEL": 1}}
    assert "  nBOOT0     1  as BOOT0 low: the application starts" in tables.probe_in_short(ignored)
    assert "not known" in "\n".join(tables.probe_in_short({"option_bytes": None}))
    assert "uid" in "\n".join(tables.probe_in_short({"uid": 7, "option_bytes": {"NEW": 5}}))


def test_probe_shows_every_bit_only_on_request(run, fake):
    fake.updater.probe = lambda: PROBED
    short, whole = (run("--port", fake.port, "probe", *more) for more in ([], ["--all"]))
    assert "BORF_LEV" not in short.out and "BORF_LEV" in whole.out
    as_json = run("--port", fake.port, "--json", "probe").result
    assert as_json["option_bytes"] == PROBED["option_bytes"]


def test_probe_explains_every_value_of_every_field():
    for name in PROBED["option_bytes"]:
        for value in range(4):
            fields = {**PROBED["option_bytes"], name: [value, 9] if "WRP" in name else value}
            lines = tables.probe({**PROBED, "option_bytes": fields})
            assert max(map(len, lines)) < 80
    ignored = {**PROBED["option_bytes"], "nBOOT_SEL": 1}
    text = "\n".join(tables.probe({**PROBED, "option_bytes": ignored}))
    assert "BOOT0 pin is ignored" in text and "the application starts" in text


def test_what_a_newer_updater_says_is_shown_and_what_an_older_one_leaves_out_does_no_harm():
    text = "\n".join(tables.probe({"uid": 7, "option_bytes": {"NEW": 5}}))
    assert "uid" in text and "NEW" in text
    assert "not known" in "\n".join(tables.probe({"option_bytes": None}))
    assert tables.status(NEWER)[-1].split() == ["mood", "good"]


def test_status_says_what_its_words_mean():
    lines = tables.status(STATUS)
    assert lines[0].split(maxsplit=2) == ["phase", "idle", "nothing is under way"]
    assert any("a.img, b.img" in line for line in lines)
    assert not any(STATUS["installed"] in line for line in lines)
    assert max(map(len, lines)) < 80


def test_status_says_what_becomes_of_a_pushed_image():
    waiting = STATUS | {"candidate": "1.1.0"}
    lines = {line.split()[0]: line for line in tables.status(waiting)}
    assert "the next run checks it" in lines["candidate"] and "instead" not in lines["inbox"]
    lines = {line.split()[0]: line for line in tables.status(waiting | {"phase": "installing"})}
    assert "the image being installed" in lines["candidate"]
    assert "the next run installs this instead" in lines["inbox"]


def test_the_order_is_kept_and_only_errors_go_to_stderr(run, fake, image):
    fake.updater.events_to_come = [
        {"event": "installing", "version": "1.4.2", "bytes": 5000},
        {"event": "progress", "phase": "write", "done": 1, "total": 2},
        {"event": "progress", "phase": "write", "done": 2, "total": 2},
        {"event": "written", "verified": 5000, "bytes": 5000, "erased_pages": 4},
        {"event": "result", "ok": True, "status": "installed", "version": "1.4.2"},
    ]
    ran = run("--port", fake.port, "update", image)
    assert ran.err == ""
    assert [line.split()[0] for line in ran.out.splitlines()] == [
        "pushed",
        "installing",
        "written:",
        "installed",
    ]
    assert "\x1b" not in ran.out and "\r" not in ran.out


def test_a_failure_tells_how_far_it_had_come(run, fake, image):
    fake.updater.events_to_come = [
        {"event": "progress", "phase": "write", "done": 40, "total": 64},
        {"event": "result", "ok": False, "message": "gone", "next_step": "Look for it."},
    ]
    ran = run("--port", fake.port, "update", image)
    assert ran.out.splitlines()[-1] == "stopped writing flash after 40 of 64 pages"
    assert ran.err == "error: gone. Look for it.\n"


@pytest.fixture
def terminal(monkeypatch):
    """Replaces a terminal of 80 columns; returns what was drawn on it."""
    drawn = io.StringIO()
    console = Console(
        file=drawn, force_terminal=True, width=80, markup=False, soft_wrap=True, highlight=False
    )
    monkeypatch.setattr(output, "Console", lambda **options: console)
    return drawn


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_on_a_terminal_there_is_a_bar_that_fits_and_goes_away(terminal):
    people = output.HumanOutput()
    people.report(progress("push", 0, 132086))
    people.report(progress("push", 132086, 132086))
    people.report({"event": "pushed", "status": "pushed", "image": "/x/a.img", "sent": 132086})
    bars = re.findall(r"pushing the image[^\r\n]*", plain(terminal.getvalue()))
    assert bars and all(len(bar) <= 80 for bar in bars)
    assert "100% 132086/132086 bytes 0:00:00" in bars[-1]
    assert terminal.getvalue().endswith("pushed a.img to the inbox (132086 bytes sent)\n")
    assert "\x1b[2K" in terminal.getvalue()  # the bar's line was cleared


def test_a_file_gets_a_line_of_progress_once_a_minute(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    people = output.HumanOutput()
    for second in range(0, 151, 10):
        now[0] = second
        people.report({**progress("bench", second, 900), "each_ms": 1000, "left_s": 900 - second})
    assert capsys.readouterr().out.splitlines() == [
        "updating: 60 of 900 cycles, 1.0 s each, 14 min 0 s left",
        "updating: 120 of 900 cycles, 1.0 s each, 13 min 0 s left",
    ]


def test_each_phase_has_its_own_bar(terminal):
    people = output.HumanOutput()
    people.report(progress("compare", 64, 64))
    people.report(progress("write", 3, 64))
    people.error(Stm32upError("it broke"))
    drawn = plain(terminal.getvalue())
    assert "comparing flash" in drawn and "3/64 pages" in drawn
    assert drawn.endswith("stopped writing flash after 3 of 64 pages\n")


def test_json_has_event_ok_and_status_in_front(capsys):
    programs = output.JsonOutput()
    programs.report({"bytes": 1, "event": "installing"})
    programs.result("probe", {"chip": "x", "status": "fine"})
    programs.error(UpdateFailed("no", "", {"message": "no", "status": "failed", "ok": False}))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('{"event": "installing"')
    assert lines[1].startswith('{"event": "result", "ok": true, "status": "fine"')
    assert lines[2].startswith('{"event": "result", "ok": false, "status": "failed"')


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", [["boards", "list"], ["--json", "boards", "list"], ["-h"]])
def test_an_output_without_room_is_told_in_one_line(arguments):
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "stm32up.cli.main", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ran.returncode == 1
    assert ran.stderr == "error: cannot write: No space left on device. Make room on the disk.\n"


@pytest.mark.posix
@pytest.mark.parametrize("options", ["", "--json "])
@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", ">/dev/full"])
def test_a_stream_that_cannot_be_written_changes_no_exit_status(options, closed):
    command = f"{sys.executable} -m stm32up.cli.main {options}image verify none.img {closed}"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and "Traceback" not in ran.stderr
    if closed == ">/dev/full" and options:
        assert ran.stderr.startswith("error: cannot write: ")
    elif closed != "2>&-":
        assert "cannot read none.img" in ran.stderr


@pytest.mark.posix
@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "<&-"])
def test_a_simulated_board_starts_without_a_standard_stream(closed):
    command = f"{sys.executable} -m stm32up.cli.main --port sim status {closed}"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
