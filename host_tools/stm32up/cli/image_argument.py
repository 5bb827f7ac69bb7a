"""The argument IMAGE of `push` and `update`: an image, or a file to build one from."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from stm32up.cli.context import FILE, Context
from stm32up.cli.image_verbs import build, verified
from stm32up.cli.keys_verbs import KeyOption, is_typed
from stm32up.errors import Stm32upError, UsageError

F = TypeVar("F", bound=Callable[..., Any])


def image_argument(verb: F) -> F:
    """Adds the argument, and the options that build an image."""
    key = click.option(
        "--key", cls=KeyOption, help="Private key that signs the image that --version builds."
    )
    version = click.option(
        "--version",
        metavar="V",
        help="Build an image with this version of a bin, hex, srec or elf file first; auto: the "
        "version from the tags of git.",
    )
    counter = click.option(
        "--security-counter",
        type=int,
        help="Of the image that --version builds; default: from the version. It decides what "
        "counts as older.",
    )
    return click.argument("image", type=FILE)(version(key(counter(verb))))


@contextlib.contextmanager
def checked(
    context: Context,
    given: Path,
    version: str | None,
    key: Path | None,
    security_counter: int | None,
) -> Iterator[Path]:
    """The image, checked as its board will, before a board is looked for. One that is built
    here is removed afterwards."""
    from stm32up.image import images

    if images.is_image(given):
        options = {
            "--version": version,
            "--key": is_typed("key"),
            "--security-counter": security_counter is not None,
        }
        if option := next((name for name, typed in options.items() if typed), None):
            raise UsageError(
                f"{given} is an image already, and {option} is for a file to build one from",
                "Leave the option out.",
            )
    elif version:
        with tempfile.TemporaryDirectory(prefix="stm32up-") as folder:
            target = Path(folder, f"{given.stem}.img")
            built = build(context, given, version, key, target, security_counter=security_counter)
            context.output.report({"event": "built", **built, "file": str(given)})
            try:
                yield target
            except Stm32upError as error:  # it names a file that is removed
                error.message = error.message.replace(str(target), f"the image of {given}")
                if error.code == "image-unsigned":
                    error.next_step = "Give the key that the board trusts: --key KEY.pem"
                raise
        return
    try:
        verified(context, given)
    except images.NotAnImage as error:
        if error.source == given:  # else it needs another name first
            wanted = images.version_in(given)
            error.next_step = (
                f"Build one on the way (--version {wanted}), or m{error.next_step[1:]}"
            )
        raise
    yield given
