# mypy: ignore-errors
"""`call`, for device code in real MicroPython: hands its arguments to runtime.mjs.

Bytes and integers beyond 32 bits cannot be passed directly between MicroPython and JavaScript. So
a string with one letter per argument says how each is passed, bytes are passed as (address,
length), and results other than small integers are a string with a letter in front.
"""

import json

from _bridge import call as _call
from _bridge import take as _take
from uctypes import addressof


def call(name, *args):
    shape = ""
    flat = []
    for arg in args:
        if isinstance(arg, (int, bool)):
            if -0x40000000 <= arg < 0x40000000:
                shape += "i"
                flat.append(int(arg))
            else:
                shape += "I"
                flat.append(str(arg))
        elif isinstance(arg, str):
            shape += "s"
            flat.append(arg)
        elif arg is None:
            shape += "n"
        else:
            shape += "b"
            flat.append(addressof(arg) if len(arg) else 0)
            flat.append(len(arg))
    answer = _call(name, shape, *flat)
    if answer is None or isinstance(answer, int):
        return answer
    kind = answer[0]
    answer = answer[1:]
    if kind == "b":
        data = bytearray(int(answer))
        if data:
            _take(addressof(data))  # fills it in place, which bytes with their hash do not bear
        return bytes(data)
    if kind == "s":
        return answer
    if kind == "I":
        return int(answer)
    if kind == "j":
        return json.loads(answer)
    raise OSError(int(answer))
