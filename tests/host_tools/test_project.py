"""The project itself: what `make lint` finds, and what no file may contain."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
STUBS = PROJECT / ".venv" / "stubs"

DEVICE_CODE = """
import hashlib
import os
import time
import machine
from machine import I2C, Pin
from micropython import const

_ADDRESS = const(0x51)


def ask(deadline_ms, data):
    i2c = machine.I2C(0, scl=Pin(5), sda=Pin(4), freq=400_000, timeout=50_000)
    start = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), start) < deadline_ms:
        if i2c.writeto(_ADDRESS, data) == len(data):
            break
        time.sleep_ms(1)
    os.rename("a", "b")
    return hashlib.sha256(data).digest()
"""
MISTAKES = [
    ("i2c.writeto(", "i2c.writetoo("),
    ("i2c.writeto(_ADDRESS, data)", "i2c.writeto()"),
    ("time.sleep_ms(1)", "time.sleep_millis(1)"),
    ("time.sleep_ms(1)", 'time.sleep_ms("1")'),
    ("import time", "import time, tomllib"),
    ("os.rename", "os.renamed"),
    ("hashlib.sha256", "hashlib.sha512"),
]


def lint(port: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--silent", f"lint-device-{port}", f"DEVICE_CODE={path}"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.skipif(not STUBS.is_dir(), reason="make lint has not installed the stubs")
@pytest.mark.parametrize("port", ["rp2", "esp32"])
def test_lint_passes_good_device_code_and_catches_wrong_calls(tmp_path, port):
    path = tmp_path / "device_code.py"
    path.write_text(DEVICE_CODE)
    passed = lint(port, path)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    for good, bad in MISTAKES:
        assert good in DEVICE_CODE
        path.write_text(DEVICE_CODE.replace(good, bad))
        failed = lint(port, path)
        assert failed.returncode != 0, f"not caught on {port}: {bad}"
        assert "device_code.py" in failed.stdout


def test_every_dependency_is_pinned_and_explained():
    text = (PROJECT / "pyproject.toml").read_text()
    content = tomllib.loads(text)
    project = content["project"]
    wanted = sum(project["optional-dependencies"].values(), project["dependencies"])
    wanted.remove("stm32up[sim]")  # an extra of its own
    for dependency in wanted:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", dependency)
        line = next(line for line in text.splitlines() if f'"{dependency}"' in line)
        assert "#" in line, f"{dependency}: say what it is for"
    assert all("==" in requirement for requirement in content["build-system"]["requires"])


def _tracked_files() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (PROJECT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        [git, "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    return [PROJECT / name for name in listed.stdout.split("\0") if name]


def test_no_file_names_a_registry_or_a_home_folder():
    pattern = re.compile(
        rb"registry\.npmjs|files\.pythonhosted|pypi\.org/simple|/home/\w+/|/root/"
    )
    for path in _tracked_files():
        if path.is_file() and path != Path(__file__):
            found = pattern.search(path.read_bytes())
            assert not found, f"{path.relative_to(PROJECT)}: {found and found[0]!r}"
