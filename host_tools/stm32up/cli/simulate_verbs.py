"""`simulate`."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stm32up.cli.context import FILE, Context, Verb
from stm32up.errors import UsageError

if TYPE_CHECKING:
    from stm32up.host.simulation import Ports


@click.command("simulate", cls=Verb)
@click.option("--dir", "folder", type=FILE, help="Keep the board's state in this folder.")
@click.option("--scenario", type=click.Choice(["forum"]), help="Play a scenario instead.")
@click.option(
    "--instants",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Scenario: number of supply failures in each of its runs.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="Scenario: seed for the times of the failures.",
)
@click.option(
    "--only",
    metavar="LANE/NUMBER",
    help="Scenario: repeat one of these failures with all details.",
)
@click.option("--draw", type=FILE, metavar="FILE.svg", help="Scenario: draw its runs.")
@click.pass_obj
def simulate_command(
    context: Context,
    folder: Path | None,
    scenario: str | None,
    instants: int,
    seed: int,
    only: str | None,
    draw: Path | None,
) -> None:
    """Keep a simulated board running, or play a scenario.

    Prints the board's port and a device that terminal programs can open. Ctrl-C ends it.

    --scenario forum shows how the chip of the forum case was locked, and what happens with this
    project's tools: see docs/forum-case.md.
    """
    from stm32up.host import simulation

    if scenario is None:
        if only or draw:
            raise UsageError("--only and --draw belong to --scenario forum")
        _keep_a_board(context, folder)
        return
    simulation.check_installed()
    from stm32up.report import forum

    if only:
        done = forum.only(context.output.report, seed, only)
        context.output.result("simulate forum case", done)
    else:
        done = forum.run(context.output.report, seed=seed, instants=instants, drawing=draw)
        context.output.result("simulate forum", done)


def _keep_a_board(context: Context, folder: Path | None) -> None:
    from stm32up.host import session, simulation

    port = context.port if simulation.wanted(context.port) else simulation.PORT
    if folder:
        port = f"{simulation.PORT}:{folder}"
    output = context.output
    # Background jobs of a shell ignore Ctrl-C, and closing the terminal sends SIGHUP.
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        session.simulated(port, context.board, output.report, options=context.sim_options) as at,
    ):
        output.close()
        if context.as_json:
            output.report({"event": "port", "port": at.url, "pty": at.pty})
        else:
            print(
                f"{context.board.title}, simulated, at {at.url}\n"
                f"In another terminal: stm32up --port {at.url} status\n"
                f"{_for_terminals(at)}\n"
                "Ctrl-C ends it.",
                flush=True,
            )
        threading.Event().wait()
    if context.as_json:
        output.result("simulate", {"status": "stopped"})


def _for_terminals(at: Ports) -> str:
    if at.pty is None:
        return "No pseudo-terminal on this system: terminal programs need the address above."
    return f"For screen, minicom, Thonny, mpremote: {at.pty}"
