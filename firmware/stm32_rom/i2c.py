"""Frames to and from the loader over machine.I2C, on any MicroPython port.

The interface of a link: `name` (where the loader is, for messages), `silent_advice` (what to do if
it cannot be reached; None: as LoaderSilent), `is_polled` (whether the loader answers only when it
is asked: see commands.py), `greet()`, `exchange(frames)`, `send(frame)`, `status()`, `seen`,
`receive_into(buffer)`, `recover()` and `is_held(error)`. uart.py has the same interface; no code
above a link depends on the bus.
"""

import time

from micropython import const

from .errors import ACK, LINE_HELD, NO_ANSWER, BusStuck, BusTimeout, NoAnswer

# Error numbers by port (MicroPython ports/rp2/machine_i2c.c, ports/esp32/machine_i2c.c,
# extmod/machine_i2c.c). Sets, because a port may use several numbers for one error, and esp32 with
# ESP-IDF's new driver passes the driver's numbers on.
_NO_ACK = (5, 19, 0x108)  # EIO (rp2), ENODEV (esp32, SoftI2C), ESP_ERR_INVALID_RESPONSE
# ETIMEDOUT (rp2, SoftI2C), ETIMEDOUT of esp32's C library, ESP_ERR_INVALID_STATE
_TIMED_OUT = (110, 116, 0x103)

_LONGEST_FRAME = const(258)  # bytes; AN4221 section 2.6: length, 256 data bytes, checksum
_BITS_PER_BYTE = const(9)
# Allowance for clock stretching: the loader was seen to hold SCL for tens of ms.
_STRETCH_US = const(250_000)
_HALF_CLOCK_US = const(10)
_RECOVERY_CLOCKS = const(9)  # I2C specification UM10204 section 3.1.16: bus clear


def transaction_timeout_us(frequency):
    """The `timeout=` for machine.I2C in us: the longest frame at `frequency` Hz, plus stretching.

    On rp2 the timeout covers the whole transaction; its default of 50 ms is too short for 258
    bytes at 47 kHz."""
    return _LONGEST_FRAME * _BITS_PER_BYTE * 1_000_000 // frequency + _STRETCH_US


class I2CBus:
    """One I2C bus of this host. After any failure except an absent address the I2C object is
    replaced, because a timeout leaves the controller in the middle of a transaction. This may
    leave a line low; `recover` reports that.

    `make_bus()` returns a new machine.I2C or SoftI2C, which is `i2c` until it is replaced.
    `make_line(name)` makes "scl" or "sda" an open-drain machine.Pin, until the next I2C object is
    made."""

    def __init__(self, make_bus, make_line):
        self._make_bus = make_bus
        self._make_line = make_line
        self.i2c = make_bus()

    def send(self, address, frame):
        """Send `frame` as one transaction START..STOP.

        Raises NoAnswer (also if only some bytes were acknowledged: rp2 then returns a short count
        and raises nothing), BusTimeout, BusStuck."""
        try:
            count = self.i2c.writeto(address, frame)
        except OSError as error:
            raise self.failed(address, error)
        if count != len(frame):
            raise self.cut_short(address, frame, count)

    def receive_into(self, address, buffer):
        """Fill all of `buffer` in one transaction START..STOP.

        Raises NoAnswer, BusTimeout, BusStuck."""
        try:
            self.i2c.readfrom_into(address, buffer)
        except OSError as error:
            raise self.failed(address, error)

    def failed(self, address, error):
        """Free the lines if needed, and return the BusError for a port's OSError. Raises BusStuck
        if the controller cannot be restarted."""
        if error.errno in _NO_ACK:
            return NoAnswer("no answer at I2C address 0x%02X" % address)
        self._free()
        if error.errno in _TIMED_OUT:
            return BusTimeout("a transaction with I2C address 0x%02X took too long" % address)
        return BusTimeout("I2C error %s at address 0x%02X" % (error.errno, address))

    def cut_short(self, address, frame, count):
        """The BusError for a frame of which only `count` bytes were acknowledged."""
        return NoAnswer("0x%02X acknowledged %d of %d bytes" % (address, count, len(frame)))

    def recover(self):
        """Free the lines and restart the controller. Raises BusStuck if a line stays low."""
        stuck = self._free()
        if stuck:
            error = BusStuck("%s is held low" % stuck)
            error.line = stuck
            raise error

    def _free(self):
        """Clear the bus and make a new I2C object. Returns the line that stays low, or None.

        After a timeout no STOP was sent, and a target that was sending waits for the clocks of its
        byte. All clocks are always given: SDA may be high only because the current bit is a 1."""
        scl = self._make_line("scl")
        sda = self._make_line("sda")
        for _ in range(_RECOVERY_CLOCKS):
            _pulse(scl)
        _pulse(sda)  # START and STOP: ends the frame for any device in the middle of one
        stuck = "SDA" if not sda.value() else "SCL" if not scl.value() else None
        try:
            self.i2c = self._make_bus()
        except OSError as error:
            raise BusStuck("the host's I2C controller cannot be restarted: %s" % error)
        return stuck


def _pulse(line):
    line.value(0)
    time.sleep_us(_HALF_CLOCK_US)
    line.value(1)
    time.sleep_us(_HALF_CLOCK_US)


class I2CLink:
    """The loader at one address of an I2CBus.

    `seen`: the last status byte, or NO_ANSWER or LINE_HELD if it could not be read."""

    is_polled = True
    silent_advice = None

    def __init__(self, bus, address):
        self.name = "I2C address 0x%02X" % address
        self.seen = NO_ANSWER
        self._address = address
        self._bus = bus
        self._status = bytearray(1)

    def greet(self):
        """Begin a conversation: nothing to do here, the address selects the loader."""

    def exchange(self, frames):
        """Send each frame (1..258 bytes), and read the status byte after it, until one is not ACK.
        Returns the number of frames that were acknowledged.

        One call for all frames of a command, because a call takes an rp2 30 us.
        Raises NoAnswer, BusTimeout (the loader may have got none or all of a frame), BusStuck."""
        bus, address, status = self._bus, self._address, self._status
        i2c = bus.i2c
        steps = 0  # transactions that were finished
        try:
            for frame in frames:
                count = i2c.writeto(address, frame)
                if count != len(frame):
                    raise bus.cut_short(address, frame, count)
                steps += 1
                i2c.readfrom_into(address, status)
                if status[0] != ACK:
                    break
                steps += 1
            self.seen = status[0]
        except OSError as error:
            failed = bus.failed(address, error)
            if steps % 2 == 0:
                raise failed
            self.seen = LINE_HELD if self.is_held(failed) else NO_ANSWER
        return steps // 2

    def send(self, frame):
        """Send `frame` (1..258 bytes). Raises NoAnswer, BusTimeout, BusStuck."""
        self._bus.send(self._address, frame)

    def status(self):
        """Read one status byte. Returns it, or NO_ANSWER or LINE_HELD. Raises BusStuck."""
        try:
            self._bus.i2c.readfrom_into(self._address, self._status)
        except OSError as error:
            held = self.is_held(self._bus.failed(self._address, error))
            self.seen = LINE_HELD if held else NO_ANSWER
        else:
            self.seen = self._status[0]
        return self.seen

    def receive_into(self, buffer):
        """Fill `buffer` (1..256 bytes). Raises NoAnswer, BusTimeout, BusStuck."""
        try:
            self._bus.i2c.readfrom_into(self._address, buffer)
        except OSError as error:
            raise self._bus.failed(self._address, error)

    def recover(self):
        """See I2CBus.recover. Raises BusStuck."""
        self._bus.recover()

    def is_held(self, error):
        """Whether `error`, raised by a method of this link, shows that the target holds a line. A
        loader holds SCL while it has nothing to send yet."""
        return isinstance(error, BusTimeout)
