"""A model of a host filesystem that behaves like FAT: what VfsFat leaves after a loss of power.

Measured on the real VfsFat over a RAM block device: rewriting a file in place leaves it empty at
nearly every cut, and a rename over an existing file first deletes that file. `tap` is called for
each written sector, as in `HostFlash`. The order of sectors is that of FatFs (data, allocation
table, folder; the table last if clusters are freed), and so are the errors (extmod/vfs_fat.c,
vfs_fat_file.c). Clusters that are in the table but not in a folder are permanently lost to the
volume.

FAT is only as safe as its sectors: see `FatFilesystem`.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import Any

from stm32sim.wires.clock import NS_PER_MS, Clock

from .host_flash import BLOCK_ERASE, BLOCK_SIZE, PAGE_PROGRAM, PAGE_SIZE, Tap, take
from .seam import Call

ENOENT, EBADF, EACCES, EEXIST, ENOTDIR, EISDIR, EINVAL, ENOSPC = 2, 9, 13, 17, 20, 21, 22, 28
_FILE, _FOLDER = 0x8000, 0x4000
_SECTOR = 512  # and a cluster is one sector
_CLUSTERS = 2816  # of the 1408 KB of a Pico
_CARD_WRITE = 5 * NS_PER_MS  # a sector of an SD card [R]
_BLOCK_REWRITE = BLOCK_ERASE + BLOCK_SIZE // PAGE_SIZE * PAGE_PROGRAM


class Sector(enum.Enum):
    """What a sector holds."""

    DATA = "data"
    TABLE = "table"
    FOLDER = "folder"


class _Entry:
    """A file's entry in its folder: the part of the file that survives a cut."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content


class _Handle:
    def __init__(self, path: str, entry: _Entry, at: int, writing: bool) -> None:
        self.path = path
        self.entry = entry
        self.content = bytearray(entry.content)
        self.at = at
        self.writing = writing
        self.dirty = False


class FatFilesystem:
    """The `fs_*` calls of `HostFilesystem`, on files in memory; `tap`, `tear` and the counters of
    `HostFlash`.

    `sectors_atomic`: a torn sector holds either the old or the new content. This is so on an SD
    card or with wear levelling, and only there is FAT supported. On raw flash the block around the
    sector is erased and programmed: a torn sector loses its content, a torn folder all its files,
    a torn allocation table all files, and no order of writing prevents that."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        sectors_atomic: bool = True,
        clusters: int = _CLUSTERS,
    ) -> None:
        self.tap: Tap | None = None
        self.erases = 0
        self.progs = 0
        self.bytes_read = 0  # reading takes no time here
        self._clock = clock
        self._atomic = sectors_atomic
        self._clusters = clusters
        self._lost = 0  # clusters in use that belong to no file
        self._files: dict[str, _Entry] = {}
        self._folders = {"/"}
        self._open: dict[int, _Handle] = {}
        self._next = 0
        self._gone: BaseException | None = None
        self._interrupt: KeyboardInterrupt | None = None
        self._tear: Callable[[float], None] | None = None  # of the current sector

    # Lifecycle.

    def mount(self) -> None:
        self._gone = self._interrupt = None
        self._open.clear()

    def power_loss(self) -> None:
        self._open.clear()

    def soft_reset(self) -> None:
        for handle in list(self._open):
            self.fs_close(handle)

    def format(self) -> None:
        """Delete all files."""
        self._files.clear()
        self._folders = {"/"}
        self._lost = 0

    def tear(self, fraction: float = 0.5) -> None:
        """In a tap or an alarm: tear the current sector after this fraction."""
        if self._tear is not None:
            self._tear(fraction)

    @property
    def busy(self) -> bool:
        """Whether a sector is being written."""
        return self._tear is not None

    def calls(self) -> dict[str, Call]:
        """The `fs_*` functions by name."""
        names = [name for name in dir(self) if name.startswith("fs_")]
        return {name: self._whole(getattr(self, name)) for name in names}

    def _whole(self, function: Call) -> Call:
        """Raise a KeyboardInterrupt of an alarm after the call: C code is not interrupted."""

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            result = function(*args)
            interrupt, self._interrupt = self._interrupt, None
            if interrupt is not None:
                raise interrupt
            return result

        return call

    # Sectors.

    def _write(self, sector: Sector, path: str, change: Callable[[], None]) -> None:
        """Write the sector of `path` that makes `change` durable."""
        self._check_supply()

        def tear(fraction: float) -> None:
            if not self._atomic:
                self._lose(sector, path)
            elif fraction >= 0.5:
                change()

        self._tear = tear
        try:
            if self.tap is not None:
                self.tap("prog", self.progs)
            if self._clock is not None:
                duration = _CARD_WRITE if self._atomic else _BLOCK_REWRITE
                self._interrupt = take(self._clock, duration, tear) or self._interrupt
        except BaseException as gone:
            if not isinstance(gone, Exception):
                self._gone = gone
            raise
        finally:
            self._tear = None
        self.progs += 1
        change()

    def _lose(self, sector: Sector, path: str) -> None:
        """Raw flash: the content of a torn sector is lost."""
        if sector is Sector.DATA:
            entry = self._files.get(path)
            if entry is not None and entry.content:
                kept = (len(entry.content) - 1) // _SECTOR * _SECTOR
                entry.content = entry.content[:kept].ljust(len(entry.content), b"\xff")
            return
        inside = "/" if sector is Sector.TABLE else _folder_of(path).rstrip("/") + "/"
        for name in [name for name in self._files if name.startswith(inside)]:
            del self._files[name]
        self._folders = {name for name in self._folders if name == "/" or name + "/" == inside} | {
            name for name in self._folders if not name.startswith(inside)
        }

    def _lose_clusters(self, count: int) -> None:
        self._lost += count

    def _free(self) -> int:
        """Free clusters, including those that open files already use."""
        contents = {id(entry): len(entry.content) for entry in self._files.values()}
        for handle in self._open.values():
            contents[id(handle.entry)] = len(handle.content)
        folders = len(self._folders) - 1
        return self._clusters - folders - self._lost - sum(map(_clusters, contents.values()))

    # The calls.

    def fs_open(self, path: str, mode: str) -> int:
        self._check_supply()
        kind = mode[0]
        if kind not in "rwax" or "+" in mode:
            raise OSError(EINVAL, "EINVAL")
        if path in self._folders:  # FR_NO_FILE to read, FR_DENIED to write
            raise OSError(*((ENOENT, "ENOENT") if kind == "r" else (EACCES, "EACCES")))
        if kind == "r" and path not in self._files:
            raise OSError(ENOENT, "ENOENT")
        self._needs_folder(path)
        if kind == "x" and path in self._files:
            raise OSError(EEXIST, "EEXIST")
        entry = self._files.get(path)
        if entry is None:
            entry = _Entry()
            self._write(Sector.FOLDER, path, lambda: self._files.update({path: entry}))
        elif kind == "w" and entry.content:
            self._truncate(path, entry, lambda: setattr(entry, "content", b""))
        self._next += 1
        at = len(entry.content) if kind == "a" else 0
        self._open[self._next] = _Handle(path, entry, at, kind != "r")
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
            part = data[start : start + _SECTOR]
            more = _clusters(handle.at + len(part)) - _clusters(len(handle.content))
            if more > self._free():
                raise OSError(ENOSPC, "ENOSPC")  # after writing as much as fits
            if handle.at // _SECTOR != (handle.at + len(part)) // _SECTOR:
                # A full sector goes to a cluster that is not in an entry yet.
                self._write(Sector.DATA, handle.path, _nothing)
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
        if not handle.dirty:
            return
        entry, content = handle.entry, bytes(handle.content)
        grown = _clusters(len(content)) - _clusters(len(entry.content))

        def covers() -> None:
            # An entry that was removed or renamed meanwhile is written at its old place.
            entry.content = content
            self._lose_clusters(-grown if self._files.get(handle.path) is entry else 0)

        self._write(Sector.DATA, handle.path, _nothing)  # the last one
        if grown:
            self._write(Sector.TABLE, handle.path, lambda: self._lose_clusters(grown))
        self._write(Sector.FOLDER, handle.path, covers)
        handle.dirty = False

    def fs_close(self, fd: int) -> None:
        try:
            self.fs_flush(fd)
        finally:
            self._open.pop(fd, None)

    def fs_stat(self, path: str) -> list[int]:
        if path in self._folders:
            return [_FOLDER, 0, 0]
        return [_FILE, len(self._entry(path).content), 0]

    def fs_list(self, path: str) -> list[list[Any]]:
        if path not in self._folders:
            raise OSError(ENOENT, "ENOENT")
        prefix = path.rstrip("/") + "/"
        inside = [name for name in [*self._files, *self._folders] if name.startswith(prefix)]
        here = [name for name in inside if name != "/" and "/" not in name[len(prefix) :]]
        return [[name[len(prefix) :], *self.fs_stat(name)[:2]] for name in here]

    def fs_mkdir(self, path: str) -> None:
        if path in self._folders or path in self._files:
            raise OSError(EEXIST, "EEXIST")
        self._needs_folder(path)
        if not self._free():
            raise OSError(EACCES, "EACCES")  # FR_DENIED

        def is_there() -> None:
            self._folders.add(path)
            self._lose_clusters(-1)

        self._write(Sector.TABLE, path, lambda: self._lose_clusters(1))
        self._write(Sector.FOLDER, path, is_there)

    def fs_rmdir(self, path: str) -> None:
        if path in self._files:
            raise OSError(ENOTDIR, "ENOTDIR")
        if path not in self._folders:
            raise OSError(ENOENT, "ENOENT")
        if path == "/" or self.fs_list(path):
            raise OSError(EACCES, "EACCES")  # FR_DENIED

        def is_gone() -> None:
            self._folders.discard(path)
            self._lose_clusters(1)

        self._write(Sector.FOLDER, path, is_gone)
        self._write(Sector.TABLE, path, lambda: self._lose_clusters(-1))

    def fs_remove(self, path: str) -> None:
        if path in self._folders:
            raise OSError(EISDIR, "EISDIR")
        self._truncate(path, self._entry(path), lambda: self._forget(path))

    def fs_rename(self, old: str, new: str) -> None:
        entry = self._entry(old)
        self._needs_folder(new)
        if old == new:
            return
        if new in self._files or new in self._folders:
            self.fs_remove(new)

        def has_moved() -> None:
            # Another entry: an open handle continues to use the old one.
            self._files[new] = _Entry(entry.content)
            self._forget(old)

        if _folder_of(old) == _folder_of(new):
            self._write(Sector.FOLDER, new, has_moved)
            return
        self._write(Sector.FOLDER, new, lambda: self._files.update({new: _Entry(entry.content)}))
        self._write(Sector.FOLDER, old, lambda: self._forget(old))

    def fs_statvfs(self, path: str) -> list[int]:
        free = self._free()
        return [_SECTOR, _SECTOR, self._clusters, free, free, 0, 0, 0, 0, 255]

    # Inside.

    def _truncate(self, path: str, entry: _Entry, change: Callable[[], None]) -> None:
        """Change an entry, then free its clusters."""
        clusters = _clusters(len(entry.content))

        def frees() -> None:
            change()
            self._lose_clusters(clusters)

        self._write(Sector.FOLDER, path, frees)
        if clusters:
            self._write(Sector.TABLE, path, lambda: self._lose_clusters(-clusters))

    def _forget(self, path: str) -> None:
        self._files.pop(path, None)

    def _needs_folder(self, path: str) -> None:
        if _folder_of(path) not in self._folders:
            raise OSError(ENOENT, "ENOENT")  # FR_NO_PATH

    def _check_supply(self) -> None:
        if self._gone is not None:
            raise self._gone

    def _handle(self, fd: int) -> _Handle:
        self._check_supply()
        if fd not in self._open:
            raise OSError(EBADF, "EBADF")
        return self._open[fd]

    def _entry(self, path: str) -> _Entry:
        self._check_supply()
        if path not in self._files:
            raise OSError(ENOENT, "ENOENT")
        return self._files[path]


def _nothing() -> None:
    """Nothing changes: data that is not in a folder's entry yet."""


def _clusters(size: int) -> int:
    return -(-size // _SECTOR)


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0] or "/"
