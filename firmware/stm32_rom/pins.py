"""Pins and buses of this host. The only module that makes Pin, I2C and SoftI2C objects."""

import sys

import machine
from machine import I2C, Pin, SoftI2C

from .i2c import I2CBus, transaction_timeout_us

sys.modules["machine"] = machine  # as the modules in __init__.py


class Pins:
    """The lines to the target, as callables taking 0 or 1; None where not wired.

    `nrst(0)` holds the target in reset, `nrst()` is 0 while anybody does; `boot0(1)` asks for
    the loader, `supply(0)` switches it off."""

    def __init__(self, nrst=None, boot0=None, supply=None):
        """By their numbers; None where not wired. None of them is active then.

        NRST is open drain: the target and its debugger drive it too."""
        self.nrst = None if nrst is None else _open_drain(nrst)
        self.boot0 = None if boot0 is None else Pin(boot0, Pin.OUT, value=0)
        self.supply = None if supply is None else Pin(supply, Pin.OUT, value=1)


def as_it_is(number):
    """A pin without a change to it, for machine.ADC, say. Raises ValueError for one that this host
    does not have."""
    return Pin(number)


def i2c_bus(scl, sda, frequency, controller=None, timeout_us=None):
    """An I2CBus on these pins; `controller` None: in software. By default a transaction may take
    as long as the longest frame and a long stretch."""
    timeout = timeout_us or transaction_timeout_us(frequency)

    def make_bus():
        if controller is None:
            return SoftI2C(scl=Pin(scl), sda=Pin(sda), freq=frequency, timeout=timeout)
        return I2C(controller, scl=Pin(scl), sda=Pin(sda), freq=frequency, timeout=timeout)

    return I2CBus(make_bus, lambda name: _open_drain(scl if name == "scl" else sda))


def watched(number, pull_up=False):
    """An input. The pull-down keeps a line that nothing drives from counting."""
    return Pin(number, Pin.IN, Pin.PULL_UP if pull_up else Pin.PULL_DOWN)


def _open_drain(number):
    return Pin(number, Pin.OPEN_DRAIN, value=1)
