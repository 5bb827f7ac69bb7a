"""The forum case: how an STM32G071RB was locked permanently over I2C, and what prevents that.

`lanes` are ways to handle such a chip, `supply_failures` makes the supply fail in them at seeded
instants, `recording` records activity on the bus and in the flash.
"""
