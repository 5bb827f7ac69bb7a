"""Files to the board, as raw binary through the raw REPL.

The board asks for every piece, so that nothing is sent that it cannot buffer. An ESP32 behind a
USB-UART bridge has no flow control, buffers 259 bytes (ports/esp32/mphalport.c), and loses what
arrives while it writes to its flash. So at most WINDOW pieces of PIECE bytes are unread, which are
256 bytes, and none while a block is written: the first piece of a block is sent when the board has
asked for it after writing the block before. At 115200 baud the line is busy all the time if the
board's request takes less than 16 ms to arrive.

A block is written and flushed in one go. It ends where a block of littlefs ends: a file that is
flushed or closed in the middle of one has that block erased and copied at the next write. After a
cut the file holds whole blocks.

    block   CRC-32 of all that follows, number of further pieces, 1 if deflated, bytes in the
            file (4, 1, 1 and 2 bytes, big-endian), content, zeros up to whole pieces
    piece   a byte that does not occur in the rest of it, and PIECE - 1 bytes of the block in
            which it stands for Ctrl-C

So Ctrl-C, which would interrupt the board, is never data, and interrupts it at any time. Deflate
is used where the board has it and it saves an eighth. The board holds one block, 4 KB, and the
window of deflate, 2 KB: each block is deflated on its own, so that none needs an earlier one. Of
Thumb code (newlib for Armv6-M) that leaves 66 %; with 4 KB the same, with one stream and 32 KB 63.
"""

from __future__ import annotations

import zlib
from binascii import crc32
from collections.abc import Callable, Iterator

PIECE = 64
WINDOW = 4
_HEADER = 8
_BLOCK = 4096  # of littlefs, on rp2 and esp32
_WBITS = 11

_CTRL_C = b"\x03"
_CARRIED = PIECE - 1  # bytes of a block in a piece

# `_send`, `feed` and `crc32` are of raw_repl.py, `_deflate` is of transport.py.
RECEIVER = f"""
def _piece():
 _send({{taken}})
 piece = sys.stdin.buffer.read({PIECE})
 return piece[1:].replace(piece[:1], b'\\x03')
def _receive(path, mode, left):
 block = io.BytesIO()
 with open(path, mode) as file:
  while left:
   part = _piece()
   right = int.from_bytes(part[:4], 'big')
   more, deflated, size = part[4], part[5], int.from_bytes(part[6:8], 'big')
   crc = crc32(part[4:])
   block.seek(0)
   block.write(part[8:])
   for _ in range(more):
    part = _piece()
    crc = crc32(part, crc)
    block.write(part)
   if crc != right: break
   block.seek(0)
   data = _deflate.DeflateIO(block, _deflate.RAW, {_WBITS}) if deflated else block
   left -= size
   while size:
    part = data.read(min(size, 512))
    file.write(part)
    size -= len(part)
   if left: file.flush()
   feed()
 return left
"""


class Sender:
    """Sends `data[start:]` to `_receive`. Call it whenever the board asks: it returns the bytes to
    send next. `written` gets `start`, and the end of each block but the last when the board has
    written it."""

    def __init__(
        self, data: bytes, start: int, *, deflate: bool, written: Callable[[int], None]
    ) -> None:
        self._blocks = _blocks(data, start, deflate=deflate)
        self._pieces: list[bytes] = []  # of the current block, not sent yet
        self._end = start
        self._unread = 1  # the call of `_receive` itself
        self._written = written

    def __call__(self) -> bytes:
        self._unread -= 1
        if self._unread == 0 and not self._pieces:
            self._written(self._end)
            self._end, self._pieces = next(self._blocks, (self._end, []))
        count = WINDOW - self._unread
        sent, self._pieces = self._pieces[:count], self._pieces[count:]
        self._unread += len(sent)
        return b"".join(sent)


def _blocks(data: bytes, start: int, *, deflate: bool) -> Iterator[tuple[int, list[bytes]]]:
    """(end in `data`, pieces) of each block."""
    for end in _ends(len(data)):
        if end > start:
            yield end, _pieces(data[start:end], deflate=deflate)
            start = end


def _ends(size: int) -> Iterator[int]:
    """The ends of the littlefs blocks of a file. Block n > 0 begins with a pointer of 4 bytes for
    each power of two that divides n, 1 included: littlefs, DESIGN.md, "CTZ skip-lists"."""
    end = number = 0
    while end < size:
        pointers = (number & -number).bit_length()
        end += _BLOCK - 4 * pointers
        number += 1
        yield min(end, size)


def _pieces(content: bytes, *, deflate: bool) -> list[bytes]:
    packed = _deflated(content) if deflate else content
    deflated = len(packed) <= len(content) * 7 // 8
    carried = packed if deflated else content
    more = (_HEADER + len(carried) - 1) // _CARRIED
    rest = bytes((more, deflated)) + len(content).to_bytes(2, "big") + carried
    rest += bytes((more + 1) * _CARRIED - 4 - len(rest))
    block = crc32(rest).to_bytes(4, "big") + rest
    return [_piece(block[at : at + _CARRIED]) for at in range(0, len(block), _CARRIED)]


def _deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -_WBITS)
    return packer.compress(content) + packer.flush()


def _piece(part: bytes) -> bytes:
    absent = min(set(range(256)) - set(part) - set(_CTRL_C)).to_bytes(1, "big")
    return absent + part.replace(_CTRL_C, absent)
