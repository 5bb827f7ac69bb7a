"""One command for several boards at once: a process for each board.

Each process is the same command with --json and one port. So boards share nothing, and a fault of
one does not reach the others. Ctrl-C is passed on once, and each process leaves its board as a
command for one board does.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import click

from stm32up.cli.context import ONLY, Context
from stm32up.errors import Stm32upError
from stm32up.events import Event, failure
from stm32up.host import ports
from stm32up.say.several import Several
from stm32up.text import clean

_END_S = 30.0  # after Ctrl-C, for a board to be left; connecting takes up to 10 s


@dataclass
class _Part:
    """The command on one board. `result`: its last event."""

    port: str
    process: subprocess.Popen[str]
    result: dict[str, object] = field(default_factory=dict)
    said: str = ""  # the last line that is not an event


_News = queue.SimpleQueue[tuple[_Part, str | None]]  # a line; None: the process has ended


def run(context: Context, verb: str) -> None:
    """Run the command on each board; exit with 1 if one of them failed."""
    output = context.output
    found = ports.all_boards(output.report) if context.all_boards else context.ports
    several = list(dict.fromkeys(found))
    show = output.several(verb, several)
    news: _News = queue.SimpleQueue()
    parts = [_started(port, context.arguments, news) for port in several]
    interrupted = False
    try:
        _follow(parts, news, show)
    except KeyboardInterrupt:
        interrupted = True
        for part in parts:
            if part.process.poll() is None and os.name != "nt":  # there, Ctrl-C reaches all
                part.process.send_signal(signal.SIGINT)
        _follow(parts, news, show, limit_s=_END_S)
    finally:
        for part in parts:
            if part.process.poll() is None:
                part.process.kill()
    results = {part.port: part.result or _broken(part) for part in parts}
    show.end(results)
    if interrupted:
        raise KeyboardInterrupt
    if not all(values.get("ok") for values in results.values()):
        raise click.exceptions.Exit(Stm32upError.exit_status)


def _started(port: str, arguments: Sequence[str], news: _News) -> _Part:
    command = [sys.executable, "-P", "-m", "stm32up", ONLY, port, "--json", *arguments]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # a Ctrl-C reaches only us; then we pass it on
    )
    part = _Part(port, process)

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                news.put((part, line))
        process.wait()
        news.put((part, None))

    threading.Thread(target=read, daemon=True).start()
    return part


def _follow(
    parts: Sequence[_Part], news: _News, show: Several, limit_s: float | None = None
) -> None:
    """Show what the processes report, until all have ended, or none reports for `limit_s`."""
    while any(part.process.poll() is None for part in parts) or not news.empty():
        try:
            part, line = news.get(timeout=limit_s)
        except queue.Empty:
            return
        event = _event(line) if line is not None else None
        if event is None:
            part.said = clean(line.strip()) if line else part.said
            continue
        if event["event"] == "result":
            part.result = event
        show.report(part.port, event)


def _event(line: str) -> dict[str, object] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _broken(part: _Part) -> Event:
    """The result of a process that ended without one."""
    status = part.process.wait()
    message = part.said.removeprefix("error: ") or f"it ended with exit status {status}"
    return failure("internal", message, "")
