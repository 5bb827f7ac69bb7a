"""Keeps an STM32 up to date through its ROM bootloader, over I2C, from images on this filesystem.

from stm32_updater import Updater
result = Updater.from_board("board.json").run()
"""

from .errors import UpdaterError
from .updater import Updater

__version__ = "0.1.0"
__all__ = ["Updater", "UpdaterError"]
