"""The protocol on the pipes between this process and runtime.mjs.

A frame is a length (u32, of what follows), a letter, and a body. From runtime.mjs:

    h              MicroPython is loaded                                  no answer
    o bytes        output of the REPL and of device code                  no answer
    c u32 u32 value...                                                    answered by v or e
                   a call: the bytecodes and the Python calls that device code has executed
                   since the last one, its name and its arguments
    i count        waits for input, after consuming `count` bytes of it   no answer
    s count byte   soft reset, the last frame; 1: at the raw prompt       no answer

To runtime.mjs:

    v count value  the result; `count` bytes of input, sent before it, count as received
    e count value  the call failed with this errno

On a separate pipe, the line, which is always read:

    d bytes        input
    u              the client has hung up

A value is a letter and: n nothing (None), i int64, s and b a length (u32) and that many bytes (a
string in UTF-8, or bytes), l a count (u32) and that many values. Counts of input are u64 and start
at 0 with each interpreter. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from typing import IO, Any

HELLO, OUTPUT, CALL, WAITS, SOFT_RESET = b"h", b"o", b"c", b"i", b"s"
VALUE, ERROR = b"v", b"e"
INPUT, HUNG_UP = b"d", b"u"

_U32 = struct.Struct("<I")
_EXECUTED = struct.Struct("<II")
_I64 = struct.Struct("<q")
_U64 = struct.Struct("<Q")


def read_frame(pipe: IO[bytes]) -> tuple[bytes, bytes] | None:
    """The letter and the body of the next frame; None at the end of the stream."""
    head = pipe.read(5)
    if len(head) < 5:
        return None
    size = _U32.unpack_from(head)[0] - 1
    body = pipe.read(size)
    return (head[4:], body) if len(body) == size else None


def frame(letter: bytes, body: bytes = b"") -> bytes:
    return _U32.pack(len(body) + 1) + letter + body


def encode_count(count: int) -> bytes:
    return _U64.pack(count)


def decode_count(body: bytes) -> int:
    """The count of input at the start of a body."""
    count: int = _U64.unpack_from(body)[0]
    return count


def decode_executed(body: bytes) -> tuple[int, int]:
    """The bytecodes and the Python calls before a call."""
    bytecodes, calls = _EXECUTED.unpack_from(body)
    return bytecodes, calls


def decode_call(body: bytes) -> list[Any]:
    """The name and the arguments of a call."""
    values = []
    at = _EXECUTED.size
    while at < len(body):
        value, at = _decode(body, at)
        values.append(value)
    return values


def _decode(body: bytes, at: int) -> tuple[Any, int]:
    tag = body[at]
    at += 1
    if tag == 0x6E:  # n
        return None, at
    if tag == 0x69:  # i
        return _I64.unpack_from(body, at)[0], at + 8
    count = _U32.unpack_from(body, at)[0]
    at += 4
    if tag == 0x6C:  # l
        items = []
        for _ in range(count):
            item, at = _decode(body, at)
            items.append(item)
        return items, at
    data = body[at : at + count]
    return (data.decode() if tag == 0x73 else data), at + count


def encode(value: Any) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, int):
        return b"i" + _I64.pack(value)
    if isinstance(value, str):
        data = value.encode()
        return b"s" + _U32.pack(len(data)) + data
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b"b" + _U32.pack(len(value)) + value
    if isinstance(value, (list, tuple)):
        return b"l" + _U32.pack(len(value)) + b"".join(encode(item) for item in value)
    raise TypeError(f"a call cannot return {value!r}")
