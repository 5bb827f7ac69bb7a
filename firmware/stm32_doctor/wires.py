"""The lines between host and target: their levels, and I2C controllers on them."""

import time

from micropython import const

from stm32_rom import pins

_SETTLE_US = const(100)  # for a line that only a pin's own pull moves

# A controller that the worst wires and the slowest loader can follow.
_PATIENT_HZ = const(20_000)
_PATIENT_US = const(500_000)


class Wires:
    """SCL, SDA, NRST and BOOT0 of the board that `settings` (board.json) describe."""

    def __init__(self, settings):
        self._i2c = settings["i2c"]
        self._pins = settings["pins"]

    def pins(self):
        """The Pins to the target, none of them active."""
        return pins.Pins(self._pins["nrst"], self._pins["boot0"], self._pins["supply"])

    def levels(self):
        """{"scl": [a, b], "sda": [a, b]}: a with this host's pull-up, b with its pull-down, which
        any real pull-up resistor beats. A bus on these pins must be made again afterwards."""
        return {
            name: [_level(self._i2c[name], pull_up) for pull_up in (True, False)]
            for name in ("scl", "sda")
        }

    def nrst_level(self):
        """Level of NRST when nothing here drives it; None if it is not wired."""
        return self._level("nrst")

    def boot0_level(self):
        """Level of BOOT0 against this host's pull-up: 0 where the resistor to ground is. None if
        it is not wired."""
        return self._level("boot0")

    def _level(self, name):
        number = self._pins[name]
        if number is None:
            return None
        level = _level(number, True)
        pins.Pins(**{name: number})  # as it was
        return level

    def bus(self):
        """An I2CBus as the updater's."""
        i2c = self._i2c
        return pins.i2c_bus(i2c["scl"], i2c["sda"], i2c["freq"], i2c["id"])

    def patient_bus(self):
        """A slow one that bears any stretching."""
        return pins.i2c_bus(
            self._i2c["scl"], self._i2c["sda"], _PATIENT_HZ, timeout_us=_PATIENT_US
        )

    def exchanged_bus(self):
        """A patient one with SCL and SDA exchanged."""
        return pins.i2c_bus(
            self._i2c["sda"], self._i2c["scl"], _PATIENT_HZ, timeout_us=_PATIENT_US
        )


def _level(number, pull_up):
    pin = pins.input_pin(number, pull_up)
    time.sleep_us(_SETTLE_US)
    return pin.value()
