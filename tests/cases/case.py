"""A case: an action of a user that once had a wrong outcome, and the check of its outcome."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from stm32up.cli import main


class Wrong(Exception):
    """The outcome is wrong; the text describes it."""


@dataclass(frozen=True)
class Case:
    """`name` says what must be true, `tried` what is done."""

    name: str
    tried: str
    check: Callable[[], str]  # called in an empty folder; returns the outcome, or raises Wrong

    def run(self, folder: Path) -> str:
        """The outcome, in one line. Raises Wrong."""
        of_this_machine = [name for name in os.environ if name.startswith("STM32UP_")]
        with contextlib.chdir(folder), mock.patch.dict(os.environ):
            for name in of_this_machine:
                del os.environ[name]
            try:
                return one_line(self.check())
            except Wrong:
                raise
            except Exception as error:
                raise Wrong(f"{type(error).__name__}: {error}") from error


class Cases(list[Case]):
    """The cases of one module. `@cases("what is tried")` makes a function a case."""

    def __call__(self, tried: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
        def mark(check: Callable[[], str]) -> Callable[[], str]:
            self.add(check.__name__.replace("_", " "), tried, check)
            return check

        return mark

    def add(self, name: str, tried: str, check: Callable[..., str], *arguments: Any) -> None:
        """Add a case whose check is called with these arguments."""
        self.append(Case(name, tried, functools.partial(check, *arguments)))


def expect(right: object, outcome: object) -> str:
    """`outcome` as text. Raises Wrong unless `right`."""
    if not right:
        raise Wrong(one_line(str(outcome)))
    return str(outcome)


def one_line(text: str) -> str:
    return " ".join(text.split())


class Ran(NamedTuple):
    """The result of the command: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return f"{self.out}{self.err}"

    @property
    def last(self) -> str:
        """The line with the result."""
        return (self.err or self.out).strip().rpartition("\n")[2]

    def refuses(self, *words: str, status: int = 1) -> str:
        """The output. Raises Wrong unless it failed with one line that contains all these
        words."""
        right = self.status == status and self.err.count("\n") == 1
        return expect(right and all(word in self.err for word in words), self.last)

    def succeeds(self, *words: str) -> str:
        """The last line. Raises Wrong unless it succeeded and printed all these words."""
        right = self.status == 0 and all(word in self.said for word in words)
        return expect(right, self.last)


def stm32up(*arguments: object) -> Ran:
    """Run the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main.run([str(argument) for argument in arguments])
    return Ran(status, out.getvalue(), err.getvalue())


def build(name: str, content: bytes, *options: object, version: str = "1.1.0") -> Ran:
    """Run `stm32up image build` on a file with this content; the output is x.img."""
    Path(name).write_bytes(content)
    return stm32up(*options, "image", "build", name, "--version", version, "-o", "x.img")
