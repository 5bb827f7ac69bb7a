"""`logs`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from stm32up.cli.context import FILE, Context, Verbs


@click.group("logs", cls=Verbs)
def logs_group() -> None:
    """The updater's log."""


@logs_group.command("pull", several=True)
@click.option("-o", "--output", "target", type=FILE, help="Default: standard output.")
@click.pass_obj
def logs_pull(context: Context, target: Path | None) -> None:
    """Fetch the log as JSON lines, oldest first.

    With several boards --output is a folder, with a file for each.
    """
    from stm32up.host import logs
    from stm32up.say.output import HumanOutput

    if target is None and not context.as_json:
        context.output = HumanOutput(aside=True)
    collected = context.on_board(logs.collect, resume=True)
    if target is not None:
        logs.write(collected, context.own_file(target))
    elif context.as_json:
        for entry in collected.entries:
            context.output.report({"event": "log", "entry": entry})
    else:
        sys.stdout.write(collected.as_lines())
        if collected.damaged:
            print(f"note: {collected.damaged} damaged lines were skipped", file=sys.stderr)
        return
    context.output.result("logs pull", {"status": "pulled", **collected.summary()})
