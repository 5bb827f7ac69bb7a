# mypy: ignore-errors
# ruff: noqa: F401, F821, I001
"""Makes a board of MicroPython's WebAssembly port: modules, filesystem, boot.py and main.py.

Runs before any user code, as _boot.py does on rp2 and esp32. What `import` finds in sys.modules it
takes, so the shims imported here shadow the built-in modules of the same names.
"""

import asyncio
import builtins
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
from _bridge import platform
from _cost import timed
from _files import HostVfs
from _port import implementation


class _Sys:
    """`sys`, of which MicroPython does not let Python change these attributes."""

    def __init__(self):
        for name in dir(sys):
            if not name.startswith("__"):
                setattr(self, name, getattr(sys, name))
        self.platform = platform
        self.implementation = implementation
        self.stdin = _terminal.stdin
        self.stdout = self.stderr = _terminal.Output(sys.stdout)


_print_exception = sys.print_exception
_modules = sys.modules


def run(name):
    """Run a file if there is one. True if it ended in SystemExit, which makes a soft reset."""
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
sys.path[:] = ["", ".frozen", "/lib"]
_shadow = _Sys()
_modules["sys"] = _shadow
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
