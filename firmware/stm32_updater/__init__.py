"""Keeps an STM32 up to date through its ROM bootloader, over I2C, from images on this filesystem.

from stm32_updater import Updater
result = Updater.from_board("board.json").run()
"""

import sys

# MicroPython looks for a file of the same name each time a built-in module is imported, six times
# 1.5 ms on an rp2, unless the module is here.
for _name in ("asyncio", "binascii", "hashlib", "json", "os", "struct", "time"):
    sys.modules[_name] = __import__(_name)

# Each before those that import it: an import within an import takes 0.9 KB of an rp2's 8 KB of C
# stack.
from . import errors, chips, clock, option_bytes, target, store, image  # noqa: E402, F401, I001
from . import signature, admission, event_log, flasher  # noqa: E402, F401
from .errors import UpdaterError  # noqa: E402
from .updater import Updater  # noqa: E402

__version__ = "0.1.0"
__all__ = ["Updater", "UpdaterError"]
