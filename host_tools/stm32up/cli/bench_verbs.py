"""The bench verbs on the command line: what they show, and how the user confirms."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stm32up.cli.context import FILE, Context, Verb
from stm32up.say.wrapping import PAGE, width_of, wrapped

if TYPE_CHECKING:
    from stm32up.events import Plan
    from stm32up.host.bench_calls import Confirm
    from stm32up.host.transport import Connection

BOR = {"off": 0, "1": 1, "2": 2, "3": 3, "4": 4}  # brown-out levels
YES = click.option("--yes", is_flag=True, help="Do not ask. For production lines.")

_POWER_CYCLED = click.option(
    "--power-cycled",
    is_flag=True,
    help="The target's supply was just switched off and on: do not wait.",
)


@click.command("provision", cls=Verb)
@click.option("--bor", type=click.Choice(list(BOR)), help="Brown-out level; default: unchanged.")
@click.option("--supply-mv", type=int, help="The target's supply; needed for --bor with --yes.")
@_POWER_CYCLED
@YES
@click.pass_obj
def provision_command(
    context: Context, bor: str | None, supply_mv: int | None, power_cycled: bool, yes: bool
) -> None:
    """Bench: make the target use its BOOT0 pin.

    Writes the option bytes once, or not at all if they are right. Shows every bit first and asks.
    Keep the target's supply on.
    """
    from stm32up.host import bench_calls

    level = None if bor is None else BOR[bor]
    confirm = confirmation(context, "provision", yes, power_cycled, supply_mv)
    report = context.output.report

    def verb(connection: Connection) -> dict[str, object]:
        return bench_calls.provision(connection, report, confirm, level, power_cycled=power_cycled)

    done = context.on_board(verb, bench=True)
    context.output.result("provision", done)


@click.command("unprotect", cls=Verb)
@click.option("--install", "image", type=FILE, help="Then push this image and install it.")
@_POWER_CYCLED
@YES
@click.pass_obj
def unprotect_command(context: Context, image: Path | None, power_cycled: bool, yes: bool) -> None:
    """Bench: remove readout protection; ERASES the target.

    Asks first. Keep the target's supply on until it has ended.
    """
    from stm32up.host import bench_calls, calls
    from stm32up.image import images

    confirm = confirmation(context, "unprotect", yes, power_cycled)
    report = context.output.report
    if image is not None:
        images.verify(image)

    def verb(connection: Connection) -> dict[str, object]:
        done = bench_calls.unprotect(connection, report, confirm, power_cycled=power_cycled)
        if image is None:
            return done
        bench_calls.check_boot0(done)
        if done["status"] == "unprotected":
            report({"event": "unprotected"})
        installed = calls.update(connection, image, report)
        return {**done, "status": installed["status"], "version": installed.get("version")}

    context.output.result("unprotect", context.on_board(verb, bench=True))


def confirmation(
    context: Context,
    verb: str,
    yes: bool,
    power_cycled: bool = False,
    supply_mv: int | None = None,
) -> Confirm:
    """The function that a bench verb calls before it changes anything. Raises UsageError if there
    is no terminal to ask on."""
    from stm32up.host import bench_calls

    if yes:
        return lambda plan: bench_calls.check_stated_supply(plan, supply_mv)
    if context.as_json or not sys.stdin.isatty():
        raise bench_calls.no_terminal(verb)
    if power_cycled:  # planning may reset the target
        _ask(bench_calls.GIVE_UP, bench_calls.GIVE_UP_WORD)

    def confirm(plan: Plan) -> None:
        _ask(bench_calls.warning(verb, plan), bench_calls.WORDS[verb])

    return confirm


def _ask(lines: Iterable[str], word: str) -> None:
    from stm32up.host import bench_calls

    width = width_of(sys.stdout) or PAGE
    for line in lines:
        click.echo("\n".join(wrapped(line, width)))
    if click.prompt(f"Type {word} to continue", default="", show_default=False) != word:
        raise bench_calls.refused()
