"""The host's filesystem for the device code under test: files in memory, with every access
counted."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

from tests.fuzz.finding import Finding

ENOENT, EIO = 2, 5
MAX_READ = 4096  # bytes per read; a host has some 100 KB in total
FREE_READS = 64  # allowed reads, plus one for every 256 bytes of a file


class Files:
    """`open` and `os` over a dict of paths and bytes.

    `fails_at`: the read with this number, from 0, fails as on a worn-out flash; -1: none fails."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.fails_at = -1
        self._reads = 0
        self._reads_left = 0
        self.os = SimpleNamespace(stat=self._stat, mkdir=self._mkdir, listdir=self._listdir)

    def hold(self, **contents: bytes) -> None:
        """Set the files: hold(log_0=b"...") is /log.0."""
        self.contents = {"/" + name.replace("_", "."): data for name, data in contents.items()}
        self._reads = 0
        self._reads_left = FREE_READS + sum(map(len, contents.values())) // 256

    def open(self, path: str, mode: str = "r") -> Any:
        if path not in self.contents:
            raise OSError(ENOENT, "ENOENT")
        kind = _File if "b" in mode else _TextFile
        return kind(self.contents[path], self)

    def count_read(self, size: int, there: int) -> None:
        """Count one read of `size` bytes (-1: all) with `there` bytes left."""
        if size > MAX_READ or size < 0 and there > MAX_READ:
            raise Finding(f"a read of {there if size < 0 else size} bytes at once")
        self._reads_left -= 1
        if self._reads_left < 0:
            raise Finding("it never stops reading")
        self._reads += 1
        if self._reads - 1 == self.fails_at:
            raise OSError(EIO, "EIO")

    def _stat(self, path: str) -> tuple[int, ...]:
        if path not in self.contents:
            raise OSError(ENOENT, "ENOENT")
        return (0x8000, 0, 0, 0, 0, 0, len(self.contents[path]), 0, 0, 0)

    def _mkdir(self, path: str) -> None:
        """Folders are not needed here."""

    def _listdir(self, path: str) -> list[str]:
        start = path.rstrip("/") + "/"
        return [name.removeprefix(start) for name in self.contents if name.startswith(start)]


class _File(io.BytesIO):
    def __init__(self, content: bytes, files: Files) -> None:
        super().__init__(content)
        self._files = files

    def _left(self) -> int:
        return max(0, len(self.getbuffer()) - self.tell())

    def read(self, size: int | None = -1, /) -> bytes:
        self._files.count_read(-1 if size is None else size, self._left())
        return super().read(size)

    def readinto(self, buffer: Any, /) -> int:
        self._files.count_read(len(buffer), self._left())
        return super().readinto(buffer)


class _TextFile(_File):
    """Text is decoded in pieces, as in MicroPython."""

    def read(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        return super().read(size).decode()
