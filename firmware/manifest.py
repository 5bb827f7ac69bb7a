# Freezes the updater into a MicroPython firmware, on rp2 and esp32:
#   make BOARD=RPI_PICO FROZEN_MANIFEST=/path/to/firmware/manifest.py
# It replaces the board's manifest, so it includes the port's own first: without that the
# filesystem is not mounted and asyncio is missing.
metadata(description="Updates an STM32 over I2C or UART through its ROM bootloader")

include("$(PORT_DIR)/boards/manifest.py")
# Without assertions, as `stm32up deploy` compiles them.
package("stm32_rom", opt=2)
package("stm32_updater", opt=2)
