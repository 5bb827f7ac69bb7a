"""`logs`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stm32up.cli.context import FILE, Context, Verbs
from stm32up.errors import UsageError
from stm32up.events import note

if TYPE_CHECKING:
    from stm32up.host.log_files import Files
    from stm32up.host.log_filters import Wanted
    from stm32up.host.log_runs import When
    from stm32up.host.logs import Entry
    from stm32up.host.transport import Connection


@click.group("logs", cls=Verbs)
def logs_group() -> None:
    """The updater's log: fetch it, read it, make a page of it."""


@logs_group.command("pull", several=True)
@click.option(
    "-o", "--output", "target", type=FILE, help="Add to this file. Default: standard output."
)
@click.pass_obj
def logs_pull(context: Context, target: Path | None) -> None:
    """Fetch the log as JSON lines, oldest first.

    A file may be used for many pulls and many boards: only new entries are added to it. With
    several boards at once --output is a folder, with a file for each.
    """
    from stm32up import outputs
    from stm32up.host import log_files, logs
    from stm32up.say.output import HumanOutput

    if target is None and not context.as_json:
        context.output = HumanOutput(aside=True)
    target = target and context.own_file(target)
    if target is not None:
        outputs.check(target)
    if target is not None and target.exists():
        log_files.read([target])  # before it looks for a board
    collected, who = context.on_board(lambda c: (logs.collect(c), logs.who(c)), resume=True)
    result = {"status": "pulled", **collected.summary()}
    if target is not None:
        added = log_files.append(target, who, collected.entries)
        result |= {
            "file": str(target),
            "board": who.get("board"),
            "new": len(added.entries),
            "overwritten": added.overwritten,
            "new_life": added.new_life,
        }
    elif context.as_json:
        for entry in collected.entries:
            context.output.report({"event": "log", "entry": entry})
    else:
        sys.stdout.write(collected.as_lines())
        if collected.damaged:
            print(f"note: {collected.damaged} damaged lines were skipped", file=sys.stderr)
        return
    context.output.result("logs pull", result)


@logs_group.command("show")
@click.argument("files", type=FILE, nargs=-1)
@click.option(
    "--since",
    metavar="TIME",
    help="90min, 2h, 3d, or a date: 2026-11-26T15:47. Leaves out entries without a date.",
)
@click.option("--errors", is_flag=True, help="Only what went wrong.")
@click.option("--event", "events", multiple=True, metavar="NAME", help="Only these events.")
@click.option(
    "--last",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only the last N of these, of each board.",
)
@click.option("--follow", is_flag=True, help="Then start the board's program, and show more.")
@click.pass_obj
def logs_show(
    context: Context,
    files: tuple[Path, ...],
    since: str | None,
    errors: bool,
    events: tuple[str, ...],
    last: int | None,
    follow: bool,
) -> None:
    """Show the log of the board, or of FILES that were pulled.

    Each line has the time, the number of the entry, and what happened. The time is that of the
    host's clock, or how long the host had been on if its clock was not set.

    --follow resets the board, runs its main.py, and shows each entry when it is written. Ctrl-C
    ends it.
    """
    from datetime import UTC, datetime

    from stm32up.host import log_filters

    if follow and files:
        raise UsageError("--follow is for a board, not for files")
    earliest = log_filters.since(since, datetime.now(UTC)) if since else None
    wanted = log_filters.Wanted(earliest, errors, events)
    if follow:
        _follow(context, wanted, last)
    else:
        _show(context, _read(context, files), wanted, last)


@logs_group.command("report")
@click.argument("files", type=FILE, nargs=-1)
@click.option("-o", "--output", "target", type=FILE, required=True, help="The page, an HTML file.")
@click.pass_obj
def logs_report(context: Context, files: tuple[Path, ...], target: Path) -> None:
    """Make a page from the log of the board, or from FILES that were pulled.

    One HTML file that needs no network: the firmware on each board, and for each update its
    timeline, where the time went, what went wrong and what to do next.
    """
    from stm32up import outputs
    from stm32up.report import log_report

    outputs.check(target, makes_folder=True)
    outputs.refuse_inputs(target, files)
    read = _read(context, files)
    page, updates = log_report.page(read)
    page.write(target)
    context.output.result(
        "logs report",
        {
            "status": "written",
            "file": str(target),
            "boards": len(read.histories),
            "updates": updates,
            "damaged_lines": read.damaged,
        },
    )


def _read(context: Context, files: tuple[Path, ...]) -> Files:
    """The content of the files; without files, the log of the board."""
    from stm32up.host import log_files, logs

    if files:
        return log_files.read(files)
    collected, who = context.on_board(lambda c: (logs.collect(c), logs.who(c)), resume=True)
    return log_files.of_board(who, collected.entries, collected.damaged)


def _show(context: Context, files: Files, wanted: Wanted, last: int | None) -> None:
    from stm32up.host.log_runs import dated

    shown = total = 0
    for history in files.histories:
        found = list(dated(history.lives))
        fitting = [one for one in found if wanted(one[0], one[1])][-last if last else 0 :]
        if len(files.histories) > 1:
            context.output.report({**history.facts, "event": "log-of", "board": history.board})
        for entry, when, lost in fitting:
            _tell(context, history.board, entry, when, lost)
        shown, total = shown + len(fitting), total + len(found)
        there = {str(one[0].get("event")) for one in found}
        if absent := set(wanted.events) - there:
            named, has = (", ".join(sorted(names)) for names in (absent, there))
            context.output.report(note(f"this log has no event {named}; it has: {has or 'none'}"))
    values = {"status": "shown", "entries": shown, "of": total, "damaged_lines": files.damaged}
    context.output.result("logs show", values)


def _tell(context: Context, board: str, entry: Entry, when: When, lost: int = 0) -> None:
    missing = {"missing_before": lost} if lost else {}
    context.output.report(
        {"event": "log", "board": board or None, **when.values, **missing, "entry": entry}
    )


def _follow(context: Context, wanted: Wanted, last: int | None) -> None:
    """Show the log, then what is added while the program runs, until Ctrl-C or its end."""
    from stm32up.host import host_clock, logs
    from stm32up.host.log_runs import dated

    known: list[Entry] = []
    shown = 0

    def follow(connection: Connection) -> None:
        board = str(logs.who(connection).get("board", ""))

        def tell(entries: list[Entry], last: int | None = None) -> None:
            nonlocal shown
            known.extend(entries)
            found = list(dated([known]))[-len(entries) :] if entries else []
            fitting = [one for one in found if wanted(one[0], one[1])][-last if last else 0 :]
            shown += len(fitting)
            for entry, when, lost in fitting:
                _tell(context, board, entry, when, lost)

        fresh = [entry for entry in logs.collect(connection).entries if entry not in known]
        tell(fresh, None if known else last)
        host_clock.set_if_unset(connection)
        logs.follow(connection, lambda entry: tell([entry]), context.output.report)

    with contextlib.suppress(KeyboardInterrupt):
        context.on_board(follow, again=True)
    context.output.result("logs show", {"status": "followed", "entries": shown, "of": len(known)})
