"""Logs that were pulled: files of JSON lines, and merging them.

    {"n": 57, "t": 120, "event": "checked", ..., "board": "e660583883000001"}

"board" is the unique ID of the host MCU, so the entries of several boards in one file are kept
apart; an entry without it belongs to an unknown board. The first entry of each pull also has
"pulled", what the board was then: {"at": "2026-11-26T15:47:14Z", "host": "Raspberry Pi Pico with
RP2040", "micropython": "1.29.0", "updater": "0.1.0"}. A file is only appended to.

A board numbers its entries, and has room for the newest only. Merging compares number and content:

    same number, same content     the same entry
    a number that is missing      the board had overwritten it before it was pulled
    same number, other content    the board's log had begun again: its filesystem was erased, or a
                                  power cut lost a file of the log (FAT only). A new life begins.

A log that began again, and by now has passed the last number that was pulled, looks like one whose
entries were overwritten: the board keeps too few entries to tell.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, cast

from stm32up import outputs
from stm32up.errors import UsageError
from stm32up.events import Values
from stm32up.host.logs import Entry, entry_of

Life = list[Entry]  # by rising number
_OURS = ("board", "pulled")  # keys of an entry that only files have


class Added(NamedTuple):
    """What a merge added."""

    entries: list[Entry]
    overwritten: int  # entries before these that the board had overwritten
    new_life: bool  # the board's log had begun again


@dataclass
class History:
    """All that is known of one board's log."""

    board: str  # its unique ID; "" if it is not known
    lives: list[Life] = field(default_factory=list)
    pulls: list[Values] = field(default_factory=list)

    @property
    def entries(self) -> list[Entry]:
        return [entry for life in self.lives for entry in life]

    @property
    def facts(self) -> Values:
        """What the board was when it was last pulled; empty if that is not known."""
        return self.pulls[-1] if self.pulls else {}

    def merge(self, block: Life) -> Added:
        """Add entries that were pulled together, later than all that are known."""
        lives = [{entry["n"]: entry for entry in life} for life in self.lives]
        fresh = [entry for entry in block if all(life.get(entry["n"]) != entry for life in lives)]
        if not fresh:
            return Added([], 0, False)
        first = fresh[0]["n"]
        touched = [
            index
            for index, life in enumerate(lives)
            if any(life.get(entry["n"]) == entry for entry in block)
        ]
        index = max(touched, default=len(lives) - 1)
        continues = bool(lives) and (
            not any(entry["n"] in lives[index] for entry in fresh)
            and (bool(touched) or first > max(lives[index]))
        )
        if not continues:
            self.lives.append(fresh)
            return Added(fresh, 0 if touched else first, len(self.lives) > 1)
        before = max((n for n in lives[index] if n < first), default=first - 1)
        self.lives[index] = sorted(self.lives[index] + fresh, key=lambda entry: entry["n"])
        return Added(fresh, first - before - 1, False)


def missing(life: Life) -> int:
    """The number of entries that a life lacks between its first and its last."""
    return sum(after["n"] - before["n"] - 1 for before, after in pairwise(life))


class Files(NamedTuple):
    """What was read from files."""

    histories: list[History]  # by board, the unknown one last
    damaged: int  # lines that are no entries

    def of(self, board: str) -> History:
        """The history of a board; an empty one if there is none."""
        return next((each for each in self.histories if each.board == board), History(board))


def read(paths: Iterable[Path]) -> Files:
    """The merged content of files, in any order. Raises UsageError if one cannot be read, or has
    no line of a log."""
    blocks: list[_Block] = []
    damaged = 0
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None
        found, torn = _blocks(content)
        if torn and not found:
            raise UsageError(
                f"{path} is not a log: no line is an entry",
                "Give a file of stm32up logs pull -o FILE.",
            )
        blocks += found
        damaged += torn
    blocks.sort(key=lambda block: block.at)  # keeps the order of equal ones
    by_board: dict[str, History] = {}
    for block in blocks:
        history = by_board.setdefault(block.board, History(block.board))
        if block.pulled and block.pulled not in history.pulls:
            history.pulls.append(block.pulled)
        history.merge(block.entries)
    known = sorted(by_board, key=lambda board: (not board, board))
    return Files([by_board[board] for board in known], damaged)


def of_board(who: Values, entries: Life, damaged: int) -> Files:
    """The log that was pulled from a board now. `who`: its "board", and what "pulled" says."""
    history = History(str(who.get("board", "")), pulls=[_without(("board",), who)])
    history.merge(_own(entries))
    return Files([history], damaged)


def append(path: Path, who: Values, entries: Life) -> Added:
    """Merge the entries of a board into a file, which need not exist. `who`: as for `of_board`;
    without "board" the board is unknown. Raises UsageError."""
    board = str(who.get("board", ""))
    files = read([path]) if path.exists() else Files([], 0)
    if board and files.of("").lives:
        raise UsageError(
            f"{path} has entries that do not say which board they are from",
            "Pull into another file: logs show and logs report take several files.",
        )
    added = files.of(board).merge(_own(entries))
    lines: list[Values] = [
        {**entry, "board": board} if board else entry for entry in added.entries
    ]
    if lines and board:
        lines[0] = {**lines[0], "pulled": _without(("board",), who)}
    _write_lines(path, lines)
    return added


def _without(keys: Collection[str], values: Values) -> Values:
    return {key: value for key, value in values.items() if key not in keys}


def _own(entries: Life) -> Life:
    """Entries from a board: what one says about its board is only text."""
    return [cast(Entry, _without(_OURS, entry)) for entry in entries]


def _write_lines(path: Path, lines: Iterable[Values]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    # One write: others may pull into it, too.
    with outputs.written(path), path.open("ab+", buffering=0) as file:
        if text and file.tell():
            file.seek(-1, 2)
            if file.read(1) != b"\n":  # the computer lost power while it wrote
                text = "\n" + text
        file.write(text.encode())


@dataclass
class _Block:
    """Entries of one board that were pulled together."""

    board: str
    pulled: Values
    entries: Life = field(default_factory=list)

    @property
    def at(self) -> str:
        return str(self.pulled.get("at", ""))


def _blocks(content: bytes) -> tuple[list[_Block], int]:
    """The blocks of a file, and the number of its damaged lines."""
    blocks: list[_Block] = []
    damaged = 0
    for line in content.splitlines():
        entry = entry_of(line)
        if entry is None:
            damaged += bool(line.strip())
            continue
        values = cast(dict[str, object], entry)
        board, pulled = (values.pop(key, None) for key in _OURS)
        board = board if isinstance(board, str) else ""
        last = blocks[-1] if blocks else None
        if last is None or pulled or board != last.board or entry["n"] <= last.entries[-1]["n"]:
            last = _Block(board, _facts(pulled))
            blocks.append(last)
        last.entries.append(entry)
    return blocks, damaged


def _facts(pulled: object) -> Values:
    if not isinstance(pulled, dict):
        return {}
    return {key: value for key, value in pulled.items() if isinstance(value, str)}
