"""`torture`: the power fails at every event of an update of one's own product."""

from __future__ import annotations

import pytest

from stm32up.board import boards
from tests.host_tools.test_cli import one_line
from tests.support import image, payload

pytestmark = [pytest.mark.posix, pytest.mark.slow]
PRODUCT = boards.load("pico_nucleo_g071rb").product
ONCE = "from stm32_updater import Updater\nUpdater.from_board('/board.json').run()\n"


@pytest.fixture
def torture(run, tmp_path, monkeypatch):
    """Runs the verb for an update between two small images."""
    monkeypatch.chdir(tmp_path)
    for seed, (name, version) in enumerate((("old.img", "1.0.0"), ("new.img", "1.1.0")), 1):
        (tmp_path / name).write_bytes(image(payload(1500, seed), version, product=PRODUCT))
    toml = (boards.BOARDS / "pico_nucleo_g071rb" / "board.toml").read_text()
    (tmp_path / "other.toml").write_text(toml.replace('"nucleo-demo"', '"kettle"'))
    (tmp_path / "once.py").write_text(ONCE)
    monkeypatch.setattr("sys.argv", ["stm32up", "torture", "old.img", "new.img"])
    return lambda *options: run("torture", "old.img", "new.img", *options)


def test_the_program_of_deploy_survives_and_the_cuts_are_counted(torture):
    ran = torture("--every", "499", "--jobs", "1", "--json")
    assert ran.status == 0, ran.err
    result = ran.result
    assert result["cuts"] == result["new"] + result["old"] > 20
    assert result["violations"] == [] and 0 < result["slowest_ms"] < 60_000
    assert [event["done"] for event in ran.events if event["event"] == "progress"][-1] == 8


def test_a_program_that_gives_up_is_found_and_its_cut_can_be_repeated(torture):
    ran = torture("--main", "once.py", "--every", "300", "--jobs", "1", "--json")
    assert ran.status == 1 and ran.result["error"] == "power-cuts"
    cut = ran.result["violations"][0]["cut"]
    assert ran.result["next_step"].endswith(f"--only {cut}")
    again = torture("--main", "once.py", "--only", cut)
    assert again.status == 1 and "main.py ended" in again.err.replace("once.py", "main.py")
    assert f"the power fails at {cut}" in again.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "both@999999"], "the update ended before that event"),
        (["--only", "x"], "write CUT@N, such as both@1411"),
        (["--main", "none.py"], "there is no program none.py"),
        (["--board", "pico_nucleo_c031c6"], "chip"),
        (["--board", "other.toml"], "its product is nucleo-demo, and"),
    ],
)
def test_what_cannot_be_cut_is_one_line(torture, options, said):
    ran = torture(*options)
    assert ran.status in (1, 2) and said in one_line(ran, ran.status)
