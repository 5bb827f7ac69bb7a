"""The command line: parses, calls the verb, prints. Exit status 0 done, 1 failed, 2 usage, 3 no
board.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click
from imgtool.keys import RSA, RSAPublic

from stm32up import __version__, device
from stm32up.board import boards
from stm32up.cli import bench_verbs
from stm32up.cli.context import DEFAULT_BOARD, FILE, AllVerbs, Context
from stm32up.doctor import examine
from stm32up.errors import INTERRUPTED, ImageError, Stm32upError, UsageError
from stm32up.events import Shown
from stm32up.host import calls, deploy, logs, push, session, simulation
from stm32up.image import images, keys
from stm32up.report import forum
from stm32up.say.output import HumanOutput, JsonOutput
from stm32up.text import clean

PASSPHRASE = "STM32UP_PASSPHRASE"  # the environment variable
TRACE = "STM32UP_TRACE"  # the environment variable that shows tracebacks of our own mistakes
T = TypeVar("T")


@click.group(cls=AllVerbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Updates an STM32 over I2C from a MicroPython board.

    The options may stand before the verb or after it.
    """


@cli.group("keys")
def keys_group() -> None:
    """Keys for signing images."""


@keys_group.command("new")
@click.argument("path", type=FILE, metavar="KEY.pem")
@click.option("--bits", type=click.Choice(["2048", "3072"]), default="3072", show_default=True)
@click.option("--passphrase", is_flag=True, help=f"Encrypt it; asks, or takes {PASSPHRASE}.")
@click.option("--development", is_flag=True, help="Mark it: no board for a product takes it.")
@click.pass_obj
def keys_new(context: Context, path: Path, bits: str, passphrase: bool, development: bool) -> None:
    """Make a private key for signing; it never overwrites a file."""
    secret = _ask_passphrase(path, confirm=True) if passphrase else None
    keys.new(path, int(bits), secret, development=development)
    public = keys.device_key(_load_key(path))
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
    key = _with_passphrase(path, lambda secret: keys.write_public(path, target, secret))
    made = {"key": str(target), "bits": key.key_size(), **_id(keys.device_key(key))}
    context.output.result("keys public", {"status": "made", **made})


@cli.group("image")
def image_group() -> None:
    """Firmware images: make, inspect, check."""


@image_group.command("build")
@click.argument("source", type=FILE, metavar="INPUT")
@click.option("--chip", help="Part number; default: the board's.")
@click.option("--version", required=True, help="As 1.4.2 or 1.4.2+7.")
@click.option("--key", type=FILE, help="Private key; without it the image is not signed.")
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
    """Make an image of a bin, hex, srec or elf file.

    It is one that the board takes: what the updater checks is checked here. Whole pages that the
    input leaves open are kept as they are; the rest of its gaps is filled with FF.
    """
    part, preserve = _part(context, chip)
    built = images.build(
        source,
        part,
        version,
        _load_key(key) if key else None,
        target,
        product=product or context.board.product,
        security_counter=security_counter,
        address=_number("--address", address),
        preserve=preserve,
    )
    context.output.result("image build", {"status": "built", **built})


@image_group.command("show")
@click.argument("image", type=FILE)
@click.pass_obj
def image_show(context: Context, image: Path) -> None:
    """Show header, TLVs and what is written, without checking digest and signature."""
    shown = images.show(image)
    product = _product(context, shown["class_id"])
    context.output.result("image show", {"status": "shown", **shown, "product": product})


@image_group.command("verify")
@click.argument("image", type=FILE)
@click.option("--key", type=FILE, help="Public or private key that must have signed it.")
@click.option("--chip", help="Part number; default: the board's.")
@click.pass_obj
def image_verify(context: Context, image: Path, key: Path | None, chip: str | None) -> None:
    """Check what the board will check, and, with --key, the signature."""
    verified = _verified(context, image, _load_key(key) if key else None, chip)
    context.output.result("image verify", {"status": "verified", **verified})


@image_group.command("digest")
@click.argument("image", type=FILE)
@click.option("-o", "--output", "target", type=FILE, required=True, metavar="DIGEST")
@click.pass_obj
def image_digest(context: Context, image: Path, target: Path) -> None:
    """Write the 32 bytes that a token or a signing service has to sign."""
    done = images.write_digest(image, target)
    context.output.result("image digest", {"status": "written", **done})


@image_group.command("sign")
@click.argument("image", type=FILE)
@click.option("--key", type=FILE, required=True, help="Private key; public with --signature.")
@click.option("--signature", type=FILE, help="Made elsewhere, of what image digest wrote.")
@click.option("-o", "--output", "target", type=FILE, required=True)
@click.pass_obj
def image_sign(
    context: Context, image: Path, key: Path, signature: Path | None, target: Path
) -> None:
    """Sign an image that was built without a key, or replace its signature."""
    signed = images.sign(image, _load_key(key), target, signature=signature)
    context.output.result("image sign", {"status": "signed", **signed})


@cli.command("deploy")
@click.option("--key", "key_paths", type=FILE, multiple=True, help="Keys the board shall trust.")
@click.option("--main", is_flag=True, help="Also firmware/main.py, as /main.py.")
@click.option("--bench", is_flag=True, help="Also what provision and unprotect need. No product.")
@click.option("--frozen", is_flag=True, help="The firmware brings the updater: not its modules.")
@click.pass_obj
def deploy_command(
    context: Context, key_paths: tuple[Path, ...], main: bool, bench: bool, frozen: bool
) -> None:
    """Put the updater on the board; copies only what changed."""
    trusted = {path: _load_key(path) for path in key_paths}
    board = context.board
    deploy.check_keys(board, trusted)
    report = context.output.report
    public_keys = list(trusted.values())
    extent = {"main": main, "bench": bench, "frozen": frozen}
    done = context.on_board(
        lambda c: deploy.deploy(c, board, report, public_keys=public_keys, **extent),
        prepare=False,
    )
    context.output.result("deploy", done)


@cli.command("push")
@click.argument("image", type=FILE)
@click.pass_obj
def push_command(context: Context, image: Path) -> None:
    """Put an image into the board's inbox.

    Goes on where it was interrupted. The updater installs the image when it runs next.
    """
    _verified(context, image)  # before a board is even looked for
    report = context.output.report
    context.output.result("push", context.on_board(lambda c: push.push(c, image, report)))


@cli.command("update")
@click.argument("image", type=FILE)
@click.option("--force", is_flag=True, help="Write it even if it is installed or failed before.")
@click.pass_obj
def update_command(context: Context, image: Path, force: bool) -> None:
    """Push an image and install it on the target."""
    _verified(context, image)
    report = context.output.report
    context.output.result(
        "update", context.on_board(lambda c: calls.update(c, image, report, force=force))
    )


@cli.command("run")
@click.pass_obj
def run_command(context: Context) -> None:
    """Run the updater once, as the product does when it starts.

    It finishes an interrupted update, installs what lies in the inbox, or has nothing to do.
    """
    report = context.output.report
    context.output.result("run", context.on_board(lambda c: calls.run(c, report)))


@cli.command("status")
@click.pass_obj
def status_command(context: Context) -> None:
    """State of the updater; does not touch the target."""
    context.output.result("status", context.on_board(calls.status))


@cli.command("probe")
@click.pass_obj
def probe_command(context: Context) -> None:
    """What is on the bus: chip, loader, option bytes, application.

    Resets the target into its loader and back; writes nothing.
    """
    context.output.result("probe", context.on_board(calls.probe))


cli.add_command(bench_verbs.provision_command)
cli.add_command(bench_verbs.unprotect_command)


@cli.command("doctor")
@click.option(
    "--power-cycled",
    is_flag=True,
    help="The target was just switched off and on, with no debugger connected.",
)
@click.pass_obj
def doctor_command(context: Context, power_cycled: bool) -> None:
    """What is wrong, why it is believed, and what to do next.

    Looks at the host's files, the wires and the target, which is reset into its loader and back.
    Writes nothing, and needs no updater on the board. Exit status 1 if something is wrong.
    """
    board = context.board
    found = context.on_board(lambda c: examine.doctor(c, board, power_cycled=power_cycled))
    context.output.result("doctor", found)
    if not found["ok"]:
        raise click.exceptions.Exit(Stm32upError.exit_status)


@cli.group("logs")
def logs_group() -> None:
    """The updater's log."""


@logs_group.command("pull")
@click.option("-o", "--output", "target", type=FILE, help="Default: standard output.")
@click.pass_obj
def logs_pull(context: Context, target: Path | None) -> None:
    """Fetch the log as JSON lines, oldest first.

    Interrupts the program that runs on the board, as every command does, but does not reset the
    board. The program does not go on by itself: reset the board for that.
    """
    if target is None and not context.as_json:
        context.output = HumanOutput(aside=True)
    collected = context.on_board(logs.collect, resume=True)
    if target is not None:
        logs.write(collected, target)
    elif context.as_json:
        for entry in collected.entries:
            context.output.report({"event": "log", "entry": entry})
    else:
        sys.stdout.write(collected.as_lines())
        if collected.damaged:
            print(f"note: {collected.damaged} damaged lines are left out", file=sys.stderr)
        return
    context.output.result("logs pull", {"status": "pulled", **collected.summary()})


@cli.command("simulate")
@click.option("--dir", "folder", type=FILE, help="Keep the board's state here.")
@click.option("--scenario", type=click.Choice(["forum"]), help="Tell a story instead of that.")
@click.option(
    "--instants",
    type=click.IntRange(1),
    default=forum.INSTANTS,
    show_default=True,
    help="Story: how often the supply fails in each of its runs.",
)
@click.option("--seed", type=int, default=forum.SEED, show_default=True, help="Story: when.")
@click.option("--only", metavar="LANE/NUMBER", help="Story: one of these again, with all details.")
@click.option("--draw", type=FILE, metavar="FILE.svg", help="Story: draw its runs.")
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
    """Keep a simulated board running, or tell a story.

    Prints the board's port, and a device that terminal programs can open; Ctrl-C ends it.

    --scenario forum tells how the chip was locked that this project is about, and what becomes of
    it in other hands: see docs/forum-case.md.
    """
    if scenario is None:
        if only or draw:
            raise UsageError("--only and --draw belong to --scenario forum")
        _keep_a_board(context, folder)
    elif only:
        done = forum.only(context.output.report, seed, only)
        context.output.result("simulate forum case", done)
    else:
        done = forum.run(context.output.report, seed=seed, instants=instants, drawing=draw)
        context.output.result("simulate forum", done)


def _keep_a_board(context: Context, folder: Path | None) -> None:
    port = context.port if simulation.wanted(context.port) else simulation.PORT
    if folder:
        port = f"{simulation.PORT}:{folder}"
    output = context.output
    # A shell's background jobs ignore Ctrl-C, and a terminal that is closed sends SIGHUP.
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


def _for_terminals(at: simulation.Ports) -> str:
    if at.pty is None:
        return "No pseudo-terminal on this system: terminal programs need the address above."
    return f"For screen, minicom, Thonny, mpremote: {at.pty}"


def main() -> None:
    for stream in (sys.stdout, sys.stderr):  # a terminal may lack a character that a board has
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """The command with these arguments; returns the exit status. Never raises for bad input."""
    output: JsonOutput | HumanOutput = JsonOutput() if "--json" in arguments else HumanOutput()
    try:
        with cli.make_context("stm32up", list(arguments), obj=Context(output=output)) as context:
            cli.invoke(context)
        return 0
    except click.exceptions.Exit as done:  # --help, --version
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return UsageError.exit_status
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        command = where.command_path if where else "stm32up"
        return _fail(output, UsageError(error.format_message().rstrip("."), f"See {command} -h."))
    except Stm32upError as error:
        return _fail(output, error)
    except (click.Abort, KeyboardInterrupt):
        return _fail(output, Interrupted("interrupted", "Run it again: it goes on where it was."))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return Stm32upError.exit_status
    except Exception as error:
        if TRACE in os.environ:
            print(clean(traceback.format_exc(), keep="\n"), file=sys.stderr)
        return _fail(
            output, InternalError(f"a mistake in stm32up: {type(error).__name__}: {error}")
        )
    finally:
        output.close()


class InternalError(Stm32upError):
    """What was not foreseen."""

    code = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message, f"Please report it, with the output of {TRACE}=1 stm32up ...")


class Interrupted(Stm32upError):
    """Ctrl-C."""

    exit_status = INTERRUPTED
    code = "interrupted"


def _fail(output: JsonOutput | HumanOutput, error: Stm32upError) -> int:
    output.error(error)
    return error.exit_status


def _product(context: Context, class_id: str | None) -> str | None:
    """The product of the known boards, --board among them, that has this class id."""
    known = dict.fromkeys([*boards.names(), context.board_name])
    if not boards.names() and context.board_name == DEFAULT_BOARD:
        known = {}
    products = [boards.load(name).product for name in known] if class_id else []
    found = (name for name in products if name and images.class_id(name).hex == class_id)
    return next(found, None)


def _part(context: Context, chip: str | None) -> tuple[device.Chip, Sequence[tuple[int, int]]]:
    """The part that is meant, --chip or else the board's, and what the board preserves on it."""
    board = context.board
    part = device.chip(chip) if chip else board.chip
    return part, board.preserve if part.product_id == board.chip.product_id else ()


def _verified(
    context: Context, image: Path, key: RSA | RSAPublic | None = None, chip: str | None = None
) -> Shown:
    """Checks an image as its board will. An image for another chip than the default board's is
    checked for its own chip, unless a board or chip was named.
    """
    named = chip is not None or context.board_name != DEFAULT_BOARD
    try:
        verified = images.verify(image, key)
    except images.NotAnImage as error:
        if error.source is None or not named:
            raise
        advice = images.how_to_build(image, error.source, "--board", context.board_name)
        raise ImageError(error.message, advice) from None
    part, preserve = _part(context, chip)
    if named or verified["product_id"] == part.product_id:
        verified = images.verify(image, key, chip=part, preserve=preserve)
    return verified


def _load_key(path: Path) -> RSA | RSAPublic:
    return _with_passphrase(path, lambda secret: keys.load(path, secret))


def _with_passphrase(path: Path, use: Callable[[str | None], T]) -> T:
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


def _id(key: keys.DeviceKey) -> dict[str, str]:
    return {"key_id": key.name.removesuffix(".pub")}


def _number(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else int(text, 0)
    except ValueError:
        raise UsageError(f"{option} {text} is not a number", "Write it as 0x08000000.") from None


if __name__ == "__main__":
    main()
