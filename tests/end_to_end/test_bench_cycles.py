"""bench on a simulated board: cuts are survived and counted, an interrupted run goes on, and a
fault in the device code is found."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from stm32up import device
from stm32up.board import boards
from stm32up.cli import main
from stm32up.errors import ContactLost
from stm32up.host import cycles
from stm32up.host.cycles import Cycles, Strike
from stm32up.host.push import push
from tests.end_to_end.conftest import BOARDS, Commands
from tests.power_cuts import seeded_bugs

CUTS = ("--cut-target", "--cut-host")


@pytest.fixture
def state_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "stm32up-bench.jsonl"


def plant(bug: seeded_bugs.Bug, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let deploy take the product package from a copy with this bug."""
    seeded_bugs.plant(bug, folder / "faulty")
    monkeypatch.setattr(device, "ROM", folder / "faulty" / "stm32_rom")
    monkeypatch.setattr(device, "PACKAGE", folder / "faulty" / "stm32_updater")


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Device code that works without cuts: a resumed update is not written to its end."""
    bug = seeded_bugs.Bug(
        "a resumed update counts as written",
        "stm32_updater/flow",
        "            image, events = yield from self._resumed(refusal)\n",
        "            image, events = yield from self._resumed(refusal)\n"
        "            record.phase = CONFIRMING if record.phase == INSTALLING else record.phase\n",
    )
    plant(bug, tmp_path, monkeypatch)


def test_cuts_are_survived_and_counted(stm32up, state_file, tmp_path):
    page = tmp_path / "page.html"
    ran = stm32up("bench", "--cycles", "4", *CUTS, "--seed", "1", "--report", page)
    result = ran.result
    assert ran.status == 0 and result["ok"], ran
    assert (result["cycles"], result["failures"]) == (4, 0) and result["cuts"] > 2
    assert sum(result["cuts_by_kind"].values()) == result["cuts"]
    assert all(row["min"] <= row["median"] <= row["p99"] for row in result["phases"].values())
    assert {"push", "write", "read back", "cycle"} <= set(result["phases"])
    assert [event["version"] for event in ran.events if event["event"] == "cycle"] == (
        ["1.0.0", "1.1.0"] * 2
    )
    progress = [event for event in ran.events if event.get("phase") == "bench"]
    assert progress[-1]["left_s"] == 0 and progress[0]["each_ms"] > 0
    assert "4" in page.read_text() and "<script" not in page.read_text()
    assert stm32up("probe").result["application_version"] == "1.1.0"
    assert not stm32up("status").result["inbox"]


def test_an_interrupted_run_goes_on(stm32up, state_file, monkeypatch):
    """Ctrl-C in the second cycle: that one is repeated, and the first is not."""
    one = Cycles.one

    def interrupted(self, number, span_ms):
        if number == 2:
            raise KeyboardInterrupt
        return one(self, number, span_ms)

    command = ("bench", "--cycles", "2", "--cut-target", "--seed", "5")
    with monkeypatch.context() as patch:
        patch.setattr(Cycles, "one", interrupted)
        assert stm32up(*command).status == 130
    refused = stm32up("bench", "--cycles", "2", "--cut-host", "--seed", "5")
    assert refused.status == 2 and "unfinished" in refused.result["message"]
    ran = stm32up(*command)
    assert ran.status == 0 and ran.result["cycles"] == 2 and ran.result["seed"] == 5
    assert [event["cycle"] for event in ran.events if event["event"] == "cycle"] == [2]
    assert json.loads(state_file.read_text().splitlines()[-1]) == {"ended": True}


def test_a_shorted_bus_is_survived(stm32up, state_file, tmp_path):
    settings = (boards.BOARDS / stm32up.board / "board.toml").read_text()
    (tmp_path / "shorted").mkdir()
    (tmp_path / "shorted/board.toml").write_text(f"{settings}\n[bench]\nshort_pin = 14\n")
    stm32up.board = str(tmp_path / "shorted")
    assert stm32up("bench", "--cycles", "2").result["error"] == "usage"  # deployed without it
    assert stm32up("deploy").status == 0
    ran = stm32up("bench", "--cycles", "3", "--noise", "--seed", "2")
    assert ran.status == 0 and set(ran.result["cuts_by_kind"]) == {"short"}


def test_a_watchdog_that_bites_between_two_runs_is_a_cut(stm32up, state_file, monkeypatch):
    """It is started near the end of a run, and bites while the next image is pushed."""
    late = iter([[Strike("watchdog", 0, 0)]])
    monkeypatch.setattr(cycles, "strikes", lambda *plan: next(late, []))

    def pushed(connection, *arguments, push=push):
        with contextlib.suppress(ContactLost):
            connection.exec("import machine; machine.reset()")
        connection.reconnect()
        return push(connection, *arguments)

    run = Cycles._run

    def armed(self, planned, **options):
        if not planned:
            return run(self, planned, **options)
        self._cut({"event": "cut", "kind": "watchdog", "t": 0})
        self._armed = True
        monkeypatch.setattr(cycles, "push", pushed)
        return run(self, [], **options)

    monkeypatch.setattr(Cycles, "_run", armed)
    ran = stm32up("bench", "--cycles", "2", "--cut-host", "--seed", "1")
    assert ran.status == 0, ran.result
    assert ran.result["cuts_by_kind"] == {"watchdog": 1} and ran.result["resets"] == 0


def test_a_fault_that_only_cuts_show_is_found(faulty, host, state_file, tmp_path, capfd):
    command = Commands(tmp_path / "new", BOARDS[host], capfd)
    page = tmp_path / "page.html"
    assert command("bench", "--cycles", "2").status == 0
    ran = command("bench", "--cycles", "8", *CUTS, "--seed", "1", "--report", page)
    assert ran.status == 1 and not ran.result["ok"], ran
    assert ran.result["failures"] > 0 and "rolled back" in ran.result["failed"][0]["message"]
    seen = [event for event in ran.events if event["event"] == "cycle"]
    failure = next(cycle["failure"] for cycle in seen if cycle["failure"])
    assert failure["log"] and failure["events"]
    assert "rolled back in a run without cuts" in page.read_text()


def test_a_seeded_bug_is_found_and_ends_the_run_early(
    host, state_file, tmp_path, capfd, monkeypatch
):
    (bug,) = [bug for bug in seeded_bugs.BUGS if bug.name == "pages are not erased"]
    plant(bug, tmp_path, monkeypatch)
    command = Commands(tmp_path / "new", BOARDS[host], capfd)
    ran = command("bench", "--cycles", "20")
    assert ran.status == 1 and ran.result["cycles"] == ran.result["failures"] == 3
    assert "flash does not hold" in ran.result["failed"][0]["message"]


def test_without_a_pin_there_is_no_noise(tmp_path, host, capfd):
    assert (
        main.run(["--port", f"sim:{tmp_path}/no", "--board", BOARDS[host], "bench", "--noise"])
        == 2
    )
    assert "short_pin" in capfd.readouterr().err and not (tmp_path / "no").exists()
