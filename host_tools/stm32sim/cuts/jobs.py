"""Work in several processes, one for each task, with a progress bar or a line every minute."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

A_LINE_EVERY_S = 60
Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, Result | Exception]]:
    """Yield each finished task with its result, or the exception of `work`. `work` may be any
    function, because the processes are forked. A Ctrl-C drops tasks that have not begun, and is
    raised here."""
    with _processes(jobs, initializer=_begin, initargs=(work,)) as pool:
        futures = {pool.submit(_do, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield futures[future], error or future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _processes(jobs: int, **more: Any) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("fork"), **more)


_work: Callable[[Any], Any]  # set in a worker process


def _begin(work: Callable[[Any], Any]) -> None:
    """Start a worker. It ignores Ctrl-C, which is for the parent and would be another cut here."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _do(task: Any) -> Any:
    """Do the task in a process of its own. A task forks at each cut, and a fork copies the page
    tables of all memory, also of what earlier tasks left."""
    with _processes(1) as own:
        return own.submit(_do_here, task).result()


def _do_here(task: Any) -> Any:
    return _work(task)


@contextlib.contextmanager
def progress_on(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """Yield a function to call with a description after each of `total` tasks: it shows a bar on a
    terminal, elsewhere a line every minute."""
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("cutting the power", total=total)
            yield lambda text: progress.update(bar, advance=1, description=text)
        return
    began = told = time.monotonic()
    done = 0

    def advance(text: str) -> None:
        nonlocal done, told
        done += 1
        now = time.monotonic()
        if now - told >= A_LINE_EVERY_S:
            told = now
            rest = (now - began) / done * (total - done) / 60
            print(f"{text}; {100 * done // total} % of the tasks, {rest:.0f} min left", flush=True)

    yield advance
