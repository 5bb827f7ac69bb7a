"""`produce`: one unit of a production line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stm32up.cli.bench_verbs import BOR, YES, confirmation
from stm32up.cli.context import FILE, Context, Verb
from stm32up.cli.image_verbs import verified
from stm32up.cli.keys_verbs import load_key
from stm32up.errors import Stm32upError, UsageError

if TYPE_CHECKING:
    from stm32up.host.transport import Connection


@click.command("produce", cls=Verb)
@click.argument("image", type=FILE)
@click.option(
    "--serial-number",
    "wanted",
    required=True,
    metavar="N|auto",
    help="auto: one more than the last in the inventory, or the one that this unit has.",
)
@click.option(
    "--inventory",
    "path",
    type=FILE,
    required=True,
    metavar="UNITS.csv",
    help="A row for each try; the same in UNITS.jsonl.",
)
@click.option(
    "--label", type=FILE, metavar="OUT", help="Write a label; {serial} stands for the number."
)
@click.option("--key", "key_paths", type=FILE, multiple=True, help="Keys that the board trusts.")
@click.option("--main", is_flag=True, help="Also copy firmware/main.py to /main.py.")
@click.option("--no-provision", is_flag=True, help="Leave the option bytes as they are.")
@click.option("--bor", type=click.Choice(list(BOR)), help="Brown-out level; default: unchanged.")
@click.option("--supply-mv", type=int, help="The target's supply; needed for --bor with --yes.")
@YES
@click.pass_obj
def produce_command(
    context: Context,
    image: Path,
    wanted: str,
    path: Path,
    label: Path | None,
    key_paths: tuple[Path, ...],
    main: bool,
    no_provision: bool,
    bor: str | None,
    supply_mv: int | None,
    yes: bool,
) -> None:
    """From a blank part to a tested product.

    Deploys, provisions, updates, verifies, and adds a row to the inventory. Ends with PASS or
    FAIL. Keep the target's supply on and steady: see docs/production.md.
    """
    from stm32up import outputs
    from stm32up.host import deploy, production
    from stm32up.host.cycles import Candidate
    from stm32up.host.inventory import Inventory

    board = context.board
    verified(context, image)
    inventory = Inventory(path)
    inventory.check(wanted)
    if label is not None:
        outputs.check(label)
        outputs.refuse_inputs(label, [image, inventory.path, inventory.journal, *key_paths])
    trusted = {key_path: load_key(key_path) for key_path in key_paths}
    deploy.check_keys(board, trusted)
    provision = not no_provision
    if not provision and bor is not None:
        raise UsageError("--bor and --no-provision exclude each other")
    confirm = confirmation(context, "provision", yes or no_provision, False, supply_mv)
    order = production.Order(
        board,
        Candidate(image),
        list(trusted.values()),
        main,
        provision,
        None if bor is None else BOR[bor],
    )

    unit = production.Unit()

    def verb(connection: Connection) -> None:
        production.produce(
            connection,
            order,
            unit,
            context.output.report,
            confirm,
            lambda: inventory.serial_for(unit.id, wanted),
        )

    try:  # an error leaves this block, so that no program starts while the target may be at work
        context.on_board(verb, prepare=False, bench=provision)
    except Stm32upError as error:
        if unit.error is not error:
            raise
    row = inventory.add(unit.id, wanted, unit.row(order))
    done: dict[str, Any] = {"ok": True, "status": "produced", **row, "inventory": str(path)}
    if label is not None and unit.error is None:
        done["label"] = str(_write_label(label, board.title, row))
    if unit.error is not None:
        said = {"error": unit.error.code, "next_step": unit.error.next_step}
        done = {**done, "ok": False, "status": "failed", **said, "message": unit.error.message}
    context.output.result("produce", done)
    if unit.error is not None:
        raise click.exceptions.Exit(Stm32upError.exit_status)


def _write_label(path: Path, title: str, row: dict[str, Any]) -> Path:
    """A label as text. Raises UsageError."""
    from stm32up import outputs
    from stm32up.say.endings import label

    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in row["serial_number"])
    named = Path(str(path).replace("{serial}", safe))
    with outputs.written(named):
        named.write_text("\n".join(label(title, row)) + "\n", encoding="utf-8")
    return named
