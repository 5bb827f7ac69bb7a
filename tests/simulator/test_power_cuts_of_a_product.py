"""The rig on a user's product: the example, and programs with faults."""

from __future__ import annotations

import json
import re
import runpy
from dataclasses import replace
from types import SimpleNamespace

import pytest

from stm32sim.cuts import command, product, rig
from stm32sim.cuts.campaign import Campaign, explore
from stm32sim.cuts.judge import Kind
from stm32up.board import boards
from stm32up.board.model import Board
from stm32up.device import PROJECT
from tests.support import image, payload

EXAMPLE = PROJECT / "examples" / "power_cuts_of_my_product"
OLD, NEW = payload(1500, 1), payload(1500, 2)
THIN = Campaign({rig.BYTE: 499, rig.FRAME: 97, rig.TARGET_FLASH: 211, rig.HOST_FLASH: 13})
ONCE = "from stm32_updater import Updater\nUpdater.from_board('/board.json').run()\n"


@pytest.fixture(scope="module")
def example():
    return SimpleNamespace(**runpy.run_path(str(EXAMPLE / "power_cuts.py")))


@pytest.fixture
def my_product(example, tmp_path):
    """A scenario with this main.py, and small images."""

    def make(main: str, described: Board = example.BOARD) -> rig.Scenario:
        (tmp_path / "main.py").write_text(main)
        board = described.as_json() | {"class_id": None}
        return product(
            "mine", tmp_path / "main.py", board, image(OLD, "1.0.0"), image(NEW, "1.1.0")
        )

    return make


def violations(case: rig.Case) -> list[tuple[Kind, str]]:
    return [(violation.kind, violation.text) for violation in case.verdict.violations]


def test_the_example_survives_a_cut_anywhere(example, my_product):
    cases = explore(my_product((EXAMPLE / "main.py").read_text()), THIN)
    assert len(cases) > 25 and {case.place for case in cases} == set(rig.PLACES)
    assert [case.id for case in cases if case.verdict.violations] == []


def test_a_product_on_a_uart_survives_a_cut_anywhere(my_product):
    board = boards.load("pico_nucleo_g071rb_uart")
    cases = explore(my_product((EXAMPLE / "main.py").read_text(), board), THIN)
    assert len(cases) > 20
    assert [case.id for case in cases if case.verdict.violations] == []


def test_the_example_runs_as_a_program_and_replays_a_case(example, capsys):
    assert example.command.main(example.SCENARIOS, "it", ["my-product/both@1500"]) == 0
    told, _, _ = capsys.readouterr().out.partition('{\n "settled_on": "new"')
    result = json.loads(told.splitlines()[-1])
    assert result["event"] == "result" and result["ok"]


@pytest.mark.parametrize("case", ["yours/both@1500", "my-product", "my-product/both@99999999"])
def test_a_case_that_cuts_nothing_is_refused(example, case):
    assert example.command.main(example.SCENARIOS, "it", [case]) == 2


@pytest.mark.parametrize(
    ("main", "what"),
    [
        (ONCE + "raise ValueError('mine')\n", "raised ValueError('mine')"),
        ("import time\nwhile True:\n    time.sleep(1)\n", "no result in 120 s"),
        ("print('nothing')\n", "main.py ended"),
    ],
)
def test_a_program_that_does_not_begin_is_told(my_product, main, what):
    with pytest.raises(rig.CannotBegin, match=re.escape(what)):
        my_product(main).build()


def test_a_program_that_gives_up_after_a_failure_is_found(my_product):
    """The updater reports a target without supply; nothing tries again."""
    scenario = my_product(ONCE)
    cases = [rig.replay(scenario, [rig.Cut(rig.TARGET, at)]) for at in (2000, 2600)]
    assert [kind for kind, _ in violations(cases[0])] == [Kind.UNRECOVERED]
    assert "main.py ended" in violations(cases[0])[0][1]


def test_a_board_with_another_chip_is_refused(example):
    board = example.BOARD.as_json() | {"chip": "STM32C031C6"}
    with pytest.raises(ValueError, match="STM32G071RB, not an STM32C031C6"):
        product("other", EXAMPLE / "main.py", board, b"", b"")


def test_the_program_prints_a_table_and_what_replays_a_violation(my_product, capsys):
    scenarios = {"mine": my_product(ONCE)}
    assert command.main(scenarios, "python it.py", ["--every", "300", "--jobs", "1"]) == 1
    told = capsys.readouterr().out
    assert "One cut" in told and "unrecovered" in told
    case = re.search(r"^    python it.py (mine/\S+)$", told, re.MULTILINE)
    assert case is not None
    assert command.main(scenarios, "python it.py", [case[1]]) == 1
    assert '"kind": "unrecovered"' in capsys.readouterr().out


def test_a_host_that_goes_down_before_any_cut_is_told(my_product):
    scenario = my_product((EXAMPLE / "main.py").read_text())

    def build():
        bench = scenario.build()
        bench.clock.after(1000, lambda: bench.world.call("reset"))
        return bench

    broken = replace(scenario, build=build)
    with pytest.raises(rig.CannotBegin, match="before the first cut"):
        explore(broken, THIN)
    with pytest.raises(rig.CannotBegin, match="before the first cut"):
        rig.replay(broken, [rig.Cut(rig.BOTH, 9999)])
