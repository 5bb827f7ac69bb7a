"""A simulated STM32 in system memory boot, its I2C bus, its power, and a MicroPython host beside
it."""
