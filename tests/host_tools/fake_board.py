"""A fake MicroPython board: the raw REPL over TCP, its filesystem in a folder.

Code sent to it runs in CPython, with `open` and `os` redirected to that folder and a fake updater.
It has only what mpremote and stm32up use. A realistic board is the simulated host of stm32sim.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
import traceback
from binascii import crc32
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
    """Answers like the device's Updater; tests set the answers."""

    def __init__(self) -> None:
        self.events_to_come: list[Any] = [
            {"event": "progress", "phase": "write", "done": 8, "total": 8},
            {**INSTALLED, "bytes": 8, "verified": 8},
        ]
        self.boards: list[str] = []
        self.forced: list[bool] = []
        self.error: Exception | None = None
        self.feed: Callable[[], None] | None = None

    def from_board(self, path: str, feed: Callable[[], None] | None = None) -> FakeUpdater:
        self.boards.append(path)
        self.feed = feed
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


class _Unplugged(BaseException):
    """Passes through the code that stm32up adds around a call."""


class Reset(BaseException):
    """A test raises it while code runs: a watchdog resets the board, and the program starts
    again."""


class _Noisy:
    """A line that others also write to: `noise` turns the board's output into what arrives."""

    def __init__(self, stream: Any, board: FakeBoard) -> None:
        self._stream = stream
        self._board = board
        self.read = stream.read

    def write(self, data: bytes) -> None:
        self._stream.write(self._board.noise(bytes(data)))


class _Time:
    """MicroPython's clock functions."""

    ticks_ms = staticmethod(lambda: int(time.monotonic() * 1000))
    ticks_us = staticmethod(lambda: int(time.monotonic() * 1_000_000))
    ticks_diff = staticmethod(lambda a, b: a - b)

    def __init__(self, board: FakeBoard) -> None:
        self.gmtime = lambda: (board.year, 1, 1, 0, 0, 0, 0, 1)


class FakeMachine:
    """MicroPython's `machine`, with a watchdog that only counts."""

    WDT_RESET = 3

    def __init__(self) -> None:
        self.cause = 1
        self.started: list[int] = []
        self.fed = 0
        machine = self

        class WDT:
            def __init__(self, timeout: int) -> None:
                machine.started.append(timeout)

            def feed(self) -> None:
                machine.fed += 1

        self.WDT = WDT

    def reset_cause(self) -> int:
        return self.cause

    def unique_id(self) -> bytes:
        return bytes.fromhex("e660583883724a32")


def _trace(error: BaseException) -> str:
    if isinstance(error, OSError):
        number = error.errno or errno.EIO
        return f"Traceback:\r\nOSError: [Errno {number}] {errno.errorcode[number]}\r\n"
    return "Traceback:\r\n" + traceback.format_exception_only(error)[-1]


class FakeBoard:
    """Serves connections one after the other until it is closed."""

    platform = "rp2"
    year = 2021  # of its clock

    def __init__(self, root: Path) -> None:
        self.root = root
        self.updater: FakeUpdater | None = FakeUpdater()
        self.bench: Any = None  # replaces the module stm32_bench
        self.executed: list[str] = []
        self.soft_resets = 0  # from the raw prompt
        self.starts = 0  # of its program, by a soft reset from the normal prompt
        self.before_exec: Callable[[str], None] = lambda code: None
        self.before_read: Callable[[], None] = lambda: None  # of a piece of a file
        self.free = 1 << 20
        self.block = 1
        self.frozen = False  # whether the updater is frozen into its firmware
        self.silent = False
        self.machine = FakeMachine()
        # What its program answers, in turn, before it has ended; "" is no answer. Ctrl-C ends it.
        self.answers: list[str] = []
        self.asked = 0
        self.was_interrupted = False
        self.noise: Callable[[bytes], bytes] = lambda data: data
        self.program = ""  # code that main.py has run before it is interrupted
        self.implementation = SimpleNamespace(
            name="micropython", version=(1, 29, 0, ""), _mpy=0x306, _machine="a board"
        )
        self.boot = "ends"  # or "hangs" until a Ctrl-C, or "swallows" the Ctrl-C
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = f"socket://127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Also end the thread: if it stayed in `accept`, it could use the next board's socket,
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
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with (
                contextlib.suppress(OSError),  # the connection may be lost
                connection,
                connection.makefile("rwb", buffering=0) as stream,
            ):
                self._talk(_Noisy(stream, self))

    def _talk(self, stream: Any) -> None:
        raw, code, names = False, bytearray(), self._names()
        exec(self.program, names)
        while True:
            byte = stream.read(1)
            if not byte:
                return
            if self.silent:
                continue
            if self.answers:
                self._answer(byte, stream)
                continue
            if byte == b"\x01":
                raw, code = True, bytearray()
                stream.write(BANNER)
            elif byte == b"\x02":
                raw = False
                stream.write(b"\r\n>>> ")
            elif byte == b"\x03":
                code.clear()
            elif not raw and byte == b"\x04":
                self.starts += 1
                names = self._names()
                exec(self.program, names)
                stream.write(b"\r\nMPY: soft reboot\r\n")
            elif not raw:
                continue
            elif code == b"\x05A" and byte == b"\x01":
                code.clear()
                stream.write(b"R\x00")
            elif byte != b"\x04":
                code += byte
            elif code.strip():
                stream.write(b"OK")
                try:
                    trace = self._run(code.decode(), names, stream)
                    stream.write(b"\x04" + trace + b"\x04>")
                except Reset:
                    self.machine.cause = self.machine.WDT_RESET
                    raw, names = False, self._names()
                code.clear()
            else:
                self.soft_resets += 1
                names = self._names()
                stream.write(b"OK\r\nMPY: soft reboot\r\n")
                while self.boot != "ends":
                    byte = stream.read(1)
                    if not byte or (byte == b"\x03" and self.boot == "hangs"):
                        break
                stream.write(BANNER)

    def _answer(self, byte: bytes, stream: Any) -> None:
        """The program runs and takes a byte."""
        if byte == b"\x03":
            self.was_interrupted = True
            self.answers.clear()
        elif byte == b"\x14":
            self.asked += 1
            text = self.answers.pop(0)
            if text:
                body = bytes((self.asked & 255,)) + b"u" + text.encode()
                body += crc32(body).to_bytes(4, "big")
                digits = [digit for b in body for digit in (b >> 6, b >> 3 & 7, b & 7)]
                stream.write(b"\xf5" + bytes(0xF8 | digit for digit in digits) + b"\xf6")

    def _run(self, code: str, names: dict[str, Any], stream: Any) -> bytes:
        """Run typed code. Return the traceback if stm32up's wrapper lets one pass."""
        self.output = stream
        names["print"] = lambda *a, sep=" ", end="\n": stream.write(
            (sep.join(map(str, a)) + end).replace("\n", "\r\n").encode()
        )
        try:
            exec(compile(code, "<stdin>", "exec"), names)
        except Reset:
            raise
        except _Unplugged:
            raise ConnectionResetError from None
        except BaseException as error:
            return _trace(error).encode()
        return b""

    def _read(self, count: int) -> bytes:
        """What code reads from sys.stdin.buffer."""
        try:
            self.before_read()
        except ConnectionError as error:
            raise _Unplugged from error
        data = b""
        while len(data) < count:
            more = self.output.read(count - len(data))
            if not more:
                raise _Unplugged
            data += more
        return data

    def _names(self) -> dict[str, Any]:
        modules: dict[str, Any] = {"os": self._os(), "time": _Time(self), "machine": self.machine}
        modules["sys"] = SimpleNamespace(
            platform=self.platform,
            implementation=self.implementation,
            modules={},
            path=["", ".frozen", "/lib"],
            stdin=SimpleNamespace(buffer=SimpleNamespace(read=lambda n: self._read(n))),
            stdout=SimpleNamespace(buffer=SimpleNamespace(write=lambda b: self.output.write(b))),
            print_exception=lambda error, file: file.write(_trace(error)),
        )
        if self.updater is not None:
            modules["stm32_updater"] = SimpleNamespace(
                Updater=self.updater, UpdaterError=UpdaterError
            )
        if self.bench is not None:
            modules["stm32_bench"] = self.bench

        def import_module(name: str, *args: Any) -> ModuleType:
            if name == "stm32_bench" and self.bench is None:
                raise ImportError(f"no module named '{name}'")
            if name.startswith("stm32_updater") and self.updater is None:
                raise ImportError("no module named 'stm32_updater'")
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

        def execute(code: str, names: dict[str, Any]) -> None:
            """All code of stm32up's calls is executed here."""
            if "def _send(" not in code:
                self.executed.append(code)
                try:
                    self.before_exec(code)
                except ConnectionError as error:
                    raise _Unplugged from error
            names["__builtins__"] = builtins
            exec(compile(code, "<string>", "exec"), names)

        builtins["exec"] = execute
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
