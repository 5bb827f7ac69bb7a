"""The lines between host and target: their levels, and I2C controllers on them."""

import time

from machine import I2C, Pin, SoftI2C
from micropython import const

from stm32_rom.i2c import I2CBus, transaction_timeout_us
from stm32_rom.target import Pins

_SETTLE_US = const(100)  # for a line that only a pin's own pull moves

# A controller that the worst wires and the slowest loader can follow.
_PATIENT_HZ = const(20_000)
_PATIENT_US = const(500_000)


class Wires:
    """SCL, SDA, NRST and BOOT0 of the board that `settings` (board.json) describe."""

    def __init__(self, settings):
        self._i2c = settings["i2c"]
        self._nrst = settings["pins"]["nrst"]
        self._boot0 = settings["pins"]["boot0"]
        self._supply = settings["pins"]["supply"]

    def pins(self):
        """The Pins to the target, none of them active."""
        return Pins(
            None if self._nrst is None else Pin(self._nrst, Pin.OPEN_DRAIN, value=1),
            None if self._boot0 is None else Pin(self._boot0, Pin.OUT, value=0),
            None if self._supply is None else Pin(self._supply, Pin.OUT, value=1),
        )

    def levels(self):
        """{"scl": [a, b], "sda": [a, b]}: a with this host's pull-up, b with its pull-down, which
        any real pull-up resistor beats. Whoever used the pins has to be made anew."""
        return {name: self._both(self._i2c[name]) for name in ("scl", "sda")}

    def nrst_level(self):
        """Level of NRST when nobody here drives it; None if it is not wired."""
        if self._nrst is None:
            return None
        level = _level(self._nrst, Pin.PULL_UP)
        Pin(self._nrst, Pin.OPEN_DRAIN, value=1)
        return level

    def boot0_level(self):
        """Level of BOOT0 against this host's pull-up: 0 where the resistor to ground is. None if
        it is not wired."""
        if self._boot0 is None:
            return None
        level = _level(self._boot0, Pin.PULL_UP)
        Pin(self._boot0, Pin.OUT, value=0)
        return level

    def bus(self):
        """An I2CBus as the updater's."""
        i2c = self._i2c
        timeout = transaction_timeout_us(i2c["freq"])
        if i2c["id"] is None:
            return self._bus(self._soft(i2c["scl"], i2c["sda"], i2c["freq"], timeout))

        def make():
            scl, sda = Pin(i2c["scl"]), Pin(i2c["sda"])
            return I2C(i2c["id"], scl=scl, sda=sda, freq=i2c["freq"], timeout=timeout)

        return self._bus(make)

    def patient_bus(self):
        """A slow one that bears any stretching."""
        return self._bus(self._soft(self._i2c["scl"], self._i2c["sda"], _PATIENT_HZ, _PATIENT_US))

    def exchanged_bus(self):
        """A patient one with SCL and SDA exchanged."""
        return self._bus(self._soft(self._i2c["sda"], self._i2c["scl"], _PATIENT_HZ, _PATIENT_US))

    def _soft(self, scl, sda, frequency, timeout):
        return lambda: SoftI2C(scl=Pin(scl), sda=Pin(sda), freq=frequency, timeout=timeout)

    def _bus(self, make):
        return I2CBus(make, lambda name: Pin(self._i2c[name], Pin.OPEN_DRAIN, value=1))

    def _both(self, pin):
        return [_level(pin, Pin.PULL_UP), _level(pin, Pin.PULL_DOWN)]


def _level(number, pull):
    pin = Pin(number, Pin.IN, pull)
    time.sleep_us(_SETTLE_US)
    return pin.value()
