"""Frames to and from the loader over machine.I2C, whichever port that runs on.

A link has `name`, which says in messages where the loader is, and four methods: `send(frame)`,
`receive_into(buffer)`, `recover()` and `is_held(error)`. A link for another interface offers the
same, and nothing above a link knows about I2C.
"""

import time

from micropython import const

from .errors import BusStuck, BusTimeout, NoAnswer

# What differs between ports (MicroPython ports/rp2/machine_i2c.c, ports/esp32/machine_i2c.c,
# extmod/machine_i2c.c). Errors are told by sets, since a port may use several numbers for one
# thing, and esp32 with the new driver of ESP-IDF lets numbers of that through.
_ABSENT = (5, 19, 0x108)  # EIO (rp2), ENODEV (esp32, SoftI2C), ESP_ERR_INVALID_RESPONSE
# ETIMEDOUT (rp2, SoftI2C), ETIMEDOUT of esp32's C library, ESP_ERR_INVALID_STATE
_TIMED_OUT = (110, 116, 0x103)

_LONGEST_FRAME = const(258)  # bytes; AN4221 section 2.6: length, 256 data bytes, checksum
_BITS_PER_BYTE = const(9)
# What a transaction may take beyond its bits: the loader was seen to hold SCL for tens of ms.
_STRETCH_US = const(250_000)
_HALF_CLOCK_US = const(10)
_RECOVERY_CLOCKS = const(9)  # I2C specification UM10204 section 3.1.16: bus clear


def transaction_timeout_us(frequency):
    """The `timeout=` for machine.I2C: the longest frame at `frequency` Hz and a long stretch.

    The default of 50 ms covers the whole transaction on rp2, too little for 258 bytes at 47
    kHz."""
    return _LONGEST_FRAME * _BITS_PER_BYTE * 1_000_000 // frequency + _STRETCH_US


class I2CBus:
    """One I2C bus of this host, made anew after any failure but an absent address: a timeout left
    its controller in the middle. Whether the lines are free then is for `recover` to say.

    `make_bus()` returns a new machine.I2C or SoftI2C; `make_line(name)` turns "scl" or "sda" into
    an open-drain machine.Pin for as long as no I2C object uses it."""

    def __init__(self, make_bus, make_line):
        self._make_bus = make_bus
        self._make_line = make_line
        self._bus = make_bus()

    def send(self, address, frame):
        """Send `frame` as one transaction START..STOP.

        Raises NoAnswer, BusTimeout, BusStuck. A short count means that a data byte was not
        acknowledged; rp2 raises nothing then."""
        try:
            count = self._bus.writeto(address, frame)
        except OSError as error:
            if error.errno not in _ABSENT:
                self._free()
            raise _meaning(address, error)
        if count is not None and count < len(frame):
            raise NoAnswer("0x%02X acknowledged %d of %d bytes" % (address, count, len(frame)))

    def receive_into(self, address, buffer):
        """Fill `buffer` (exactly its length) in one transaction START..STOP.

        Raises NoAnswer, BusTimeout, BusStuck."""
        try:
            self._bus.readfrom_into(address, buffer)
        except OSError as error:
            if error.errno not in _ABSENT:
                self._free()
            raise _meaning(address, error)

    def recover(self):
        """Start over with a free bus. Raises BusStuck if a line stays low."""
        stuck = self._free()
        if stuck:
            error = BusStuck("%s is held low" % stuck)
            error.line = stuck
            raise error

    def _free(self):
        """Free the lines as far as a controller can, and make a fresh one.

        A timeout leaves the controller without a STOP, and a target that was sending waits until
        its byte is clocked out: all of it, for the bit where it stands may be a 1. Returns the
        line that stays low, or None."""
        scl = self._make_line("scl")
        sda = self._make_line("sda")
        for _ in range(_RECOVERY_CLOCKS):
            _pulse(scl)
        _pulse(sda)  # START and STOP: whoever was in the middle of a frame lets go
        stuck = "SDA" if not sda.value() else "SCL" if not scl.value() else None
        try:
            self._bus = self._make_bus()
        except OSError as error:
            raise BusStuck("the host's I2C controller cannot be made anew: %s" % error)
        return stuck


def _meaning(address, error):
    """The one error that a port's OSError stands for."""
    if error.errno in _ABSENT:
        return NoAnswer("nobody answers at I2C address 0x%02X" % address)
    if error.errno in _TIMED_OUT:
        return BusTimeout("a transaction with I2C address 0x%02X took too long" % address)
    return BusTimeout("I2C error %s at address 0x%02X" % (error.errno, address))


def _pulse(line):
    line.value(0)
    time.sleep_us(_HALF_CLOCK_US)
    line.value(1)
    time.sleep_us(_HALF_CLOCK_US)


class I2CLink:
    """The loader at one address of an I2CBus."""

    def __init__(self, bus, address):
        self.name = "I2C address 0x%02X" % address
        self._address = address
        self._bus = bus

    def send(self, frame):
        """Send `frame` (1..258 bytes). Raises NoAnswer, BusTimeout, BusStuck."""
        self._bus.send(self._address, frame)

    def receive_into(self, buffer):
        """Fill `buffer` (1..256 bytes). Raises NoAnswer, BusTimeout, BusStuck."""
        self._bus.receive_into(self._address, buffer)

    def recover(self):
        """Start over with a free bus. Raises BusStuck."""
        self._bus.recover()

    def is_held(self, error):
        """Whether `error`, which a method of this link raised, shows that the target holds a line:
        the clock, because it has nothing to send yet."""
        return isinstance(error, BusTimeout)
