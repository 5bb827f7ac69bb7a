"""What lies between host and target: the clock, the bus and its faults, the pins."""
