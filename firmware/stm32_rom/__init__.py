"""Drives one STM32 through its ROM loader. No files, no policy: those belong to other packages."""

import sys

from micropython import const

_BUILT_IN = ("binascii", "hashlib", "json", "machine", "os", "struct", "time")
_FROZEN = ".frozen"
_ENOENT = const(2)


def _load_built_in():
    """Import the built-in modules that this package and those above it use, once for all.

    For each import of a built-in module that is not in sys.modules, MicroPython looks for a file
    of that name first: on an rp2, six times 1.5 ms. Listing the folders is faster. A user's module
    of the same name is still found."""
    path = sys.path[:]
    found = set()
    try:
        sys.path[:] = [_FROZEN]
        import os

        for folder in path:
            try:
                found.update([name.split(".")[0] for name in os.listdir(folder)])
            except Exception as error:  # e.g. a filesystem of the user that cannot list
                if error.args[:1] != (_ENOENT,):
                    found.update(_BUILT_IN)  # may be there
        for name in _BUILT_IN:
            sys.path[:] = path if name in found else [_FROZEN]
            sys.modules[name] = __import__(name)
    finally:
        sys.path[:] = path


if sys.implementation.name == "micropython":  # the desktop imports this package, too
    _load_built_in()
