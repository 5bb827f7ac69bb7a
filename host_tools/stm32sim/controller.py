"""The host's I2C controllers as MicroPython offers them, port by port, with their failings.

Sources: MicroPython ports/rp2/machine_i2c.c and pico-sdk hardware_i2c; ports/esp32/machine_i2c.c and
ESP-IDF; extmod/machine_i2c.c for SoftI2C. Errors are OSError with the number that port raises.
"""

from __future__ import annotations

from stm32sim.bus import Bus, BusStuck, Stretched
from stm32sim.clock import NS_PER_US

EIO, ENODEV, ETIMEDOUT, ESP_ETIMEDOUT = 5, 19, 110, 116
ESP32_STRETCH_LIMIT = 13_107 * NS_PER_US  # 2^20 cycles of the 80 MHz APB clock (classic ESP32)


class Controller:
    """One constructed I2C object. Subclasses say what errors look like."""

    absent = EIO  # nobody ACKed the address
    timed_out = ETIMEDOUT
    raises_on_data_nack = False
    stretch_limit: int | None = None  # ns
    whole_transaction = True  # whether `timeout` covers all of it or each stretch
    recovers_by_itself = False  # frees the bus after a timeout

    def __init__(self, bus: Bus, frequency: int, timeout_us: int) -> None:
        self._bus = bus
        self._frequency = frequency
        self._timeout = timeout_us * NS_PER_US
        self._wedged = False  # a timeout left the peripheral in the middle of a transaction

    def write(self, address: int, data: bytes, stop: bool = True) -> int:
        """Send `data`; the number of bytes ACKed, which can be short."""
        bus = self._open()
        acked = 0
        try:
            if not bus.start(address, False):
                bus.stop()
                raise OSError(self.absent)
            for byte in data:
                if not bus.write(byte):
                    break
                acked += 1
            if stop or acked < len(data):
                bus.stop()
        except (Stretched, BusStuck) as reason:
            raise self._give_up(reason) from None
        if acked < len(data) and self.raises_on_data_nack:
            raise OSError(self.absent)
        return acked

    def read(self, address: int, length: int, stop: bool = True) -> bytes:
        """Receive `length` bytes in one transaction."""
        bus = self._open()
        data = bytearray()
        try:
            if not bus.start(address, True):
                bus.stop()
                raise OSError(self.absent)
            for left in range(length, 0, -1):
                data.append(bus.read(ack=left > 1))
            if stop:
                bus.stop()
        except (Stretched, BusStuck) as reason:
            raise self._give_up(reason) from None
        return bytes(data)

    def _open(self) -> Bus:
        if self._wedged:
            raise OSError(self.timed_out)
        bus = self._bus
        bus.set_frequency(self._frequency)
        bus.deadline = bus.clock.now + self._timeout if self.whole_transaction else None
        bus.stretch_limit = self.stretch_limit if self.whole_transaction else self._timeout
        return bus

    def _give_up(self, reason: Exception) -> OSError:
        if isinstance(reason, BusStuck):  # it waits for a free bus as long as it waits for anything
            self._bus.clock.advance(self._timeout)
        self._bus.abandon()
        if self.recovers_by_itself:
            for _ in range(9):
                self._bus.pulse_scl()
        else:
            self._wedged = True
        return OSError(self.timed_out)


class Rp2Controller(Controller):
    """rp2 hardware I2C: one deadline for the transaction, no STOP after a timeout, short counts."""


class Esp32Controller(Controller):
    """Classic ESP32, legacy driver: SCL may be held for 13 ms at most, whatever `timeout` says."""

    absent = ENODEV
    timed_out = ESP_ETIMEDOUT
    raises_on_data_nack = True
    stretch_limit = ESP32_STRETCH_LIMIT
    recovers_by_itself = True


class SoftController(Controller):
    """Bit-banged I2C of extmod/machine_i2c.c: `timeout` is for each stretch."""

    absent = ENODEV
    whole_transaction = False


HARDWARE = {"rp2": Rp2Controller, "esp32": Esp32Controller}
# Time one I2C call takes besides the bus: MicroPython's bytecode and the driver [R].
CALL_OVERHEAD = {"rp2": 40 * NS_PER_US, "esp32": 90 * NS_PER_US}
