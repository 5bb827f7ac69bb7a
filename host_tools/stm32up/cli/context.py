"""What every verb of the command line gets: the context and the common options.

--help shows all verbs and must be fast. So the modules of this folder import only click, each
other and small modules at the top; each verb imports the packages that it calls.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stm32up.cli.completers import complete_boards, complete_ports
from stm32up.cli.project_file import BOARD, NAME, Settings
from stm32up.errors import FileMistakes, UsageError
from stm32up.host import AUTO

if TYPE_CHECKING:
    from stm32up.board.model import Board
    from stm32up.host.bus_trace import Tracer
    from stm32up.host.transport import Connection
    from stm32up.say.output import HumanOutput, JsonOutput

DEFAULT_BOARD = "pico_nucleo_g071rb"
FILE = click.Path(path_type=Path)
T = TypeVar("T")


@dataclass
class Context:
    """The state that all verbs share."""

    ports: tuple[str, ...] = (AUTO,)
    all_boards: bool = False
    only: str | None = None  # this command is one of several, each with one board
    board_name: str = DEFAULT_BOARD
    as_json: bool = False
    interrupt: bool = False
    stay: bool = False
    sim_options: tuple[str, ...] = ()
    verbose: bool = False
    trace: Path | None = None
    settings: Settings = field(default_factory=Settings)
    arguments: tuple[str, ...] = ()  # as given on the command line

    @property
    def port(self) -> str:
        """The port of a command that talks to one board."""
        return self.only or self.ports[0]

    @property
    def has_several(self) -> bool:
        """Whether the command is for several boards, and not yet one of its parts."""
        return self.only is None and (self.all_boards or len(self.ports) > 1)

    def own_file(self, path: Path) -> Path:
        """The file to write: `path`, or a file in that folder if this board is one of several."""
        if self.only is None:
            return path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{path} must be a folder, for a file of each board") from error
        return path / (re.sub(r"[^A-Za-z0-9.]+", "_", self.only).strip("_") + ".jsonl")

    @cached_property
    def output(self) -> JsonOutput | HumanOutput:
        from stm32up.say.output import HumanOutput, JsonOutput

        return JsonOutput() if self.as_json else HumanOutput()

    def close(self) -> None:
        """End the output, if there was any."""
        if "output" in vars(self):
            self.output.end()

    @property
    def board(self) -> Board:
        from stm32up.board import boards

        try:
            return boards.load(self.board_name)
        except FileMistakes:
            raise  # it names the board's file
        except UsageError as error:
            raise self.settings.blamed(error, BOARD, self.board_name) from None

    def on_board(
        self,
        verb: Callable[[Connection], T],
        *,
        resume: bool = False,
        again: bool = False,
        **options: bool,
    ) -> T:
        """Run the verb on the board behind --port. `again`: repeat it after a reset of the
        board."""
        from stm32up.host import session

        with (
            self._tracing() as tracer,
            session.opened(
                self.port,
                self.board,
                self.output.report,
                options=self.sim_options,
                resume=resume,
                interrupt=self.interrupt,
                stay=self.stay,
                **options,
            ) as connection,
        ):
            connection.tracer = tracer
            if again:
                return connection.persistently(lambda: verb(connection), self.output.report)
            return verb(connection)

    @contextlib.contextmanager
    def _tracing(self) -> Iterator[Tracer | None]:
        """What records the bus for -v and --trace, None without them. The file is written at the
        end, also after an error."""
        if not self.verbose and self.trace is None:
            yield None
            return
        from stm32up import outputs
        from stm32up.board.model import I2c
        from stm32up.host.bus_trace import Tracer
        from stm32up.report import bus_file

        if self.trace is not None:
            bus_file.check_name(self.trace)
            outputs.check(self.trace)
        link = self.board.link
        if not isinstance(link, I2c):
            raise UsageError(
                f"{self.board.name} has no I2C bus, and nothing else can be recorded",
                "Leave -v and --trace out.",
            )
        tracer = Tracer(self.output.report if self.verbose else None)
        try:
            yield tracer
        finally:
            if self.trace is not None:
                bus_file.write(self.trace, tracer.transactions, link.freq)


# --- options of every verb: they are valid before it and after it ---


def _set(name: str) -> Callable[[click.Context, click.Parameter, object], None]:
    def given(context: click.Context, option: click.Parameter, value: object) -> None:
        """An option after the verb overrides the same option before it."""
        if value:
            setattr(context.ensure_object(Context), name, value)

    return given


def _add_sim_options(
    context: click.Context, option: click.Parameter, value: tuple[str, ...]
) -> None:
    context.ensure_object(Context).sim_options += value


class Port(click.ParamType[str]):
    """A port. The environment gives one, which may contain spaces."""

    name = "port"

    def convert(
        self, value: str, param: click.Parameter | None, context: click.Context | None
    ) -> str:
        return value

    def split_envvar_value(self, rv: str) -> list[str]:
        return [rv]


class NameAndValue(click.ParamType[str]):
    """NAME=VALUE"""

    name = "name=value"

    def convert(
        self, value: str, param: click.Parameter | None, context: click.Context | None
    ) -> str:
        if "=" not in value:
            raise UsageError(f"--sim-option {value} is not NAME=VALUE")
        return value


# Any: the keyword arguments of click.
_EVERYWHERE: dict[str, dict[str, Any]] = {
    "--port": {
        "help": "Serial port, URL, auto, sim (a simulated board) or sim:DIR (its state in DIR); "
        "several times for several boards.",
        "multiple": True,
        "type": Port(),
        "metavar": "PORT",
        "callback": _set("ports"),
        "shell_complete": complete_ports,
    },
    "--all-boards": {
        "help": "Every MicroPython board with its own USB, at once.",
        "is_flag": True,
        "callback": _set("all_boards"),
    },
    "--board": {
        "help": "A folder of boards/, or a path.",
        "callback": _set("board_name"),
        "shell_complete": complete_boards,
    },
    "--interrupt": {
        "help": "Interrupt an update that runs on the board; without, wait until it has ended.",
        "is_flag": True,
        "callback": _set("interrupt"),
    },
    "--stay": {
        "help": "Leave the board at its REPL; without, start its program again.",
        "is_flag": True,
        "callback": _set("stay"),
    },
    "--verbose": {
        "help": "Show each transaction on the bus.",
        "is_flag": True,
        "callback": _set("verbose"),
    },
    "--trace": {
        "help": "Write the transactions on the bus to FILE.vcd, or FILE.csv.",
        "type": FILE,
        "metavar": "FILE",
        "callback": _set("trace"),
    },
    "--json": {"help": "One JSON object per line.", "is_flag": True, "callback": _set("as_json")},
    "--sim-option": {
        "help": "A fault to simulate: see docs/simulated-board.md.",
        "multiple": True,
        "type": NameAndValue(),
        "metavar": "NAME=VALUE",
        "callback": _add_sim_options,
    },
}
_SHORT = {"--all-boards": ("--all",), "--verbose": ("-v",)}
ONLY = "--only-port"
_VERB = "VERB ..."
# Before the verb the options have defaults, and environment variables can set them.
_SHOWN = {"show_default": True, "show_envvar": True}
_FIRST: dict[str, dict[str, Any]] = {
    "--port": {"default": (AUTO,), "envvar": "STM32UP_PORT", **_SHOWN},
    "--board": {"default": DEFAULT_BOARD, "envvar": "STM32UP_BOARD", **_SHOWN},
}


def options(
    taken: Iterable[click.Parameter] = (), *, first: bool = False
) -> list[click.Parameter]:
    """The options of every verb; `first`: those before the verb. A verb that has an option of its
    own with one of their short names keeps it."""
    theirs = {name for option in taken for name in option.opts}
    made: list[click.Parameter] = []
    for name, values in _EVERYWHERE.items():
        more = _FIRST.get(name, {}) if first else {}
        short = [also for also in _SHORT.get(name, ()) if also not in theirs]
        kind = click.Option if first else _OfEveryVerb
        made.append(kind([name, *short], expose_value=False, **values, **more))
    return made


class _OfEveryVerb(click.Option):
    """One of these options, after a verb."""


class _ShortHelp(click.Command):
    """A help that lists only the options of its own."""

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        params = [each for each in self.get_params(context) if isinstance(each, click.Option)]
        own = [param for param in params if not isinstance(param, _OfEveryVerb)]
        with formatter.section("Options"):
            formatter.write_dl([row for param in own if (row := param.get_help_record(context))])
        if len(own) < len(params):
            names = [param.opts[0] for param in params if isinstance(param, _OfEveryVerb)]
            with formatter.section("Options of every verb, which stm32up -h explains"):
                formatter.write_text(", ".join(names))


class Verb(_ShortHelp):
    """A verb that takes these options too. `several`: it can be done on several boards at once.
    `in_turn`: it looks at the ports itself."""

    def __init__(
        self, *arguments: Any, several: bool = False, in_turn: bool = False, **values: Any
    ) -> None:
        super().__init__(*arguments, **values)
        self.params += options(self.params)
        self.several = several
        self._in_turn = in_turn

    def invoke(self, ctx: click.Context) -> Any:
        context = ctx.ensure_object(Context)
        if not context.has_several or self._in_turn:
            return super().invoke(ctx)
        verb = ctx.command_path.removeprefix("stm32up ")
        if not self.several:
            raise UsageError(
                f"stm32up {verb} is not for several boards", "Give one --port, or none."
            )
        if context.trace is not None:
            raise UsageError("--trace is for one board", "Give one --port.")
        from stm32up.cli import many

        return many.run(context, verb)


class Verbs(_ShortHelp, click.Group):
    """A group of such verbs."""

    command_class = Verb
    group_class: type[click.Group] | type[type] | None = type

    def __init__(self, *arguments: Any, **values: Any) -> None:
        super().__init__(*arguments, **{"subcommand_metavar": _VERB, **values})
        self.params += options()

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(context, formatter)
        self.format_commands(context, formatter)

    def list_verbs(self, verbs: Iterable[str], formatter: click.HelpFormatter) -> None:
        """A line, or a few, for each."""
        rows = [(name, self.commands[name].get_short_help_str(limit=200)) for name in verbs]
        formatter.write_dl(rows)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            self.list_verbs(self.commands, formatter)


class AllVerbs(Verbs):
    """The command itself. It also has the option by which a command for several boards tells each
    of its parts which board is meant."""

    group_class = Verbs

    def __init__(self, *arguments: Any, **values: Any) -> None:
        super(Verbs, self).__init__(*arguments, **{"subcommand_metavar": _VERB, **values})
        self._sections: dict[str, list[str]] = {}
        self.params += options(first=True)
        only = click.Option([ONLY], expose_value=False, hidden=True, callback=_set("only"))
        self.params.append(only)

    def add_section(self, title: str, *verbs: click.Command) -> None:
        """Add verbs that belong together, under this title of the help."""
        for verb in verbs:
            self.add_command(verb)
            self._sections.setdefault(title, []).append(str(verb.name))

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        for title, verbs in self._sections.items():
            with formatter.section(title):
                self.list_verbs(verbs, formatter)

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Where options come from that are not given."""
        given = context.ensure_object(Context).settings
        found = f"; here {given.file}" if given.file else ""
        formatter.write_paragraph()
        formatter.write_text(
            "An option that is not given comes from its environment variable, then from "
            f"{NAME} in the current folder or a parent{found}, then from the default."
        )
