"""The seam between device code and the simulated world.

Everything device code does to the world is `call(name, *args) -> result`. Arguments and results
are None, int, str, bytes, and lists of these. A call that fails raises OSError with an errno, and
only that number reaches the device. The names:

    ticks_us() -> int                       time since the host was powered or reset
    sleep_us(n)
    compute_us(n)                           what a long computation took
    i2c_init(id, soft, scl, sda, freq, timeout_us) -> handle
    i2c_write(handle, addr, data, stop) -> int      bytes acknowledged
    i2c_read(handle, addr, n, stop) -> bytes
    pin_init(id, mode, pull, value|None); pin_write(id, 0|1); pin_read(id) -> 0|1
    adc_read(id) -> int                     16 bits of the host's 3.3 V
    wdt_start(timeout_ms); wdt_feed(); wdt_runs() -> bool
    reset(); reset_cause() -> int
    fs_*                                    see filesystem.HostFilesystem

Two things can happen to a host in the middle of any call. They are no `Exception`s, so that device
code which catches those cannot live on: after them nothing on the host runs any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Call = Callable[..., Any]


class HostLife(Protocol):
    """What a host's interpreter tells the world around it: a HostFilesystem, or all of a World."""

    def mount(self) -> None:
        """It starts, with the files that flash holds."""

    def power_loss(self) -> None:
        """It is gone, and open files with it, without a write."""

    def soft_reset(self) -> None:
        """It starts anew after closing open files, whatever is in them."""


class HostPowerLost(BaseException):
    """The host's supply is gone."""


class HostReset(BaseException):
    """The host has been reset: machine.reset(), its watchdog, its reset pin."""


class HostFailed(Exception):
    """The simulation of the host itself is broken or badly installed."""


def join(filesystem_calls: dict[str, Call], services: Call) -> Call:
    """One `call` out of a filesystem's calls and a function that serves all other names."""

    def call(name: str, *args: Any) -> Any:
        served = filesystem_calls.get(name)
        if served is None:
            return services(name, *args)
        return served(*args)

    return call
