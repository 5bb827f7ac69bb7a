"""Keeps an STM32 up to date through its ROM loader, over I2C, from images on this filesystem.

from stm32_updater import Updater
result = Updater.from_board("board.json").run()
"""

# Each module before those that import it; see updater.py, which loads the others. A name here
# would hide the module of this package that has the same name.
import stm32_rom.clock  # noqa: F401, I001
from stm32_rom.errors import UpdaterError
from .updater import Updater

__version__ = "0.1.0"
__all__ = ["Updater", "UpdaterError"]
