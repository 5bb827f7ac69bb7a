# mypy: ignore-errors
# ruff: noqa: F401
"""MicroPython's `os` of a simulated board: the part that rp2 and esp32 have."""

import sys
from collections import namedtuple
from random import getrandbits

from _bridge import platform
from _host import call
from _port import MACHINE, RELEASE
from uos import (
    chdir,
    getcwd,
    ilistdir,
    listdir,
    mkdir,
    mount,
    remove,
    rename,
    rmdir,
    sep,
    stat,
    statvfs,
    umount,
    unlink,
)

_uname = namedtuple("", ("sysname", "nodename", "release", "version", "machine"))(
    platform, platform, RELEASE, sys.version.split("MicroPython ")[-1], MACHINE
)


def uname():
    return _uname


def urandom(n):
    return bytes([getrandbits(8) for _ in range(n)])


def sync():
    pass
