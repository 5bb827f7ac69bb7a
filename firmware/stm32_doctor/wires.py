"""The lines between host and target: their levels, and I2C controllers or a UART on them."""

import time

from micropython import const

from stm32_rom import pins
from stm32_rom.i2c import I2CLink

_SETTLE_US = const(100)  # for a line that only a pin's internal pull moves

# Slow enough for bad wires and a slow loader.
_PATIENT_HZ = const(20_000)
_PATIENT_US = const(500_000)
_PATIENT_BAUD = const(19_200)


class Wires:
    """The two lines of the link, NRST and BOOT0, as `settings` (the content of board.json)
    describe them. `over_uart`: whether the lines are TX and RX, not SCL and SDA."""

    def __init__(self, settings):
        self._i2c = settings["i2c"]
        self._uart = settings.get("uart")
        self._pins = settings["pins"]
        self.over_uart = self._uart is not None

    def pins(self):
        """The Pins to the target, all inactive."""
        return pins.Pins(self._pins["nrst"], self._pins["boot0"], self._pins["supply"])

    def levels(self):
        """{"scl": [a, b], "sda": [a, b]} or {"tx": ..., "rx": ...}: level a with the host's
        pull-up, b with its pull-down, which is weaker than any pull-up resistor. Afterwards a bus
        on these pins must be made again."""
        names, numbers = (
            ("tx", "rx") if self.over_uart else ("scl", "sda"),
            self._uart or self._i2c,
        )
        return {
            name: [_level(numbers[name], pull_up) for pull_up in (True, False)] for name in names
        }

    def nrst_level(self):
        """Level of NRST with the host's pull-up; None if NRST is not wired."""
        return self._level("nrst")

    def boot0_level(self):
        """Level of BOOT0 with the host's pull-up: 0 if its resistor to ground is there. None if
        BOOT0 is not wired."""
        return self._level("boot0")

    def _level(self, name):
        number = self._pins[name]
        if number is None:
            return None
        level = _level(number, True)
        pins.Pins(**{name: number})  # an inactive output again
        return level

    def bus(self):
        """The same I2CBus, or UARTLink, as the updater's."""
        if self.over_uart:
            return self._link(self._uart["baudrate"])
        i2c = self._i2c
        return pins.i2c_bus(i2c["scl"], i2c["sda"], i2c["freq"], i2c["id"])

    def patient_bus(self):
        """A slow one; an I2CBus has a long timeout for stretching, too."""
        if self.over_uart:
            return self._link(_PATIENT_BAUD)
        return pins.i2c_bus(
            self._i2c["scl"], self._i2c["sda"], _PATIENT_HZ, timeout_us=_PATIENT_US
        )

    def exchanged_bus(self):
        """As `patient_bus`, with SCL and SDA exchanged."""
        return pins.i2c_bus(
            self._i2c["sda"], self._i2c["scl"], _PATIENT_HZ, timeout_us=_PATIENT_US
        )

    def link(self, bus, address):
        """The link to the loader on `bus`; `address` is for I2C."""
        return bus if self.over_uart else I2CLink(bus, address)

    def _link(self, rate):
        uart = self._uart
        return pins.uart_link(uart["id"], uart["tx"], uart["rx"], rate)


def _level(number, pull_up):
    pin = pins.input_pin(number, pull_up)
    time.sleep_us(_SETTLE_US)
    return pin.value()
