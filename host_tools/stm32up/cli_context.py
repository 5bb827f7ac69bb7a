"""What every verb of the command line is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from stm32up import boards, session, transport
from stm32up.board import Board
from stm32up.output import HumanOutput, JsonOutput

FILE = click.Path(path_type=Path)
T = TypeVar("T")


@dataclass
class Context:
    """What stands before the verb."""

    port: str
    board_name: str
    as_json: bool
    sim_options: tuple[str, ...]
    output: JsonOutput | HumanOutput

    @property
    def board(self) -> Board:
        return boards.load(self.board_name)

    def on_board(
        self, verb: Callable[[transport.Connection], T], *, resume: bool = False, **options: bool
    ) -> T:
        """Runs the verb on the board behind --port."""
        with session.opened(
            self.port,
            self.board,
            self.output.report,
            options=self.sim_options,
            resume=resume,
            **options,
        ) as connection:
            return verb(connection)
