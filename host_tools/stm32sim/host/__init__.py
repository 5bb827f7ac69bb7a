"""The simulated host board without its pins: its flash, its filesystem, and running device code.

Device code reaches the simulated world through one function, `call(name, *args)`; see `seam.py`.
There are two kinds of host, with the same shims and the same filesystem:

- `cpython.DevicePackages` imports device code into this process: fast enough for every power cut.
- `micropython.MicroPythonHost` runs it in real MicroPython, with a REPL that mpremote connects to.
"""

from stm32sim.host.cpython import DevicePackages
from stm32sim.host.filesystem import HostFilesystem
from stm32sim.host.host_flash import HostFlash
from stm32sim.host.micropython import MicroPythonHost
from stm32sim.host.seam import HostPowerLost, HostReset

__all__ = [
    "DevicePackages",
    "HostFilesystem",
    "HostFlash",
    "HostPowerLost",
    "HostReset",
    "MicroPythonHost",
]
