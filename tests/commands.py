"""The verbs of stm32up, as click knows them."""

from __future__ import annotations

import click

from stm32up.cli import main
from stm32up.say import output


def parse(arguments: list[str]) -> str:
    """The verb that these arguments call. Raises click.ClickException; runs nothing."""
    command: click.Command = main.cli
    made = command.make_context("stm32up", arguments, obj=output.JsonOutput())
    names = []
    while isinstance(command, click.Group):
        rest = [*made._protected_args, *made.args]
        name, found, rest = command.resolve_command(made, rest)
        assert name is not None and found is not None
        names.append(name)
        command = found
        made = command.make_context(name, rest, parent=made)
    return " ".join(names)


def verbs(group: click.Group = main.cli, prefix: str = "") -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= verbs(command, f"{name} ")
        else:
            found[prefix + name] = command
    return found
