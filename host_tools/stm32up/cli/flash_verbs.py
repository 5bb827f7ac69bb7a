"""The verbs that look at the target's flash as it is: `read`, `verify`; and `erase`, for the
bench."""

from __future__ import annotations

from pathlib import Path

import click

from stm32up.cli.bench_verbs import YES, confirmation
from stm32up.cli.context import FILE, Context, Verb
from stm32up.cli.image_verbs import number, verified
from stm32up.errors import UsageError


@click.command("read", cls=Verb)
@click.option(
    "-o", "--output", "target", type=FILE, required=True, help="Where to: *.bin, or *.hex."
)
@click.option("--start", metavar="ADDRESS", help="Default: the start of flash.")
@click.option("--length", metavar="BYTES", help="Default: to the end of flash.")
@click.pass_obj
def read_command(context: Context, target: Path, start: str | None, length: str | None) -> None:
    """Read the target's flash into a file.

    Resets the target into its loader and back; writes nothing to it. A target under readout
    protection refuses.
    """
    from stm32up import outputs
    from stm32up.host import target_flash
    from stm32up.image import expected

    expected.check_name(target)
    outputs.check(target)
    chip = context.board.chip
    end = chip.flash_start + chip.flash_size
    first = number("--start", start)
    first = chip.flash_start if first is None else first
    size = number("--length", length)
    size = end - first if size is None else size
    if not chip.flash_start <= first < first + size <= end:
        raise UsageError(
            f"{size} bytes from 0x{first:08X} are not inside the flash of {chip.name}",
            f"It is 0x{chip.flash_start:08X} to 0x{end - 1:08X}.",
        )
    report = context.output.report
    (content,) = context.on_board(lambda c: target_flash.read(c, [(first, size)], report))
    expected.write(target, first, content)
    done = {"status": "read", "file": str(target), "address": first, "bytes": size}
    context.output.result("read", done)


@click.command("verify", cls=Verb)
@click.argument("file", type=FILE)
@click.option("--address", help="Where a .bin starts; default: the start of flash.")
@click.pass_obj
def verify_command(context: Context, file: Path, address: str | None) -> None:
    """Compare the target's flash with an image, or a bin, hex, srec or elf file.

    Compares what the file has data for, and changes nothing. Tells the first difference in each
    page. Resets the target into its loader and back. Exit status 1 if anything differs.
    """
    from stm32up.host import target_flash
    from stm32up.image import expected, images

    at, chip = number("--address", address), context.board.chip
    if images.is_image(file):
        if at is not None:
            raise UsageError(f"{file} states its own address", "Omit --address.")
        verified(context, file)
        pieces, again = expected.of_image(file.read_bytes()), "--force"
    else:
        pieces, again = expected.of_input(file, chip, at), "--version V"
    whole = pieces[0].address == chip.flash_start  # else it is no application
    advice = f"To write it: stm32up update {file} {again}." if whole else ""
    report = context.output.report
    done = context.on_board(lambda c: target_flash.verify(c, pieces, chip, report, file, advice))
    context.output.result("verify", {**done, "file": str(file)})


@click.command("erase", cls=Verb)
@click.option("--all", "everything", is_flag=True, help="Also what [flash] preserve keeps.")
@YES
@click.pass_obj
def erase_command(context: Context, everything: bool, yes: bool) -> None:
    """Bench: ERASE the target's flash, but not what board.toml preserves.

    Asks first. Afterwards no application runs; the next run of the updater installs the last good
    image again, if the host has one.
    """
    from stm32up.host import bench_calls

    confirm = confirmation(context, "erase", yes)
    report = context.output.report
    done = context.on_board(
        lambda c: bench_calls.erase(c, report, confirm, everything=everything), bench=True
    )
    context.output.result("erase", done)
