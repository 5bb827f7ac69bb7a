"""A MicroPython board on a serial port: access to its files, and running code on it.

mpremote opens the port, because it handles the quirks of drivers. Its authors say that its
interface may change, so its version is pinned and only this module imports it. The protocol is our
own (raw_repl.py), because others write to the same line.

Connecting interrupts the program on the board (Ctrl-C). Without `resume` it also soft-resets the
board, so that earlier imports are gone. For the product both are like a power cut. So `Manners`
say whether to look first (running.py), and how to leave the board.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import socket
import time
import zlib
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

from stm32up import plain_json
from stm32up.errors import BoardReset, ContactLost, DeviceError, NoBoard, ProgramRuns, UpdateRuns
from stm32up.events import Report, note
from stm32up.host import AUTO
from stm32up.host.bus_trace import Tracer
from stm32up.host.paths import FROZEN, MAIN
from stm32up.host.ports import find_port, ports_present
from stm32up.host.raw_repl import (
    FRIENDLY,
    TAKEN,
    NotEntered,
    Raised,
    RawRepl,
    ReplError,
    Silence,
)
from stm32up.host.running import UNDER_WAY, Program, Running
from stm32up.host.sending import RECEIVER, Sender
from stm32up.text import clean, shortened, without_colour

__all__ = ["CHUNK", "Connection", "FileInfo", "connected", "find_port", "understood"]

T = TypeVar("T")
Progress = Callable[[int, int], None]  # done, total, in bytes
CHUNK = 3072  # bytes of a file per command: 4 KB of base64, which fit into small heaps
SILENCE_S = 10.0  # a command that gives no sign of life for this long has failed
TRIES = 8  # of work that resets interrupt
_LONGEST_LINE = 65536  # that a board may print, in characters
_GONE_S = 6.0  # a board's own USB is back this soon after a reset
_WRITE_S = 10.0  # a board that accepts no byte for this long hangs
IN_USE = "in use by another program"  # the text of a simulated board
_MISSING = "-"  # what a helper prints for a missing file


# Imports a built-in module even if a file with its name is on the host.
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

# Defines code that arrives deflated, half as long, if the board can inflate it; prints whether.
_INFLATED = f"""{BUILT_IN}
binascii = _built_in('binascii')
try: _deflate = _built_in('deflate')
except ImportError: _deflate = None
if _deflate:
 _code = io.BytesIO(binascii.a2b_base64({{packed!r}}))
 exec(_deflate.DeflateIO(_code, _deflate.ZLIB).read(), globals())
print(_deflate is not None)
"""

# Defined on the board during a connection. The helpers check first whether a file exists, because
# the numbers of an OSError differ between ports.
_HELPERS = f"""
hashlib, json, os = [_built_in(n) for n in ('hashlib', 'json', 'os')]
b2a_base64, hexlify = binascii.b2a_base64, binascii.hexlify
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
{RECEIVER.format(taken=TAKEN)}"""


class FileInfo(NamedTuple):
    name: str
    is_folder: bool
    size: int


class Manners(NamedTuple):
    """How a board is treated before and after the work."""

    look: bool = False  # ask the program first, and wait for the end of an update
    wait: bool = True  # ... or, if False, raise UpdateRuns
    spare: bool = False  # raise ProgramRuns instead of interrupting a program that says nothing
    start: bool = False  # start the program again at the end
    start_after_failure: bool = True
    tell: bool = False  # report how it was left, if it has a program or the work failed

    def starts(self, failed: bool) -> bool:
        return self.start and (self.start_after_failure or not failed)


PLAIN = Manners()


@contextlib.contextmanager
def connected(
    port: str,
    *,
    resume: bool = False,
    report: Report = lambda event: None,
    manners: Manners = PLAIN,
) -> Iterator[Connection]:
    """Open a port ("auto", a device name, or any pyserial URL such as socket://HOST:PORT).

    `report` gets notes, what others write to the line, and at the end how the board was left: at
    its normal REPL, or with its program started again. A call that still runs is interrupted
    first. Raises NoBoard, UpdateRuns.
    """
    if port == AUTO:
        port = find_port(lambda text: report(note(text)))
    overheard = Overheard(report)
    connection = Connection(
        port, resume=resume, report=report, on_text=overheard.line, manners=manners
    )
    failed = True
    try:
        yield connection
        failed = False
    except BaseException:
        connection.interrupt()
        raise
    finally:
        left = connection.leave(start=manners.starts(failed))
        overheard.close()
        if manners.tell and (failed or connection.has_program):
            report({"event": "left", "state": left})


class Overheard:
    """Reports what others write to the line: the first lines, and the number of the rest."""

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
    """A board at its raw REPL. Paths are absolute. Methods raise DeviceError and NoBoard; after
    ContactLost, a NoBoard, the call can be repeated after `reconnect`.
    """

    def __init__(
        self,
        port: str,
        *,
        resume: bool = False,
        report: Report = lambda event: None,
        on_text: Callable[[str], None] = lambda line: None,
        manners: Manners = PLAIN,
    ) -> None:
        self.port = port
        self._report = report
        self._on_text = on_text
        self._defined: set[str] = set()  # code, on the board
        self._inflates = False
        self.resets = 0  # how often contact was lost and restored
        self.is_undisturbed = False  # it was at its prompt, and is not soft-reset
        self._was_entering = False  # Ctrl-C was sent
        self._was_reset = False  # by `hard_reset`
        self.tracer: Tracer | None = None  # of the bus
        self._open()
        try:
            if manners.look:
                found = self._look(manners)
                self.is_undisturbed = resume and found is Program.NONE
            self._enter(soft_reset=not resume)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and self._was_entering:
                self._repl.has_program = True  # not known
                left = self.leave(start=manners.starts(True))
                if manners.tell:
                    self._report({"event": "left", "state": left})
            self._close_port()
            raise

    @property
    def has_program(self) -> bool:
        """Whether the board starts a program: main.py, or a boot.py that does not end."""
        return self._repl.has_program or self._repl.boot_interrupted

    def leave(self, *, start: bool) -> str:
        """Leave the board at its normal prompt, or start its program again if there is one.
        Returns the state of the board, a key of LEFT in say/words.py."""
        try:
            if self._was_reset:
                return "reset"
            if start and self.has_program and not self.is_undisturbed:
                return "started" if self._repl.start_program() else "unknown"
            self._repl.leave()
        except (OSError, ValueError):  # the port is lost or closed
            return "lost"
        finally:
            self._close_port()
        if not self.has_program:
            return "no-program"
        return "stopped" if not self.is_undisturbed else "as-before"

    def _look(self, manners: Manners) -> Program:
        """See what the program on the board does, and wait for the end of an update. Raises
        UpdateRuns, ProgramRuns, NoBoard."""
        running = Running(self._repl, simulated=not _is_device(self.port))
        try:
            found = running.look()
            if found in UNDER_WAY:
                if not manners.wait:
                    raise UpdateRuns(UNDER_WAY[found], "Wait for its end.")
                self._report(note(f"{UNDER_WAY[found]}: waiting for its end (else --interrupt)"))
                running.follow(self._report)
        except (KeyboardInterrupt, UpdateRuns):
            self._report({"event": "left", "state": "goes-on"})
            raise
        except OSError as error:
            raise NoBoard(
                f"lost the board on {self.port}: {_reason(error)}", _CONNECT_AGAIN
            ) from None
        if found is Program.UNKNOWN:
            if manners.spare:
                raise ProgramRuns("a program runs that does not say whether it updates its target")
            self._report(
                note(
                    "the program on the board does not say whether it updates its target; it is "
                    "interrupted"
                )
            )
        return found

    def interrupt(self) -> None:
        """Stop the program on the board, as Ctrl-C does."""
        with contextlib.suppress(OSError):
            self._repl.interrupt()

    def hard_reset(self) -> None:
        """Reset the board as its reset button does. Nothing else can be done afterwards."""
        self._was_reset = True
        self._repl.type_last("import machine;machine.reset()")

    def disturb(self) -> None:
        """At the end the program is to be started, also if it did not run before."""
        self.is_undisturbed = False

    def persistently(self, work: Callable[[], T], report: Report) -> T:
        """Do work that can be repeated, and repeat it after a reset of the board."""
        for left in reversed(range(TRIES)):
            try:
                return work()
            except ContactLost as lost:
                if not left:
                    raise
                report(note(f"{lost.message}; continuing where it stopped"))
                self.reconnect()
        raise AssertionError("unreachable")

    def reconnect(self, *, expected: bool = False) -> None:
        """Prepare the board again after ContactLost; from then on its watchdog is fed. `expected`:
        the caller has reset the board, so no watchdog need be behind it."""
        self._defined.clear()
        self.resets += 1
        at_prompt = expected and self._repl.restarted  # so earlier imports are gone
        self._enter(soft_reset=not at_prompt, believed=not expected)

    def soft_reset(self) -> None:
        """Restart the interpreter: what was sent into the host's RAM is gone."""
        self._defined.clear()
        self._enter(soft_reset=True)

    def exec(
        self,
        code: str,
        on_line: Callable[[str], None] | None = None,
        silence_s: float | None = None,
    ) -> str:
        """Run code on the board and return what it printed, without control characters.

        `on_line` gets each line as it arrives, and "" is returned. `silence_s` (default:
        SILENCE_S) limits the time between two signs of life: output, or a call of `feed`, a global
        of the code that also feeds a watchdog.
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
                    "Install the updater again: stm32up deploy.",
                )
        if line:
            on_line(clean(line))
        return ""

    def read_file(self, path: str) -> bytes | None:
        """The content of a file; None if it does not exist."""
        self.define()
        lines: list[str] = []
        self.exec(f"_read({path!r})", lines.append)
        if lines == [_MISSING]:
            return None
        with understood(lines):
            return b"".join(map(a2b_base64, lines))

    def append_file(
        self, path: str, data: bytes, start: int = 0, progress: Progress | None = None
    ) -> None:
        """Append data[start:] to a file that already holds the first `start` bytes.

        With `start` 0 the file is replaced. A power cut loses at most 4 KB of what was sent.
        """

        def written(end: int) -> None:
            if progress is not None:
                progress(end, len(data))

        self._send(path, data, start, written)
        written(len(data))

    def replace_file(self, path: str, data: bytes) -> None:
        """Write a file so that a power cut leaves either the old or the new content."""
        if path == MAIN:
            self._repl.has_program = True
        temporary = f"{path}.part"
        swap = f"_swap({temporary!r}, {path!r}, {_digest(data)!r})"
        if self._send(temporary, data, then=f" or {swap}") is not True:
            raise DeviceError(
                f"{path} arrived damaged",
                "Try again; check the cable and the flash.",
            )

    def hash_file(self, path: str) -> tuple[int, str] | None:
        """(length, SHA-256 in hex) of a file; None if it does not exist."""
        return self.hash_files([path])[path]

    def hash_files(self, paths: list[str]) -> dict[str, tuple[int, str] | None]:
        """As `hash_file`, for many files."""
        found = self.ask(f"{{p: _hash(p) if _exists(p) else None for p in {paths!r}}}")
        with understood(found):
            return {p: (int(found[p][0]), str(found[p][1])) if found[p] else None for p in paths}

    def list_folder(self, path: str) -> list[FileInfo]:
        """The content of a folder, sorted by name; empty if the folder does not exist."""
        found = self.ask(
            "[(e[0], e[1] == 0x4000, e[3] if len(e) > 3 else 0) "
            f"for e in (os.ilistdir({path!r}) if _exists({path!r}) else ())]"
        )
        with understood(found):
            return sorted(FileInfo(str(n), bool(folder), int(size)) for n, folder, size in found)

    def is_folder(self, path: str) -> bool:
        parent, _, name = path.rpartition("/")
        files = self.list_folder(parent or "/")
        return any(file.name == name and file.is_folder for file in files)

    def make_folder(self, path: str) -> None:
        """Make a folder and its parents, if they do not exist."""
        parts = PurePosixPath(path).parts
        folders = [str(PurePosixPath(*parts[: n + 1])) for n in range(1, len(parts))]
        self.define()
        self.exec(f"for p in {folders!r}: _exists(p) or os.mkdir(p)")

    def remove(self, path: str) -> None:
        self.define()
        self.exec(f"os.remove({path!r})")

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        self.define()
        self.exec(f"os.rmdir({path!r})")

    def rename(self, old: str, new: str) -> None:
        """Rename a file and replace an existing one, in one step (littlefs)."""
        self.define()
        self.exec(f"os.rename({old!r}, {new!r})")

    def free_space(self) -> int:
        """Bytes left on the board's filesystem."""
        found = self.ask("os.statvfs('/')")
        with understood(found):
            return int(found[0]) * int(found[3])

    def ask(self, expression: str, more: Callable[[], bytes] | None = None) -> Any:
        """The value of an expression on the board, which may use the helpers. `more`: as in
        RawRepl.run."""
        self.define()
        text = "".join(self._run(f"print(json.dumps({expression}))", more=more))
        try:
            return plain_json.parse(text)  # the caller knows its form
        except ValueError:
            raise nonsense(text) from None

    def define(self, more: str = "") -> None:
        """Define the helpers and `more`, unless this connection has done it."""
        code = "".join(part for part in (_HELPERS, more) if part not in self._defined)
        if not code:
            return
        packed = b2a_base64(zlib.compress(code.encode(), 9), newline=False)
        self._inflates = self.exec(_INFLATED.replace("{packed!r}", repr(packed))) == "True\n"
        if not self._inflates:
            self.exec(code)
        self._defined |= {_HELPERS, more}

    def _send(
        self,
        path: str,
        data: bytes,
        start: int = 0,
        written: Callable[[int], None] = lambda end: None,
        then: str = "",
    ) -> Any:
        """Send data[start:]. Returns the value of `then`, the rest of an expression that begins
        with the number of missing bytes."""
        self.define()
        sender = Sender(data, start, deflate=self._inflates, written=written)
        mode, left = "ab" if start else "wb", len(data) - start
        answer = self.ask(f"_receive({path!r}, {mode!r}, {left}){then}", more=sender)
        if answer is not True and answer:
            raise ContactLost(
                f"lost the board on {self.port}: characters are changed on the line",
                "Check the cable, and run it again.",
            )
        return answer

    def _run(
        self,
        code: str,
        silence_s: float | None = None,
        more: Callable[[], bytes] | None = None,
    ) -> Iterator[str]:
        """Run code and yield what it prints. Errors of the connection become NoBoard."""
        try:
            yield from self._repl.run(code, silence_s or SILENCE_S, more)
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
        """The error for a lost port. A board's own USB disappears during a reset and returns."""
        lost = NoBoard(
            f"lost the board on {self.port}: {reason}",
            _CONNECT_AGAIN,
        )
        self._close_port()
        if not _is_device(self.port):
            return lost  # the other end of a URL has closed the connection
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
        """The error for lost contact. A reset is certain if our namespace on the board is gone."""
        try:
            fresh = self._repl.is_fresh()
        except (ReplError, OSError):
            return NoBoard(
                f"lost the board on {self.port}: {reason}",
                _CONNECT_AGAIN,
            )
        if not fresh:
            return ContactLost(
                f"lost the board on {self.port} for a moment: {reason}", "Run the command again."
            )
        return BoardReset(
            "the board was reset during the command, probably by a watchdog that its program had "
            "started",
            "Run the command again. The program continues an update by itself when the board "
            "starts.",
        )

    def _open(self) -> None:
        """Raises NoBoard."""
        self._transport = _opened(self.port)
        serial = self._transport.serial
        with contextlib.suppress(OSError, ValueError):
            serial.write_timeout = _WRITE_S
        _send_at_once(serial)
        self._repl = RawRepl(serial, self._on_text, paced=_is_device(self.port))

    def _enter(self, *, soft_reset: bool, believed: bool = False) -> None:
        """Raises NoBoard."""
        self._was_entering = True
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
                    "boot.py on the board did not end and was interrupted; if it should not run "
                    "endlessly, remove it: mpremote resume fs rm :boot.py"
                )
            )

    def _not_entered(self, error: NotEntered) -> NoBoard:
        said = shortened(clean(" ".join(error.said.split())), 80)
        if error.reset_done:
            return NoBoard(
                f"boot.py on {self.port} does not end and ignores Ctrl-C",
                f"Erase the board to remove it: {_ERASE}.",
            )
        if IN_USE in said:
            return NoBoard(f"{self.port}: {said}", "Close it, then run the command again.")
        return NoBoard(
            f"{self.port} does not answer as MicroPython: it sends {said or 'nothing'}",
            "Close other programs that use the port, reset the board and try again. If "
            "MicroPython is on it, its main.py or boot.py ignores Ctrl-C: then erase the board, "
            f"which removes all of its files ({_ERASE}), and install MicroPython.",
        )

    def _close_port(self) -> None:
        with contextlib.suppress(OSError):
            self._transport.close()


# Installing MicroPython again keeps the files, so it does not remove a bad one.
_ERASE = "a Pico with flash_nuke.uf2, an ESP32 with esptool erase_flash"


def _opened(port: str) -> SerialTransport:
    """Raises NoBoard."""
    try:
        with _quiet():
            return SerialTransport(port, timeout=0)
    except (TransportError, OSError, ValueError):
        if os.path.exists(port) and not os.access(port, os.R_OK | os.W_OK):
            raise NoBoard(
                f"this user has no permission to open port {port}",
                "On Linux: sudo usermod -a -G dialout $USER, and log in again.",
            ) from None
        raise NoBoard(
            f"cannot open port {port} ({ports_present()})",
            "Check the cable and --port, and that no other program has the port open.",
        ) from None


def console(port: str) -> None:
    """Connect this terminal with the board's, until Ctrl-] or Ctrl-X. Interrupts nothing by
    itself. Raises NoBoard."""
    from mpremote.console import Console
    from mpremote.repl import do_repl_main_loop

    transport = _opened(port)
    line = transport.serial = _Line(transport.serial)
    terminal = Console()
    terminal.enter()
    try:
        line.write(FRIENDLY)  # shows the prompt, if no program runs
        is_lost = do_repl_main_loop(
            SimpleNamespace(transport=transport),
            terminal,
            terminal.write,
            escape_non_printable=False,
            code_to_inject=None,
            file_to_inject=None,
        )
    except OSError as error:
        raise NoBoard(f"lost the board on {port}: {_reason(error)}", _CONNECT_AGAIN) from None
    finally:
        terminal.exit()
        with contextlib.suppress(OSError):
            transport.close()
    if is_lost:
        raise NoBoard(f"lost the board on {port}", _CONNECT_AGAIN)


_CONNECT_AGAIN = "Check the cable and the supply, then run the command again."


class _Line:
    """A port of pyserial with the attribute that mpremote waits for. URLs lack it."""

    def __init__(self, serial: Any) -> None:
        self._serial = serial

    @property
    def fd(self) -> int:
        return int(self._serial.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._serial, name)


def _device_error(trace: str) -> DeviceError:
    """The last line of a MicroPython traceback is "Kind: message", or "Kind" alone."""
    trace = clean(trace.replace("\r\n", "\n"), keep="\n")
    last = shortened((trace.strip().splitlines() or ["unknown error"])[-1], 1000)
    kind, _, message = last.partition(":")
    text = f"the board raised {kind}: {message.strip()}" if message else f"the board raised {kind}"
    return DeviceError(text, kind=kind.strip(), trace=trace)


@contextlib.contextmanager
def understood(answer: object) -> Iterator[None]:
    """Turn errors from an answer of an unexpected form into DeviceError."""
    try:
        yield
    except (ValueError, TypeError, LookupError):
        raise nonsense(str(answer)) from None


def nonsense(answer: str) -> DeviceError:
    return DeviceError(
        f"the board's answer is invalid: {shortened(clean(answer), 60)}",
        "Reset the board and try again.",
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_device(port: str) -> bool:
    """Whether this is a serial port of this computer, not a URL."""
    return "://" not in port


def _send_at_once(serial: object) -> None:
    """Switch off Nagle's algorithm on a TCP port: it delays small packets by 40 ms each."""
    connection = getattr(serial, "_socket", None)  # pyserial has no public way
    if isinstance(connection, socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def _quiet() -> contextlib.AbstractContextManager[object]:
    """Hide what mpremote prints on standard output before it raises."""
    return contextlib.redirect_stdout(io.StringIO())
