"""The simulated STM32G071: flash, option bytes, boot, loader, and the running application.

`cortex_m.emulated`, which executes the application, is not imported here: importing Unicorn is
slow.
"""

from stm32sim.chip.application import KnownImage, known_images
from stm32sim.chip.flash import SLOWEST, TYPICAL, Cell
from stm32sim.chip.quirks import LOADERS, Quirks
from stm32sim.chip.stm32 import Running, Stm32

__all__ = [
    "LOADERS",
    "SLOWEST",
    "TYPICAL",
    "Cell",
    "KnownImage",
    "Quirks",
    "Running",
    "Stm32",
    "known_images",
]
