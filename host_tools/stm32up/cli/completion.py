"""`completion`, and what a shell gets that asks for completions.

click makes the scripts and answers them: a shell runs `stm32up` with VARIABLE set.
"""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class, shell_complete

from stm32up.cli import project_file
from stm32up.cli.context import Context, Verb
from stm32up.errors import UsageError

VARIABLE = "_STM32UP_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
_PROGRAM = "stm32up"


@click.command("completion", cls=Verb)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_obj
def completion_command(context: Context, shell: str) -> None:
    """Print a script that makes a shell complete verbs, options, boards, ports and files.

    bash and zsh: put eval "$(stm32up completion bash)" into ~/.bashrc, or zsh and ~/.zshrc.
    fish: write the output to ~/.config/fish/completions/stm32up.fish.
    """
    script = script_for(shell, click.get_current_context().find_root().command)
    if context.as_json:
        context.output.result("completion", {"status": "printed", "lines": script.splitlines()})
    else:
        click.echo(script, nl=False)


def script_for(shell: str, command: click.Command) -> str:
    completer = get_completion_class(shell)
    assert completer is not None
    return completer(command, {}, _PROGRAM, VARIABLE).source()


def answer(command: click.Command) -> int:
    """Answer a shell that asks for completions, and return the exit status."""
    return shell_complete(command, arguments(), _PROGRAM, VARIABLE, os.environ[VARIABLE])


def arguments() -> dict[str, object]:
    """What the command gets while it completes; a mistake in stm32up.toml is not for now."""
    try:
        given = project_file.load(Path.cwd())
    except UsageError:
        given = project_file.Settings()
    return {"obj": Context(settings=given), "default_map": given.defaults}
