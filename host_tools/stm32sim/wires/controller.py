"""The host's I2C controllers in each port of MicroPython, with their faults.

Sources: MicroPython ports/rp2/machine_i2c.c and pico-sdk hardware_i2c; ports/esp32/machine_i2c.c
and both of ESP-IDF's drivers; extmod/machine_i2c.c for SoftI2C. Errors are OSError with the number
that port raises.
"""

from __future__ import annotations

from stm32sim.wires.bus import Bus, BusStuck, Stretched
from stm32sim.wires.clock import NS_PER_MS, NS_PER_US

EIO, ENODEV, EINVAL, ETIMEDOUT, ESP_ETIMEDOUT = 5, 19, 22, 110, 116
ESP_ERR_INVALID_STATE, ESP_ERR_INVALID_RESPONSE = 0x103, 0x108
ESP32_STRETCH_LIMIT = 13_107 * NS_PER_US  # 2^20 cycles of the 80 MHz APB clock (classic ESP32)
ESP32_BYTE_LIMIT = 100 * NS_PER_MS  # of the whole transaction, for each byte [V MPY-ESP32]
# ESP-IDF's I2C_LL_SCL_WAIT_US_VAL_DEFAULT, which nothing in MicroPython overrides
ESP32_NEW_STRETCH_LIMIT = 2 * NS_PER_MS
_RECOVERY_CLOCKS = 9


class Controller:
    """One I2C object. Subclasses define the errors and the meaning of `timeout`. `late`: ns by
    which each bit takes longer than `frequency` says."""

    absent = EIO  # the address was not ACKed
    timed_out = ETIMEDOUT
    raises_on_data_nack = False
    arbitrates = True  # notices that another device holds SDA low
    wedges = True  # a timeout leaves the peripheral in mid-transaction until it is re-initialised

    def __init__(self, bus: Bus, frequency: int, timeout_us: int, late: int = 0) -> None:
        self._bus = bus
        self._frequency = frequency
        self._timeout = timeout_us * NS_PER_US
        self._late = late
        self._wedged = False

    def write(self, address: int, data: bytes, stop: bool = True) -> int:
        """Send `data`; return the number of ACKed bytes, which can be less."""
        bus = self._open(len(data))
        if stop and bus.write_frame(address, data):
            return len(data)
        acked = 0
        try:
            present = bus.start(address, False)
            while present and acked < len(data):
                acked += bus.write_stream(data[acked:])
                if acked < len(data):
                    if not bus.write(data[acked]):
                        break
                    acked += 1
            if stop or not present or acked < len(data):
                bus.stop()
        except (Stretched, BusStuck) as reason:
            raise self._give_up(reason) from None
        except BaseException:  # the host itself stopped during the transfer
            bus.abandon()
            raise
        if not present or (acked < len(data) and self.raises_on_data_nack):
            raise OSError(self.absent)
        return acked

    def read(self, address: int, length: int, stop: bool = True) -> bytes:
        """Receive `length` bytes, at least 1, in one transaction."""
        if length < 1:
            raise ValueError("a read of 0 bytes differs between ports and is not supported")
        bus = self._open(length)
        reply = bus.read_frame(address, length) if stop else None
        if reply is not None:
            return reply
        data = bytearray()
        try:
            present = bus.start(address, True)
            while present and len(data) < length:
                data += bus.read_stream(length - 1 - len(data))  # the last one is not ACKed
                data.append(bus.read(ack=len(data) < length - 1))
            if stop or not present:
                bus.stop()
        except (Stretched, BusStuck) as reason:
            raise self._give_up(reason) from None
        except BaseException:  # the host itself stopped during the transfer
            bus.abandon()
            raise
        if not present:
            raise OSError(self.absent)
        return bytes(data)

    def _limits(self, length: int) -> tuple[int | None, int | None]:
        """Limits in ns: of a whole transaction of `length` bytes, and of one stretch of SCL."""
        return self._timeout, None

    def _open(self, length: int) -> Bus:
        bus = self._bus
        whole, stretch = self._limits(length)
        if self._wedged:
            bus.clock.advance(self._timeout)
            raise OSError(self.timed_out)
        bus.set_frequency(self._frequency, self._late)
        bus.deadline = None if whole is None else bus.clock.now + whole
        bus.stretch_limit = stretch
        bus.arbitrates = self.arbitrates
        return bus

    def _give_up(self, reason: Exception) -> OSError:
        bus = self._bus
        if isinstance(reason, BusStuck):  # it waits for SDA up to the same limit
            limits = [] if bus.deadline is None else [bus.deadline - bus.clock.now]
            if bus.stretch_limit is not None:
                limits.append(bus.stretch_limit)
            bus.clock.advance(min(limits))
        bus.abandon()
        self._wedged = self.wedges
        return OSError(self.timed_out)


class Rp2Controller(Controller):
    """rp2 hardware I2C: one deadline for a transaction, no STOP after a timeout, short counts."""

    def write(self, address: int, data: bytes, stop: bool = True) -> int:
        """As Controller.write; without data it is bit-banged, with SoftI2C's errors [V
        MPY-RP2]."""
        if data:
            return super().write(address, data, stop)
        soft = SoftController(self._bus, self._frequency, self._timeout // NS_PER_US)
        return soft.write(address, data, stop)


class Esp32Controller(Controller):
    """Classic ESP32, legacy driver: SCL may be held for at most 13 ms, regardless of `timeout`."""

    absent = ENODEV
    timed_out = ESP_ETIMEDOUT
    raises_on_data_nack = True
    wedges = False

    def _limits(self, length: int) -> tuple[int | None, int | None]:
        return ESP32_BYTE_LIMIT * (1 + length), min(self._timeout, ESP32_STRETCH_LIMIT)

    def _give_up(self, reason: Exception) -> OSError:
        """The driver resets its hardware and clears the bus: clocks until SDA is high, then a STOP
        [V ESP-IDF driver/i2c.c, i2c_hw_fsm_reset and i2c_master_clear_bus]."""
        error = super()._give_up(reason)
        for _ in range(_RECOVERY_CLOCKS):
            if self._bus.sda_high:
                break
            self._bus.pulse_scl()
        self._bus.stop_by_hand()
        return error


class Esp32NewController(Esp32Controller):
    """The same chip with ESP-IDF's new driver, which MicroPython uses by default if it is built
    with ESP-IDF 5.5.2 or newer (micropython pull request 19256).

    SCL may be held for at most 2 ms. ESP-IDF's error numbers are passed on unchanged: a missing
    ACK is an invalid response (esp-idf issue 16905), any other unfinished transfer an invalid
    state (i2c_master.c, s_i2c_transaction_start) [V]. That it sets no other limit is [D]."""

    absent = ESP_ERR_INVALID_RESPONSE
    timed_out = ESP_ERR_INVALID_STATE

    def _limits(self, length: int) -> tuple[int | None, int | None]:
        return self._timeout, ESP32_NEW_STRETCH_LIMIT


class SoftController(Controller):
    """Bit-banged I2C of extmod/machine_i2c.c: `timeout` is for each stretch.

    It never checks whether SDA follows: if SDA is held low, it reads ACKs and zeros [V]."""

    absent = ENODEV
    arbitrates = False
    wedges = False

    def _limits(self, length: int) -> tuple[int | None, int | None]:
        return None, self._timeout


HARDWARE = {
    "rp2": Rp2Controller,
    "esp32": Esp32Controller,
    "esp32-new": Esp32NewController,  # MicroPython's port is "esp32" here, too
}
