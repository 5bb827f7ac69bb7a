"""The tool notices the same as the tests, and changes nothing."""

from __future__ import annotations

import fcntl
import json
import math
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants import __main__ as tool
from tests.mutants.conftest import IMPORTED
from tests.mutants.operators import mutants_of
from tests.mutants.recording import Recording
from tests.mutants.survivors import listed

CALC = '''\
"""A module."""


def add(a, b):
    """Their sum."""
    return a + b


def unused(a):
    return a - 1


def countdown(n):
    while n:
        n -= 1
    return n


def seen_by_a_process():
    print(7 * 6)
'''
TESTS = """\
import subprocess
import sys


def load():
    from package import calc
    return calc


def test_add():
    assert load().add(2, 3) == 5


def test_countdown():
    assert load().countdown(3) == 0


def test_in_a_process():
    code = "from package.calc import seen_by_a_process as it; it()"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).stdout == b"42\\n"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tool.Project:
    """A small one, with a module and its tests."""
    monkeypatch.setenv("MUTANTS_CPU_SECONDS", "0.2")
    for path, content in {
        "firmware/package/__init__.py": "",
        "firmware/package/calc.py": CALC,
        "tests/test_calc.py": TESTS,
        "pyproject.toml": "[tool.pytest.ini_options]\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    return tool.Project(tmp_path, ["firmware/package/calc.py"], tmp_path / "survivors.toml")


def run(project: tool.Project, *arguments: str) -> tuple[int, dict[tuple[str, str], dict]]:
    """The exit status, and what came of each mutant by (function, changed line)."""
    status = tool.main(["--sample", "0", "--jobs", "1", *arguments], project)
    report = json.loads((project.root / "build" / "mutants.json").read_text())
    return status, {(found["function"], found["new"]): found for found in report["mutants"]}


def test_a_mutant_is_killed_survives_or_runs_out_of_time(project, capsys):
    before = {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()}
    status, found = run(project)
    killed = found["add", "return a - b"]
    assert (killed["status"], killed["how"]) == ("killed", "failed")
    assert killed["by"] == "tests/test_calc.py::test_add"
    endless = found["countdown", "n += 1"]
    assert (endless["status"], endless["how"]) == ("killed", "time")
    assert found["seen_by_a_process", "print(7 // 6)"]["status"] == "killed"
    survivor = found["unused", "return a + 1"]
    assert survivor["status"] == "survived" and status == 1
    assert f"make mutants ONLY={survivor['id']}" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before, "the project is not altered"


def test_a_mutant_that_no_test_reaches_survives(project):
    (project.root / "tests" / "test_calc.py").write_text(TESTS.partition("def test_in_a")[0])
    _, found = run(project)
    assert found["add", "return a - b"]["status"] == "killed"
    assert found["unused", "return a + 1"]["status"] == "survived"


def test_a_listed_survivor_counts_as_what_it_is_and_is_not_tried(project):
    entry = '[[survivor]]\nmodule = "calc"\nfunction = "unused"\nreason = "as the test says"\n'
    line = 'old = "return a - 1"\nkind = "equivalent"\n'
    project.survivors.write_text(entry + line)
    status, found = run(project, "--sample", "1000")
    assert {f["status"] for f in found.values() if f["function"] == "unused"} == {"equivalent"}
    survived = [f for f in found.values() if f["status"] == "survived"]
    assert survived == [] and status == 0
    project.survivors.write_text(entry + line.replace("equivalent", "accepted"))
    status, found = run(project)
    assert {f["status"] for f in found.values() if f["function"] == "unused"} == {"accepted"}
    assert status == 1, "they are more than 5 %"


def test_an_entry_that_no_mutant_matches_fails_the_run(project, capsys):
    project.survivors.write_text(
        '[[survivor]]\nmodule = "calc"\nfunction = "gone"\nold = "return 1"\n'
        'kind = "equivalent"\nreason = "it was"\n'
    )
    status, _ = run(project, "--only", mutant_id(project, "return a - b"))
    assert status == 1 and "there is no such mutant: calc gone" in capsys.readouterr().out


@pytest.mark.parametrize(
    "entry", ['kind = "fine"\nreason = "x"', 'kind = "accepted"\nreason = " "']
)
def test_an_entry_without_kind_or_reason_is_refused(project, entry):
    project.survivors.write_text(
        f'[[survivor]]\nmodule = "calc"\nfunction = "add"\nold = "return a + b"\n{entry}\n'
    )
    with pytest.raises(ValueError, match="no kind or no reason"):
        tool.main([], project)


def test_a_run_goes_on_where_the_last_one_ended_until_something_changes(project):
    kept = project.place / "results.jsonl"

    def tried(*arguments: str) -> int:
        before = len(kept.read_text().splitlines()) if kept.exists() else 0
        run(project, *arguments)
        return len(kept.read_text().splitlines()) - before

    total = len(project.mutants())
    assert tried("--sample", "4") == 4
    assert tried() == total - 4 and tried() == 0
    (project.root / "tests" / "test_more.py").write_text("def test_nothing():\n    pass\n")
    survived = sum(f["status"] == "survived" for f in run(project)[1].values())
    assert 0 < survived < total and tried() == 0
    source = project.root / project.modules[0]
    source.write_text(source.read_text() + "# changed\n")
    assert tried() == total


def test_a_test_that_fails_without_a_mutant_notices_none(project, capsys):
    """But one that only the recording disturbs does."""
    (project.root / "tests" / "test_calc.py").write_text(
        "import builtins\n"
        "def test_broken():\n"
        "    assert False\n"
        "def test_disturbed():\n"
        "    assert builtins.compile.__name__ == 'compile'\n"
        "    from package.calc import add\n"
        "    assert add(2, 3) == 5\n"
    )
    _, found = run(project)
    assert found["add", "return a - b"]["by"] == "tests/test_calc.py::test_disturbed"
    assert found["countdown", "n += 1"]["status"] == "survived"
    told = capsys.readouterr().out
    assert "left out, it fails without a mutant: tests/test_calc.py::test_broken" in told


def test_one_mutant_is_replayed_by_its_name_although_its_result_is_known(project, capsys):
    name = mutant_id(project, "return a - b")
    for _ in range(2):
        status, found = run(project, "--only", name)
        assert status == 0 and list(found) == [("add", "return a - b")]
        assert "test_add" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no such mutant: calc-0"):
        run(project, "--only", "calc-0")


def test_two_runs_do_not_disturb_each_other(project):
    project.place.mkdir(parents=True)
    with (project.place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SystemExit, match="another run uses"):
            run(project)
    assert run(project, "--only", mutant_id(project, "return a - b"))[0] == 0


def mutant_id(project: tool.Project, new: str) -> str:
    (mutant,) = (mutant for mutant in project.mutants() if mutant.new == new)
    return mutant.id


# --- the changes ---


def changes(source: str) -> set[str]:
    return {mutant.new for mutant in mutants_of("m.py", source)}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("x = a < b", {"x = a <= b", "x = a >= b"}),
        ("x = (a) is not (b)", {"x = (a) is (b)"}),
        ("x = a and b or c", {"x = a or b or c", "x = a and b and c"}),
        ("x = not a", {"x = a"}),
        ("x = 3", {"x = 4", "x = 2"}),
        ("x = 100", {"x = 200", "x = 50"}),
        ("x = True", {"x = False"}),
        ("x = 'key'", {"x = 'keyx'"}),
        ("x = b'a'", {"x = b'`'"}),
        ("x += y", {"x -= y", "pass"}),
        ("f(x)", {"pass"}),
        ("a.b = c", {"pass"}),
        ("def f():\n    return x", {"return None"}),
        ("def f():\n    raise x", {"pass"}),
        ("while a:\n    break", {"while False:", "continue"}),
        ("x = y if a else z", {"x = y if True else z", "x = y if False else z"}),
        ("x = [a for a in b if a.c]", {"x = [a for a in b if True]"}),
        (
            "try:\n    x\nexcept (A, B):\n    y",
            {"except ():", "except (A,):", "except (B,):"},
        ),
    ],
)
def test_each_kind_of_change(source, wanted):
    assert changes(source) == wanted


@pytest.mark.parametrize(
    "source", ['"""Text."""', "x = 'a text for people'", "x = 'at %s' % y", "import a", "x = y"]
)
def test_what_no_behaviour_depends_on_is_not_changed(source):
    assert changes(source) == set()


@pytest.mark.parametrize("module", tool.OURS.modules)
def test_every_mutant_compiles_and_keeps_its_line_numbers_and_has_a_name_of_its_own(module):
    source = (tool.OURS.root / module).read_text()
    mutants = mutants_of(module, source)
    assert len(mutants) > 30
    assert len({mutant.id for mutant in mutants}) == len(mutants)
    for mutant in mutants:
        changed = mutant.applied(source)
        compile(changed, module, "exec")
        assert changed != source and changed.count("\n") == source.count("\n")


def test_every_listed_survivor_is_a_mutant_of_the_code_as_it_is():
    mutants = tool.OURS.mutants()
    stale = [entry for entry in listed(tool.OURS.survivors) if not any(map(entry.covers, mutants))]
    assert stale == []


def test_no_test_imports_what_is_changed_before_it_runs(request):
    """It would not see the mutant. An import belongs into a fixture."""
    assert request.config.stash[IMPORTED] == []


def test_fast_tests_that_killed_neighbours_come_first_and_no_more_than_asked():
    mutant = next(iter(mutants_of("calc.py", CALC)))
    seconds = {"fast": 1.0, "slow": 3.0, "near": 5.0, "elsewhere": 0.5}
    reaching = {(mutant.module, mutant.line): ["slow", "fast", "near"]}
    recording = Recording(seconds, reaching, ["elsewhere", "near"], [])
    in_turn = recording.tests_for(mutant, Counter(near=2), math.inf)
    assert [test for test, _ in in_turn] == ["near", "fast", "slow", "elsewhere"]
    assert recording.tests_for(mutant, Counter(near=2), 6.0) == in_turn[:2]


def test_a_mutant_keeps_its_name_when_lines_move():
    source = "def f(a):\n    return a + 1\n"
    before = {mutant.id for mutant in mutants_of("m.py", source)}
    assert {mutant.id for mutant in mutants_of("m.py", f"import x\n\n\n{source}")} == before
