# mypy: ignore-errors
# ruff: noqa: F401, F821, I001
"""Turns MicroPython's WebAssembly port into a board: modules, filesystem, boot.py and main.py.

Runs before any user code, as _boot.py does on rp2 and esp32. `import` looks in sys.modules first,
so the shims imported here hide the built-in modules with the same names.
"""

import asyncio
import builtins
import gc
import hashlib
import io
import machine
import os
import sys
import time

import __main__
import micropython
import vfs
import _terminal
import select
from _bridge import heapsize, platform
from _cost import timed
from _files import HostVfs
from _port import implementation


class module:
    """Replaces a module whose attributes Python code cannot change. Errors contain the name of
    this class."""

    def __init__(self, module, **changed):
        for name in dir(module):
            if not name.startswith("__"):
                setattr(self, name, getattr(module, name))
        self.__name__ = module.__name__
        for name in changed:
            setattr(self, name, changed[name])


_print_exception = sys.print_exception
_modules = sys.modules
_output = _terminal.Output(sys.stdout)


def run(name):
    """Run a file if it exists. True if it ended with SystemExit, which causes a soft reset."""
    try:
        os.stat(name)
    except OSError:
        return False
    try:
        micropython.kbd_intr(3)
        try:
            execfile(name, __main__.__dict__)
        finally:
            micropython.kbd_intr(-1)
    except SystemExit:
        return True
    except BaseException as error:
        text = io.StringIO()
        _print_exception(error, text)
        for line in text.getvalue().split("\n")[:-1]:
            if "_boot.py" not in line:
                print(line)
    return False


builtins.pow = timed(pow)
builtins.input = _terminal.input
os.umount("/")
vfs.mount(HostVfs(), "/")
os.chdir("/")
sys.path[:] = ["", "/lib"]  # not .frozen: that has modules that no board has
_modules["sys"] = module(
    sys,
    platform=platform,
    implementation=implementation,
    stdin=_terminal.stdin,
    stdout=_output,
    stderr=_output,
)
# MicroPython would take more memory from Node.js when its heap is full.
_modules["gc"] = module(gc, mem_free=lambda: max(0, heapsize - gc.mem_alloc()))
_modules["micropython"] = module(micropython, alloc_emergency_exception_buf=lambda size: None)
for _name in (
    "_files",
    "_host",
    "_cost",
    "_bridge",
    "_port",
    "_terminal",
    "vfs",
    "io",
    "uctypes",
    "collections",
    "json",
    "_boot",
):
    _modules.pop(_name, None)
