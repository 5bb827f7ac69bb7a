"""provision, unprotect and deploy --bench: nothing dangerous is sent without confirmation, and
nothing of the bench stays on a product."""

from __future__ import annotations

import ast
import io
import re
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from stm32up import device
from stm32up.host import paths
from stm32up.say import tables

FIELDS = [
    {"name": "RDP", "low": 0, "width": 8, "before": 0xAA, "after": 0xAA},
    {"name": "nBOOT_SEL", "low": 24, "width": 1, "before": 1, "after": 0},
    {"name": "BORR_LEV", "low": 9, "width": 2, "before": 3, "after": 1},
]
PLAN: Any = {
    "event": "result",
    "ok": True,
    "status": "planned",
    "chip": "STM32G071RB",
    "before": "0xFFFFFEAA",
    "after": "0xFEFFFEAA",
    "fields": FIELDS,
    "supply": False,
}
NOTHING_TO_DO = {"event": "result", "ok": True, "status": "nothing-to-do", "before": "0xFEFFFEAA"}
DONE = {"event": "result", "ok": True, "status": "provisioned", "after": "0xFEFFFEAA"}
OPENED = {"event": "result", "ok": True, "status": "unprotected", "blank": True}


class FakeProcedure:
    """Replaces the device's Provision or Unprotect."""

    def __init__(self, planned: Any, done: Any) -> None:
        self.planned, self.done = planned, done
        self.wishes: dict[str, Any] = {}
        self.applied: list[Any] = []

    def from_board(self, path: str, feed: Any = None) -> FakeProcedure:
        return self

    def plan(self, **wishes: Any) -> list[Any]:
        self.wishes = wishes
        return [self.planned]

    def apply(self, plan: Any) -> list[Any]:
        self.applied.append(plan)
        return [{"event": "seen", "what": "ack", "ms": 500}, self.done]


@pytest.fixture
def bench(fake):
    fake.bench = SimpleNamespace(
        Provision=FakeProcedure(PLAN, DONE),
        Unprotect=FakeProcedure({**PLAN, "command": "0x93"}, OPENED),
    )
    return fake


def applied(bench):
    return bench.bench.Provision.applied + bench.bench.Unprotect.applied


@pytest.mark.parametrize("verb", ["provision", "unprotect"])
def test_where_nobody_can_be_asked_nothing_is_even_planned(run, bench, monkeypatch, verb):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    ran = run("--port", bench.port, verb)
    assert ran.status == 2 and "nothing was sent" in ran.err and "--yes" in ran.err
    assert bench.executed == []


@pytest.mark.parametrize("verb", ["provision", "unprotect"])
def test_a_program_that_reads_json_is_not_asked(run, bench, terminal, verb):
    terminal("provision")
    ran = run("--port", bench.port, "--json", verb)
    assert ran.status == 2 and ran.result["error"] == "usage"
    assert bench.executed == []


@pytest.mark.parametrize("line", ["", "y", "yes", "Provision", "erase"])
def test_another_word_ends_it_after_the_plan(run, bench, terminal, line):
    terminal(line)
    ran = run("--port", bench.port, "provision")
    assert ran.status == 2 and "nothing was changed" in ran.err
    assert applied(bench) == []
    assert "apply" not in bench.executed[-1]  # the plan was the last message to the board


def test_the_word_typed_sends_the_plan_that_was_shown(run, bench, terminal):
    terminal("provision")
    ran = run("--port", bench.port, "provision", "--bor", "2")
    assert ran.status == 0, ran.err
    assert bench.bench.Provision.wishes == {"bor": 2}
    assert applied(bench) == [{k: v for k, v in PLAN.items() if k not in ("event", "ok")}]
    assert "must stay on and steady" in ran.out and "measure it yourself" in ran.out
    assert "nBOOT_SEL  1 -> 0" in ran.out and "BOOT0 pin is used" in ran.out
    assert ran.out.splitlines()[-1].startswith("provisioned: OPTR is 0xFEFFFEAA")


def test_unprotect_says_that_it_erases_and_wants_that_word(run, bench, terminal):
    terminal("provision")
    assert run("--port", bench.port, "unprotect").status == 2
    terminal("erase")
    ran = run("--port", bench.port, "unprotect")
    assert ran.status == 0 and "erases all" in ran.out and "stm32up update" in ran.out
    assert len(applied(bench)) == 1


@pytest.mark.parametrize("verb", ["provision", "unprotect"])
def test_a_production_line_says_yes_beforehand(run, bench, verb):
    ran = run("--port", bench.port, "--json", verb, "--yes")
    assert ran.status == 0 and ran.result["ok"]
    assert [event["event"] for event in ran.events] == ["plan", "seen", "result"]
    assert len(applied(bench)) == 1


def test_giving_the_target_up_takes_a_word_before_anything_is_sent(run, bench, terminal):
    terminal("yes")
    ran = run("--port", bench.port, "unprotect", "--power-cycled")
    assert ran.status == 2 and "locks it permanently" in ran.out and bench.executed == []
    terminal("power-cycled\nerase")
    assert run("--port", bench.port, "unprotect", "--power-cycled").status == 0
    assert bench.bench.Unprotect.wishes == {"power_cycled": True}


@pytest.mark.parametrize(
    ("stated", "status"), [((), 2), (("--supply-mv", "2950"), 2), (("--supply-mv", "3000"), 0)]
)
def test_a_brown_out_level_wants_a_supply_measured_or_stated(run, bench, stated, status):
    level = {"bor_mv": 2900, "needs_mv": 3000, "wishes": {"bor": 4}}
    bench.bench.Provision.planned = {**PLAN, **level}
    ran = run("--port", bench.port, "provision", "--yes", "--bor", "4", *stated)
    assert ran.status == status and len(applied(bench)) == (status == 0)
    if status:
        assert "2900 mV, rising" in ran.err


def test_a_supply_switch_and_a_brown_out_level_are_warned_of(run, bench, terminal):
    terminal("provision")
    level = {"bor_mv": 2900, "needs_mv": 3000, "wishes": {"bor": 4}, "supply_switch": True}
    bench.bench.Provision.planned = {**PLAN, **level}
    ran = run("--port", bench.port, "provision", "--bor", "4")
    assert "2900 mV, rising" in ran.out and "pull-up" in ran.out


def test_nothing_is_installed_where_boot0_would_not_count(run, bench, image):
    bench.bench.Unprotect.done = {**OPENED, "boot0_counts": False}
    ran = run("--port", bench.port, "unprotect", "--yes", "--install", image)
    assert ran.status == 1 and "provision now, while the flash is blank" in ran.err
    assert "/updater/inbox/app.img" not in bench.files()
    ran = run("--port", bench.port, "unprotect", "--yes")
    assert ran.status == 0 and "provision now" in ran.out


def test_nor_if_the_protection_was_gone_before(run, bench, image):
    """The second run of an interrupted verb."""
    bench.bench.Unprotect.planned = {
        **NOTHING_TO_DO,
        "status": "not-protected",
        "boot0_counts": False,
    }
    ran = run("--port", bench.port, "unprotect", "--yes", "--install", image)
    assert ran.status == 1 and "ignores BOOT0" in ran.err
    assert "/updater/inbox/app.img" not in bench.files()


def test_nothing_to_do_asks_nobody(run, bench, terminal):
    terminal("")
    bench.bench.Provision.planned = NOTHING_TO_DO
    ran = run("--port", bench.port, "provision")
    assert ran.status == 0 and "nothing was written" in ran.out
    assert applied(bench) == []


def test_a_failure_is_the_devices_own(run, bench):
    bench.bench.Unprotect.done = {
        "event": "result",
        "ok": False,
        "status": "failed",
        "error": "not-finished",
        "message": "busy",
        "next_step": "wait",
        "stages": [[500, "busy"]],
    }
    ran = run("--port", bench.port, "--json", "unprotect", "--yes")
    assert ran.status == 1
    assert ran.result["error"] == "not-finished" and ran.result["stages"] == [[500, "busy"]]


def test_unprotect_goes_on_to_install(run, bench, image):
    ran = run("--port", bench.port, "--json", "unprotect", "--yes", "--install", image)
    assert ran.status == 0 and ran.result["status"] == "installed"
    assert "/updater/inbox/app.img" in bench.files()


def test_a_bad_image_stops_it_before_anything_is_erased(run, bench, tmp_path):
    (tmp_path / "bad.img").write_bytes(b"no image")
    ran = run("--port", bench.port, "unprotect", "--yes", "--install", tmp_path / "bad.img")
    assert ran.status == 1 and bench.executed == []


def test_a_board_without_the_package_is_told_to_get_it(run, fake):
    ran = run("--port", fake.port, "provision", "--yes")
    assert ran.status == 1 and "stm32up deploy --bench" in ran.err


def test_every_bit_of_the_plan_is_shown_in_80_columns():
    lines = tables.plan(PLAN)
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["7:0", "RDP", "10101010"]
    assert lines[2].startswith("*    24  nBOOT_SEL  1 -> 0")
    assert "10:9  BORR_LEV   11 -> 01" in lines[3]


# --- deployment to a product ---


def bench_files(fake):
    return {path for path in fake.files() if path.startswith("/lib/stm32_bench")}


def test_a_product_has_nothing_of_the_bench(run, fake):
    assert run("--port", fake.port, "deploy").status == 0
    assert bench_files(fake) == set() and not fake.file("/lib/stm32_bench").exists()
    words = [b"stm32_bench", b"unprotect", b"Unprotect", b"write_optr", b"BenchLoader"]
    for path in fake.files():
        if path.endswith(".mpy"):
            code = fake.file(path).read_bytes()
            assert [word for word in words if word in code] == [], path


@pytest.mark.slow
def test_deploying_without_bench_takes_it_away(run, fake):
    assert run("--port", fake.port, "deploy", "--bench").status == 0
    names = {path.stem for path in device.BENCH.glob("*.py")}
    assert bench_files(fake) == {f"/lib/stm32_bench/{name}.mpy" for name in names}
    again = run("--port", fake.port, "--json", "deploy", "--bench").result
    assert again["copied"] == again["removed"] == []
    fake.file("/lib/stm32_bench/loader.py").write_text("# a user's file")
    removed = run("--port", fake.port, "--json", "deploy").result["removed"]
    assert len(removed) == len(names) + 1
    assert not fake.file("/lib/stm32_bench").exists()


@pytest.mark.slow
def test_what_is_unfinished_keeps_its_package(run, fake):
    run("--port", fake.port, "deploy", "--bench")
    fake.file(paths.HANDS_OFF).write_text('{"what": "provision"}')
    before = fake.files()
    ran = run("--port", fake.port, "deploy")
    assert ran.status == 1 and "has not ended" in ran.err
    assert fake.files() == before
    assert run("--port", fake.port, "deploy", "--bench").status == 0


@pytest.mark.parametrize(
    "path",
    [path for package in device.product() for path in device.sources(package)],
    ids=lambda path: f"{path.parent.name}.{path.stem}",
)
def test_the_field_package_does_not_import_the_bench(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not any("bench" in name for name in names)


def test_the_fields_loader_has_no_code_of_a_dangerous_command():
    """AN4221 table 2: those that change option bytes or protection."""
    code = re.compile(r"0x(63|64|73|74|82|83|92|93)\b", re.IGNORECASE)
    assert not code.search((device.ROM / "commands.py").read_text())
    assert code.search((device.BENCH / "loader.py").read_text())


def test_what_mip_installs_is_the_field_package_alone():
    assert "stm32_bench" not in (device.FIRMWARE / "package.json").read_text()
    assert "stm32_bench" not in (device.FIRMWARE / "manifest.py").read_text()
