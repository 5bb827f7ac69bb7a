# For freezing the updater into a MicroPython firmware, on rp2 and esp32:
#   make BOARD=RPI_PICO FROZEN_MANIFEST=/path/to/firmware/manifest.py
# A manifest given this way replaces the board's. So the port's own comes first: without it nothing
# mounts the filesystem, and asyncio is missing.
metadata(description="Updates an STM32 over I2C through its ROM bootloader")

include("$(PORT_DIR)/boards/manifest.py")
# As `stm32up deploy` compiles them: without assertions.
package("stm32_rom", opt=2)
package("stm32_updater", opt=2)
