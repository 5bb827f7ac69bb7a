# mypy: ignore-errors
"""MicroPython's `os`, for device code that runs in CPython."""

from _files import HostVfs

_vfs = HostVfs()

sep = "/"
open_file = _vfs.open  # used as the device's builtin `open`
chdir = _vfs.chdir
getcwd = _vfs.getcwd
mkdir = _vfs.mkdir
rmdir = _vfs.rmdir
remove = _vfs.remove
unlink = _vfs.remove
rename = _vfs.rename
stat = _vfs.stat
statvfs = _vfs.statvfs
ilistdir = _vfs.ilistdir


def listdir(path=""):
    return [entry[0] for entry in ilistdir(path)]


def sync():
    pass
