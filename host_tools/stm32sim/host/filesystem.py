"""The host's filesystem: real littlefs on a `HostFlash`, as MicroPython's VfsLfs2 presents it.

littlefs is configured as MicroPython configures it (extmod/vfs_lfs.c and vfs_lfsx.c: read size and
lookahead 32, cache four times the larger of read and program size, block_cycles 100), with the
program size of the port: rp2 passes 256 (ports/rp2/modules/_boot.py), esp32 keeps the default 32.
One difference: MicroPython also stores a modification time as an attribute of each file.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from littlefs import lfs
from littlefs.errors import LittleFSError

from .host_flash import BLOCK_SIZE, HostFlash
from .seam import Call

EBADF, EINVAL = 9, 22
S_IFDIR, S_IFREG = 0x4000, 0x8000

_READ_SIZE = 32
_LOOKAHEAD = 32
_BLOCK_CYCLES = 100
_NAME_MAX = 255
_RDONLY, _WRONLY, _CREAT, _EXCL, _TRUNC, _APPEND = 1, 2, 0x100, 0x200, 0x400, 0x800
_OPEN_FLAGS = {
    "r": _RDONLY,
    "w": _WRONLY | _CREAT | _TRUNC,
    "x": _WRONLY | _CREAT | _EXCL,
    "a": _WRONLY | _CREAT | _APPEND,
}
_Result = TypeVar("_Result")


class Format(enum.Enum):
    """What a board does at boot if it cannot mount its filesystem."""

    ALWAYS = "always"
    """rp2, ports/rp2/modules/_boot.py: after any error of mounting, make a new filesystem."""
    BLANK = "blank"
    """esp32, ports/esp32/modules/inisetup.py: only if the first block is erased."""


class FilesystemCorrupted(Exception):
    """The board hangs at boot and reports that its filesystem appears to be corrupted."""


class _Open(NamedTuple):
    file: lfs.LFSFile
    flags: int


class HostFilesystem:
    """The `fs_*` calls. Paths are absolute. Errors are OSError with MicroPython's numbers."""

    def __init__(
        self, flash: HostFlash, *, prog_size: int = 256, format: Format = Format.ALWAYS
    ) -> None:
        self.flash = flash
        self._format = format
        self._config = lfs.LFSConfig(
            flash,
            block_size=BLOCK_SIZE,
            block_count=flash.size // BLOCK_SIZE,
            read_size=_READ_SIZE,
            prog_size=prog_size,
            cache_size=4 * max(_READ_SIZE, prog_size),
            lookahead_size=_LOOKAHEAD,
            block_cycles=_BLOCK_CYCLES,
        )
        self._fs: lfs.LFSFilesystem | None = None
        self._open: dict[int, _Open] = {}
        self._next_fd = 0
        self.mount()

    @classmethod
    def of(cls, host: str, flash: HostFlash) -> HostFilesystem:
        """The filesystem of this host's MicroPython (a key of controller.HARDWARE)."""
        if host == "rp2":
            return cls(flash)
        return cls(flash, prog_size=_READ_SIZE, format=Format.BLANK)

    # Lifecycle.

    def mount(self) -> None:
        """Mount, or make a new filesystem if the port would, as `_boot.py` does."""
        self._drop()
        self.flash.power_on()
        fs = lfs.LFSFilesystem()
        try:
            self._guard(lfs.mount, fs, self._config)
        except OSError:
            blank = self.flash.read(self._config, 0, 0, BLOCK_SIZE).count(0xFF) == BLOCK_SIZE
            if self._format is Format.BLANK and not blank:
                raise FilesystemCorrupted from None
            self._guard(lfs.format, fs, self._config)
            self._guard(lfs.mount, fs, self._config)
        # Only now, because a failed mount has already freed its memory.
        self._fs = fs

    def soft_reset(self) -> None:
        """Close open files, as MicroPython's finalisers do, and mount again.

        That commits all written data: a half-written file remains under its final name.
        """
        for fd in list(self._open):
            try:
                self.fs_close(fd)
            except OSError:
                continue
        self.mount()

    def power_loss(self) -> None:
        """Discard everything that is not in flash, without a write. `mount` must follow."""
        self._drop()

    def open_files(self) -> int:
        """How many handles are open."""
        return len(self._open)

    def calls(self) -> dict[str, Call]:
        """The `fs_*` functions by name."""
        return {name: getattr(self, name) for name in dir(self) if name.startswith("fs_")}

    @property
    def bytes_read(self) -> int:
        """How many bytes littlefs has read from flash."""
        return self.flash.bytes_read

    @property
    def busy(self) -> bool:
        """Whether flash is erased or programmed now."""
        return self.flash.busy

    # The calls.

    def fs_open(self, path: str, mode: str) -> int:
        flags = _flags(mode)
        file = self._run(lfs.file_open, path, flags)
        self._next_fd += 1
        self._open[self._next_fd] = _Open(file, flags)
        return self._next_fd

    def fs_read(self, fd: int, n: int) -> bytes:
        """At most `n` bytes, fewer only at the end of the file; all remaining bytes if `n` < 0."""
        file = self._handle(fd, _RDONLY)
        if n < 0:
            n = max(0, self._run(lfs.file_size, file) - self._run(lfs.file_tell, file))
        return self._run(lfs.file_read, file, n)

    def fs_write(self, fd: int, data: bytes) -> int:
        return self._run(lfs.file_write, self._handle(fd, _WRONLY), bytes(data))

    def fs_seek(self, fd: int, offset: int, whence: int) -> int:
        return self._run(lfs.file_seek, self._handle(fd), offset, whence)

    def fs_flush(self, fd: int) -> None:
        self._run(lfs.file_sync, self._handle(fd))

    def fs_close(self, fd: int) -> None:
        file = self._handle(fd)
        self._check_supply()
        # littlefs closes the file even if committing it fails.
        del self._open[fd]
        self._run(lfs.file_close, file)

    def fs_stat(self, path: str) -> list[int]:
        """[mode, size, mtime]."""
        found = self._run(lfs.stat, path)
        return [_mode(found), found.size, 0]

    def fs_list(self, path: str) -> list[list[Any]]:
        """[[name, mode, size], ...]."""
        directory = self._run(lfs.dir_open, path)
        entries = []
        try:
            while (found := self._run(lfs.dir_read, directory)) is not None:
                if found.name not in (".", ".."):
                    entries.append([found.name, _mode(found), found.size])
        finally:
            self._run(lfs.dir_close, directory)
        return entries

    def fs_mkdir(self, path: str) -> None:
        self._run(lfs.mkdir, path)

    def fs_rmdir(self, path: str) -> None:
        # One function in MicroPython too: VfsLfs2.rmdir also removes files, and remove also empty
        # folders.
        self._run(lfs.remove, path)

    def fs_remove(self, path: str) -> None:
        self._run(lfs.remove, path)

    def fs_rename(self, old: str, new: str) -> None:
        self._run(lfs.rename, old, new)

    def fs_statvfs(self, path: str) -> list[int]:
        """The ten numbers of os.statvfs()."""
        blocks = self.flash.size // BLOCK_SIZE
        free = blocks - self._run(lfs.fs_size)
        return [BLOCK_SIZE, BLOCK_SIZE, blocks, free, free, 0, 0, 0, 0, _NAME_MAX]

    # Inside.

    def _run(self, operation: Callable[..., _Result], *args: Any) -> _Result:
        self._check_supply()
        return self._guard(operation, self._fs, *args)

    def _guard(self, operation: Callable[..., _Result], *args: Any) -> _Result:
        """Call a littlefs function. Raises the exception of a tap, otherwise littlefs' error as an
        OSError."""
        try:
            result = operation(*args)
        except LittleFSError as error:
            if (failure := self.flash.failure()) is not None:
                raise failure from None
            raise OSError(-error.code, error.name) from None
        if (failure := self.flash.failure()) is not None:
            raise failure
        return result

    def _check_supply(self) -> None:
        if (gone := self.flash.failure()) is not None:
            raise gone
        if self._fs is None:
            raise OSError(EBADF, "filesystem is not mounted")

    def _handle(self, fd: int, needed: int = 0) -> lfs.LFSFile:
        found = self._open.get(fd)
        if found is None or found.flags & needed != needed:
            self._check_supply()
            raise OSError(EBADF, "EBADF")
        return found.file

    def _drop(self) -> None:
        """Free littlefs' memory, without a write."""
        fs, self._fs = self._fs, None
        if fs is None:
            return
        with self.flash.write_protected():
            for opened in self._open.values():
                try:
                    lfs.file_close(fs, opened.file)
                except LittleFSError:
                    continue
            self._open.clear()
            lfs.unmount(fs)

    def __del__(self) -> None:
        # littlefs-python frees nothing by itself, and campaigns make very many of these objects.
        if getattr(self, "_fs", None) is not None:
            self._drop()


def _flags(mode: str) -> int:
    """littlefs' flags for an open mode, parsed as in MicroPython (extmod/vfs_lfsx_file.c)."""
    flags = 0
    for char in mode:
        if char in _OPEN_FLAGS:
            if flags:
                raise OSError(EINVAL, "EINVAL")
            flags = _OPEN_FLAGS[char]
        elif char == "+":
            flags |= _RDONLY | _WRONLY
        elif char not in "bt":
            raise OSError(EINVAL, "EINVAL")
    return flags or _RDONLY


def _mode(found: lfs.LFSStat) -> int:
    return S_IFREG if found.type == lfs.LFSStat.TYPE_REG else S_IFDIR
