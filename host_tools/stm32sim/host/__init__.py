"""The simulated host board without its pins: its flash, its filesystem, the device code it runs.

Device code reaches the simulated world through one function, `call(name, *args)`; see `seam.py`.
Two flavours of host stand on the same shims and the same filesystem:

- `cpython.DevicePackages` imports device code into this process: fast enough for every power cut.
- `micropython.MicroPythonHost` runs it in real MicroPython, with a REPL that mpremote connects to.
"""
