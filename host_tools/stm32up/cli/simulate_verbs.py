"""`simulate`, `torture`."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stm32up.cli.context import FILE, Context, Verb
from stm32up.cli.image_verbs import other_product, verified
from stm32up.cli.keys_verbs import load_key
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


@click.command("torture", cls=Verb)
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@click.option("--main", type=FILE, help="The program on the host; default: that of deploy --main.")
@click.option("--key", "key_paths", type=FILE, multiple=True, help="Keys that the board trusts.")
@click.option(
    "--every",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Cut at every N-th event of each kind; 1: at each.",
)
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes.")
@click.option(
    "--only", metavar="CUT", help="Repeat one cut, such as both@1411, and tell how each run ends."
)
@click.pass_obj
def torture_command(
    context: Context,
    old: Path,
    new: Path,
    main: Path | None,
    key_paths: tuple[Path, ...],
    every: int,
    jobs: int,
    only: str | None,
) -> None:
    """Cut the power at every event of an update from OLD to NEW, in simulation.

    OLD and NEW are images. After each cut the board is switched on again until it has settled:
    exit status 1 if one cut left anything but one of the two applications, running and whole.
    """
    from stm32up import device
    from stm32up.host import simulation
    from stm32up.image import keys

    simulation.check_installed()
    from stm32up.report import power_cuts

    for image in (old, new):
        if refused := other_product(context, image, verified(context, image)):
            raise refused
    trusted = [keys.device_key(load_key(path)) for path in key_paths]
    product = power_cuts.product_of(
        context.board, main or device.MAIN, old.read_bytes(), new.read_bytes(), trusted
    )
    report = context.output.report
    if only:
        done = power_cuts.one(product, only, report)
    else:
        done = power_cuts.every(product, every, jobs, report)
    context.output.result("torture", done)
