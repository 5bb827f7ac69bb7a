"""`bench`: update cycles for hours, with cuts."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stm32up.cli.context import FILE, Context, Verb
from stm32up.cli.keys_verbs import KeyOption, load_private_key
from stm32up.errors import Stm32upError, UsageError

if TYPE_CHECKING:
    from stm32up.events import Event, Report
    from stm32up.host.bench_run import Kept
    from stm32up.host.transport import Connection

_CYCLES = 100  # if neither --cycles nor --until is given


@click.command("bench", cls=Verb)
@click.option("--cycles", type=click.IntRange(1), help=f"Default: {_CYCLES}, or until --until.")
@click.option("--until", metavar="TIME", help="A time of day (07:00) or a duration (8h, 1h30m).")
@click.option("--cut-target", is_flag=True, help="Reset the target, or switch its supply off.")
@click.option("--cut-host", is_flag=True, help="Reset the host: watchdog, reset, soft reset.")
@click.option("--noise", is_flag=True, help="Short the bus: needs [bench] short_pin.")
@click.option("--seed", type=int, help="Determines all cuts; default: a new one.")
@click.option("--image", "given", type=FILE, multiple=True, help="Twice: images of your own.")
@click.option("--key", "key_path", cls=KeyOption, help="Sign the bench's own images with it.")
@click.option(
    "--size",
    type=click.IntRange(2),
    default=4,
    show_default=True,
    help="KB of the bench's own images.",
)
@click.option(
    "--state",
    type=FILE,
    default=Path("stm32up-bench.jsonl"),
    show_default=True,
    help="What is done so far. The same command continues it.",
)
@click.option("--report", "page", type=FILE, metavar="OUT.html", help="Write a page to read.")
@click.pass_obj
def bench_command(
    context: Context,
    cycles: int | None,
    until: str | None,
    cut_target: bool,
    cut_host: bool,
    noise: bool,
    seed: int | None,
    given: tuple[Path, ...],
    key_path: Path | None,
    size: int,
    state: Path,
    page: Path | None,
) -> None:
    """Bench: update again and again, while power and wires fail.

    Two images take turns. After each cycle flash is read back, and the application must answer.
    Not for a product: it replaces the application. Exit status 1 if one cycle failed.
    """
    from stm32up import outputs
    from stm32up.host import bench_run, identity, pair
    from stm32up.host.cycles import Candidate, kinds_for
    from stm32up.report import figures

    if page is not None:
        outputs.check(page, makes_folder=True)
        outputs.refuse_inputs(page, [state, *given, *([key_path] if key_path else [])])
    board = context.board
    settings = board.as_json()
    kinds = kinds_for(board, target=cut_target, host=cut_host, noise=noise)
    end = None if until is None else bench_run.deadline(until, datetime.now())
    key = None if key_path is None else load_private_key(key_path)
    if len(given) not in (0, 2):
        raise UsageError("--image is needed twice", "Give --image A.img --image B.img, or none.")
    if given:
        pair.check_given(list(given), board)
    else:
        pair.check(board, key, size * 1024)
    if cycles is None and end is None:
        cycles = _CYCLES
    method = settings["confirm"]["method"]
    order = bench_run.Order(board.name, method, kinds, seed, cycles, end, state)
    bench_run.check(order)
    report = _few(context)

    def verb(connection: Connection) -> Kept:
        pair.same_board(connection, board)
        with tempfile.TemporaryDirectory() as folder:
            paths = given or pair.build(connection, board, key, size * 1024, Path(folder))
            images = [Candidate(path) for path in paths]
            host = identity.of(connection).unique_id
            return bench_run.run(connection, images, order, report, host=host)

    try:
        run = context.on_board(verb)
    except (Stm32upError, KeyboardInterrupt):
        kept, _ = bench_run.Kept.read(state)
        if page is not None and kept is not None:
            _write_page(board.title, kept, page, complete=False)
        raise
    found = figures.figures(run.cycles)
    if page is not None:
        _write_page(board.title, run, page, complete=True)
        found["report"] = str(page)
    result = {"seed": run.seed, "versions": run.versions, "kinds": run.kinds, **found}
    failed = found["failures"]
    if failed:
        which = ", ".join(str(one["cycle"]) for one in found["failed"][:5])
        result = {
            "ok": False,
            "status": "failed",
            "error": "cycles-failed",
            "message": f"{failed} of {found['cycles']} cycles failed: {which}",
            "next_step": "Read their log: --report OUT.html, or the state file.",
            **result,
        }
    context.output.result("bench", {"status": "done", **result})
    if failed:
        raise click.exceptions.Exit(Stm32upError.exit_status)


def _few(context: Context) -> Report:
    """For people: of the cycles only those that failed, and not what the board says at a reset."""

    def report(event: Event) -> None:
        if context.as_json or event["event"] != "cycle" or event["failure"]:
            context.output.report(event)

    return report


def _write_page(title: str, run: Kept, path: Path, *, complete: bool) -> None:
    from stm32up.host import bench_run
    from stm32up.report import bench_page

    facts: dict[str, Any] = {
        "seed": run.seed,
        "kinds": run.kinds,
        "versions": run.versions,
        "board": run.board,
        "host": run.host,
        "began": run.began,
        "until": bench_run.minute(),
    }
    bench_page.page(f"Bench: {title}", run.cycles, facts, complete=complete).write(path)
