"""The verbs about boards as such: `devices`, `reset`, `console`, `boards list`, `boards new`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stm32up.cli.context import FILE, Context, Verb, Verbs
from stm32up.errors import UsageError
from stm32up.host import AUTO

if TYPE_CHECKING:
    from stm32up.board.template import Draft, Question
    from stm32up.host.transport import Connection


# The questions of `boards new`; board/template.py asks them.
_QUESTIONS = {
    "host": "rp2 or esp32.",
    "chip": "Part number of the target; auto, over I2C: identified by deploy.",
    "link": "i2c or uart.",
    "sda": "Pin of the host, for I2C.",
    "scl": "Pin of the host, for I2C.",
    "frequency": "Of the I2C bus, in Hz.",
    "tx": "Pin of the host, for a UART.",
    "rx": "Pin of the host, for a UART.",
    "baudrate": "Of the UART.",
    "nrst": "Pin of the host.",
    "boot0": "Pin of the host.",
    "heartbeat": "Pin of the host at a line that the application toggles, for a UART.",
    "title": "For people.",
    "product": "Images for another product are refused.",
    "unsigned": "yes: accept unsigned images, for development only.",
}


def _question_options(command: Callable[..., None]) -> Callable[..., None]:
    for name, text in reversed(_QUESTIONS.items()):
        command = click.option(f"--{name}", help=text)(command)
    return command


@click.command("devices", cls=Verb, in_turn=True)
@click.pass_obj
def devices_command(context: Context) -> None:
    """Show which boards are connected: host, unique ID, updater, version on the target.

    Looks at all USB ports, or at those of --port. A program that does not say whether it updates
    its target is interrupted only with --interrupt.
    """
    from stm32up.host import devices

    named = () if context.all_boards or context.ports == (AUTO,) else context.ports
    found = devices.devices(
        lambda: context.board, named, interrupt=context.interrupt, options=context.sim_options
    )
    context.output.result("devices", {"devices": found})


@click.command("reset", cls=Verb, several=True)
@click.option("--hard", is_flag=True, help="As the reset button does: machine.reset().")
@click.pass_obj
def reset_command(context: Context, hard: bool) -> None:
    """Start the board's program again, by a soft reset."""

    def verb(connection: Connection) -> None:
        if hard:
            connection.hard_reset()
        else:
            connection.disturb()

    context.on_board(verb, resume=True, prepare=False)
    context.output.result("reset", {"status": "reset", "hard": hard})


@click.command("console", cls=Verb)
@click.pass_obj
def console_command(context: Context) -> None:
    """Connect this terminal with the board's: its program's output, or its REPL.

    Ctrl-] or Ctrl-X leaves, and the board goes on as it is. Ctrl-C interrupts the program there,
    Ctrl-D at the prompt starts it again.
    """
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise UsageError(
            "the console needs a terminal", "For programs: mpremote exec, mpremote run."
        )
    from stm32up.host import session

    with session.address(
        context.port, context.board, context.output.report, options=context.sim_options
    ) as port:
        click.echo(f"{port}: Ctrl-] or Ctrl-X leaves")
        session.console(port)
    click.echo("")


@click.group("boards", cls=Verbs)
def boards_group() -> None:
    """The descriptions of boards: list them, make one."""


@boards_group.command("list")
@click.pass_obj
def boards_list(context: Context) -> None:
    """Show the boards of this project, and those in ./boards."""
    from stm32up.board import boards

    context.output.result("boards list", {"boards": boards.known()})


@boards_group.command("new")
@click.argument("name")
@click.option("-o", "--output", "folder", type=FILE, help="Default: boards/NAME.")
@_question_options
@click.option("--yes", is_flag=True, help="Take the default of everything that is not given.")
@click.pass_obj
def boards_new(
    context: Context, /, name: str, folder: Path | None, yes: bool, **given: str | None
) -> None:
    """Describe a board of your own: asks for host, chip and pins, and writes board.toml.

    Each answer is checked at once. Each question has an option, so that it can run without a
    terminal.
    """
    from stm32up.board import template

    path = (folder or Path("boards", name)) / "board.toml"
    draft = template.Draft(name, path)
    asks = not yes and not context.as_json and sys.stdin.isatty()
    left = {option: value for option, value in given.items() if value is not None}
    for question in draft.questions():
        answer = left.pop(question.name, None)
        if answer is None and asks:
            _ask(draft, question)
        elif answer is None and not yes:
            raise UsageError(
                f"--{question.name} is not given, and there is no terminal to ask on",
                "Give it, or --yes for the defaults.",
            )
        else:
            trouble = draft.answer(question, answer or question.default)
            if trouble:
                raise UsageError(f"--{question.name}: {trouble}")
    if left:
        raise UsageError(f"--{next(iter(left))} does not go with this --link")
    context.output.result("boards new", {**draft.write(), "wires": _wires(path)})


def _wires(path: Path) -> list[tuple[str, str, str]]:
    """The rows of the table of wires; none if a pin's place on the two boards is not known."""
    from stm32up.report import wiring

    try:
        return wiring.of(path).rows()
    except UsageError:
        return []


def _ask(draft: Draft, question: Question) -> None:
    text = f"{question.text} ({draft.allowed(question)})"
    while True:
        trouble = draft.answer(question, click.prompt(text, default=question.default))
        if not trouble:
            return
        click.echo(trouble)
