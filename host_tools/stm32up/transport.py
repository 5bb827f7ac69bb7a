"""The raw REPL of a MicroPython board, by way of mpremote used as a library.

mpremote's authors say that this interface may change, so it is pinned and nothing else imports it.

Connecting interrupts the program that runs on the board (Ctrl-C). Without `resume` it also soft-
resets the board, so that nothing is left of earlier imports. To the product both are a power cut
like any other.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import socket
import struct
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport
from serial.tools import list_ports

from stm32up.errors import DeviceError, NoBoard
from stm32up.host_facts import BUILT_IN

Progress = Callable[[int, int], None]  # done, total, in bytes
AUTO = "auto"
CHUNK = 3072  # bytes of a file per command: 4 KB of base64, which small heaps still bear
SILENCE_S = 20.0  # a command that prints nothing for this long has failed
_MISSING = "-"  # what a helper prints for a file that is not there
# What mpremote raises when the line is dead or says something unexpected; pyserial's errors are
# OSErrors.
_TROUBLE = (TransportError, OSError, struct.error)

# USB IDs of boards that may run MicroPython, the surest first. ST-LINKs (0483) are not among them:
# a NUCLEO's virtual COM port leads to the target, not to the host MCU.
_USB_VENDORS = (
    0x2E8A,  # Raspberry Pi
    0x303A,  # Espressif
    0x10C4,  # Silicon Labs bridges on ESP32 boards
    0x1A86,  # WCH bridges
    0x0403,  # FTDI bridges
)
_USB_FIRST = (0x2E8A, 0x0005)  # MicroPython's own, on rp2


# Lives in the globals of the raw REPL for the length of a connection. Whether a file is there is
# asked first, since the numbers in an OSError differ between ports.
_HELPERS = f"""{BUILT_IN}
hashlib, os, binascii = [_built_in(name) for name in ('hashlib', 'os', 'binascii')]
a2b_base64, b2a_base64, hexlify = binascii.a2b_base64, binascii.b2a_base64, binascii.hexlify
def _exists(path):
 try: os.stat(path); return True
 except OSError: return False
def _read(path):
 if not _exists(path): print({_MISSING!r}); return
 with open(path, 'rb') as f:
  while True:
   b = f.read({CHUNK})
   if not b: break
   print(b2a_base64(b).decode(), end='')
def _write(path, mode, text):
 with open(path, mode) as f: f.write(a2b_base64(text))
def _hash(path):
 h = hashlib.sha256(); n = 0; b = bytearray(1024); m = memoryview(b)
 with open(path, 'rb') as f:
  while True:
   k = f.readinto(b)
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


def find_port() -> str:
    """The USB serial port that looks most like a MicroPython board. Raises NoBoard."""
    found = []
    for port in list_ports.comports():
        if port.vid in _USB_VENDORS:
            rank = -1 if (port.vid, port.pid) == _USB_FIRST else _USB_VENDORS.index(port.vid)
            found.append((rank, port.device))
    if not found:
        raise NoBoard(
            f"no MicroPython board on USB ({_ports_present()})",
            "Connect one, name its port with --port, or try --port sim.",
        )
    best = min(found)[0]
    devices = sorted(device for rank, device in found if rank == best)
    if len(devices) > 1:
        raise NoBoard(
            f"more than one MicroPython board is on USB: {', '.join(devices)}",
            "Name one of the ports with --port.",
        )
    return str(devices[0])


@contextlib.contextmanager
def connected(port: str, *, resume: bool = False) -> Iterator[Connection]:
    """Opens a port ("auto", a device name, or any pyserial URL such as socket://HOST:PORT).

    On the way out the board is left at its normal REPL; a program that still runs is interrupted
    first. Raises NoBoard.
    """
    connection = Connection(find_port() if port == AUTO else port, resume=resume)
    try:
        yield connection
    except BaseException:
        connection.interrupt()
        raise
    finally:
        connection.close()


class Connection:
    """A board at its raw REPL. Paths are absolute. Methods raise DeviceError and NoBoard."""

    def __init__(self, port: str, *, resume: bool = False) -> None:
        self.port = port
        self._has_helpers = False
        try:
            with _quiet():
                self._transport = SerialTransport(port, timeout=SILENCE_S)
        except (TransportError, OSError, ValueError):
            if os.path.exists(port) and not os.access(port, os.R_OK | os.W_OK):
                raise NoBoard(
                    f"this user may not open port {port}",
                    "On Linux: sudo usermod -a -G dialout $USER, and log in again.",
                ) from None
            raise NoBoard(
                f"cannot open port {port} ({_ports_present()})",
                "Check the cable and --port, and that no other program has the port open.",
            ) from None
        _send_at_once(self._transport)
        try:
            with _quiet():
                self._transport.enter_raw_repl(soft_reset=not resume)
        except _TROUBLE as error:
            self._close_port()
            raise NoBoard(
                f"{port} does not answer as MicroPython: {_reason(error)}",
                "Reset the board and try again; if it stays silent, install MicroPython on it.",
            ) from None

    def close(self) -> None:
        with contextlib.suppress(*_TROUBLE):
            self._transport.exit_raw_repl()
        self._close_port()

    def interrupt(self) -> None:
        """Stops whatever runs on the board, as Ctrl-C does."""
        with contextlib.suppress(*_TROUBLE):
            self._transport.serial.write(b"\x03")

    def exec(
        self,
        code: str,
        on_line: Callable[[str], None] | None = None,
        silence_s: float = SILENCE_S,
    ) -> str:
        """Runs code on the board and returns what it printed.

        With `on_line`, each line is handed over as it comes, and "" is returned. `silence_s`
        limits the time between two characters of the output.
        """
        lines = _Lines(on_line) if on_line else None
        with self._errors():
            with _quiet():
                self._transport.exec_raw_no_follow(code)
            output, trace = self._transport.follow(silence_s, lines and lines.feed)
            if trace:
                raise TransportExecError(output, trace.decode(errors="replace"))
        if lines is None:
            return bytes(output).decode(errors="replace").replace("\r\n", "\n")
        lines.finish()
        return ""

    def read_file(self, path: str) -> bytes | None:
        """The content of a file, None if there is none."""
        self._define_helpers()
        lines: list[str] = []
        self.exec(f"_read({path!r})", lines.append)
        return None if lines == [_MISSING] else b"".join(map(a2b_base64, lines))

    def append_file(
        self, path: str, data: bytes, start: int = 0, progress: Progress | None = None
    ) -> None:
        """Writes data[start:] at the end of a file, which already holds the first `start` bytes.

        With `start` 0 the file is made anew. It is closed after every chunk, so that a cut loses
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
        self._define_helpers()
        code = f"for p in {paths!r}: print(*_hash(p) if _exists(p) else {_MISSING!r})"
        hashes: dict[str, tuple[int, str] | None] = {}
        for path, line in zip(paths, self.exec(code).splitlines(), strict=True):
            size, _, digest = line.partition(" ")
            hashes[path] = (int(size), digest) if digest else None
        return hashes

    def list_folder(self, path: str) -> list[FileInfo]:
        """What is in a folder, sorted by name; nothing if the folder does not exist."""
        self._define_helpers()
        code = (
            f"for e in os.ilistdir({path!r}) if _exists({path!r}) else ():\n"
            " print(e[1], e[3] if len(e) > 3 else 0, e[0])\n"
        )
        lines = self.exec(code).splitlines()
        entries = (line.split(" ", 2) for line in lines)
        return sorted(FileInfo(name, kind == "16384", int(size)) for kind, size, name in entries)

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
        self._define_helpers()
        free = self.exec("s = os.statvfs('/')\nprint(s[0] * s[3])")
        return int(free)

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

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of mpremote and pyserial -> ours."""
        try:
            yield
        except TransportExecError as error:
            raise _device_error(error.error_output) from None
        except _TROUBLE as error:
            raise NoBoard(
                f"lost the board on {self.port}: {_reason(error)}",
                "Check the cable and the supply, then run the command again.",
            ) from None

    def _close_port(self) -> None:
        with contextlib.suppress(OSError):
            self._transport.close()


class _Lines:
    """Cuts the output, which comes byte by byte, into lines."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._line = bytearray()

    def feed(self, data: bytes) -> None:
        for byte in data:
            if byte == 0x0A:
                self._hand_over()
            elif byte not in (0x0D, 0x04):  # 0x04 ends the output in the raw REPL
                self._line.append(byte)

    def finish(self) -> None:
        if self._line:
            self._hand_over()

    def _hand_over(self) -> None:
        line = self._line.decode(errors="replace")
        self._line.clear()
        self._on_line(line)


def _device_error(trace: str) -> DeviceError:
    """The last line of a MicroPython traceback is "Kind: message", or "Kind" alone."""
    last = (trace.strip().splitlines() or ["unknown error"])[-1]
    kind, _, message = last.partition(":")
    text = f"the board raised {kind}: {message.strip()}" if message else f"the board raised {kind}"
    return DeviceError(text, kind=kind.strip(), trace=trace)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _send_at_once(transport: Any) -> None:
    """On a TCP port, small packets must not wait for the answer to the one before: 40 ms each
    time.
    """
    connection = getattr(transport.serial, "_socket", None)  # pyserial offers no other way
    if isinstance(connection, socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _ports_present() -> str:
    ports = ", ".join(port.device for port in list_ports.comports())
    return f"ports here: {ports}" if ports else "this computer has no serial ports"


def _reason(error: Any) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def _quiet() -> contextlib.AbstractContextManager[Any]:
    """mpremote prints what it received before it raises: not on our standard output."""
    return contextlib.redirect_stdout(io.StringIO())
