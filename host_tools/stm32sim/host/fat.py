"""A host filesystem with FAT's habits, as a model: what VfsFat leaves behind after a loss of
power.

Measured on the real VfsFat over a RAM block device: rewriting a file in place leaves it empty at
nearly every cut, and a rename over an existing file first deletes that one. Each durable step here
is announced by `tap`, as `HostFlash` does it, and either happens or does not.
"""

from __future__ import annotations

from typing import Any

from .flash import Tap
from .seam import Call

ENOENT, EBADF, EEXIST, EISDIR = 2, 9, 17, 21
_FILE, _FOLDER = 0x8000, 0x4000
_SECTOR = 512


class _Handle:
    def __init__(self, path: str, content: bytes, at: int, writing: bool) -> None:
        self.path = path
        self.content = bytearray(content)
        self.at = at
        self.writing = writing
        self.dirty = False


class FatFilesystem:
    """The `fs_*` calls of `HostFilesystem`, on files in memory; `tap` and the counters of
    `HostFlash`."""

    def __init__(self) -> None:
        self.tap: Tap | None = None
        self.erases = 0
        self.progs = 0
        self._files: dict[str, bytes] = {}
        self._folders = {"/"}
        self._open: dict[int, _Handle] = {}
        self._next = 0
        self._gone: BaseException | None = None

    # The life of a filesystem.

    def mount(self) -> None:
        self._gone = None
        self._open.clear()

    def power_loss(self) -> None:
        self._open.clear()

    def soft_reset(self) -> None:
        for handle in list(self._open):
            self.fs_close(handle)

    def format(self) -> None:
        """All files are gone."""
        self._files.clear()
        self._folders = {"/"}

    def tear(self, fraction: float = 0.5) -> None:
        """A sector is written whole or not at all here."""

    def calls(self) -> dict[str, Call]:
        """The `fs_*` functions by name."""
        return {name: getattr(self, name) for name in dir(self) if name.startswith("fs_")}

    def _step(self) -> None:
        """One durable change is about to happen."""
        if self._gone is not None:
            raise self._gone
        if self.tap is not None:
            try:
                self.tap("prog", self.progs)
            except BaseException as gone:
                if not isinstance(gone, Exception):
                    self._gone = gone
                raise
        self.progs += 1

    # The calls.

    def fs_open(self, path: str, mode: str) -> int:
        if path in self._folders:
            raise OSError(EISDIR, "EISDIR")
        kind = mode[0]
        if kind == "r" and path not in self._files:
            raise OSError(ENOENT, "ENOENT")
        if path.rpartition("/")[0] not in self._folders | {""}:
            raise OSError(ENOENT, "ENOENT")
        if kind == "w" and self._files.get(path) != b"":
            self._step()
            self._files[path] = b""
        content = self._files.setdefault(path, b"")
        self._next += 1
        at = len(content) if kind == "a" else 0
        self._open[self._next] = _Handle(path, content, at, kind != "r")
        return self._next

    def fs_read(self, fd: int, n: int) -> bytes:
        handle = self._handle(fd)
        end = len(handle.content) if n < 0 else handle.at + n
        data = bytes(handle.content[handle.at : end])
        handle.at += len(data)
        return data

    def fs_write(self, fd: int, data: bytes) -> int:
        handle = self._handle(fd)
        if not handle.writing:
            raise OSError(EBADF, "EBADF")
        for start in range(0, len(data), _SECTOR):
            if handle.at // _SECTOR != (handle.at + len(data[start:])) // _SECTOR:
                self._step()  # a full sector goes to a cluster that no directory entry covers yet
            part = data[start : start + _SECTOR]
            handle.content[handle.at : handle.at + len(part)] = part
            handle.at += len(part)
        handle.dirty = True
        return len(data)

    def fs_seek(self, fd: int, offset: int, whence: int) -> int:
        handle = self._handle(fd)
        handle.at = offset + (0, handle.at, len(handle.content))[whence]
        return handle.at

    def fs_flush(self, fd: int) -> None:
        handle = self._handle(fd)
        if handle.dirty:
            self._step()  # the last sector
            self._step()  # the directory entry
            self._files[handle.path] = bytes(handle.content)
            handle.dirty = False

    def fs_close(self, fd: int) -> None:
        try:
            self.fs_flush(fd)
        finally:
            self._open.pop(fd, None)

    def fs_stat(self, path: str) -> list[int]:
        if path in self._folders:
            return [_FOLDER, 0, 0]
        return [_FILE, len(self._content(path)), 0]

    def fs_list(self, path: str) -> list[list[Any]]:
        prefix = path.rstrip("/") + "/"
        inside = [name for name in [*self._files, *self._folders] if name.startswith(prefix)]
        here = [name for name in inside if name != "/" and "/" not in name[len(prefix) :]]
        return [[name[len(prefix) :], *self.fs_stat(name)[:2]] for name in here]

    def fs_mkdir(self, path: str) -> None:
        if path in self._folders or path in self._files:
            raise OSError(EEXIST, "EEXIST")
        self._step()
        self._folders.add(path)

    def fs_rmdir(self, path: str) -> None:
        if path not in self._folders:
            raise OSError(ENOENT, "ENOENT")
        self._step()
        self._folders.discard(path)

    def fs_remove(self, path: str) -> None:
        self._content(path)
        self._step()
        del self._files[path]

    def fs_rename(self, old: str, new: str) -> None:
        self._content(old)
        if new in self._files:
            self._step()
            del self._files[new]
        self._step()
        self._files[new] = self._files.pop(old)

    def fs_statvfs(self, path: str) -> list[int]:
        return [_SECTOR, _SECTOR, 2816, 2000, 2000, 0, 0, 0, 0, 255]

    def _handle(self, fd: int) -> _Handle:
        if self._gone is not None:
            raise self._gone
        if fd not in self._open:
            raise OSError(EBADF, "EBADF")
        return self._open[fd]

    def _content(self, path: str) -> bytes:
        if self._gone is not None:
            raise self._gone
        if path not in self._files:
            raise OSError(ENOENT, "ENOENT")
        return self._files[path]
