"""Which tests reach which statements: recorded in one run of all tests and kept."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.mutants.crew import Crew, Progress, ignore
from tests.mutants.operators import Mutant

OWN = "tests/mutants"
_DECIDING = ("firmware", "host_tools", "boards", "tests", "pyproject.toml")


class Digests:
    """Digests of everything that affects tests: `code` of all code that they use, `tests` of all
    their files, `of(test)` of the file of one test."""

    def __init__(self, root: Path) -> None:
        self._files: dict[str, str] = {}
        code = hashlib.sha256()
        for path in sorted(path for part in _DECIDING for path in _files(root / part)):
            name = path.relative_to(root).as_posix()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if path.name.startswith("test_"):
                self._files[name] = digest
            else:
                code.update(f"{name} {digest}\n".encode())
        self.code = code.hexdigest()
        self.tests = hashlib.sha256(repr(self._files).encode()).hexdigest()

    def of(self, test: str) -> str:
        return self._files[test.partition("::")[0]]


def _files(path: Path) -> Iterator[Path]:
    """The files in a folder, without uncopied ones and those of this tool."""
    if path.is_file():
        yield path
        return
    for folder, folders, files in os.walk(path):
        ignored = ignore(folder, [*folders, *files])
        own = path.parent / OWN
        folders[:] = [
            name for name in folders if name not in ignored and Path(folder, name) != own
        ]
        yield from (Path(folder, name) for name in files if name not in ignored)


@dataclass
class Recording:
    """The results of one run of all tests."""

    seconds: dict[str, float]
    reaching: dict[tuple[str, int], list[str]]  # (module, line) of a statement: tests
    elsewhere: list[str]  # tests that start other processes
    failed: list[str]

    @classmethod
    def of(cls, answers: Sequence[dict[str, Any]]) -> Recording:
        reaching = defaultdict(list)
        sound = [answer for answer in answers if not answer["failed"]]
        for answer in sound:
            for module, lines in answer["lines"].items():
                for line in lines:
                    reaching[module, line].append(answer["test"])
        return cls(
            {answer["test"]: answer["seconds"] for answer in sound},
            dict(reaching),
            [answer["test"] for answer in sound if answer["elsewhere"]],
            [answer["test"] for answer in answers if answer["failed"]],
        )

    def tests_for(
        self, mutant: Mutant, killers: Counter[str], most_seconds: float
    ) -> list[tuple[str, float]]:
        """The tests that may notice the mutant, and their seconds: first those that killed it
        before, or neighbouring mutants, then the fast ones, then those that may reach it in
        another process. The list ends where their seconds exceed `most_seconds`."""
        seen = self.reaching.get((mutant.module, mutant.line), [])
        tests = sorted(seen, key=lambda test: (-killers[test], self.seconds[test]))
        tests += sorted(set(self.elsewhere) - set(seen), key=lambda test: self.seconds[test])
        spent = accumulate(self.seconds[test] for test in tests)
        return [
            (test, self.seconds[test])
            for test, until in zip(tests, spent, strict=True)
            if until <= most_seconds
        ]


def recorded(
    crew: Crew, digests: Digests, modules: Sequence[str], place: Path, console: Console
) -> Recording:
    """The recording takes as long as all tests, so it is kept; only changed files are recorded
    again."""
    kept = place / "recorded.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    files: dict[str, list[str]] = defaultdict(list)
    for test in crew.tests:
        files[test.partition("::")[0]].append(test)
    todo = []
    for file, tests in files.items():
        digest = [digests.code, digests.of(file)]
        found = known.setdefault(file, {"digest": digest, "answers": {}})
        if found["digest"] != digest:
            found.update(digest=digest, answers={})
        if not found["answers"].keys() >= set(tests):
            todo.append(file)
    progress = Progress(console, sum(len(files[file]) for file in todo), "tests recorded")
    done = 0
    requests: list[Callable[[], dict[str, Any]]] = [
        functools.partial(dict, record=files[file], modules=modules) for file in todo
    ]
    for number, answers in crew.map(requests):
        known[todo[number]]["answers"].update((answer["test"], answer) for answer in answers)
        done += len(answers)
        progress.told(done)
        kept.write_text(json.dumps(known))
    every = {test: known[file]["answers"][test] for file, tests in files.items() for test in tests}
    _look_again([answer for answer in every.values() if answer["failed"]], crew)
    return Recording.of(list(every.values()))


def _look_again(failed: Sequence[dict[str, Any]], crew: Crew) -> None:
    """A test that fails only while it is recorded may still notice any mutant."""
    requests: list[Callable[[], dict[str, Any]]] = [
        functools.partial(dict, modules={}, tests=[[answer["test"], answer["seconds"]]])
        for answer in failed
    ]
    for number, (again,) in crew.map(requests):
        if again["by"] is None:
            failed[number].update(failed=False, elsewhere=True)
