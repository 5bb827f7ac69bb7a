"""The verb group `image`, and the check of an image for all verbs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stm32up.cli.context import DEFAULT_BOARD, FILE, Context, Verbs
from stm32up.cli.keys_verbs import KeyOption, load_key
from stm32up.errors import ImageError, UsageError
from stm32up.events import note

if TYPE_CHECKING:
    from imgtool.keys import RSA, RSAPublic

    from stm32up.device import Chip
    from stm32up.events import Shown


@click.group("image", cls=Verbs)
def image_group() -> None:
    """Firmware images: make, inspect, check."""


@image_group.command("build")
@click.argument("source", type=FILE, metavar="INPUT")
@click.option("--chip", help="Part number; default: the board's.")
@click.option(
    "--version", required=True, help="For example 1.4.2 or 1.4.2+7; auto: from the tags of git."
)
@click.option("--key", cls=KeyOption, help="Private key; without it the image is not signed.")
@click.option("--product", help="Product name or UUID; default: the board's.")
@click.option("--security-counter", type=int, help="Default: from the version.")
@click.option("--address", help="Where a .bin starts; default: the start of flash.")
@click.option("-o", "--output", "target", type=FILE, required=True)
@click.pass_obj
def image_build(
    context: Context,
    source: Path,
    chip: str | None,
    version: str,
    key: Path | None,
    product: str | None,
    security_counter: int | None,
    address: str | None,
    target: Path,
) -> None:
    """Make an image from a bin, hex, srec or elf file.

    Makes the same checks as the updater, so the board accepts the image. Whole pages without input
    data are kept as they are; other gaps are filled with FF.
    """
    built = build(
        context,
        source,
        version,
        key,
        target,
        chip=chip,
        product=product,
        security_counter=security_counter,
        address=number("--address", address),
    )
    context.output.result("image build", {"status": "built", **built})


@image_group.command("show")
@click.argument("image", type=FILE)
@click.pass_obj
def image_show(context: Context, image: Path) -> None:
    """Show header and TLVs, and what it does to flash: what is erased, written and kept.

    The map is that of the board, or, for an image of another family of chips, that of its largest
    part. Digest and signature are not checked.
    """
    from stm32up import device
    from stm32up.image import images

    shown = images.show(image)
    product_id = shown["product_id"]
    values = {"status": "shown", **shown, "product": _product(context, shown["class_id"])}
    if product_id is not None and device.knows(product_id):
        chip, board = device.largest(product_id), None
        preserve: Sequence[tuple[int, int]] = ()
        if _has_board(context) and context.board.chip.product_id == product_id:
            board = context.board
            chip, preserve = board.chip, board.preserve
        values["map"] = images.memory_map(image, chip, preserve)
        values |= {"chip": chip.name, "board": board and board.name}
    context.output.result("image show", values)


@image_group.command("verify")
@click.argument("image", type=FILE)
@click.option("--key", cls=KeyOption, help="The public or private key that signed the image.")
@click.option("--chip", help="Part number; default: the board's.")
@click.pass_obj
def image_verify(context: Context, image: Path, key: Path | None, chip: str | None) -> None:
    """Make the checks of the board and, with --key, check the signature."""
    found = verified(context, image, load_key(key) if key else None, chip)
    other = other_product(context, image, found)
    if other is not None and (chip is not None or context.board_name == DEFAULT_BOARD):
        context.output.report(note(f"{other.message}. {other.next_step}"))
    elif other is not None:
        raise other
    context.output.result("image verify", {"status": "verified", **found})


@image_group.command("digest")
@click.argument("image", type=FILE)
@click.option("-o", "--output", "target", type=FILE, required=True, metavar="DIGEST")
@click.pass_obj
def image_digest(context: Context, image: Path, target: Path) -> None:
    """Write the 32 bytes that a token or a signing service must sign."""
    from stm32up.image import images

    done = images.write_digest(image, target)
    context.output.result("image digest", {"status": "written", **done})


@image_group.command("sign")
@click.argument("image", type=FILE)
@click.option("--key", cls=KeyOption, required=True, help="Private key; public with --signature.")
@click.option(
    "--signature", type=FILE, help="A signature made elsewhere, of the output of image digest."
)
@click.option("-o", "--output", "target", type=FILE, required=True)
@click.pass_obj
def image_sign(
    context: Context, image: Path, key: Path, signature: Path | None, target: Path
) -> None:
    """Sign an image that was built without a key, or replace its signature."""
    from stm32up.image import images
    from stm32up.outputs import refuse_inputs

    refuse_inputs(target, [key, *([signature] if signature else [])])
    signed = images.sign(image, load_key(key), target, signature=signature)
    context.output.result("image sign", {"status": "signed", **signed})


def build(
    context: Context,
    source: Path,
    version: str,
    key: Path | None,
    target: Path,
    *,
    chip: str | None = None,
    product: str | None = None,
    security_counter: int | None = None,
    address: int | None = None,
) -> Shown:
    """Build an image for the board, or another chip or product, and return its values."""
    from stm32up.image import git_version, images
    from stm32up.outputs import refuse_inputs

    refuse_inputs(target, [key] if key else [])
    part, preserve = _part(context, chip)
    return images.build(
        source,
        part,
        git_version.resolved(version, source),
        load_key(key) if key else None,
        target,
        product=product or context.board.product,
        security_counter=security_counter,
        address=address,
        preserve=preserve,
    )


def other_product(context: Context, image: Path, found: Shown) -> ImageError | None:
    """The error of the board, if the image is for another product than its own."""
    from stm32up.image import images

    wanted = context.board.product
    if not wanted or found["class_id"] == images.class_id(wanted).hex:
        return None
    named = _product(context, found["class_id"]) or found["class_id"] or "not stated"
    refused = ImageError(
        f"{image}: its product is {named}, and {context.board.name} takes only images for "
        f"{wanted}",
        f"To make it for this board: image build --product, or imgtool sign --vid stm32up --cid "
        f"{wanted}",
    )
    refused.code = "image-product"
    return refused


def _product(context: Context, class_id: str | None) -> str | None:
    """The product with this class id, among the known boards and --board."""
    from stm32up.board import boards
    from stm32up.image import images

    known = dict.fromkeys([*boards.names(), context.board_name]) if _has_board(context) else {}
    products = [boards.load(name).product for name in known] if class_id else []
    found = (name for name in products if name and images.class_id(name).hex == class_id)
    return next(found, None)


def _has_board(context: Context) -> bool:
    """Whether there is a board: this program may be installed without any."""
    from stm32up.board import boards

    return bool(boards.names()) or context.board_name != DEFAULT_BOARD


def _part(context: Context, chip: str | None) -> tuple[Chip, Sequence[tuple[int, int]]]:
    """The chip, from --chip or the board, and the regions that the board preserves on it."""
    from stm32up import device

    board = context.board
    part = device.chip(chip) if chip else board.chip
    same = board.chip.name == device.AUTO or part.product_id == board.chip.product_id
    return part, board.preserve if same else ()


def verified(
    context: Context, image: Path, key: RSA | RSAPublic | None = None, chip: str | None = None
) -> Shown:
    """Check an image as its board will. Without --board and --chip, an image for another chip than
    that of the default board is checked for its own chip.
    """
    from stm32up import device
    from stm32up.image import images

    named = chip is not None or context.board_name != DEFAULT_BOARD
    try:
        found = images.verify(image, key)
    except images.NotAnImage as error:
        if error.source is not None and named:
            board = ("--board", context.board_name)
            error.next_step = images.how_to_build(image, error.source, *board)
        raise
    if chip is None and context.board.chip.name == device.AUTO:
        return found  # for which chip, only the board knows
    part, preserve = _part(context, chip)
    if named or found["product_id"] == part.product_id:
        found = images.verify(image, key, chip=part, preserve=preserve)
    return found


def number(option: str, text: str | None) -> int | None:
    """The number that an option gives, such as 0x08000000; not negative."""
    try:
        value = None if text is None else int(text, 0)
        if value is not None and value < 0:
            raise ValueError
        return value
    except ValueError:
        raise UsageError(f"{option} {text} is not a number", "Write it as 0x08000000.") from None
