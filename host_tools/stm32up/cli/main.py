"""The command: all verbs, and the handling of errors. Exit status 0 done, 1 failed, 2 usage, 3 no
board.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from stm32up.cli import (
    bench_verbs,
    board_verbs,
    completion,
    cycles_verbs,
    flash_verbs,
    host_verbs,
    image_verbs,
    keys_verbs,
    logs_verbs,
    production_verbs,
    project_file,
    simulate_verbs,
)
from stm32up.cli.context import AllVerbs, Context
from stm32up.errors import INTERRUPTED, Stm32upError, UsageError
from stm32up.text import clean

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
TRACE = "STM32UP_TRACE"  # environment variable: show tracebacks of internal errors


@click.group(cls=AllVerbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stm32up")
def cli() -> None:
    """Updates an STM32 over I2C or UART from a MicroPython board.

    Options are valid before and after the verb.
    """


# As in docs/commands.md.
cli.add_section(
    "Images and keys",
    keys_verbs.keys_group,
    image_verbs.image_group,
    completion.completion_command,
)
cli.add_section(
    "Boards",
    board_verbs.boards_group,
    board_verbs.devices_command,
    host_verbs.deploy_command,
    board_verbs.reset_command,
    board_verbs.console_command,
    simulate_verbs.simulate_command,
    simulate_verbs.torture_command,
)
cli.add_section(
    "Updating",
    host_verbs.push_command,
    host_verbs.update_command,
    host_verbs.run_command,
    host_verbs.status_command,
)
cli.add_section(
    "Looking",
    host_verbs.probe_command,
    host_verbs.doctor_command,
    flash_verbs.read_command,
    flash_verbs.verify_command,
    logs_verbs.logs_group,
)
cli.add_section(
    "On the bench",
    bench_verbs.provision_command,
    bench_verbs.unprotect_command,
    flash_verbs.erase_command,
    cycles_verbs.bench_command,
    production_verbs.produce_command,
)


def main() -> None:
    _fill_standard_descriptors()
    for stream in (sys.stdout, sys.stderr):  # a terminal may not be able to show every character
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if completion.VARIABLE in os.environ:
        sys.exit(completion.answer(cli))
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """The command with these arguments; returns the exit status. Never raises for bad input."""
    given = Context(as_json="--json" in arguments, arguments=tuple(arguments))
    try:
        given.settings = project_file.load(_current_folder())
        with cli.make_context(
            "stm32up", list(arguments), obj=given, default_map=given.settings.defaults
        ) as context:
            cli.invoke(context)
            if sys.stdout is not None:  # it is closed
                sys.stdout.flush()
        return 0
    except click.exceptions.Exit as done:  # --help, --version
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return UsageError.exit_status
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        command = where.command_path if where else "stm32up"
        return _fail(given, UsageError(error.format_message().rstrip("."), f"See {command} -h."))
    except Stm32upError as error:
        return _fail(given, error)
    except (click.Abort, KeyboardInterrupt):
        given.output.interrupted()
        return _fail(
            given, Interrupted("interrupted", "Run it again: it continues where it stopped.")
        )
    except BrokenPipeError:
        _discard_output()
        return Stm32upError.exit_status
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:  # mostly for the output
            return _no_room(error)
        if TRACE in os.environ:
            print(clean(traceback.format_exc(), keep="\n"), file=sys.stderr)
        return _fail(
            given, InternalError(f"an internal error of stm32up: {type(error).__name__}: {error}")
        )
    finally:
        given.close()


def _fill_standard_descriptors() -> None:
    """Open the null device in place of a closed standard stream. Else the next pipe gets its
    number, and a program that is started there loses it."""
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(null)


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("the current folder was removed", "Change to another one.") from None


def _discard_output() -> None:
    """For what is not yet written, at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class InternalError(Stm32upError):
    """A bug of this program."""

    code = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message, f"Please report it, with the output of {TRACE}=1 stm32up ...")


class Interrupted(Stm32upError):
    """Ctrl-C."""

    exit_status = INTERRUPTED
    code = "interrupted"


def _fail(context: Context, error: Stm32upError) -> int:
    try:
        context.output.error(error)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    except OSError as full:
        if full.errno not in _NO_ROOM:
            raise
        _no_room(full)
    return error.exit_status


def _no_room(error: OSError) -> int:
    _discard_output()
    if sys.stderr is not None:
        print(f"error: cannot write: {error.strerror}. Make room on the disk.", file=sys.stderr)
    return Stm32upError.exit_status


if __name__ == "__main__":
    main()
