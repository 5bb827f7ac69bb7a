"""Keeps an STM32 up to date through its ROM loader, over I2C, from images on this filesystem.

from stm32_updater import Updater
result = Updater.from_board("board.json").run()
"""

# Each module before those that import it: a nested import takes 0.9 KB of an rp2's 8 KB of C
# stack. asyncio first: it imports more modules. The others are loaded when a run needs them.
import asyncio  # noqa: F401, I001
from stm32_rom.errors import UpdaterError
from stm32_rom import chips, clock, i2c, application  # noqa: F401
from . import errors, record, run_events, store, event_log  # noqa: F401
from .updater import Updater

__version__ = "0.1.0"
__all__ = ["Updater", "UpdaterError"]
