"""One line at a time, for `stm32up doctor --wires`: read it, and drive it for a multimeter."""

import time

from micropython import const

from stm32_rom import pins

_SETTLE_US = const(100)  # for a line that only a pin's internal pull moves
_DRIVEN_US = const(20)  # an edge with a pull-up resistor takes 1 us


def look(number, open_drain, inactive, clock):
    """What a pin reads, as {"pulled_up", "pulled_down", "low", "high"}: with the host's pull-up,
    with its pull-down, and while the host drives it low, and high or releases it. Afterwards it
    has its `inactive` level.

    Of a pin that the target drives (`open_drain` None) only the first two are read."""
    seen = {}
    for name, pull_up in (("pulled_up", True), ("pulled_down", False)):
        pin = pins.input_pin(number, pull_up)
        time.sleep_us(_SETTLE_US)
        seen[name] = pin.value()
    if open_drain is not None:
        for name, level in (("low", 0), ("high", 1)):
            seen[name] = hold(number, open_drain, level, clock)
        hold(number, open_drain, inactive, clock)
    return seen


def hold(number, open_drain, level, clock):
    """Drive a pin, or release it if it is open drain and `level` is 1. Returns what it reads. It
    stays like that."""
    pin = pins.output_pin(number, open_drain, level)
    time.sleep_us(_DRIVEN_US)
    return pin.value()
