"""The interface between device code and the simulated world.

Device code accesses the world only through `call(name, *args) -> result`. Arguments and results
are None, int, str, bytes, and lists of these. A call that fails raises OSError with an errno, and
only that number reaches the device. The names:

    ticks_us() -> int                       time since the host was powered or reset
    sleep_us(n)
    sha256(n)                               time to hash n bytes
    power(bits, multiplications)            time of pow() with a modulus of so many bits
    i2c_init(id, soft, scl, sda, freq, timeout_us) -> handle
    i2c_write(handle, addr, data, stop) -> int      bytes acknowledged
    i2c_read(handle, addr, n, stop) -> bytes
    uart_init(id, tx, rx, baudrate, bits, parity|None, stop, rxbuf, txbuf, timeout_ms,
              timeout_char_ms) -> handle    closes the one with this id; parity 0: even, 1: odd
    uart_write(handle, data) -> int         bytes that the buffer took
    uart_read(handle, n) -> bytes           up to n, none after a timeout
    uart_any(handle) -> int; uart_txdone(handle) -> bool; uart_flush(handle); uart_deinit(handle)
    pin_init(id, mode, pull, value|None); pin_write(id, 0|1); pin_read(id) -> 0|1
    adc_read(id) -> int                     16 bits of the host's 3.3 V
    wdt_start(timeout_ms); wdt_feed(); wdt_runs() -> bool
    reset(); deepsleep(ms); reset_cause() -> int; unique_id() -> bytes
    fs_*                                    see filesystem.HostFilesystem

Two things can happen to a host in the middle of any call. They are not `Exception`s, so device
code that catches those still ends: after them nothing runs on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Call = Callable[..., Any]


class HostLife(Protocol):
    """Notifications from a host's interpreter to its surroundings: a HostFilesystem or a World."""

    def mount(self) -> None:
        """The interpreter starts, with the files in flash."""

    def power_loss(self) -> None:
        """The interpreter is lost, and open files too, without a write."""

    def soft_reset(self) -> None:
        """The interpreter restarts; open files are closed as they are."""


class HostPowerLost(BaseException):
    """The host has lost its supply."""


class HostReset(BaseException):
    """The host has been reset: machine.reset(), its watchdog, its reset pin."""


class HostFailed(Exception):
    """The simulation of the host is broken or not properly installed."""


def join(filesystem_calls: dict[str, Call], services: Call) -> Call:
    """Combine a filesystem's calls and a function that serves all other names into one `call`."""

    def call(name: str, *args: Any) -> Any:
        served = filesystem_calls.get(name)
        if served is None:
            return services(name, *args)
        return served(*args)

    return call
