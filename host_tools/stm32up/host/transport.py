"""A MicroPython board behind a serial port: its files, and code that it runs.

The port is opened by mpremote, which knows the quirks of drivers; its authors say that the
interface may change, so it is pinned and nothing else imports it. The conversation is our own
(raw_repl.py), because others talk on the same line.

Connecting interrupts the program that runs on the board (Ctrl-C). Without `resume` it also soft-
resets the board, so that nothing is left of earlier imports. To the product both are a power cut
like any other.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import socket
import time
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypeVar

from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

from stm32up.errors import BoardReset, ContactLost, DeviceError, NoBoard
from stm32up.events import Report, note
from stm32up.host import AUTO
from stm32up.host.paths import FROZEN
from stm32up.host.ports import find_port, ports_present
from stm32up.host.raw_repl import NotEntered, Raised, RawRepl, ReplError, Silence
from stm32up.text import clean, shortened, without_colour

__all__ = ["CHUNK", "Connection", "FileInfo", "connected", "find_port"]

T = TypeVar("T")
Progress = Callable[[int, int], None]  # done, total, in bytes
CHUNK = 3072  # bytes of a file per command: 4 KB of base64, which small heaps still bear
SILENCE_S = 10.0  # a command that gives no sign of life for this long has failed
TRIES = 8  # of a piece of work that resets interrupt
_LONGEST_LINE = 65536  # of what a board prints, in characters
_GONE_S = 6.0  # a board's own USB comes back this soon after a reset
_WRITE_S = 10.0  # a board that takes no byte for this long hangs
IN_USE = "in use by another program"  # what a simulated board says then
_MISSING = "-"  # what a helper prints for a file that is not there


# A built-in module, whatever file of its name is on the host.
BUILT_IN = f"""\
import sys
def _built_in(name):
 path = sys.path[:]; had = sys.modules.pop(name, None)
 sys.path[:] = [{FROZEN!r}]
 try: return __import__(name)
 finally:
  sys.path[:] = path
  sys.modules.pop(name, None)
  if had: sys.modules[name] = had
"""

# Lives on the board for the length of a connection. Whether a file is there is asked first, since
# the numbers in an OSError differ between ports.
_HELPERS = f"""{BUILT_IN}
hashlib, json, os, binascii = [_built_in(n) for n in ('hashlib', 'json', 'os', 'binascii')]
a2b_base64, b2a_base64, hexlify = binascii.a2b_base64, binascii.b2a_base64, binascii.hexlify
def _exists(path):
 try: os.stat(path); return True
 except OSError: return False
def _read(path):
 if not _exists(path): print({_MISSING!r}); return
 with open(path, 'rb') as f:
  while True:
   b = f.read({CHUNK})
   feed()
   if not b: break
   print(b2a_base64(b).decode(), end='')
def _write(path, mode, text):
 with open(path, mode) as f: f.write(a2b_base64(text))
def _hash(path):
 h = hashlib.sha256(); n = 0; b = bytearray(1024); m = memoryview(b)
 with open(path, 'rb') as f:
  while True:
   k = f.readinto(b)
   feed()
   if not k: break
   h.update(m[:k]); n += k
 return n, hexlify(h.digest()).decode()
def _swap(new, old, digest):
 if _hash(new)[1] != digest: return False
 os.rename(new, old)
 return True
"""


class FileInfo(NamedTuple):
    name: str
    is_folder: bool
    size: int


@contextlib.contextmanager
def connected(
    port: str, *, resume: bool = False, report: Report = lambda event: None
) -> Iterator[Connection]:
    """Opens a port ("auto", a device name, or any pyserial URL such as socket://HOST:PORT).

    `report` gets notes, and what others say on the line. On the way out the board is left at its
    normal REPL; a program that still runs is interrupted first. Raises NoBoard.
    """
    if port == AUTO:
        port = find_port(lambda text: report(note(text)))
    overheard = Overheard(report)
    connection = Connection(port, resume=resume, report=report, on_text=overheard.line)
    try:
        yield connection
    except BaseException:
        connection.interrupt()
        raise
    finally:
        connection.close()
        overheard.close()


class Overheard:
    """Shows what others say on the line to the board: the first lines, and how many more."""

    SHOWN = 5
    _LONGEST = 200

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lines = 0
        self._is_log = False

    def line(self, line: str) -> None:
        plain = without_colour(line).strip()
        first_of_log = not self._is_log and _ESP_LOG.match(plain) is not None
        self._lines += 1
        if self._lines <= self.SHOWN:
            text = clean(shortened(plain, self._LONGEST))
            self._report({"event": "output", "text": text})
        if first_of_log:
            self._is_log = True
            self._report(note(_LOG_ADVICE))

    def close(self) -> None:
        more = self._lines - self.SHOWN
        if more > 0:
            self._report(note(f"the board printed {more} more lines between its answers"))


# "I (1234) wifi:...", level, milliseconds or time of day, and tag: ESP-IDF, "Logging library".
_ESP_LOG = re.compile(r"[EWIDV] \([0-9:.]+\) \S+")
_LOG_ADVICE = (
    "the ESP32 prints log lines on the line to this computer; switch them off with "
    "esp.osdebug(None) in its boot.py"
)


class Connection:
    """A board at its raw REPL. Paths are absolute. Methods raise DeviceError, NoBoard, and of
    these ContactLost where the same may be tried again after `reconnect`.
    """

    def __init__(
        self,
        port: str,
        *,
        resume: bool = False,
        report: Report = lambda event: None,
        on_text: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.port = port
        self._report = report
        self._on_text = on_text
        self._has_helpers = False
        self.resets = 0  # how often contact was lost and found again
        self._open()
        try:
            self._enter(soft_reset=not resume)
        except BaseException:
            self._close_port()
            raise

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._repl.leave()
        self._close_port()

    def interrupt(self) -> None:
        """Stops whatever runs on the board, as Ctrl-C does."""
        with contextlib.suppress(OSError):
            self._repl.interrupt()

    def persistently(self, work: Callable[[], T], report: Report) -> T:
        """Does a piece of work that can be done twice; after a reset of the board, again."""
        for left in reversed(range(TRIES)):
            try:
                return work()
            except ContactLost as lost:
                if not left:
                    raise
                report(note(f"{lost.message}; going on where it was"))
                self.reconnect()
        raise AssertionError("unreachable")

    def reconnect(self) -> None:
        """Makes the board ready again after ContactLost; its watchdog is fed from now on."""
        self._has_helpers = False
        self.resets += 1
        self._enter(soft_reset=True, believed=True)

    def exec(
        self,
        code: str,
        on_line: Callable[[str], None] | None = None,
        silence_s: float | None = None,
    ) -> str:
        """Runs code on the board and returns what it printed, without control characters.

        With `on_line`, each line is handed over as it comes, and "" is returned. `silence_s`
        (default: SILENCE_S) limits the time between two signs of life: output, or a call of
        `feed`, which the code finds in its globals and which also feeds a watchdog.
        """
        if on_line is None:
            return clean("".join(self._run(code, silence_s)).replace("\r\n", "\n"), keep="\n")
        line = ""
        for piece in self._run(code, silence_s):
            *whole, line = (line + piece).split("\n")
            for text in whole:
                on_line(clean(text.rstrip("\r")))
            if len(line) > _LONGEST_LINE:
                raise DeviceError(
                    f"the board printed a line of more than {_LONGEST_LINE} characters: "
                    f"{shortened(line, 60)}",
                    "Put the updater on it again: stm32up deploy.",
                )
        if line:
            on_line(clean(line))
        return ""

    def read_file(self, path: str) -> bytes | None:
        """The content of a file, None if there is none."""
        self._define_helpers()
        lines: list[str] = []
        self.exec(f"_read({path!r})", lines.append)
        if lines == [_MISSING]:
            return None
        with _understood(lines):
            return b"".join(map(a2b_base64, lines))

    def append_file(
        self, path: str, data: bytes, start: int = 0, progress: Progress | None = None
    ) -> None:
        """Writes data[start:] at the end of a file, which already holds the first `start` bytes.

        With `start` 0 the file is replaced. It is closed after every chunk, so that a cut loses
        little.
        """
        self._define_helpers()
        for position, call in self._writes(path, data, start):
            self.exec(call)
            if progress is not None:
                progress(position, len(data))

    def replace_file(self, path: str, data: bytes) -> None:
        """Writes a file so that a cut leaves the old content or the new, but no mixture."""
        self._define_helpers()
        temporary = f"{path}.part"
        calls = [call for _, call in self._writes(temporary, data, 0)]
        calls[-1] += f"\nprint(_swap({temporary!r}, {path!r}, {_digest(data)!r}))"
        for call in calls:
            answer = self.exec(call)
        if answer.strip() != "True":
            raise DeviceError(
                f"{path} did not arrive as it was sent",
                "Try again; check the cable and the flash.",
            )

    def hash_file(self, path: str) -> tuple[int, str] | None:
        """(length, SHA-256 in hex) of a file, None if there is none."""
        return self.hash_files([path])[path]

    def hash_files(self, paths: list[str]) -> dict[str, tuple[int, str] | None]:
        """As `hash_file`, for many."""
        found = self._ask(f"{{p: _hash(p) if _exists(p) else None for p in {paths!r}}}")
        with _understood(found):
            return {p: (int(found[p][0]), str(found[p][1])) if found[p] else None for p in paths}

    def list_folder(self, path: str) -> list[FileInfo]:
        """What is in a folder, sorted by name; nothing if the folder does not exist."""
        found = self._ask(
            "[(e[0], e[1] == 0x4000, e[3] if len(e) > 3 else 0) "
            f"for e in (os.ilistdir({path!r}) if _exists({path!r}) else ())]"
        )
        with _understood(found):
            return sorted(FileInfo(str(n), bool(folder), int(size)) for n, folder, size in found)

    def is_folder(self, path: str) -> bool:
        parent, _, name = path.rpartition("/")
        files = self.list_folder(parent or "/")
        return any(file.name == name and file.is_folder for file in files)

    def make_folder(self, path: str) -> None:
        """Makes a folder, and the folders above it, unless they are there."""
        parts = PurePosixPath(path).parts
        folders = [str(PurePosixPath(*parts[: n + 1])) for n in range(1, len(parts))]
        self._define_helpers()
        self.exec(f"for p in {folders!r}: _exists(p) or os.mkdir(p)")

    def remove(self, path: str) -> None:
        self._define_helpers()
        self.exec(f"os.remove({path!r})")

    def remove_folder(self, path: str) -> None:
        """Removes an empty folder."""
        self._define_helpers()
        self.exec(f"os.rmdir({path!r})")

    def rename(self, old: str, new: str) -> None:
        """Gives a file another name, replacing what had it, in one step (littlefs)."""
        self._define_helpers()
        self.exec(f"os.rename({old!r}, {new!r})")

    def free_space(self) -> int:
        """Bytes left on the board's filesystem."""
        found = self._ask("os.statvfs('/')")
        with _understood(found):
            return int(found[0]) * int(found[3])

    def _ask(self, expression: str) -> Any:  # JSON: who asks knows of what form
        """The value of an expression, which may use the helpers, exactly as the board has it."""
        self._define_helpers()
        text = "".join(self._run(f"print(json.dumps({expression}))"))
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise nonsense(text) from None

    def _define_helpers(self) -> None:
        if not self._has_helpers:
            self.exec(_HELPERS)
            self._has_helpers = True

    def _writes(self, path: str, data: bytes, start: int) -> Iterator[tuple[int, str]]:
        """(bytes written after it, call) for every chunk, and at least one."""
        mode = "ab" if start else "wb"
        for position in range(start, max(len(data), start + 1), CHUNK):
            chunk = data[position : position + CHUNK]
            yield position + len(chunk), f"_write({path!r}, {mode!r}, {b64encode(chunk)!r})"
            mode = "ab"

    def _run(self, code: str, silence_s: float | None = None) -> Iterator[str]:
        """Runs code and yields what it prints; errors of the conversation become ours."""
        try:
            yield from self._repl.run(code, silence_s or SILENCE_S)
        except Raised as error:
            raise _device_error(str(error)) from None
        except Silence as error:
            raise self._contact_lost(str(error)) from None
        except ReplError as error:
            raise ContactLost(
                f"lost the board on {self.port}: {error}", "Check the cable, and run it again."
            ) from None
        except OSError as error:
            raise self._port_lost(_reason(error)) from None

    def _port_lost(self, reason: str) -> NoBoard:
        """A board's own USB goes away in a reset, and comes back."""
        lost = NoBoard(
            f"lost the board on {self.port}: {reason}",
            "Check the cable and the supply, then run the command again.",
        )
        self._close_port()
        if not _is_device(self.port):
            return lost  # the other end of a URL has hung up
        end = time.monotonic() + _GONE_S
        while True:
            try:
                self._open()
                break
            except NoBoard:
                if time.monotonic() >= end:
                    return lost
                time.sleep(0.2)
        return self._contact_lost(reason)

    def _contact_lost(self, reason: str) -> NoBoard:
        """Whether the board was reset, which is certain: what we had put there is gone."""
        try:
            fresh = self._repl.is_fresh()
        except (ReplError, OSError):
            return NoBoard(
                f"lost the board on {self.port}: {reason}",
                "Check the cable and the supply, then run the command again.",
            )
        if not fresh:
            return ContactLost(
                f"lost the board on {self.port} for a moment: {reason}", "Run the command again."
            )
        return BoardReset(
            "the board was reset in the middle of it, likely by a watchdog that its program had "
            "started",
            "Run the command again. The program goes on with an update by itself when the board "
            "starts: reset it, or wait for the watchdog.",
        )

    def _open(self) -> None:
        """Raises NoBoard."""
        try:
            with _quiet():
                self._transport = SerialTransport(self.port, timeout=0)
        except (TransportError, OSError, ValueError):
            if os.path.exists(self.port) and not os.access(self.port, os.R_OK | os.W_OK):
                raise NoBoard(
                    f"this user may not open port {self.port}",
                    "On Linux: sudo usermod -a -G dialout $USER, and log in again.",
                ) from None
            raise NoBoard(
                f"cannot open port {self.port} ({ports_present()})",
                "Check the cable and --port, and that no other program has the port open.",
            ) from None
        serial = self._transport.serial
        with contextlib.suppress(OSError, ValueError):
            serial.write_timeout = _WRITE_S
        _send_at_once(serial)
        self._repl = RawRepl(serial, self._on_text, paced=_is_device(self.port))

    def _enter(self, *, soft_reset: bool, believed: bool = False) -> None:
        """Raises NoBoard."""
        try:
            self._repl.enter(soft_reset=soft_reset, believed=believed)
        except NotEntered as error:
            raise self._not_entered(error) from None
        except (ReplError, Raised, OSError) as error:
            raise NoBoard(
                f"{self.port} does not answer as MicroPython: {_reason(error)}",
                "Reset the board and try again; if it stays silent, install MicroPython on it.",
            ) from None
        if self._repl.boot_interrupted:
            self._report(
                note(
                    "boot.py on the board did not end and was interrupted; if it is not meant to "
                    "run on, take it off: mpremote resume fs rm :boot.py"
                )
            )

    def _not_entered(self, error: NotEntered) -> NoBoard:
        said = shortened(clean(" ".join(error.said.split())), 80)
        if error.reset_done:
            return NoBoard(
                f"boot.py on {self.port} does not end and swallows Ctrl-C",
                f"Take it off by erasing the board: {_ERASE}.",
            )
        if IN_USE in said:
            return NoBoard(f"{self.port}: {said}", "Close it, then run the command again.")
        return NoBoard(
            f"{self.port} does not answer as MicroPython: it says {said or 'nothing'}",
            "Close other programs that use the port, reset the board and try again. If "
            "MicroPython is on it, its main.py or boot.py swallows Ctrl-C: then erase the board, "
            f"which removes all of its files ({_ERASE}), and install MicroPython.",
        )

    def _close_port(self) -> None:
        with contextlib.suppress(OSError):
            self._transport.close()


# Installing MicroPython again keeps the files, so it does not help against one of them.
_ERASE = "a Pico with flash_nuke.uf2, an ESP32 with esptool erase_flash"


def _device_error(trace: str) -> DeviceError:
    """The last line of a MicroPython traceback is "Kind: message", or "Kind" alone."""
    trace = clean(trace.replace("\r\n", "\n"), keep="\n")
    last = shortened((trace.strip().splitlines() or ["unknown error"])[-1], 1000)
    kind, _, message = last.partition(":")
    text = f"the board raised {kind}: {message.strip()}" if message else f"the board raised {kind}"
    return DeviceError(text, kind=kind.strip(), trace=trace)


@contextlib.contextmanager
def _understood(answer: object) -> Iterator[None]:
    """What is made of an answer that has another form than ours."""
    try:
        yield
    except (ValueError, TypeError, LookupError):
        raise nonsense(str(answer)) from None


def nonsense(answer: str) -> DeviceError:
    return DeviceError(
        f"the board's answer makes no sense: {shortened(clean(answer), 60)}",
        "Reset the board and try again.",
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_device(port: str) -> bool:
    """A serial port of this machine, and no URL."""
    return "://" not in port


def _send_at_once(serial: object) -> None:
    """On a TCP port, small packets must not wait for the answer to the one before: 40 ms each
    time.
    """
    connection = getattr(serial, "_socket", None)  # pyserial offers no other way
    if isinstance(connection, socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def _quiet() -> contextlib.AbstractContextManager[object]:
    """mpremote prints on standard output before it raises."""
    return contextlib.redirect_stdout(io.StringIO())
