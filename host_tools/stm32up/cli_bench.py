"""The bench on the command line: what it shows, and who has to say yes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from stm32up import bench_verbs, images, transport, updater
from stm32up.cli_context import FILE, Context

_YES = click.option("--yes", is_flag=True, help="Do not ask. For production lines.")


@click.command("provision")
@click.option(
    "--bor", type=click.Choice(list(bench_verbs.BOR)), help="Brown-out level; default: as it is."
)
@_YES
@click.pass_obj
def provision_command(context: Context, bor: str | None, yes: bool) -> None:
    """Bench: make the target heed BOOT0.

    By one write of its option bytes; none if they are right. Shows every bit first and asks.
    Keep the target's supply on.
    """
    confirm = _confirmation(context, "provision", yes)
    report = context.output.report
    done = context.on_board(lambda c: bench_verbs.provision(c, report, confirm, bor), bench=True)
    context.output.result("provision", done)


@click.command("unprotect")
@click.option("--install", "image", type=FILE, help="Then push this image and install it.")
@_YES
@click.pass_obj
def unprotect_command(context: Context, image: Path | None, yes: bool) -> None:
    """Bench: take readout protection away; ERASES the target.

    Asks first. Keep the target's supply on until it is over.
    """
    confirm = _confirmation(context, "unprotect", yes)
    report = context.output.report
    if image is not None:
        images.verify(image)

    def verb(connection: transport.Connection) -> dict[str, Any]:
        done = bench_verbs.unprotect(connection, report, confirm)
        if image is None:
            return done
        if done["status"] == "unprotected":
            report({"event": "unprotected"})
        installed = updater.update(connection, image, report)
        return {**done, "status": installed["status"], "version": installed.get("version")}

    context.output.result("unprotect", context.on_board(verb, bench=True))


def _confirmation(context: Context, verb: str, yes: bool) -> bench_verbs.Confirm:
    """What a bench verb calls before it does anything. Raises UsageError if nobody can answer."""
    if yes:
        return lambda plan: None
    if context.as_json or not sys.stdin.isatty():
        raise bench_verbs.nobody_to_ask(verb)

    def confirm(plan: bench_verbs.Plan) -> None:
        for line in bench_verbs.warning(verb, plan):
            click.echo(line)
        word = bench_verbs.WORDS[verb]
        if click.prompt(f"Type {word} to go on", default="", show_default=False) != word:
            raise bench_verbs.refused()

    return confirm
