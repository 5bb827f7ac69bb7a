"""A program on the board is asked before it is interrupted, and how the board is left is said."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import pytest

from stm32up.host import running
from tests.host_tools.test_shared_line import FOREIGN, WIFI, inside

IDLE = json.dumps({"event": "idle"})
LEFT_AT_REPL = "the board is at its REPL, its program is stopped; to start it: stm32up reset"
STARTED = "the board's program was started again"


def writes(done, total=64):
    return json.dumps({"event": "progress", "phase": "write", "done": done, "total": total})


def ended(**values):
    return json.dumps({"event": "result", "ok": True, "status": "installed", **values})


UPDATE = [writes(1), writes(2), writes(2), ended(version="1.1.0")]


@pytest.fixture
def product(fake, monkeypatch):
    """A board with a main.py."""
    monkeypatch.setattr(running, "SIMULATED_LOOK_S", running.LOOK_S)
    fake.file("/main.py").write_text("")
    return fake


@pytest.mark.parametrize("verb", ["status", "probe", "run", "deploy"])
def test_a_command_waits_for_an_update_and_shows_it(run, product, verb):
    product.answers = [*UPDATE]
    ran = run("--port", product.port, "--json", verb)
    assert ran.status == 0 and not product.was_interrupted
    kinds = [event["event"] for event in ran.events]
    assert kinds[:4] == ["note", "progress", "progress", "ended"]  # the first one is the look
    assert kinds.count("result") == 1 and ran.result["left"] == "started"
    assert product.starts == 1


def test_people_see_the_update_its_end_and_how_the_board_was_left(run, product):
    product.answers = [*UPDATE]
    lines = run("--port", product.port, "status").out.splitlines()
    assert lines[0].startswith("note: an update runs on the board")
    assert lines[1] == "the update on the board has ended: installed 1.1.0"
    assert lines[-1] == STARTED


def test_interrupt_does_not_ask(run, product):
    product.answers = [*UPDATE]
    ran = run("--port", product.port, "--interrupt", "status")
    assert ran.status == 0 and product.was_interrupted and product.asked == 0
    assert ran.out.splitlines()[-1] == STARTED


def test_a_lost_answer_is_asked_for_again(run, product):
    product.answers = ["", "", *UPDATE]
    assert run("--port", product.port, "status").status == 0
    assert not product.was_interrupted


@pytest.mark.parametrize("foreign", [WIFI, FOREIGN["a boot banner"]])
def test_an_answer_among_log_lines_is_an_answer(run, product, foreign):
    product.answers = [*UPDATE]
    product.noise = inside(foreign, 0.2)
    assert run("--port", product.port, "--json", "status").status == 0
    assert not product.was_interrupted


def test_an_update_that_falls_silent_is_not_interrupted(run, product, monkeypatch):
    monkeypatch.setattr(running, "SILENCE_S", 0.5)
    product.answers = [writes(1), *[""] * 1000]
    ran = run("--port", product.port, "--json", "status")
    assert ran.status == 1 and ran.result["error"] == "update-runs"
    assert ran.result["left"] == "goes-on" and "--interrupt" in ran.result["next_step"]
    assert not product.was_interrupted


def test_a_program_that_says_no_update_runs_is_interrupted_without_a_word(run, product):
    product.answers = [IDLE, *[""] * 1000]
    ran = run("--port", product.port, "--json", "status")
    assert [event["event"] for event in ran.events] == ["result"]
    assert product.was_interrupted and product.asked == 1


def test_a_program_that_says_nothing_is_interrupted_with_a_note(run, product):
    product.answers = [""] * 1000
    ran = run("--port", product.port, "status")
    assert "does not say whether it updates" in ran.out and product.was_interrupted
    assert ran.out.splitlines()[-1] == STARTED


def test_a_board_at_its_prompt_is_not_waited_for(run, product, monkeypatch):
    monkeypatch.setattr(running, "SIMULATED_LOOK_S", 3600.0)
    assert run("--port", product.port, "logs", "pull").status == 0
    assert product.starts == product.soft_resets == 0


def test_stay_leaves_the_board_at_its_repl(run, product):
    ran = run("--port", product.port, "status", "--stay")
    assert ran.out.splitlines()[-1] == LEFT_AT_REPL and product.starts == 0


def test_a_board_without_a_program_is_left_without_a_word(run, fake):
    ran = run("--port", fake.port, "--json", "status")
    assert "left" not in ran.result and fake.starts == 0


def test_after_deploy_main_the_program_starts(run, fake):
    ran = run("--port", fake.port, "--json", "deploy", "--main")
    assert ran.result["left"] == "started" and fake.starts == 1


def test_a_failed_command_starts_the_program_too(run, product):
    product.updater.events_to_come = [{"event": "result", "ok": False, "message": "no"}]
    ran = run("--port", product.port, "run")
    assert ran.status == 1 and STARTED in ran.out and product.starts == 1
    assert run("--port", product.port, "--json", "run").result["left"] == "started"


def test_a_failed_bench_verb_leaves_the_target_alone(run, product):
    """It may still be at work, and the program might reset it."""
    ran = run("--port", product.port, "provision", "--yes")
    assert ran.status == 1 and LEFT_AT_REPL in ran.out and product.starts == 0


@pytest.mark.posix
def test_ctrl_c_starts_the_program_too(product):
    busy, ended = threading.Event(), threading.Event()

    def work(code: str) -> None:
        if "events()" in code:
            busy.set()
            ended.wait()

    product.before_exec = work
    command = [sys.executable, "-m", "stm32up", "--port", product.port, "--json", "run"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert busy.wait(60)
        process.send_signal(signal.SIGINT)
        ended.set()
        out, err = process.communicate(timeout=60)
    finally:
        ended.set()
        process.kill()
    last = json.loads(out.splitlines()[-1])
    assert (process.returncode, last["error"], last["left"]) == (130, "interrupted", "started")
    assert product.starts == 1


def test_reset_starts_the_program_though_it_did_not_run(run, product):
    ran = run("--port", product.port, "reset")
    assert (ran.status, ran.out) == (0, f"soft reset\n{STARTED}\n")
    assert product.starts == 1 and product.soft_resets == 0


def test_devices_shows_what_is_deployed_and_disturbs_no_update(run, product):
    product.file("/board.json").write_text('{"title": "My \\u001b[31mboard"}')
    ran = run("--port", product.port, "--json", "devices")
    (device,) = ran.result["devices"]
    assert device["unique_id"] == "e660583883724a32" and device["platform"] == "rp2"
    assert device["board"] == "My <1B>[31mboard" and device["micropython"] == "1.29.0"
    product.answers = [writes(1)] * 100
    (device,) = run("--port", product.port, "--json", "devices").result["devices"]
    assert device["said"] == "an update runs on the board" and not product.was_interrupted


def test_devices_interrupts_no_program_that_says_nothing(run, product):
    product.answers = [""] * 1000
    ran = run("--port", product.port, "devices")
    assert "does not say whether" in ran.out and not product.was_interrupted
    product.answers = [""] * 1000
    assert "e660583883724a32" in run("--port", product.port, "devices", "--interrupt").out


def test_the_console_needs_a_terminal(run, fake):
    ran = run("--port", fake.port, "console")
    assert ran.status == 2 and ran.err.startswith("error: the console needs a terminal")
