"""A simulated STM32 with its ROM loader, its I2C bus, its power, and a MicroPython host beside it.

From the lowest floor up: `wires`; `chip` and `host`; `world` and `faults`; `in_process.Bench`, a
whole world in one line; `cuts`, `forum`, and `process`, the board that mpremote connects to. See
docs/simulator.md.
"""
