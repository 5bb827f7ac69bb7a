"""The verb group `keys`, and reading a key from a file for all verbs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stm32up.cli.context import FILE, Context, Verbs
from stm32up.cli.project_file import KEY
from stm32up.errors import Stm32upError, UsageError

if TYPE_CHECKING:
    from imgtool.keys import RSA, RSAPublic

    from stm32up.image.keys import DeviceKey

PASSPHRASE = "STM32UP_PASSPHRASE"  # the environment variable
T = TypeVar("T")


@click.group("keys", cls=Verbs)
def keys_group() -> None:
    """Keys for signing images."""


@keys_group.command("new")
@click.argument("path", type=FILE, metavar="KEY.pem")
@click.option("--bits", type=click.Choice(["2048", "3072"]), default="3072", show_default=True)
@click.option(
    "--passphrase",
    is_flag=True,
    help=f"Encrypt it; asks for the passphrase, or uses {PASSPHRASE}.",
)
@click.option(
    "--development", is_flag=True, help="For development only: boards of products refuse it."
)
@click.pass_obj
def keys_new(context: Context, path: Path, bits: str, passphrase: bool, development: bool) -> None:
    """Make a private key for signing; never overwrites a file."""
    from stm32up.image import keys

    secret = _ask_passphrase(path, confirm=True) if passphrase else None
    keys.new(path, int(bits), secret, development=development)
    public = keys.device_key(load_key(path))
    context.output.result(
        "keys new",
        {
            "status": "made",
            "key": str(path),
            "bits": int(bits),
            "development": development,
            **_id(public),
        },
    )


@keys_group.command("public")
@click.argument("path", type=FILE, metavar="KEY.pem")
@click.option("-o", "--output", "target", type=FILE, required=True, metavar="KEY.pub.pem")
@click.pass_obj
def keys_public(context: Context, path: Path, target: Path) -> None:
    """Write the public half of a key: all that deploy and verify need."""
    from stm32up.image import keys

    key = _with_passphrase(path, lambda secret: keys.write_public(path, target, secret))
    made = {"key": str(target), "bits": key.key_size(), **_id(keys.device_key(key))}
    context.output.result("keys public", {"status": "made", **made})


def _id(key: DeviceKey) -> dict[str, str]:
    return {"key_id": key.name.removesuffix(".pub")}


class KeyOption(click.Option):
    """--key with one value, which the environment or stm32up.toml can give too."""

    def __init__(self, *arguments: Any, **values: Any) -> None:
        known = {"type": FILE, "envvar": "STM32UP_KEY", "show_envvar": True, "show_default": True}
        super().__init__(*arguments, **{**known, **values})

    def get_default(self, ctx: click.Context, call: bool = True) -> Any:
        return (ctx.find_root().default_map or {}).get(KEY, super().get_default(ctx, call))


def load_key(path: Path) -> RSA | RSAPublic:
    """The key in this file. Asks for its passphrase if it is encrypted."""
    from stm32up.image import keys

    try:
        return _with_passphrase(path, lambda secret: keys.load(path, secret))
    except Stm32upError as error:
        context = click.get_current_context().find_object(Context)
        raise (context.settings.blamed(error, KEY, path) if context else error) from None


def is_typed(option: str) -> bool:
    """Whether this option of the verb stands on the command line."""
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.COMMANDLINE


def load_private_key(path: Path) -> RSA:
    """As `load_key`; raises KeyFileError for a public key."""
    from imgtool.keys import RSA

    from stm32up.errors import KeyFileError

    key = load_key(path)
    if not isinstance(key, RSA):
        raise KeyFileError(f"{path} is a public key, which cannot sign", "Give the private key.")
    return key


def _with_passphrase(path: Path, use: Callable[[str | None], T]) -> T:
    from stm32up.image import keys

    try:
        return use(os.environ.get(PASSPHRASE) or None)
    except keys.PassphraseNeeded:
        return use(_ask_passphrase(path))


def _ask_passphrase(path: Path, confirm: bool = False) -> str:
    if os.environ.get(PASSPHRASE):
        return os.environ[PASSPHRASE]
    if not sys.stdin.isatty():
        raise UsageError(
            f"{path} needs a passphrase and there is no terminal to ask", f"Set {PASSPHRASE}."
        )
    answer: str = click.prompt(
        f"Passphrase for {path}", hide_input=True, confirmation_prompt=confirm, err=True
    )
    return answer
