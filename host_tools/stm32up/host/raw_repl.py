r"""Calls through a board's raw REPL, over a line that others also write to.

An ESP32 writes its log lines to the serial port of the REPL, in the middle of a program's output,
and another thread may do the same. A marker of letters is not safe, because a log line can split
it. So the board's answers consist of bytes that occur neither in ASCII nor in UTF-8 (0xF5 to
0xFF), and every other byte is foreign text:

    F5  digits  F6      a frame. Three octal digits (F8 + digit) for each byte:
                        number of the call, kind, data, CRC-32 of these
    F7  nonce  state    the answer to a probe; state: bits _KNOWN, _WATCHDOG, _BITTEN. After
                        _LOOK: _PROGRAM, _WATCHDOG, _BITTEN

The protocol of the raw REPL itself (OK, 04, >) is text and may be split too, so nothing depends on
it. A frame that lost a byte has a wrong CRC, and the last frame of a call has their number.

Code is sent as mpremote types it, 256 bytes every 10 ms. Raw paste would be faster on some boards,
but its flow control uses the direction that others write to.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import select
import time
from binascii import crc32
from collections.abc import Callable, Iterator
from typing import Any

ENTER_S = 10.0  # for a program to stop, and for boot.py to end after a soft reset
_PROBE_S = 1.0  # how long to wait for the answer to one probe
_START_S = 2.0  # for a board to say that it restarts
_REFUSED_S = 0.5  # no frame follows a traceback outside of a frame
_RESTARTED_S = 0.1  # none follows MicroPython's banner and prompt
_PIECE, _PAUSE_S = 256, 0.01
_MOMENT_S = 0.01  # the longest wait between two looks at a deadline
_LAST_TEXT = 400  # bytes of foreign text that are kept for error messages

_KNOWN, _WATCHDOG, _BITTEN = 1, 2, 4
_PROGRAM = 1  # the board has a main.py

_OURS = bytes(range(0xF5, 0x100))
_TEXT = bytes(range(0xF5))
_MESSAGE = re.compile(rb"\xf5([\xf8-\xff]*)\xf6|\xf7([\xf8-\xff])([\xf8-\xff])")
_UNFINISHED = re.compile(rb"(\xf5[\xf8-\xff]*|\xf7[\xf8-\xff]?)\Z")
OUTPUT, _TRACE, DONE, ALIVE, TAKEN, UPDATE = b"otdaku"  # UPDATE: stm32_updater/answers.py
# The raw REPL's answer to code that it cannot compile.
_REFUSED = re.compile(rb"\x04([^\x04]+)\x04>")
# The end of what MicroPython prints at its start, if no main.py runs. Others can print it too, so
# it counts only if nothing follows.
_BANNER = re.compile(rb"(raw REPL; CTRL-B to exit\r\n>|MicroPython v\d[^\n]*\n[^\n]*\n>>> )\Z")
_OWN_TEXT = re.compile(
    r"(>>> )?(raw REPL; CTRL-B to exit|MPY: soft reboot|MicroPython v\d.*|Type \"help\(\)\".*)"
)

INTERRUPT, RAW, FRIENDLY, END = b"\x03", b"\x01", b"\x02", b"\x04"
_QUESTION = b"\x14"  # whether an update runs: stm32_updater/answers.py
_PROMPT, _REBOOT = b">>> ", b"soft reboot"

# The maximum of rp2 (24 bits of half microseconds), in whole seconds for esp32.
_WATCHDOG_MS = 8388

# Code that does not depend on the globals of the interrupted program, which may be named as a
# built-in function is ("bytes", "open"), and does not change them. It has them as `_program`.
_ASIDE = "(lambda b:b.exec({code!r},{{'_program':b.globals()}}))(__import__('builtins'))"

# `_stm32up` is a separate namespace. It is gone after a reset, which shows that there was one.
_PROBE = """\
import sys
sys.stdout.buffer.write(bytes((247,{nonce},248+('_stm32up' in _program))))
"""

# A watchdog that the interrupted program started keeps running after Ctrl-C and after a soft
# reset, and cannot be stopped on either port. So it is fed, but none is started if none runs:
# - rp2: the enable bit shows it. WATCHDOG_CTRL, RP2040 datasheet 4.7.6, RP2350 datasheet 12.9.7.
# - esp32: the task watchdog has no such bit, so the program's objects are searched.
# Creating a WDT again sets a new time (ports/rp2/machine_wdt.c: watchdog_enable;
# ports/esp32/machine_wdt.c: esp_task_wdt_reconfigure), the longest that both ports accept. A
# hidden watchdog resets the board once; if the cause of that reset confirms it, it is fed from
# then on too.
_LOOK = """
import sys
def _look(believed):
 import machine as m
 def has(d, deep):
  for v in list(d.values()):
   if isinstance(v, m.WDT): return 1
   if deep and has(getattr(v, '__dict__', {{}}), deep - 1): return 1
  return 0
 bitten = m.reset_cause() == m.WDT_RESET
 chip = getattr(sys.implementation, '_machine', '')
 if believed and bitten: runs = 1
 elif 'RP2040' in chip: runs = m.mem32[0x40058000] >> 30 & 1
 elif 'RP2350' in chip: runs = m.mem32[0x400d8000] >> 30 & 1
 else: runs = has(_program, 1) or has(sys.modules, 1)
 if runs: m.WDT(timeout={ms})
 return 2 * runs + 4 * bitten
try: _found = _look({believed})
except Exception: _found = 0
try:
 open('/main.py').close()
 _found += 1
except OSError: pass
_program['_stm32up'] = _found
sys.stdout.buffer.write(bytes((247, {nonce}, 248 + _found)))
"""

# `run` executes a call; `print` and `feed` are for the code of a call. The updater calls `feed` in
# every wait, which also shows that the board is alive.
_SERVER = """
import io, sys, time
from binascii import crc32
_dog = None
if {watchdog}:
 import machine
 _dog = machine.WDT(timeout={ms})
_call = _frames = _told = 0
def _send(kind, data=b''):
 global _frames
 _frames += 1
 body = bytes((_call, kind)) + data
 body += crc32(body).to_bytes(4, 'big')
 out = bytearray(3 * len(body) + 2)
 out[0] = 0xf5; i = 1
 for b in body:
  out[i] = 0xf8 | b >> 6; out[i + 1] = 0xf8 | b >> 3 & 7; out[i + 2] = 0xf8 | b & 7
  i += 3
 out[i] = 0xf6
 sys.stdout.buffer.write(out)
def print(*values, sep=' ', end='\\n'):
 text = (sep.join([str(v) for v in values]) + end).encode()
 for i in range(0, len(text), 256): _send({output}, text[i:i + 256])
def feed():
 global _told
 if _dog: _dog.feed()
 now = time.ticks_ms()
 if time.ticks_diff(now, _told) >= 250:
  _told = now
  _send({alive})
def run(number, code):
 global _call, _frames, _told
 _call = number; _frames = 0; _told = time.ticks_ms()
 try:
  if _dog: _dog.feed()
  exec(code, globals())
 except (Exception, KeyboardInterrupt) as e:
  trace = io.StringIO()
  sys.print_exception(e, trace)
  trace = trace.getvalue().encode()
  for i in range(0, len(trace), 256): _send({trace}, trace[i:i + 256])
 _send({done}, bytes((_frames & 255,)))
"""


class ReplError(Exception):
    """The board does not behave as a raw REPL; the text says how it behaves."""


class NotEntered(ReplError):
    """No answer. `reset_done`: the board accepted a soft reset before, so boot.py does not end.
    `said`: the last foreign text."""

    def __init__(self, reset_done: bool, said: str) -> None:
        super().__init__("it does not answer")
        self.reset_done = reset_done
        self.said = said


class Silence(ReplError):
    """No frame for too long."""


class Raised(Exception):
    """The code raised an exception; the argument is the traceback."""


class RawRepl:
    """A board at its raw REPL. Errors of the port are raised as OSError.

    `serial`: an open, non-blocking port (timeout 0) of pyserial, which has no types. `on_text`
    gets each line of foreign text.
    """

    def __init__(self, serial: Any, on_text: Callable[[str], None], *, paced: bool) -> None:
        self.serial = serial
        self.watchdog = False  # the program's watchdog runs and is fed
        self.bitten = False  # a watchdog made the last reset
        self.has_program = False  # there is a main.py
        self.boot_interrupted = False  # boot.py did not end by itself
        self.restarted = False  # the board came to its prompt again during the last call
        self._on_text = on_text
        self._paced = paced
        self._nonce = 0
        self._number = 0
        self._ours = b""
        self._text = bytearray()
        self._last = b""  # bytes of the current call
        self._is_quiet = True

    # Getting there.

    def enter(self, *, soft_reset: bool, believed: bool = False) -> None:
        """Stop the running program and prepare the board for calls. Raises NotEntered.

        If boot.py does not end after a soft reset, Ctrl-C ends it; earlier imports are gone then
        too. `believed`: a watchdog has probably just reset the board.
        """
        self._stop()
        nonce = self._next_nonce()
        self._type_aside(_LOOK.format(nonce=nonce, believed=believed, ms=_WATCHDOG_MS))
        state = self._state({nonce}, ENTER_S)
        if state is None:
            raise NotEntered(False, self._said())
        self.watchdog, self.bitten = bool(state & _WATCHDOG), bool(state & _BITTEN)
        self.has_program = bool(state & _PROGRAM)
        self.boot_interrupted = False
        if soft_reset:
            self._soft_reset()
        parts = {"output": OUTPUT, "trace": _TRACE, "alive": ALIVE, "done": DONE}
        server = _SERVER.format(watchdog=self.watchdog, ms=_WATCHDOG_MS, **parts)
        self._type(f"_stm32up = {{}}\n__import__('builtins').exec({server!r}, _stm32up)".encode())
        self._text.clear()
        if "".join(self.run("print(1)", ENTER_S)) != "1\n":
            raise NotEntered(False, self._said())

    def is_fresh(self) -> bool:
        """Stop the running program; return whether the board was reset since `enter`."""
        return not self._stop() & _KNOWN

    def leave(self) -> None:
        """Go to the normal prompt."""
        self.serial.write(b"\r" + FRIENDLY)

    def start_program(self) -> bool:
        """Soft-reset the board from its normal prompt, so that boot.py and main.py run. Returns
        whether the board has said so."""
        self._text.clear()
        self.serial.write(b"\r" + INTERRUPT + FRIENDLY + END)
        end = time.monotonic() + _START_S
        while _REBOOT not in self._text:
            if not self._receive() and time.monotonic() >= end:
                return False
        return True

    def type_last(self, code: str) -> None:
        """Run code that ends the connection; give the board a moment to read it."""
        self._type(code.encode())
        end = time.monotonic() + _REFUSED_S
        with contextlib.suppress(OSError):
            while time.monotonic() < end:
                self._receive()

    # Before anything is interrupted.

    def ask(self) -> None:
        """Ask the program whether an update runs. A REPL ignores this question; to the second byte
        it answers with its prompt."""
        self._text.clear()
        self.serial.write(_QUESTION + FRIENDLY)

    def heard(self) -> list[tuple[int, int, bytes]]:
        """The frames that have arrived: number, kind, data. Waits a moment."""
        self._is_quiet = not self._receive()
        contents = [_content(message[1]) for message in self._messages() if message[1] is not None]
        # A prompt after the last question, and after all frames, is the board's own.
        del self._text[: None if contents else -_LAST_TEXT]
        return [(content[0], content[1], content[2:]) for content in contents if content]

    @property
    def shows_prompt(self) -> bool:
        """Whether the last output is the normal prompt, so no program runs."""
        return self._is_quiet and self._text.endswith(_PROMPT)

    def interrupt(self) -> None:
        self.serial.write(INTERRUPT)

    def _stop(self) -> int:
        """Go to the raw prompt with Ctrl-C; return the state."""
        nonces: set[int] = set()
        end = time.monotonic() + ENTER_S
        self._text.clear()
        while time.monotonic() < end:
            self.serial.write(b"\r" + INTERRUPT + INTERRUPT)
            self._receive()
            self.serial.write(b"\r" + RAW)
            state = self._probe(nonces)
            if state is not None:
                return state
        raise NotEntered(False, self._said())

    def _soft_reset(self) -> None:
        self._text.clear()
        self.serial.write(END)
        nonces: set[int] = set()
        end = time.monotonic() + ENTER_S
        while time.monotonic() < end:
            self._wait_for(b"raw REPL", end)
            self.serial.write(RAW)  # discards half a probe, if the board lost the rest
            state = self._probe(nonces)
            if state is not None and not state & _KNOWN:
                return
            if state is not None:
                self.serial.write(END)  # the first one was lost
        try:
            state = self._stop()
        except NotEntered as error:
            raise NotEntered(True, error.said) from None
        if state & _KNOWN:
            raise NotEntered(False, self._said())
        self.boot_interrupted = True

    def _probe(self, nonces: set[int]) -> int | None:
        """Ask for the state; an answer to any of `nonces` is valid."""
        nonce = self._next_nonce()
        nonces.add(nonce)
        self._type_aside(_PROBE.format(nonce=nonce))
        return self._state(nonces, _PROBE_S)

    def _type_aside(self, code: str) -> None:
        self._type(_ASIDE.format(code=code).encode())

    def _next_nonce(self) -> int:
        self._nonce = (self._nonce + 1) % 8
        return 0xF8 + self._nonce

    def _state(self, nonces: set[int], limit_s: float) -> int | None:
        end = time.monotonic() + limit_s
        while True:
            for message in self._messages():
                if message[2] is not None and message[2][0] in nonces:
                    return int(message[3][0] - 0xF8)
            if not self._receive() and time.monotonic() >= end:
                return None

    # Calls.

    def run(
        self, code: str, silence_s: float, more: Callable[[], bytes] | None = None
    ) -> Iterator[str]:
        """Run code and yield what it prints. Raises Raised and ReplError.

        `silence_s` limits the time without a frame: foreign text is not a sign of life. `more` is
        called for each frame of kind TAKEN, and returns bytes for the code to read.
        """
        self._number = (self._number + 1) % 256
        self._flush_text()
        refused_from = len(self._text)
        self._type(f"_stm32up['run']({self._number},{code!r})".encode())
        trace, frames, last = b"", 0, time.monotonic()
        self.restarted, self._last = False, b""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a piece can end anywhere
        while True:
            for message in self._messages():
                frame = _content(message[1]) if message[1] is not None else None
                if frame is None and message[1] is not None:
                    raise ReplError("characters are lost on the line to the board")
                if frame is None or frame[0] != self._number:
                    continue  # of an interrupted call
                kind, data, last = frame[1], frame[2:], time.monotonic()
                if kind == DONE:
                    if data != bytes((frames & 255,)):
                        raise ReplError("characters are lost on the line to the board")
                    self._flush_text()
                    if trace:
                        if more is not None:
                            self.interrupt()  # discards what the code did not read
                        raise Raised(trace.decode(errors="replace"))
                    return
                frames += 1
                if kind == OUTPUT:
                    yield decoder.decode(data)
                elif kind == _TRACE:
                    trace += data
                elif kind == TAKEN and more is not None:
                    self.serial.write(more())
            if self._receive():
                refused_from = self._hand_over_lines(refused_from)
                continue
            quiet = time.monotonic() - last
            if quiet > _REFUSED_S:
                refused = _REFUSED.search(self._text, refused_from)
                if refused:
                    raise Raised(refused[1].decode(errors="replace"))
            if quiet > _RESTARTED_S and _BANNER.search(self._last):
                self.restarted = True
                raise Silence("it started again")
            if quiet > silence_s:
                raise Silence(f"it was silent for {silence_s:.0f} s")

    # Bytes.

    def _type(self, code: bytes) -> None:
        for start in range(0, len(code), _PIECE):
            self.serial.write(code[start : start + _PIECE])
            if self._paced:
                time.sleep(_PAUSE_S)
        self.serial.write(END)

    def _receive(self) -> bool:
        """Read what has arrived; wait a moment if nothing has."""
        data = self.serial.read(4096)
        if not data:
            self._wait_for_bytes()
            return False
        self._ours += data.translate(None, _TEXT)
        self._text += data.translate(None, _OURS)
        self._last = (self._last + data)[-_LAST_TEXT:]
        return True

    def _wait_for_bytes(self) -> None:
        try:
            select.select([self.serial], [], [], _MOMENT_S)
        except (OSError, ValueError):  # not a serial port of Windows
            time.sleep(0.001)

    def _wait_for(self, text: bytes, end: float) -> None:
        """Wait until `text` arrives, or the line is quiet for as long as a probe takes, or until
        `end`."""
        last = time.monotonic()
        while text not in self._text:
            now = time.monotonic()
            if self._receive():
                last = now
            elif now - last >= _PROBE_S or now >= end:
                return

    def _messages(self) -> Iterator[re.Match[bytes]]:
        """The complete messages that have arrived."""
        ours = self._ours
        unfinished = _UNFINISHED.search(ours)
        self._ours = unfinished[0] if unfinished else b""
        return _MESSAGE.finditer(ours[: len(ours) - len(self._ours)])

    def _hand_over_lines(self, refused_from: int) -> int:
        """Report complete lines of foreign text, up to a 04: a traceback may follow that."""
        self._text = self._text.replace(END + END + b">", b"")  # the end of the previous call
        end = self._text.find(END, refused_from)
        upto = self._text.rfind(b"\n", 0, len(self._text) if end < 0 else end) + 1
        if upto == 0:
            if end < 0 and len(self._text) > 65536:
                upto = len(self._text)  # a line without an end
            else:
                return refused_from
        self._say(bytes(self._text[:upto]))
        del self._text[:upto]
        return max(0, refused_from - upto)

    def _flush_text(self) -> None:
        self._say(bytes(self._text))
        self._text.clear()

    def _say(self, text: bytes) -> None:
        """Report foreign text, without the raw REPL's own text around a call."""
        text = re.sub(rb"\x04+>?(OK)?|^>?(OK)+", b"", text)
        for line in text.decode(errors="replace").splitlines():
            if line.strip() and not _OWN_TEXT.fullmatch(line.strip()):
                self._on_text(line)

    def _said(self) -> str:
        return bytes(self._text[-_LAST_TEXT:]).decode(errors="replace")


def _content(digits: bytes) -> bytes | None:
    """The bytes of a frame without their CRC; None if the CRC is wrong."""
    if len(digits) % 3:
        return None
    high, middle, low = (bytes(b & 7 for b in digits[n::3]) for n in range(3))
    try:
        body = bytes(a << 6 | b << 3 | c for a, b, c in zip(high, middle, low, strict=True))
    except ValueError:  # more than 255
        return None
    if len(body) < 6 or crc32(body[:-4]).to_bytes(4, "big") != body[-4:]:
        return None
    return body[:-4]
