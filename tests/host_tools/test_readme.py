"""What the README says is so: its commands run, its files and tests exist."""

from __future__ import annotations

import os
import re
import shlex
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
PRODUCT = (PROJECT / "docs" / "product.md").read_text(encoding="utf-8")
FOLDERS = "benchmarks|boards|docs|firmware|host_tools|tests"


def blocks(kind: str, page: str = README) -> list[str]:
    """The fenced blocks with this info string."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def shell_commands() -> list[str]:
    lines = "".join(blocks("sh") + blocks("sh sim")).splitlines()
    return [line for line in lines if line.startswith("stm32up ")]


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


@pytest.mark.parametrize("line", shell_commands())
def test_every_command_can_be_typed_like_that(line):
    arguments = shlex.split(line, comments=True)[1:]
    assert parse(arguments) in verbs(main.cli)


def test_the_table_of_commands_is_complete():
    table = README.partition("| verb | what |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    shown = [code for cell in cells for code in re.findall(r"`([^`]*)`", cell)]
    listed = {re.sub(r" -?-?[A-Z-].*| IMAGE", "", code) for code in shown}
    assert listed == verbs(main.cli)


def test_every_file_that_is_named_exists():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    words = re.findall(rf"`((?:{FOLDERS})/[^`\s]*)`", README)
    words += [
        word
        for block in blocks("sh sim") + blocks("sh")
        for word in block.split()
        if re.match(rf"(?:{FOLDERS})/", word)
    ]
    assert links and words
    for path in links + words:
        assert (PROJECT / path).exists(), path


def test_every_test_that_is_named_exists():
    sources = "\n".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    names = re.findall(r"`(test_\w+)`", README)
    assert names
    for name in names:
        assert f"def {name}(" in sources, name


def test_every_make_target_exists():
    makefile = (PROJECT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("code", blocks("python") + blocks("python", PRODUCT))
def test_the_examples_are_python(code):
    compile(code, "example", "exec")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="the blocks are for a shell")
def test_what_is_shown_on_the_simulated_board_works(tmp_path):
    """In a folder that looks like a clone, so that nothing is left in ours."""
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
