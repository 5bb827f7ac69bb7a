"""The host's own flash: a block device that counts operations, takes time, tears, and can lose its
supply.

Strict as NOR flash is: an erase sets a block to 0xFF, a program operation only clears bits. The
times are the typical ones of a Pico's W25Q16JV, and assumed for the flash of an ESP32 module. Time
to read is not here: speed.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from stm32sim.wires.clock import NS_PER_MS, NS_PER_US, Clock

if TYPE_CHECKING:
    from littlefs.lfs import LFSConfig

BLOCK_SIZE = 4096
RPI_PICO_SIZE = 1408 * 1024
"""ports/rp2/boards/RPI_PICO/mpconfigboard.h: MICROPY_HW_FLASH_STORAGE_BYTES."""
BLOCK_ERASE = 45 * NS_PER_MS
PAGE_PROGRAM = 400 * NS_PER_US
PAGE_SIZE = 256

_ERASED = b"\xff" * BLOCK_SIZE
_LFS_ERR_IO = -5

Tap = Callable[[str, int], None]
_Pending = tuple[int, int, bytes | None]  # block, offset, and what to program; None: an erase


def take(clock: Clock, duration: int, tear: Callable[[float], None]) -> KeyboardInterrupt | None:
    """Advance the clock by the duration of an operation (ns). If it is interrupted, it is torn at
    the fraction of its time that has passed. A KeyboardInterrupt does not end it, and is
    returned."""
    began = clock.now
    interrupt = None
    try:
        try:
            clock.advance(duration)
        except KeyboardInterrupt as ctrl_c:
            interrupt = ctrl_c
            clock.advance_to(began + duration)
    except BaseException:
        tear((clock.now - began) / duration)
        raise
    return interrupt


class HostFlash:
    """Blocks of 4096 bytes, kept in memory and, if `path` is given, written through to that file.

    `tap(what, block)` is called before each operation: "erase", "prog" (with its block) and "sync"
    (block -1). An exception from it leaves the device unchanged, unless the tap called `tear()`
    first, and the current filesystem call raises the same exception. One that is not an
    `Exception` means that the supply is lost: every later operation fails with it too, until
    `power_on()`, so code that runs while the stack unwinds can no longer write.

    With a `clock` an operation takes time, and an exception from an alarm tears it at that point.
    A KeyboardInterrupt does not: a CPU waits for its flash, so it is raised afterwards.
    """

    def __init__(
        self, size: int = RPI_PICO_SIZE, path: Path | None = None, clock: Clock | None = None
    ) -> None:
        if size % BLOCK_SIZE:
            raise ValueError(f"flash size must be a multiple of {BLOCK_SIZE}, not {size}")
        self.size = size
        self.tap: Tap | None = None
        self.erases = 0
        self.progs = 0
        self.bytes_read = 0
        self._clock = clock
        self._blocks: list[bytes | bytearray] = [_ERASED] * (size // BLOCK_SIZE)
        self._file: BinaryIO | None = None
        self._pending: _Pending | None = None
        self._failure: BaseException | None = None
        self._interrupt: KeyboardInterrupt | None = None
        self._dead = False
        if path is not None:
            self._back_with(path)

    # Called by littlefs (littlefs.lfs.LFSConfig's user context).

    def read(self, cfg: LFSConfig, block: int, offset: int, size: int) -> bytes | bytearray:
        self.bytes_read += size
        return self._blocks[block][offset : offset + size]

    def prog(self, cfg: LFSConfig, block: int, offset: int, data: bytes) -> int:
        pages = (offset + len(data) - 1) // PAGE_SIZE - offset // PAGE_SIZE + 1
        if not self._goes_well("prog", block, (block, offset, data), pages * PAGE_PROGRAM):
            return _LFS_ERR_IO
        self.progs += 1
        self._program(block, offset, data)
        return 0

    def erase(self, cfg: LFSConfig, block: int) -> int:
        if not self._goes_well("erase", block, (block, 0, None), BLOCK_ERASE):
            return _LFS_ERR_IO
        self.erases += 1
        self._blocks[block] = _ERASED
        self._write_through(block, 0, BLOCK_SIZE)
        return 0

    def sync(self, cfg: LFSConfig) -> int:
        return 0 if self._goes_well("sync", -1, None, 0) else _LFS_ERR_IO

    # For taps and the world.

    def tear(self, fraction: float = 0.5) -> None:
        """In a tap or an alarm: let the current operation happen in part.

        A program operation writes the first `fraction` of its bytes; an erase sets that share of
        the block to 0xFF.
        """
        if self._pending is None:
            return
        block, offset, data = self._pending
        if data is not None:
            self._program(block, offset, data[: int(len(data) * fraction)])
            return
        erased = int(BLOCK_SIZE * fraction)
        self._own(block)[:erased] = _ERASED[:erased]
        self._write_through(block, 0, erased)

    def power_on(self) -> None:
        """The supply returns: the exception of a tap is discarded."""
        self._dead = False
        self._failure = self._interrupt = None

    @property
    def busy(self) -> bool:
        """Whether an operation is in progress."""
        return self._pending is not None

    @contextmanager
    def write_protected(self) -> Iterator[None]:
        """In this block every erase and program operation fails without a call of `tap`."""
        before, self._dead = self._dead, True
        try:
            yield
        finally:
            self._dead = before

    def failure(self) -> BaseException | None:
        """The exception raised in an operation since the last call; a loss of supply is returned
        every time."""
        failure = self._failure or self._interrupt
        self._interrupt = None
        if not self._dead:
            self._failure = None
        return failure

    def image(self) -> bytes:
        """The whole content."""
        return b"".join(self._blocks)

    def snapshot(self) -> Sequence[bytes]:
        """The content as blocks, shared and not copied: cheap to take and to `restore`."""
        frozen = [bytes(block) for block in self._blocks]
        self._blocks = list(frozen)
        return frozen

    def restore(self, blocks: Sequence[bytes]) -> None:
        """Set the content to a `snapshot` of this or another flash of the same size."""
        if len(blocks) != len(self._blocks):
            raise ValueError("the content is from a flash of another size")
        self._blocks = list(blocks)
        for block in range(len(blocks)) if self._file is not None else ():
            self._write_through(block, 0, BLOCK_SIZE)

    def close(self) -> None:
        """Close the backing file, if there is one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    # Inside.

    def _goes_well(self, what: str, block: int, pending: _Pending | None, duration: int) -> bool:
        # An exception must not cross littlefs-python's C callbacks: Cython prints it, and littlefs
        # continues with a meaningless result. So it is stored here, and the filesystem call raises
        # it again.
        if self._dead or self._failure is not None:
            return False
        self._pending = pending
        try:
            if self.tap is not None:
                self.tap(what, block)
            if self._clock is not None:
                self._interrupt = take(self._clock, duration, self.tear) or self._interrupt
        except BaseException as failure:
            self._failure = failure
            self._dead = not isinstance(failure, Exception)
            return False
        finally:
            self._pending = None
        return True

    def _own(self, block: int) -> bytearray:
        content = self._blocks[block]
        if not isinstance(content, bytearray):
            content = self._blocks[block] = bytearray(content)
        return content

    def _program(self, block: int, offset: int, data: bytes) -> None:
        content = self._own(block)
        end = offset + len(data)
        before = content[offset:end]
        if before.count(0xFF) == len(before):
            content[offset:end] = data
        else:
            content[offset:end] = bytes(old & new for old, new in zip(before, data, strict=True))
        self._write_through(block, offset, len(data))

    def _back_with(self, path: Path) -> None:
        existing = path.read_bytes() if path.exists() else b""
        if existing and len(existing) != self.size:
            raise ValueError(f"{path} holds {len(existing)} bytes, not {self.size}")
        if not existing:
            path.write_bytes(b"\xff" * self.size)
        for index in range(len(existing) // BLOCK_SIZE):
            block = existing[index * BLOCK_SIZE : (index + 1) * BLOCK_SIZE]
            self._blocks[index] = _ERASED if block == _ERASED else block
        # Unbuffered: killing this process must not lose programmed data.
        self._file = path.open("r+b", buffering=0)

    def _write_through(self, block: int, offset: int, size: int) -> None:
        if self._file is not None and size:
            self._file.seek(block * BLOCK_SIZE + offset, os.SEEK_SET)
            self._file.write(self._blocks[block][offset : offset + size])
