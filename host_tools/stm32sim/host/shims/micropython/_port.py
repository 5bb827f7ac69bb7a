# mypy: ignore-errors
"""A board's description of itself, in `sys.implementation` and `os.uname()`."""

import sys
from collections import namedtuple

from _bridge import platform

MACHINE, BUILD = {
    "rp2": ("Raspberry Pi Pico with RP2040", "RPI_PICO"),
    "esp32": ("Generic ESP32 module with ESP32", "ESP32_GENERIC"),
}[platform]

_real = sys.implementation
implementation = namedtuple("", ("name", "version", "_machine", "_mpy", "_build"))(
    _real.name, _real.version, MACHINE, _real._mpy, BUILD
)
RELEASE = ".".join([str(part) for part in _real.version[:3]])
