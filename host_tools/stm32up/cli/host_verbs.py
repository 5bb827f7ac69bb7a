"""The verbs that a product needs: `deploy`, `push`, `update`, `run`, `status`, `probe`,
`doctor`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stm32up.cli.context import FILE, Context, Verb
from stm32up.cli.image_argument import checked, image_argument
from stm32up.cli.keys_verbs import load_key
from stm32up.errors import Stm32upError, UsageError

if TYPE_CHECKING:
    from stm32up.board.model import Board
    from stm32up.events import Examined, Values
    from stm32up.host.transport import Connection


@click.command("deploy", cls=Verb, several=True)
@click.option("--key", "key_paths", type=FILE, multiple=True, help="Keys that the board trusts.")
@click.option("--main", is_flag=True, help="Also copy firmware/main.py to /main.py.")
@click.option(
    "--bench",
    is_flag=True,
    help="Also copy the package for provision and unprotect. Not for a product.",
)
@click.option(
    "--frozen",
    is_flag=True,
    help="The updater is frozen into the firmware: do not copy its modules.",
)
@click.pass_obj
def deploy_command(
    context: Context, key_paths: tuple[Path, ...], main: bool, bench: bool, frozen: bool
) -> None:
    """Install the updater on the board; copies only changed files."""
    from stm32up.doctor import identify
    from stm32up.host import deploy

    trusted = {path: load_key(path) for path in key_paths}
    board = context.board
    deploy.check_keys(board, trusted)
    report = context.output.report
    public_keys = list(trusted.values())
    extent = {"main": main, "bench": bench, "frozen": frozen}

    def work(connection: Connection) -> Values:
        known = identify.board(connection, board, context.board_name, report)
        return deploy.deploy(connection, known, report, public_keys=public_keys, **extent)

    done = context.on_board(work, again=True, prepare=False)
    context.output.result("deploy", done)


@click.command("push", cls=Verb, several=True)
@image_argument
@click.pass_obj
def push_command(context: Context, /, image: Path, **build: Any) -> None:
    """Put an image into the board's inbox.

    Continues an interrupted push. The updater installs the image when it next runs.
    """
    from stm32up.host import push

    report = context.output.report
    with checked(context, image, **build) as sound:
        done = context.on_board(lambda c: push.push(c, sound, report))
    context.output.result("push", done)


@click.command("update", cls=Verb, several=True)
@image_argument
@click.option(
    "--force",
    is_flag=True,
    help="Write it even if it is installed, failed before, or could be the last.",
)
@click.pass_obj
def update_command(context: Context, /, image: Path, force: bool, **build: Any) -> None:
    """Push an image and install it on the target."""
    from stm32up.host import calls

    report = context.output.report
    with checked(context, image, **build) as sound:
        done = context.on_board(lambda c: calls.update(c, sound, report, force=force))
    context.output.result("update", done)


@click.command("run", cls=Verb, several=True)
@click.pass_obj
def run_command(context: Context) -> None:
    """Run the updater once, as the product does when it starts.

    Finishes an interrupted update, or installs an image from the inbox, or does nothing.
    """
    from stm32up.host import calls, host_clock

    def work(connection: Connection) -> Values:
        host_clock.set_if_unset(connection)
        return calls.run(connection, context.output.report)

    context.output.result("run", context.on_board(work))


@click.command("status", cls=Verb, several=True)
@click.pass_obj
def status_command(context: Context) -> None:
    """Show the state of the updater; does not touch the target."""
    from stm32up.host import calls

    context.output.result("status", context.on_board(calls.status))


@click.command("probe", cls=Verb, several=True)
@click.option("--all", "every_bit", is_flag=True, help="Show every bit of the option bytes.")
@click.pass_obj
def probe_command(context: Context, every_bit: bool) -> None:
    """Show what is on the bus: chip, loader, option bytes, application.

    Resets the target into its loader and back; writes nothing. Of the option bytes it shows the
    protection, what BOOT0 does, and what is unusual.
    """
    from stm32up.host import calls

    shown = "probe --all" if every_bit else "probe"
    context.output.result(shown, context.on_board(calls.probe))


@click.command("doctor", cls=Verb, several=True)
@click.option(
    "--power-cycled",
    is_flag=True,
    help="The target was just switched off and on, with no debugger connected.",
)
@click.option(
    "--wires",
    is_flag=True,
    help="Go from wire to wire: connect it, see what the host reads, measure at the target.",
)
@click.pass_obj
def doctor_command(context: Context, power_cycled: bool, wires: bool) -> None:
    """Say what is wrong, what shows it, and what to do next.

    Examines the host's files, the wires and the target. Resets the target into its loader and
    back. Writes nothing, and needs no updater on the board. Exit status 1 if something is wrong.
    """
    from stm32up.doctor import examine

    board = context.board
    if wires:
        found = _walked(context, board)
    else:
        found = context.on_board(
            lambda c: examine.doctor(c, board, power_cycled=power_cycled), again=True
        )
    context.output.result("doctor", found)
    if not found["ok"]:
        raise click.exceptions.Exit(Stm32upError.exit_status)


def _walked(context: Context, board: Board) -> Examined:
    from stm32up.doctor import wire_by_wire

    if context.as_json or not sys.stdin.isatty():
        raise UsageError(
            "doctor --wires asks for each wire, and there is no terminal to ask on",
            "Run it in a terminal, or run stm32up doctor.",
        )
    output = context.output

    def ask(text: str) -> str:
        output.close()
        answer: str = click.prompt(text, default="", show_default=False, prompt_suffix=" ")
        return answer.strip().lower()

    return context.on_board(
        lambda c: wire_by_wire.walk(c, board, ask, output.report), prepare=False
    )
