"""Processes that run tests, each in its own copy of the project."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from rich.console import Console

A_LINE_EVERY_S = 20

ignore = shutil.ignore_patterns(
    ".git", ".venv", "build", "node_modules", "*.egg-info", "__pycache__", ".*_cache"
)


def copy_project(root: Path, copy: Path) -> None:
    """Copy tracked files, and link the output of `make setup`."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(root, copy, ignore=ignore, symlinks=True)
    (copy / "build").mkdir()
    for made in (".venv", "host_tools/stm32sim/host/node_modules"):
        if (root / made).exists():
            (copy / made).symlink_to(root / made)


class Worker:
    """A process that runs tests in its own copy; see worker.py."""

    def __init__(self, root: Path, copy: Path, tests: Sequence[str]) -> None:
        copy_project(root, copy)
        paths = [copy / "firmware", copy / "host_tools", copy]
        self._log = copy / "build" / "worker.log"
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("worker.py")), *tests],
            cwd=copy,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, paths)),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("w"),
            text=True,
            start_new_session=True,  # only the driver gets a Ctrl-C
        )
        self.tests: list[str] = self._answer()["tests"]  # all collected tests

    def ask(self, **request: Any) -> Iterator[dict[str, Any]]:
        """The answers to a request, one by one."""
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        while True:
            answer = self._answer()
            if "recorded" in answer:
                return
            yield answer
            if "by" in answer:
                return

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker ended; the end of {self._log} says why")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


class Crew:
    """As many workers as jobs. `map` keeps all of them busy."""

    def __init__(self, root: Path, place: Path, jobs: int, tests: Sequence[str]) -> None:
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(jobs)
        numbers = range(jobs)
        made = self._pool.map(lambda number: Worker(root, place / f"copy{number}", tests), numbers)
        self.workers = list(made)
        self.tests = self.workers[0].tests
        for worker in self.workers:
            self._free.put(worker)

    def map(
        self, requests: Sequence[Callable[[], dict[str, Any]]]
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """(index of the request, its answers), in the order of arrival. A request is made when a
        worker is free."""
        futures = {
            self._pool.submit(self._one, request): number
            for number, request in enumerate(requests)
        }
        for future in as_completed(futures):
            yield futures[future], future.result()

    def _one(self, request: Callable[[], dict[str, Any]]) -> list[dict[str, Any]]:
        worker = self._free.get()
        try:
            return list(worker.ask(**request()))
        finally:
            self._free.put(worker)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in self.workers:
            worker.close()


class Progress:
    """Prints from time to time: how many are done, how fast, how long the rest will take."""

    def __init__(self, console: Console, total: int, what: str) -> None:
        self._console = console
        self._total = total
        self._what = what
        self._began = self._told = time.monotonic()

    def told(self, done: int, more: str = "") -> None:
        now = time.monotonic()
        if now - self._told < A_LINE_EVERY_S or not done:
            return
        self._told = now
        rate = done / (now - self._began)
        rest = (self._total - done) / rate / 60
        self._console.print(
            f"{done} of {self._total} {self._what}{more}; {rate * 60:.0f} a minute, "
            f"{rest:.0f} min left",
            highlight=False,
        )
