"""The command: its effect on a board, its output, and its exit status."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import sys
import threading

import pytest

from stm32up.board import boards
from stm32up.host import deploy, push, simulation
from stm32up.image import images, keys
from tests.host_tools.fake_board import INSTALLED, UpdaterError
from tests.simulator.host.client import SAFETY_NET_S


def one_line(ran, status):
    """The command failed with this status and one line, and no traceback."""
    assert ran.status == status
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
    return ran.err


def test_build_show_and_verify_an_image(run, tmp_path, payload, key_files):
    source, target = tmp_path / "app.bin", tmp_path / "new.img"
    source.write_bytes(payload)
    key = ("--key", key_files[0])
    ran = run("--json", "image", "build", source, "--version", "1.4.2", *key, "-o", target)
    assert ran.status == 0
    assert ran.result["status"] == "built"
    assert ran.result["class_id"] == boards.load("pico_nucleo_g071rb").as_json()["class_id"]
    assert run("--json", "image", "show", target).result["version"] == "1.4.2"
    assert run("--json", "image", "verify", target, *key).result["signature"] == "valid"
    shown = run("image", "show", target).out
    assert "1.4.2" in shown and "0x08000000" in shown and "STM32G071" in shown
    assert max(map(len, shown.replace(str(target), "").splitlines())) <= 80
    assert "the signature is valid" in run("image", "verify", target, *key).out


def test_a_new_key_signs(run, tmp_path):
    path = tmp_path / "key.pem"
    made = run("--json", "keys", "new", path, "--bits", "2048").result
    assert made["ok"] and made["bits"] == 2048
    assert keys.device_key(keys.load(path)).name == f"{made['key_id']}.pub"
    assert "exists" in one_line(run("keys", "new", path), 2)


def test_an_encrypted_key_is_opened_by_the_environment(run, tmp_path, payload, monkeypatch):
    (tmp_path / "app.bin").write_bytes(payload)
    build = ["image", "build", tmp_path / "app.bin", "--version", "1.0.0"]
    build += ["--key", tmp_path / "key.pem", "-o", tmp_path / "app.img"]
    keys.new(tmp_path / "key.pem", 2048, "secret")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert "STM32UP_PASSPHRASE" in one_line(run(*build), 2)
    monkeypatch.setenv("STM32UP_PASSPHRASE", "wrong")
    assert "wrong passphrase" in one_line(run(*build), 1)
    monkeypatch.setenv("STM32UP_PASSPHRASE", "secret")
    assert run(*build).status == 0


def test_deploy_copies_what_changed_and_removes_what_is_stale(run, fake, key_files):
    first = run("--port", fake.port, "--json", "deploy", "--key", key_files[0]).result
    assert first["ok"] and first["unchanged"] == 0
    assert json.loads(fake.file("/board.json").read_bytes()) == (
        boards.load("pico_nucleo_g071rb").as_json()
    )
    modules = set(deploy.product_modules())
    key = f"/updater/keys/{keys.device_key(keys.load(key_files[0])).name}"
    assert fake.files() == modules | {"/board.json", key}

    fake.file("/lib/stm32_updater/flasher.py").write_text("# an old twin")
    fake.file("/lib/stm32_updater/gone.mpy").write_text("a module that no longer exists")
    fake.file("/lib/stm32_updater/errors.mpy").write_text("something else")
    second = run("--port", fake.port, "--json", "deploy", "--key", key_files[1]).result
    other = f"/updater/keys/{keys.device_key(keys.load(key_files[1])).name}"
    assert set(second["copied"]) == {"/lib/stm32_updater/errors.mpy", other}
    assert set(second["removed"]) == {
        "/lib/stm32_updater/flasher.py",
        "/lib/stm32_updater/gone.mpy",
        key,
    }
    third = run("--port", fake.port, "--json", "deploy").result
    assert third["copied"] == third["removed"] == []
    assert fake.files() == modules | {"/board.json", other}  # without --key, keys stay


def test_tracebacks_of_deployed_code_name_no_path_of_this_machine():
    for path, code in deploy.product_modules().items():
        assert str(boards.BOARDS.parent).encode() not in code
        assert path.removeprefix("/lib/").replace(".mpy", ".py").encode() in code


def test_push_leaves_exactly_the_image_in_the_inbox(run, fake, image):
    ran = run("--port", fake.port, "--json", "push", image)
    assert ran.result["status"] == "pushed"
    assert ran.result["sent"] == image.stat().st_size
    assert fake.files() == {"/updater/inbox/app.img"}
    assert fake.file("/updater/inbox/app.img").read_bytes() == image.read_bytes()
    done = [event["done"] for event in ran.events if event["event"] == "progress"]
    assert done == sorted(done) and done[-1] == image.stat().st_size
    assert run("--port", fake.port, "--json", "push", image).result["status"] == "already-there"


def test_an_interrupted_push_goes_on_where_it_was(run, fake, image):
    fake.file("/updater/inbox").mkdir(parents=True)
    half = image.read_bytes()[:3000]
    fake.file("/updater/inbox/app.part").write_bytes(half)
    fake.file("/updater/inbox/other.part").write_bytes(b"another remainder")
    ran = run("--port", fake.port, "--json", "push", image)
    assert ran.result["sent"] == image.stat().st_size - 3000
    assert fake.files() == {"/updater/inbox/app.img"}
    assert fake.file("/updater/inbox/app.img").read_bytes() == image.read_bytes()


@pytest.mark.parametrize("remainder", [b"of another image", b"longer" * 2000])
def test_a_remainder_of_something_else_is_not_continued(run, fake, image, remainder):
    fake.file("/updater/inbox").mkdir(parents=True)
    fake.file("/updater/inbox/app.part").write_bytes(remainder)
    assert run("--port", fake.port, "--json", "push", image).result["sent"] == image.stat().st_size
    assert fake.file("/updater/inbox/app.img").read_bytes() == image.read_bytes()


@pytest.mark.slow
def test_a_push_cut_at_any_command_leaves_no_image_and_the_next_one_finishes(run, fake, image):
    for cut in range(1, 30):
        count = iter(range(1, 100))

        def unplug(code: str, cut: int = cut, count=count) -> None:
            if next(count) == cut:
                raise ConnectionResetError

        fake.before_exec = unplug
        ran = run("--port", fake.port, "push", image)
        finished = fake.file("/updater/inbox/app.img")
        if ran.status == 0:
            break
        assert one_line(ran, 3)
        if finished.exists():
            assert finished.read_bytes() == image.read_bytes()
            finished.unlink()
    else:
        pytest.fail("the push never got through")
    assert cut > 5
    assert finished.read_bytes() == image.read_bytes()


def test_an_image_that_arrives_damaged_never_gets_its_name(run, fake, image):
    def damage(code: str) -> None:
        part = fake.file("/updater/inbox/app.part")
        if "_hash(p)" in code and part.exists():
            part.write_bytes(part.read_bytes()[:-1] + b"?")

    fake.before_exec = damage
    assert "arrived damaged" in one_line(run("--port", fake.port, "push", image), 1)
    assert fake.files() == set()


def test_a_full_board_is_told_before_anything_is_sent(run, fake, image):
    fake.free = 1000
    assert "1000 bytes free" in one_line(run("--port", fake.port, "push", image), 1)
    assert fake.files() == set()


@pytest.mark.slow
def test_status_tells_how_much_of_an_interrupted_push_is_there(run, fake, image):
    part = fake.file("/updater/inbox/app.part")

    def unplug() -> None:
        if part.stat().st_size:
            raise ConnectionResetError

    fake.before_read = unplug
    assert run("--port", fake.port, "push", image).status == 3
    fake.before_read = lambda: None
    there = part.stat().st_size
    (push,) = run("--port", fake.port, "--json", "status").result["interrupted_pushes"]
    assert push["file"] == "/updater/inbox/app.part" and push["done"] == there > 0
    assert there < push["bytes"] < image.stat().st_size  # its signature is not counted
    told = f"app: interrupted after {there} of {push['bytes']} bytes"
    assert told in run("--port", fake.port, "status").out
    part.write_bytes(b"?")
    assert "app: interrupted after 1 byte; push it again" in run("--port", fake.port, "status").out
    assert run("--port", fake.port, "push", image).status == 0
    assert "interrupted_pushes" not in run("--port", fake.port, "--json", "status").result


def test_names_in_the_inbox_suit_every_filesystem(tmp_path):
    assert push.inbox_name(tmp_path / "my app (1).bin") == "my_app_1_.img"
    assert push.inbox_name(tmp_path / "...") == "image.img"
    assert len(push.inbox_name(tmp_path / ("x" * 300))) < 60


def test_update_passes_on_what_the_updater_says(run, fake, image):
    ran = run("--port", fake.port, "--json", "update", image)
    assert ran.status == 0
    assert ran.result == {
        "event": "result",
        "ok": True,
        "status": "installed",
        "version": "1.4.2",
        "bytes": 8,
        "verified": 8,
    }
    assert {"event": "progress", "phase": "write", "done": 8, "total": 8} in ran.events
    assert set(fake.updater.boards) == {"/board.json"}
    assert "installed" in run("--port", fake.port, "update", image).out


def test_update_has_failed_if_another_image_was_installed(run, fake, image):
    """One that was interrupted before, or a newer one in the inbox."""
    fake.updater.events_to_come = [{**INSTALLED, "version": "1.4.1"}]
    ran = run("--port", fake.port, "--json", "update", image)
    assert "1.4.1 was installed, not 1.4.2" in one_line(ran, 1)


def test_update_says_that_a_newer_image_waited_and_how_to_get_the_other(run, fake, image):
    skipped = {"event": "superseded", "image": "/updater/candidate.img", "version": "1.4.2"}
    fake.updater.events_to_come = [skipped, {**INSTALLED, "version": "1.5.0"}]
    line = one_line(run("--port", fake.port, "--json", "update", image), 1)
    assert "1.5.0 was installed, not 1.4.2: it waited in the inbox" in line


def test_update_says_that_another_image_of_the_same_version_waited(run, fake, image):
    skipped = {"event": "superseded", "image": "/updater/candidate.img", "version": "1.4.2"}
    fake.updater.events_to_come = [skipped, INSTALLED]
    line = one_line(run("--port", fake.port, "--json", "update", image), 1)
    assert "another image of version 1.4.2 waited in the inbox" in line


def test_a_board_is_not_deployed_to_another_kind_of_host(run, fake):
    fake.platform = "esp32"
    assert "this host is esp32" in one_line(run("--port", fake.port, "--json", "deploy"), 2)
    assert fake.files() == set()


@pytest.mark.posix
def test_a_current_folder_that_was_removed_is_one_line(run, monkeypatch, tmp_path):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "the current folder was removed" in one_line(run("boards", "list"), 2)


def test_options_of_the_simulation_are_refused_on_a_real_port(run, fake):
    ran = run("--port", fake.port, "--sim-option", "loader=11.3", "--json", "status")
    assert "--sim-option" in one_line(ran, 2)
    assert fake.executed == []


def test_update_force_is_passed_on(run, fake, image):
    assert run("--port", fake.port, "update", image, "--force").status == 0
    assert fake.updater.forced == [True]
    assert run("--port", fake.port, "update", image).status == 0
    assert fake.updater.forced == [True, False]


def test_run_runs_the_updater_with_what_the_board_has(run, fake):
    ran = run("--port", fake.port, "--json", "run")
    assert ran.status == 0 and ran.result["status"] == "installed"
    assert fake.files() == set()
    fake.updater.events_to_come = [{"event": "result", "ok": True, "status": "idle"}]
    assert run("--port", fake.port, "run").out == "nothing to do\n"


def test_a_failed_update_ends_with_the_updaters_own_error(run, fake, image):
    fake.updater.events_to_come = [
        {
            "event": "result",
            "ok": False,
            "status": "failed",
            "error": "page-protected",
            "message": "page 3 is write-protected",
            "next_step": "Ask the bench.",
        }
    ]
    ran = run("--port", fake.port, "--json", "update", image)
    assert (ran.status, ran.result["ok"], ran.result["error"]) == (1, False, "page-protected")
    human = run("--port", fake.port, "update", image)
    assert human.err.splitlines()[-1] == "error: page 3 is write-protected. Ask the bench."


def test_an_error_that_the_updater_raises_is_told_like_its_result(run, fake):
    fake.updater.error = UpdaterError("no-answer", "nobody at 0x51", "Check the wiring.")
    ran = run("--port", fake.port, "--json", "probe")
    assert (ran.status, ran.result["error"]) == (1, "no-answer")
    assert ran.err == "error: nobody at 0x51. Check the wiring.\n"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("no module named 'stm32_updater.flow'", "the host has no module stm32_updater.flow: it"),
        ("no module named 'stm32_rom.i2c'", "the host has no module stm32_rom.i2c: it was lost"),
        ("no module named 'stm32_rom'", "the board's updater is older than this stm32up"),
        ("can't import name Link", "the board's updater is older than this stm32up"),
    ],
)
def test_a_module_that_is_missing_is_named(run, fake, message, said):
    fake.updater.error = ImportError(message)
    line = one_line(run("--port", fake.port, "probe"), 1)
    assert said in line and "stm32up deploy" in line


def test_an_updater_that_ends_without_a_result_has_failed(run, fake, image):
    fake.updater.events_to_come = [{"event": "started"}]
    assert "without a result" in one_line(run("--port", fake.port, "--json", "update", image), 1)


def test_what_the_board_prints_besides_does_not_break_json(run, fake, image):
    fake.updater.events_to_come = [
        "noise",
        INSTALLED,
    ]
    ran = run("--port", fake.port, "--json", "update", image)
    assert {"event": "output", "text": '"noise"'} in ran.events
    assert ran.result["ok"]


def test_a_board_without_the_updater_is_told_to_be_deployed(run, fake, image):
    fake.updater = None
    for verb in (["update", image], ["run"], ["status"], ["probe"]):
        ran = run("--port", fake.port, "--json", *verb)
        assert "stm32up deploy" in one_line(ran, 1)
        assert ran.result["error"] == "no-updater"


@pytest.mark.parametrize("verb", ["status", "probe"])
def test_status_and_probe_are_tables_or_one_json_object(run, fake, verb):
    ran = run("--port", fake.port, "--json", verb)
    assert len(ran.events) == 1 and ran.result["ok"]
    assert {"status": "idle", "probe": "0x460"}[verb] in run("--port", fake.port, verb).out


def test_logs_are_merged_by_number_and_torn_lines_counted(run, fake, tmp_path):
    fake.file("/updater").mkdir()
    fake.file("/updater/log.0").write_bytes(b'{"n": 3, "what": "c"}\n{"n": 4, "wh')
    fake.file("/updater/log.1").write_bytes(b'{"n": 1}\n{"n": 2}\n{"n": 3, "what": "c"}\n')
    ran = run("--port", fake.port, "--json", "logs", "pull", "-o", tmp_path / "log")
    assert (ran.result["entries"], ran.result["damaged_lines"]) == (3, 1)
    numbers = [json.loads(line)["n"] for line in (tmp_path / "log").read_text().splitlines()]
    assert numbers == [1, 2, 3]
    assert fake.soft_resets == 0
    ran = run("--port", fake.port, "logs", "pull")
    assert ran.out.count("\n") == 3 and "1 damaged" in ran.err


def test_log_lines_have_their_keys_in_one_order(run, fake):
    fake.file("/updater").mkdir()
    fake.file("/updater/log.0").write_bytes(b'{"z": 1, "event": "x", "a": 2, "t": 5, "n": 3}\n')
    ran = run("--port", fake.port, "logs", "pull")
    assert ran.out == '{"n": 3, "t": 5, "event": "x", "a": 2, "z": 1}\n'


def test_port_and_board_may_come_from_the_environment(run, fake, monkeypatch):
    monkeypatch.setenv("STM32UP_PORT", fake.port)
    assert run("status").status == 0
    monkeypatch.setenv("STM32UP_BOARD", "none")
    assert "there is no board none" in one_line(run("status"), 2)


def test_a_board_without_a_log_has_an_empty_one(run, fake):
    assert run("--port", fake.port, "--json", "logs", "pull").result["entries"] == 0


# Bad input: one line, the right exit status, and no board is touched


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["update", "none.img"], 2, "none.img: No such file"),
        (["image", "verify", "none.img"], 2, "none.img: No such file"),
        (["image", "show", "junk.img"], 1, "not an MCUboot image"),
        (["image", "show", "."], 2, "Is a directory"),
        (["update", "junk.img"], 1, "not an MCUboot image"),
        (["image", "build", "junk.img", "--version", "1", "-o", "x.img"], 1, "junk.img is text"),
        (["image", "build", "app.bin", "-o", "x.img"], 2, "Missing option '--version'"),
        (["image", "build", "app.bin", "--version", "1", "-o", "no/x.img"], 2, "cannot write"),
        (["image", "build", "app.bin", "--version", "q", "-o", "x.img"], 2, "not a version"),
        (
            ["image", "build", "app.bin", "--version", "1", "--address", "q", "-o", "x.img"],
            2,
            "--address q is not a number",
        ),
        (
            ["image", "build", "app.bin", "--version", "1", "--chip", "Z80", "-o", "x.img"],
            2,
            "Z80",
        ),
        (
            ["image", "build", "app.bin", "--version", "1", "--key", "no.pem", "-o", "x.img"],
            2,
            "no.pem",
        ),
        (["--board", "none", "status"], 2, "there is no board none. Known boards: esp32_nucleo"),
        (["--board", "bad.toml", "status"], 2, "bad.toml:1: titel is not a known key"),
        (["--port", "/dev/none", "status"], 3, "cannot open port /dev/none"),
        (["--sim-option", "x", "--port", "sim", "status"], 2, "NAME=VALUE"),
        (["frobnicate"], 2, "No such command 'frobnicate'"),
        (["--frobnicate"], 2, "No such option"),
        (["push"], 2, "Missing argument 'IMAGE'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(run, tmp_path, monkeypatch, payload, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "junk.img").write_bytes(b"junk" * 100)
    (tmp_path / "app.bin").write_bytes(payload)
    good = (boards.BOARDS / "pico_nucleo_g071rb" / "board.toml").read_text()
    (tmp_path / "bad.toml").write_text(good.replace("title", "titel"))
    assert message in one_line(run(*arguments), status)
    as_json = run("--json", *arguments)
    assert as_json.status == status
    assert (
        as_json.result["ok"] is False and message in str(as_json.result["message"]) + as_json.err
    )


def test_a_damaged_image_is_refused_before_a_board_is_looked_for(run, fake, image):
    good = image.read_bytes()
    for damaged in (good[:-1], good[:700], good[:600] + b"?" + good[601:]):
        image.write_bytes(damaged)
        for verb in ("push", "update"):
            one_line(run("--port", "/dev/none", verb, image), 1)
            one_line(run("--port", fake.port, verb, image), 1)
    assert fake.executed == [] and fake.soft_resets == 0


@pytest.mark.parametrize("verb", [("status",), ("logs", "pull"), ("probe",)])
def test_options_may_stand_before_the_verb_and_after_it(run, fake, verb):
    board = ("--board", "pico_nucleo_g071rb")
    first = run("--port", fake.port, *board, "--json", *verb)
    assert first.status == 0 and first.result["ok"]
    assert run(*verb, "--port", fake.port, "--json", *board).out == first.out
    assert run("--json", *verb, *board, "--port", fake.port).out == first.out


def test_between_a_group_and_its_verb_too(run, fake):
    ran = run("logs", "--json", "--port", fake.port, "pull")
    assert ran.status == 0 and ran.result["ok"]


def test_the_option_after_the_verb_counts(run, fake, monkeypatch):
    monkeypatch.setenv("STM32UP_PORT", "/dev/none")
    assert run("--port", "/dev/nothing", "status", "--port", fake.port).status == 0
    assert run("status", "--port", fake.port).status == 0
    assert "/dev/none" in one_line(run("status"), 3)
    assert "there is no board none" in one_line(run("status", "--board", "none"), 2)


def test_options_of_the_simulation_add_up(run, fake):
    ran = run("--sim-option", "a=1", "status", "--sim-option", "nonsense", "--port", fake.port)
    assert "nonsense is not NAME=VALUE" in one_line(ran, 2)
    ran = run("status", "--sim-option", "loader=11.3", "--port", fake.port)
    assert "--sim-option is for a simulated board" in one_line(ran, 2)


def test_an_error_after_the_verb_is_json_where_that_was_asked_for(run):
    ran = run("status", "--port", "/dev/none", "--json")
    assert ran.status == 3 and ran.result["error"] == "no-board"


def test_every_verb_tells_of_these_options(run):
    for verb in (["status"], ["image", "build"], ["provision"], ["unprotect"]):
        out = run(*verb, "-h").out
        assert all(option in out for option in ("--port", "--board", "--json")), verb


def test_the_command_is_also_a_module():
    command = [sys.executable, "-m", "stm32up", "--version"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0 and ran.stdout.startswith("stm32up, version")


def test_image_show_names_the_product(run, tmp_path, payload):
    (tmp_path / "app.bin").write_bytes(payload)
    board = tmp_path / "mine"
    board.mkdir()
    toml = (boards.BOARDS / "pico_nucleo_g071rb" / "board.toml").read_text()
    known = boards.load("pico_nucleo_g071rb").product
    (board / "board.toml").write_text(toml.replace(f'"{known}"', '"kettle"'))
    for product, named in ((known, known), ("kettle", "not one of the known boards")):
        target = tmp_path / f"{product}.img"
        build = ["image", "build", tmp_path / "app.bin", "--version", "1.4.2"]
        assert run(*build, "--product", product, "-o", target).status == 0
        assert f"product    {named}" in run("image", "show", target).out
    assert run("image", "show", target, "--board", board, "--json").result["product"] == "kettle"
    assert "product    kettle" in run("image", "show", target, "--board", board).out


def test_image_verify_refuses_another_product_than_that_of_the_named_board(run, tmp_path, payload):
    (tmp_path / "app.bin").write_bytes(payload)
    target = tmp_path / "app.img"
    build = ("image", "build", tmp_path / "app.bin", "--version", "1.0.0", "-o", target)
    assert run(*build, "--product", "kettle").status == 0
    said = "takes only images for nucleo-demo"
    ran = run("image", "verify", target)
    assert ran.status == 0 and said in " ".join(ran.out.split())
    assert said in one_line(run("--board", "esp32_nucleo_g071rb", "image", "verify", target), 1)


def test_help_is_not_an_error(run):
    assert run("--help").status == 0
    assert run("image", "build", "-h").status == 0
    assert run("--version").status == 0


# The simulated board, played by a small program

FAKE_SIM = """
import json, sys, threading
from pathlib import Path
from tests.host_tools.fake_board import FakeBoard
arguments = sys.argv[1:]
state = Path(arguments[arguments.index("--state") + 1])
assert json.loads(Path(arguments[arguments.index("--board") + 1]).read_text())["host"] == "rp2"
board = FakeBoard(state)
print(json.dumps({"port": board.port, "arguments": arguments}), flush=True)
sys.stdin.read()
if "fault=told@1" in arguments:
    print(json.dumps({"faults": ["write at 0x20009000"]}), flush=True)
(state / "ended").write_text("")
"""


@pytest.fixture
def fake_sim(monkeypatch):
    """Replaces `python -m stm32sim.process`."""
    real = simulation.started

    def started(port, board, options=(), command=None):
        return real(port, board, options, command or (sys.executable, "-c", FAKE_SIM))

    monkeypatch.setattr(simulation, "started", started)


@pytest.mark.posix
def test_a_fresh_simulated_board_gets_the_updater_and_ends_with_the_command(
    run, fake_sim, tmp_path
):
    state = tmp_path / "state"
    first = run("--port", f"sim:{state}", "--json", "status")
    assert first.status == 0
    assert any(event.get("phase") == "deploy" for event in first.events)
    assert (state / "lib" / "stm32_updater").is_dir()
    assert (state / "ended").exists()
    second = run("--port", f"sim:{state}", "--json", "status")
    assert [event["event"] for event in second.events] == ["result"]  # deployed already


@pytest.mark.posix
def test_the_fault_of_a_simulated_application_is_a_note_before_the_result(run, fake_sim, tmp_path):
    ran = run("--port", f"sim:{tmp_path}", "--sim-option", "fault=told@1", "--json", "status")
    noted = [event["text"] for event in ran.events if event["event"] == "note"]
    assert noted == ["the simulated application ended by a fault: write at 0x20009000"]
    deployed = {"event": "deployed", "needs": "stm32up deploy"}
    assert deployed in ran.events
    assert ran.events[-1]["event"] == "result" and ran.status == 0


@pytest.mark.posix
def test_a_blank_simulated_board_stays_blank(run, fake_sim, tmp_path):
    state = tmp_path / "state"
    blank = ("--sim-option", "blank-host=1")
    assert run("--port", f"sim:{state}", *blank, "--json", "status").status == 0
    assert {path.name for path in state.iterdir()} == {"ended"}


@pytest.mark.posix
def test_a_simulation_that_does_not_start_is_one_line(run, monkeypatch):
    real = simulation.started
    for program in ("import sys; sys.exit('no such thing')", "print('hello')"):
        command = (sys.executable, "-c", program)
        monkeypatch.setattr(simulation, "started", lambda p, b, o=(), c=command: real(p, b, o, c))
        message = one_line(run("--port", "sim", "status"), 3)
        assert "no such thing" in message or "hello" in message
    monkeypatch.setattr(simulation, "started", real)
    assert "12.7" in one_line(run("--port", "sim", "--sim-option", "loader=12.7", "status"), 2)


@pytest.mark.posix
def test_ctrl_c_is_one_line_and_status_130(fake, image):
    busy, ended = threading.Event(), threading.Event()

    def work(code: str) -> None:
        if "events()" in code:
            busy.set()
            ended.wait()

    fake.before_exec = work
    command = [sys.executable, "-m", "stm32up", "--port", fake.port, "--json", "update", image]
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert busy.wait(SAFETY_NET_S)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SAFETY_NET_S)
    finally:
        ended.set()
        process.kill()
    assert process.returncode == 130
    assert err == "error: interrupted. Run it again: it continues where it stopped.\n"
    assert "pushed" in out and json.loads(out.splitlines()[-1])["ok"] is False


def test_the_same_image_verified_here_is_what_the_board_got(run, fake, image):
    run("--port", fake.port, "push", image)
    got = fake.file("/updater/inbox/app.img")
    assert images.verify(got)["version"] == "1.4.2"
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    assert run("--port", fake.port, "--json", "push", image).result["sha256"] == digest


@pytest.mark.slow
@pytest.mark.posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_simulate_prints_its_port_and_ends_cleanly(tmp_path, number):
    program = (
        "import sys; from stm32up.cli import main; from stm32up.host import simulation\n"
        "real = simulation.started\n"
        f"command = (sys.executable, '-c', {FAKE_SIM!r})\n"
        "simulation.started = lambda p, b, o=(): real(p, b, o, command)\n"
        f"sys.exit(main.run(['--json', 'simulate', '--dir', {str(tmp_path / 'state')!r}]))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    event: dict[str, str] = {}
    while event.get("event") != "port":
        event = json.loads(process.stdout.readline())
    assert event["port"].startswith("socket://")
    process.send_signal(number)
    out, _ = process.communicate(timeout=SAFETY_NET_S)
    assert process.returncode == 0
    assert json.loads(out) == {"event": "result", "ok": True, "status": "stopped"}
    assert (tmp_path / "state" / "ended").exists()
