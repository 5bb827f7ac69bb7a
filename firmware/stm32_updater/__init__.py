"""Keeps an STM32 up to date through its ROM loader, over I2C, from images on this filesystem.

from stm32_updater import Updater
result = Updater.from_board("board.json").run()
"""

# Each module before those that import it; see updater.py, which loads the others.
from stm32_rom import clock, errors  # noqa: F401, I001
from .updater import Updater
from stm32_rom.errors import UpdaterError

__version__ = "0.1.0"
__all__ = ["Updater", "UpdaterError"]
