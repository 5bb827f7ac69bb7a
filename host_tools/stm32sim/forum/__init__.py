"""The forum case: how an STM32G071RB was locked for good over I2C, and what keeps others from it.

`lanes` are the ways to handle such a chip, `supply_failures` lets the supply fail in them at
seeded instants, `recording` notes what is on the bus and in the flash.
"""
