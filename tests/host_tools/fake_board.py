"""A stand-in for a MicroPython board: the raw REPL over TCP, its filesystem in a folder.

Code sent to it runs in CPython, with `open` and `os` turned to that folder, and with a stand-in
for the updater. Only what mpremote and stm32up use is there. The real thing is the simulated host
of stm32sim.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

BANNER = b"raw REPL; CTRL-B to exit\r\n>"


INSTALLED = {"event": "result", "ok": True, "status": "installed", "version": "1.4.2"}


class UpdaterError(Exception):
    def as_dict(self) -> dict[str, str]:
        return dict(zip(("error", "message", "next_step"), self.args, strict=True))


class FakeUpdater:
    """Answers like the device's Updater; a test sets what."""

    def __init__(self) -> None:
        self.events_to_come: list[Any] = [
            {"event": "progress", "phase": "write", "done": 8, "total": 8},
            {**INSTALLED, "bytes": 8, "verified": 8},
        ]
        self.boards: list[str] = []
        self.forced: list[bool] = []
        self.error: Exception | None = None

    def from_board(self, path: str) -> FakeUpdater:
        self.boards.append(path)
        if self.error:
            raise self.error
        return self

    def events(self, force: bool = False) -> Iterator[Any]:
        self.forced.append(force)
        yield from self.events_to_come

    def status(self) -> dict[str, Any]:
        return {"state": "idle", "confirmed": None}

    def probe(self) -> dict[str, Any]:
        return {"chip": "STM32G071RB", "product_id": 0x460}


class FakeBoard:
    """Serves one connection after the other until it is closed."""

    platform = "rp2"
    implementation = SimpleNamespace(name="micropython", version=(1, 29, 0, ""), _mpy=0x306)

    def __init__(self, root: Path) -> None:
        self.root = root
        self.updater: FakeUpdater | None = FakeUpdater()
        self.bench: Any = None  # stands for the module stm32_bench
        self.executed: list[str] = []
        self.soft_resets = 0
        self.before_exec: Callable[[str], None] = lambda code: None
        self.free = 1 << 20
        self.block = 1
        self.frozen = False  # whether its firmware brings the updater
        self.silent = False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = f"socket://127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends its thread, too: one left in `accept` could go on with the next board's socket,
        which gets the same file descriptor."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()

    def file(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def files(self) -> set[str]:
        return {f"/{p.relative_to(self.root)}" for p in self.root.rglob("*") if p.is_file()}

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:  # the line may be cut
                self._talk(connection.makefile("rwb", buffering=0))

    def _talk(self, stream: Any) -> None:
        raw, code, names = False, bytearray(), self._names()
        while True:
            byte = stream.read(1)
            if not byte:
                return
            if self.silent:
                continue
            if byte == b"\x01":
                raw, code = True, bytearray()
                stream.write(BANNER)
            elif byte == b"\x02":
                raw = False
                stream.write(b"\r\n>>> ")
            elif byte == b"\x03":
                code.clear()
            elif not raw:
                continue
            elif code == b"\x05A" and byte == b"\x01":
                code.clear()
                stream.write(b"R\x00")
            elif byte != b"\x04":
                code += byte
            elif code.strip():
                stream.write(b"OK" + self._run(code.decode(), names) + b"\x04>")
                code.clear()
            else:
                self.soft_resets += 1
                names = self._names()
                stream.write(b"OK\r\nMPY: soft reboot\r\n" + BANNER)

    def _run(self, code: str, names: dict[str, Any]) -> bytes:
        """What the board prints, 04, and the traceback."""
        self.executed.append(code)
        self.before_exec(code)
        output, trace = io.StringIO(), ""
        names["print"] = lambda *a, sep=" ", end="\n": output.write(sep.join(map(str, a)) + end)
        try:
            exec(compile(code, "<stdin>", "exec"), names)
        except OSError as error:
            number = error.errno or errno.EIO
            trace = f"Traceback:\r\nOSError: [Errno {number}] {errno.errorcode[number]}\r\n"
        except BaseException as error:
            trace = "Traceback:\r\n" + traceback.format_exception_only(error)[-1]
        return output.getvalue().replace("\n", "\r\n").encode() + b"\x04" + trace.encode()

    def _names(self) -> dict[str, Any]:
        modules: dict[str, Any] = {"os": self._os()}
        modules["sys"] = SimpleNamespace(
            platform=self.platform,
            modules={},
            path=["", ".frozen", "/lib"],
            implementation=self.implementation,
        )
        if self.updater is not None:
            modules["stm32_updater"] = SimpleNamespace(Updater=self.updater)
            modules["stm32_updater.errors"] = SimpleNamespace(UpdaterError=UpdaterError)

        if self.bench is not None:
            modules["stm32_bench"] = self.bench

        def import_module(name: str, *args: Any) -> ModuleType:
            if name == "stm32_bench" and self.bench is None:
                raise ImportError(f"no module named '{name}'")
            if name.startswith("stm32_updater") and self.updater is None:
                raise ImportError(f"no module named '{name}'")
            if (
                name.startswith("stm32_")
                and modules["sys"].path == [".frozen"]
                and not self.frozen
            ):
                raise ImportError(f"no module named '{name}'")
            module: ModuleType = modules.get(name) or __import__(name, *args)
            return module

        builtins = dict(vars(__import__("builtins")))
        builtins["__import__"] = import_module
        builtins["open"] = lambda path, mode="r": self.file(path).open(mode)
        return {"__builtins__": builtins}

    def _os(self) -> SimpleNamespace:
        def ilistdir(path: str) -> Iterator[tuple[str, int, int, int]]:
            for entry in os.scandir(self.file(path)):
                kind = 0x4000 if entry.is_dir() else 0x8000
                yield entry.name, kind, 0, entry.stat().st_size

        return SimpleNamespace(
            ilistdir=ilistdir,
            stat=lambda path: os.stat(self.file(path)),
            mkdir=lambda path: os.mkdir(self.file(path)),
            remove=lambda path: os.remove(self.file(path)),
            rmdir=lambda path: os.rmdir(self.file(path)),
            rename=lambda old, new: os.replace(self.file(old), self.file(new)),
            statvfs=lambda path: (self.block, self.block, self.free, self.free // self.block),
            getcwd=lambda: "/",
        )
