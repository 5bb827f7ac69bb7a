"""Runs chosen tests of one copy of the project, as often as asked: python worker.py TESTS...

The tests are collected once; then a fork of that process serves each request, so a mutant takes
little more time than its tests. This module imports nothing from the project, because that must
come from the copy. Requests and answers are lines of JSON on stdin and stdout:

    {"record": [test, ...], "modules": [path, ...]}
        for each test {"test", "seconds", "failed", "elsewhere", "lines"}, then {"recorded": true}
    {"modules": {path: source}, "tests": [[test, seconds], ...]}
        {"by": test or null, "how": "failed", "time" or "died"}

`lines`: the lines of the statements that the test reached, by module. `elsewhere`: it starts other
processes, which may reach any statement unnoticed.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import gc
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import pytest

# Time limits of a test: a minimum, and a multiple of its recorded time. The first is processor
# time, which other processes may need too.
CPU_SECONDS, CPU_TIMES = float(os.environ.get("MUTANTS_CPU_SECONDS", "10")), 10
WALL_SECONDS, WALL_TIMES = 60, 30
# Bytes: a mutant may fill a list endlessly. A simulated core reserves 1 GB that it does not use.
MOST_MEMORY = 40 << 30


class Worker:
    """A pytest plugin that replaces its run loop."""

    def __init__(self, requests: TextIO, answers: TextIO) -> None:
        self._requests = requests
        self._answers = answers
        self._items: dict[str, pytest.Item] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        self._answer({"tests": list(self._items)})
        gc.collect()
        gc.freeze()
        for line in self._requests:
            request = json.loads(line)
            if "record" in request:
                self._look(session, **request)
            else:
                self._answer(self._try(session, **request))
        return True

    def _answer(self, answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=self._answers, flush=True)

    def _fork(self, work: Callable[[], int]) -> int:
        """Do `work` in a separate process, and end all processes that it leaves. Return its exit
        status, or the negative number of the signal that ended it."""
        child = os.fork()
        if not child:
            status = 1
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.setsid()
                resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
                status = work()
            except BaseException:  # a mutant may raise any; the child must not leave this block
                traceback.print_exc()
            finally:
                os._exit(status)
        try:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)

    def _in_turn(self, tests: Sequence[str]) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
        """Each test, and the one after it."""
        items = [self._items[test] for test in tests]
        return zip(items, [*items[1:], None], strict=False)

    # --- mutants ---

    def _try(
        self, session: pytest.Session, modules: dict[str, str], tests: Sequence[tuple[str, float]]
    ) -> dict[str, Any]:
        """Run `tests` until one fails, with the sources of some modules replaced."""
        before = {path: Path(path).read_text() for path in modules}
        reader, writer = os.pipe()
        try:
            for path, source in modules.items():
                Path(path).write_text(source)
            status = self._fork(lambda: self._until_one_fails(session, tests, writer))
        finally:
            for path, source in before.items():
                Path(path).write_text(source)
            os.close(writer)
        with open(reader, "rb") as begun:
            count = len(begun.read())
        if status == 0:
            return {"by": None, "how": ""}
        ended = {1: "failed", -signal.SIGPROF: "time", -signal.SIGALRM: "time"}
        if not count:
            raise RuntimeError(f"no test could begin, status {status}")
        return {"by": tests[count - 1][0], "how": ended.get(status, "died")}

    def _until_one_fails(
        self, session: pytest.Session, tests: Sequence[tuple[str, float]], begun: int
    ) -> int:
        seconds_of = dict(tests)
        for item, following in self._in_turn(list(seconds_of)):
            seconds = seconds_of[item.nodeid]
            os.write(begun, b".")
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS + CPU_TIMES * seconds)
            signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS + WALL_TIMES * seconds)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                return 1
        return 0

    # --- which tests reach what ---

    def _look(self, session: pytest.Session, record: list[str], modules: list[str]) -> None:
        paths = {str(Path(path).resolve()): path for path in modules}
        for path in imported(paths):
            raise RuntimeError(f"{path} is imported already: no mutant of it would be seen")
        if self._fork(lambda: self._record(session, record, paths)):
            raise RuntimeError("the recording ended before its end")
        self._answer({"recorded": True})

    def _record(self, session: pytest.Session, record: list[str], paths: dict[str, str]) -> int:
        reached: set[tuple[str, int]] = set()
        processes: list[str] = []
        _mark(paths, reached)
        sys.addaudithook(lambda event, _: processes.append(event) if event in _STARTS else None)
        for item, following in self._in_turn(record):
            reached.clear()
            processes.clear()
            failed, began = session.testsfailed, time.monotonic()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self._answer(
                {
                    "test": item.nodeid,
                    "seconds": round(time.monotonic() - began, 3),
                    "failed": session.testsfailed > failed,
                    "elsewhere": bool(processes),
                    "lines": {path: _lines(path, reached) for path in paths.values()},
                }
            )
        return 0


def imported(paths: Container[str]) -> list[str]:
    """Which of these files are imported."""
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    return sorted({file for file in files if file in paths})


_STARTS = ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.spawn")


def _lines(path: str, reached: set[tuple[str, int]]) -> list[int]:
    return sorted(line for module, line in reached if module == path)


def _mark(paths: dict[str, str], reached: set[tuple[str, int]]) -> None:
    """From now on, code compiled from these files adds its executed statements to `reached`.
    Device code has its own builtins, copied from Python's."""
    compiled = builtins.compile

    def marking(source: Any, filename: Any, mode: str, *more: Any, **options: Any) -> Any:
        path = paths.get(str(filename))
        if path is not None and mode == "exec" and isinstance(source, (str, bytes)):
            tree = _Marking(path).visit(ast.parse(source))
            source = ast.fix_missing_locations(tree)
        return compiled(source, filename, mode, *more, **options)

    builtins._reached = reached.add  # type: ignore[attr-defined]
    builtins.compile = marking


class _Marking(ast.NodeTransformer):
    """Puts a mark before each statement of the module at `path`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                setattr(node, field, self._marked(block))
        return node

    def _marked(self, block: list[ast.stmt]) -> list[ast.stmt]:
        marked: list[ast.stmt] = []
        for statement in block:
            is_docstring = isinstance(statement, ast.Expr) and isinstance(
                statement.value, ast.Constant
            )
            if not is_docstring:
                parts: list[ast.expr] = [ast.Constant(self._path), ast.Constant(statement.lineno)]
                place = ast.Tuple(parts, ast.Load())
                call = ast.Call(ast.Name("_reached", ast.Load()), [place], [])
                marked.append(ast.copy_location(ast.Expr(call), statement))
            marked.append(statement)
        return marked


def main(tests: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # output of tests goes to the log
    plain = ["-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=line"]
    return pytest.main([*plain, "--basetemp", "build/tmp", *tests], [Worker(requests, answers)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
