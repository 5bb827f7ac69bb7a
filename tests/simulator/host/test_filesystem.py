"""The host's flash and filesystem keep and lose the same as those of a real board."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from littlefs.lfs import LFSConfig

from stm32sim.host.filesystem import FilesystemCorrupted, Format, HostFilesystem
from stm32sim.host.host_flash import BLOCK_ERASE, BLOCK_SIZE, PAGE_PROGRAM, HostFlash
from stm32sim.host.seam import HostPowerLost
from stm32sim.wires.clock import NS_PER_MS, Clock

OLD, NEW = b"old" * 400, b"new!" * 700


def write(filesystem: HostFilesystem, path: str, data: bytes) -> None:
    fd = filesystem.fs_open(path, "wb")
    filesystem.fs_write(fd, data)
    filesystem.fs_close(fd)


def read(filesystem: HostFilesystem, path: str) -> bytes:
    fd = filesystem.fs_open(path, "rb")
    data = filesystem.fs_read(fd, -1)
    filesystem.fs_close(fd)
    return data


def replace(filesystem: HostFilesystem, path: str, data: bytes) -> None:
    write(filesystem, path + ".tmp", data)
    filesystem.fs_rename(path + ".tmp", path)


def program(flash: HostFlash, block: int, offset: int, data: bytes) -> int:
    return flash.prog(LFSConfig(flash), block, offset, data)


def erase(flash: HostFlash) -> int:
    return flash.erase(LFSConfig(flash), 0)


def after_power_loss(filesystem: HostFilesystem) -> HostFilesystem:
    filesystem.power_loss()
    filesystem.mount()
    return filesystem


@pytest.fixture
def filesystem() -> HostFilesystem:
    return HostFilesystem(HostFlash())


# What survives.


def test_a_closed_file_survives_a_power_loss(filesystem):
    write(filesystem, "/a", OLD)
    assert read(after_power_loss(filesystem), "/a") == OLD


def test_a_flushed_file_survives_a_power_loss_as_far_as_it_was_flushed(filesystem):
    fd = filesystem.fs_open("/log", "ab")
    filesystem.fs_write(fd, b"one\n")
    filesystem.fs_flush(fd)
    filesystem.fs_write(fd, b"two\n")
    assert read(after_power_loss(filesystem), "/log") == b"one\n"


def test_an_unflushed_file_is_lost_with_the_power(filesystem):
    write(filesystem, "/a", OLD)
    fd = filesystem.fs_open("/a", "wb")
    filesystem.fs_write(fd, NEW)
    assert read(after_power_loss(filesystem), "/a") == OLD
    with pytest.raises(OSError) as caught:
        filesystem.fs_write(fd, b"x")
    assert caught.value.errno == 9


def test_a_soft_reset_commits_a_half_written_file(filesystem):
    write(filesystem, "/a", OLD)
    fd = filesystem.fs_open("/a", "wb")
    filesystem.fs_write(fd, NEW[:50])
    filesystem.soft_reset()
    assert read(filesystem, "/a") == NEW[:50]
    assert filesystem.open_files() == 0


def test_the_content_survives_this_process_being_killed(tmp_path):
    path = tmp_path / "flash"
    script = f"""
        import os, signal
        from pathlib import Path
        from stm32sim.host.filesystem import HostFilesystem
        from stm32sim.host.host_flash import HostFlash
        fs = HostFilesystem(HostFlash(path=Path({str(path)!r})))
        fd = fs.fs_open("/a", "wb"); fs.fs_write(fd, b"kept"); fs.fs_close(fd)
        fd = fs.fs_open("/b", "wb"); fs.fs_write(fd, b"lost")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    environment = {"PYTHONPATH": str(Path(sys.modules["stm32sim"].__path__[0]).parent)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=environment)
    assert done.returncode == -signal.SIGKILL
    flash = HostFlash(path=path)
    assert read(HostFilesystem(flash), "/a") == b"kept"
    flash.close()


# Cuts.


def count_operations(rewrite) -> int:
    filesystem = HostFilesystem(HostFlash())
    write(filesystem, "/a", OLD)
    seen: list[str] = []
    filesystem.flash.tap = lambda what, block: seen.append(what)
    rewrite(filesystem, "/a", NEW)
    assert {"erase", "prog", "sync"} == set(seen)
    return len(seen)


@pytest.mark.parametrize("torn", [None, 0.0, 0.5, 0.99])
@pytest.mark.parametrize("rewrite", [write, replace])
def test_a_cut_at_any_block_operation_leaves_the_old_or_the_new_content(rewrite, torn):
    start = HostFlash()
    write(HostFilesystem(start), "/a", OLD)
    blocks = start.snapshot()
    found = set()
    for cut in range(count_operations(rewrite)):
        flash = HostFlash()
        flash.restore(blocks)
        filesystem = HostFilesystem(flash)
        lost = HostPowerLost()
        left = cut

        def tap(what, block, flash=flash, lost=lost):
            nonlocal left
            if left == 0:
                if torn is not None:
                    flash.tear(torn)
                raise lost
            left -= 1

        flash.tap = tap
        with pytest.raises(HostPowerLost) as caught:
            rewrite(filesystem, "/a", NEW)
        assert caught.value is lost
        at_the_cut = flash.image()
        flash.tap = None
        for path in ("/a", "/b"):  # code that runs while the stack unwinds changes nothing
            with pytest.raises(HostPowerLost):
                write(filesystem, path, b"late")
        assert flash.image() == at_the_cut
        content = read(after_power_loss(filesystem), "/a")
        assert content in (OLD, NEW)
        found.add(content)
    assert OLD in found


def test_a_failing_operation_is_an_error_of_that_call_only(filesystem):
    failed = OSError(5, "worn out")

    def tap(what: str, block: int) -> None:
        filesystem.flash.tap = None
        raise failed

    filesystem.flash.tap = tap
    with pytest.raises(OSError) as caught:
        write(filesystem, "/a", OLD)
    assert caught.value is failed
    write(filesystem, "/b", NEW)
    assert read(filesystem, "/b") == NEW


def test_a_cut_while_formatting_comes_out_of_the_boot():
    flash = HostFlash()

    def tap(what: str, block: int) -> None:
        raise HostPowerLost

    flash.tap = tap
    with pytest.raises(HostPowerLost):
        HostFilesystem(flash)
    flash.tap = None
    assert HostFilesystem(flash).fs_list("/") == []


def test_a_torn_program_operation_writes_its_first_bytes():
    flash = HostFlash(BLOCK_SIZE)
    flash.tap = lambda what, block: flash.tear(0.25)
    program(flash, 0, 256, b"\x11" * 64)
    assert flash.image()[256:320] == b"\x11" * 64
    flash = HostFlash(BLOCK_SIZE)

    def cut(what: str, block: int) -> None:
        flash.tear(0.25)
        raise HostPowerLost

    flash.tap = cut
    assert program(flash, 0, 256, b"\x11" * 64) < 0
    assert flash.image()[256:320] == b"\x11" * 16 + b"\xff" * 48


def test_a_torn_erase_clears_part_of_the_block():
    flash = HostFlash(BLOCK_SIZE)
    program(flash, 0, 0, bytes(BLOCK_SIZE))

    def cut(what: str, block: int) -> None:
        flash.tear()
        raise HostPowerLost

    flash.tap = cut
    assert erase(flash) < 0
    assert flash.image() == b"\xff" * (BLOCK_SIZE // 2) + bytes(BLOCK_SIZE // 2)


def test_programming_only_clears_bits_and_is_counted():
    flash = HostFlash(BLOCK_SIZE)
    program(flash, 0, 0, b"\xf0")
    program(flash, 0, 0, b"\x3c")
    assert flash.image()[0] == 0x30
    erase(flash)
    assert flash.image() == b"\xff" * BLOCK_SIZE
    assert (flash.progs, flash.erases) == (2, 1)


# Time.


def test_erasing_and_programming_take_their_time():
    clock = Clock()
    flash = HostFlash(BLOCK_SIZE, clock=clock)
    erase(flash)
    assert clock.now == BLOCK_ERASE == 45 * NS_PER_MS
    began = clock.now
    program(flash, 0, 0, bytes(1024))
    assert clock.now - began == 4 * PAGE_PROGRAM
    began = clock.now
    program(flash, 0, 1024 + 192, bytes(96))  # the end of one page and the start of the next
    assert clock.now - began == 2 * PAGE_PROGRAM
    began = clock.now
    assert flash.read(LFSConfig(flash), 0, 0, BLOCK_SIZE)
    assert clock.now == began


def test_what_ends_an_operation_tears_it_where_it_is():
    clock = Clock()
    flash = HostFlash(BLOCK_SIZE, clock=clock)
    program(flash, 0, 0, bytes(BLOCK_SIZE))
    began = clock.now
    clock.after(BLOCK_ERASE // 4, lost := Lost(flash))
    assert erase(flash) < 0
    assert clock.now - began == BLOCK_ERASE // 4
    assert lost.found_it_busy and not flash.busy
    assert flash.image() == b"\xff" * (BLOCK_SIZE // 4) + bytes(BLOCK_SIZE * 3 // 4)
    assert program(flash, 0, 0, bytes(4)) < 0  # without a supply
    assert isinstance(flash.failure(), HostPowerLost)
    flash.power_on()
    erase(flash)
    clock.after(PAGE_PROGRAM, Lost(flash))
    assert program(flash, 0, 0, bytes(1024)) < 0
    assert flash.image()[:1024] == bytes(256) + b"\xff" * 768


class Lost:
    """An alarm at which the supply fails."""

    def __init__(self, flash) -> None:
        self.flash = flash
        self.found_it_busy = False

    def __call__(self) -> None:
        self.found_it_busy = self.flash.busy
        raise HostPowerLost


def test_a_file_that_is_being_written_is_the_old_or_the_new_one_whenever_the_supply_fails():
    clock = Clock()
    flash = HostFlash(clock=clock)
    filesystem = HostFilesystem(flash)
    write(filesystem, "/a", OLD)
    blocks = flash.snapshot()
    began = clock.now
    replace(filesystem, "/a", NEW)
    takes = clock.now - began
    assert takes > BLOCK_ERASE
    found = set()
    for part in range(40):
        flash.restore(blocks)
        filesystem = HostFilesystem(flash)
        clock.after(takes * part // 40, Lost(flash))
        with pytest.raises(HostPowerLost):
            replace(filesystem, "/a", NEW)
        found.add(read(after_power_loss(filesystem), "/a"))
    assert OLD in found
    assert found <= {OLD, NEW}


def test_a_laptop_that_connects_waits_for_the_flash():
    clock = Clock()
    filesystem = HostFilesystem(HostFlash(clock=clock))

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    fd = filesystem.fs_open("/a", "wb")
    filesystem.fs_write(fd, NEW)
    clock.after(NS_PER_MS // 4, ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        filesystem.fs_close(fd)
    assert read(filesystem, "/a") == NEW


def test_a_restored_flash_shares_nothing_with_the_one_it_came_from(filesystem):
    write(filesystem, "/a", OLD)
    blocks = filesystem.flash.snapshot()
    copy = HostFlash()
    copy.restore(blocks)
    write(HostFilesystem(copy), "/a", NEW)
    write(filesystem, "/b", NEW)
    assert read(filesystem, "/a") == OLD
    assert [name for name, _, _ in HostFilesystem(copy).fs_list("/")] == ["a"]


# Boot.


def test_rp2_formats_whatever_it_cannot_mount():
    flash = HostFlash()
    for block in range(2):
        program(flash, block, 0, bytes(BLOCK_SIZE))
    assert HostFilesystem(flash).fs_list("/") == []


def test_esp32_formats_only_a_blank_flash():
    assert HostFilesystem(HostFlash(), prog_size=32, format=Format.BLANK).fs_list("/") == []
    flash = HostFlash()
    for block in range(2):
        program(flash, block, 0, bytes(BLOCK_SIZE))
    with pytest.raises(FilesystemCorrupted):
        HostFilesystem(flash, prog_size=32, format=Format.BLANK)


# The calls.


@pytest.mark.parametrize(
    ("number", "attempt"),
    [
        (2, lambda fs: fs.fs_open("/none", "r")),
        (2, lambda fs: fs.fs_open("/none/file", "w")),
        (2, lambda fs: fs.fs_stat("/none")),
        (2, lambda fs: fs.fs_remove("/none")),
        (2, lambda fs: fs.fs_rename("/none", "/x")),
        (9, lambda fs: fs.fs_read(77, 1)),
        (9, lambda fs: fs.fs_write(fs.fs_open("/file", "r"), b"x")),
        (17, lambda fs: fs.fs_mkdir("/file")),
        (17, lambda fs: fs.fs_open("/file", "x")),
        (20, lambda fs: fs.fs_open("/file/inner", "w")),
        (20, lambda fs: fs.fs_list("/file")),
        (21, lambda fs: fs.fs_open("/folder", "r")),
        (22, lambda fs: fs.fs_open("/file", "rw")),
        (28, lambda fs: write(fs, "/big", bytes(2_000_000))),
        (39, lambda fs: fs.fs_rmdir("/folder")),
    ],
)
def test_errors_have_micropythons_numbers(filesystem, number, attempt):
    write(filesystem, "/file", b"x")
    filesystem.fs_mkdir("/folder")
    write(filesystem, "/folder/inner", b"y")
    with pytest.raises(OSError) as caught:
        attempt(filesystem)
    assert caught.value.errno == number


def test_files_are_read_written_and_positioned(filesystem):
    fd = filesystem.fs_open("/a", "w+b")
    assert filesystem.fs_write(fd, b"0123456789") == 10
    assert filesystem.fs_seek(fd, 2, 0) == 2
    assert filesystem.fs_read(fd, 3) == b"234"
    assert filesystem.fs_seek(fd, -1, 2) == 9
    assert filesystem.fs_read(fd, 100) == b"9"
    assert filesystem.fs_read(fd, -1) == b""
    filesystem.fs_close(fd)
    assert filesystem.fs_stat("/a") == [0x8000, 10, 0]
    assert filesystem.fs_list("/") == [["a", 0x8000, 10]]
    assert filesystem.fs_statvfs("/")[:4] == [4096, 4096, 352, 350]


def test_every_call_of_the_seam_is_offered(filesystem):
    names = "open read write seek flush close stat list mkdir rmdir remove rename statvfs"
    assert set(filesystem.calls()) == {f"fs_{name}" for name in names.split()}
