# mypy: ignore-errors
"""Files and folders on top of the fs_* calls, like VfsLfs2 and its file objects on a board.

`HostVfs` is a filesystem for MicroPython's vfs.mount(), and the base of `os` in CPython.
"""

import io

from _host import call

_EINVAL = 22
_ENOENT = 2
_IFDIR = 0x4000
_AHEAD = 512

# py/stream.h
_STREAM_FLUSH = 1
_STREAM_CLOSE = 4
_STREAM_GET_BUFFER_SIZE = 11


class File(io.IOBase):
    """An open file. Bytes go to littlefs with every write; reading looks ahead."""

    def __init__(self, path, mode):
        self._fd = call("fs_open", path, mode)
        self._text = "b" not in mode
        self._ahead = b""

    def _number(self):
        if self._fd is None:
            raise ValueError
        return self._fd

    def _take(self, n):
        """At most n bytes; fewer at the end of the file or of the read-ahead data."""
        fd = self._number()
        if not self._ahead and n:
            data = call("fs_read", fd, n if n > _AHEAD else _AHEAD)
            if len(data) <= n:
                return data
            self._ahead = data
        data = self._ahead[:n]
        self._ahead = self._ahead[n:]
        return data

    def _settle(self):
        """Set littlefs' position to that of the reader."""
        fd = self._number()
        if self._ahead:
            call("fs_seek", fd, -len(self._ahead), 1)
            self._ahead = b""
        return fd

    def _read_bytes(self, n):
        if n is None or n < 0:
            return call("fs_read", self._settle(), -1)
        data = self._take(n)
        while len(data) < n:
            more = self._take(n - len(data))
            if not more:
                break
            data += more
        return data

    def read(self, n=-1):
        data = self._read_bytes(n)
        if not self._text:
            return data
        if n is not None and n >= 0:
            # n characters, not n bytes: read one more byte for each continuation byte.
            while True:
                missing = n - sum([byte & 0xC0 != 0x80 for byte in data])
                if data and missing == 0:
                    missing = _utf8_missing(data)
                more = self._read_bytes(missing) if missing else b""
                if not more:
                    break
                data += more
        return str(data, "utf-8")

    def readinto(self, buf, *args):
        data = self._read_bytes(args[0] if args else len(buf))
        buf[: len(data)] = data
        return len(data)

    def readline(self, limit=-1):
        line = b""
        while limit < 0 or len(line) < limit:
            part = self._take(_AHEAD if limit < 0 else min(_AHEAD, limit - len(line)))
            if not part:
                break
            end = part.find(b"\n") + 1
            if end:
                self._ahead = part[end:] + self._ahead
                line += part[:end]
                break
            line += part
        return str(line, "utf-8") if self._text else line

    def readlines(self):
        return list(self)

    def write(self, data, *args):
        if isinstance(data, str):
            data = data.encode()
        return call("fs_write", self._settle(), data)

    def seek(self, offset, whence=0):
        return call("fs_seek", self._settle(), offset, whence)

    def tell(self):
        return call("fs_seek", self._settle(), 0, 1)

    def flush(self):
        call("fs_flush", self._number())

    def close(self):
        fd, self._fd = self._fd, None
        if fd is not None:
            call("fs_close", fd)

    def ioctl(self, request, arg):
        if request == _STREAM_FLUSH:
            self.flush()
            return 0
        if request == _STREAM_CLOSE:
            self.close()
            return 0
        if request == _STREAM_GET_BUFFER_SIZE:
            return 255
        return -_EINVAL

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def __del__(self):
        # CPython's IOBase would close the file here. A board does so at a later collection or at
        # the soft reset; the simulated one at the soft reset (HostFilesystem.soft_reset).
        pass


def _utf8_missing(data):
    """How many bytes are missing from the last character."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return length - back
    return 0


class HostVfs:
    """The filesystem that a board mounts at "/"."""

    def __init__(self):
        self._cwd = "/"

    def _absolute(self, path):
        return path if path.startswith("/") else self._cwd + path

    def mount(self, readonly, mkfs):
        pass

    def umount(self):
        pass

    def open(self, path, mode="r"):
        for char in mode:
            if char not in "rwxab+t":
                raise ValueError
        return File(self._absolute(path), mode)

    def chdir(self, path):
        parts = []
        for part in self._absolute(path).split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        if parts and call("fs_stat", "/" + "/".join(parts))[0] != _IFDIR:
            raise OSError(_ENOENT)
        self._cwd = "/" + "/".join(parts) + ("/" if parts else "")

    def getcwd(self):
        return self._cwd if self._cwd == "/" else self._cwd[:-1]

    def ilistdir(self, path=""):
        entries = call("fs_list", self._absolute(path))
        return iter([(name, mode, 0, size) for name, mode, size in entries])

    def stat(self, path):
        mode, size, mtime = call("fs_stat", self._absolute(path))
        return (mode, 0, 0, 0, 0, 0, size, mtime, mtime, mtime)

    def statvfs(self, path):
        return tuple(call("fs_statvfs", self._absolute(path)))

    def mkdir(self, path):
        call("fs_mkdir", self._absolute(path))

    def rmdir(self, path):
        call("fs_rmdir", self._absolute(path))

    def remove(self, path):
        call("fs_remove", self._absolute(path))

    def rename(self, old, new):
        call("fs_rename", self._absolute(old), self._absolute(new))
