"""The simulated STM32: flash, option bytes, boot, ROM loader, the core for an application."""
