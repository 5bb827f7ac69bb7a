"""The commands in the README run, and its table of commands is complete. test_documents.py has the
tests for all documents."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from stm32up.cli import main
from stm32up.say import output

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
FOLDERS = "benchmarks|boards|docs|examples|firmware|host_tools|pictures|tests"


def blocks(kind: str, page: str = README) -> list[str]:
    """The fenced blocks with this info string."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def parse(arguments: list[str]) -> str:
    """The verb that these arguments call. Raises click.ClickException; runs nothing."""
    command: click.Command = main.cli
    context = command.make_context("stm32up", arguments, obj=output.JsonOutput())
    names = []
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, found, rest = command.resolve_command(context, rest)
        assert name is not None and found is not None
        names.append(name)
        command = found
        context = command.make_context(name, rest, parent=context)
    return " ".join(names)


def verbs(group: click.Group, prefix: str = "") -> set[str]:
    found = set()
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= verbs(command, f"{name} ")
        else:
            found.add(prefix + name)
    return found


def test_the_table_of_commands_is_complete():
    table = README.partition("| verb | what |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    shown = [code for cell in cells for code in re.findall(r"`([^`]*)`", cell)]
    listed = {re.sub(r" -?-?[A-Z-].*| IMAGE", "", code) for code in shown}
    assert listed == verbs(main.cli)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="the blocks are for a shell")
def test_what_is_shown_on_the_simulated_board_works(tmp_path):
    """In a folder that looks like a clone, so that nothing is left in the real one."""
    (tmp_path / "boards").symlink_to(PROJECT / "boards")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    script = "\n".join(blocks("sh sim"))
    ran = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    assert ran.stdout.count("installed 1.0.0 in ") == 2
    assert (tmp_path / "build" / "log.jsonl").stat().st_size
