# mypy: ignore-errors
# ruff: noqa: F401, F821, I001
"""Turns MicroPython's WebAssembly port into a board: modules, filesystem, boot.py and main.py.

Runs before any user code, as _boot.py does on rp2 and esp32. Shims of modules that a board has
built in become built-in modules here too: as on a board, each `import` searches for a file first.
The bytecodes of shims are not counted, except those of asyncio, which is Python on a board too.
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
import utime
import vfs
import _cost
import _files
import _host
import _terminal
import select
from _bridge import doNotCount, heapsize, interruptAgain, platform, setBuiltins
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


class Vfs(_files.HostVfs):
    """The filesystem. `import` treats every exception of `stat` as "not found", and a board's does
    not execute Python; so a Ctrl-C takes effect only after it."""

    def stat(self, path):
        interrupted = False  # an interrupt is raised at any jump, so there is none before `try`
        try:
            found = self._look(path)
        except KeyboardInterrupt:
            interrupted = True
            found = self._look(path)
        if isinstance(found, OSError):
            _then[interrupted]()  # ... and none after this
            raise found
        _then[interrupted]()
        return found

    def _look(self, path):
        try:
            return _files.HostVfs.stat(self, path)
        except OSError as error:
            return error


_then = (lambda: None, interruptAgain)
_print_exception = sys.print_exception
_modules = sys.modules
_output = _terminal.Output(sys.stdout)


def run(name):
    """Run a file if it exists. True if it ended with SystemExit, which causes a soft reset."""
    try:
        return _run(name)
    except KeyboardInterrupt:  # came when the file had ended
        return False


def _run(name):
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


builtins.pow = _cost.timed(pow)
builtins.input = _terminal.input
os.umount("/")
vfs.mount(Vfs(), "/")
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
_entries = []
for _shim in (hashlib, machine, os, select, time):
    _entries.append(id(_shim.__name__))
    _entries.append(id(_shim))
setBuiltins(id("time"), id(utime), *_entries)
doNotCount(
    *[
        id(function)
        for function in (
            _cost.hashed,
            _files.HostVfs.mount,
            _host.call,
            _terminal.input,
            hashlib.sha256.update,
            machine.reset,
            module.__init__,
            os.uname,
            select.poll,
            time.ticks_us,
        )
    ]
)
for _name in (
    "hashlib",
    "machine",
    "os",
    "select",
    "time",
    "utime",
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
