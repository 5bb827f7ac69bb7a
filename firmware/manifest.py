# For freezing the updater into a MicroPython firmware:
#   make BOARD=RPI_PICO FROZEN_MANIFEST=.../firmware/manifest.py
metadata(description="Updates an STM32 over I2C through its ROM bootloader", version="0.1.0")

require("asyncio")
package("stm32_updater")
