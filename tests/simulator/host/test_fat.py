"""The model of FAT: what a loss of power leaves, and what VfsFat refuses."""

from __future__ import annotations

import pytest

from stm32sim.host.fat import FatFilesystem
from stm32sim.host.seam import HostPowerLost
from stm32sim.wires.clock import NS_PER_MS, Clock

FULL = 28


def write(fat: FatFilesystem, path: str, data: bytes, mode: str = "w") -> None:
    handle = fat.fs_open(path, mode)
    fat.fs_write(handle, data)
    fat.fs_close(handle)


def read(fat: FatFilesystem, path: str) -> bytes:
    handle = fat.fs_open(path, "r")
    data = fat.fs_read(handle, -1)
    fat.fs_close(handle)
    return data


def free(fat: FatFilesystem) -> int:
    return fat.fs_statvfs("/")[3]


def names(fat: FatFilesystem, folder: str = "/") -> set[str]:
    return {name for name, _, _ in fat.fs_list(folder)}


def cut(fat: FatFilesystem, step: int, torn: float | None = None) -> None:
    """Lose the supply at the sector with this number (from 1) from now on."""
    due = fat.progs + step - 1

    def tap(what: str, number: int) -> None:
        if number == due:
            if torn is not None:
                fat.tear(torn)
            raise HostPowerLost

    fat.tap = tap


def back(fat: FatFilesystem) -> FatFilesystem:
    fat.tap = None
    fat.power_loss()
    fat.mount()
    return fat


def refused(errno: int):
    return pytest.raises(OSError, match=f"Errno {errno}]")


# Cuts.


def test_rewriting_a_file_leaves_it_empty_at_nearly_every_cut():
    found = []
    for step in range(1, 8):
        fat = FatFilesystem()
        write(fat, "/a", b"old" * 400)
        cut(fat, step)
        with pytest.raises(HostPowerLost):
            write(fat, "/a", b"new" * 500)
        found.append(len(read(back(fat), "/a")))
    assert found == [1200] + 6 * [0]


@pytest.mark.parametrize(("torn", "found"), [(0.2, {"a"}), (0.8, {"a", "b"})])
def test_a_torn_folder_is_the_old_or_the_new_one_where_sectors_are_atomic(torn, found):
    fat = FatFilesystem()
    write(fat, "/a", b"kept")
    cut(fat, 1, torn)
    with pytest.raises(HostPowerLost):
        fat.fs_open("/b", "w")
    assert names(back(fat)) == found
    assert read(fat, "/a") == b"kept"


def test_a_torn_folder_of_raw_flash_loses_its_files():
    fat = FatFilesystem(sectors_atomic=False)
    write(fat, "/other", b"kept")
    fat.fs_mkdir("/d")
    fat.fs_mkdir("/d/inner")
    write(fat, "/d/a", b"lost")
    write(fat, "/d/inner/b", b"lost")
    cut(fat, 1, 0.5)
    with pytest.raises(HostPowerLost):
        fat.fs_remove("/d/a")
    assert names(back(fat)) == {"d", "other"}
    assert names(fat, "/d") == set()


def test_a_torn_sector_of_data_on_raw_flash_loses_what_it_held():
    fat = FatFilesystem(sectors_atomic=False)
    write(fat, "/log", b"x" * 700)
    cut(fat, 1, 0.5)
    with pytest.raises(HostPowerLost):
        write(fat, "/log", b"y" * 10, "a")
    assert read(back(fat), "/log") == b"x" * 512 + b"\xff" * 188


def test_a_torn_allocation_table_of_raw_flash_loses_all_files():
    fat = FatFilesystem(sectors_atomic=False)
    write(fat, "/a", b"lost")
    cut(fat, 3, 0.5)  # after the new entry and the sector of data
    with pytest.raises(HostPowerLost):
        write(fat, "/b", b"b")
    assert names(back(fat)) == set()


def test_clusters_in_use_by_no_file_are_lost_to_the_volume():
    fat = FatFilesystem()
    write(fat, "/a", bytes(1024))
    before = free(fat)
    cut(fat, 2)  # the folder's sector has been written, the table has not
    with pytest.raises(HostPowerLost):
        fat.fs_remove("/a")
    assert names(back(fat)) == set()
    assert free(fat) == before


def test_a_cut_between_two_folders_leaves_a_renamed_file_in_both():
    fat = FatFilesystem()
    fat.fs_mkdir("/d")
    write(fat, "/d/a", b"moved")
    cut(fat, 2)
    with pytest.raises(HostPowerLost):
        fat.fs_rename("/d/a", "/b")
    assert read(back(fat), "/b") == read(fat, "/d/a") == b"moved"


def test_a_sector_takes_its_time_and_an_alarm_tears_it():
    clock = Clock()
    fat = FatFilesystem(clock)
    write(fat, "/a", b"kept")
    assert clock.now == 4 * 5 * NS_PER_MS  # entry, data, table, entry

    def lost() -> None:
        assert fat.busy
        raise HostPowerLost

    for after, found in ((1, {"a"}), (4, {"a", "b"})):
        clock.after(after * NS_PER_MS, lost)
        with pytest.raises(HostPowerLost):
            fat.fs_open("/b", "w")
        assert names(back(fat)) == found


def test_a_keyboard_interrupt_comes_out_after_the_call():
    clock = Clock()
    fat = FatFilesystem(clock)
    calls = fat.calls()

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    handle = calls["fs_open"]("/a", "w")
    calls["fs_write"](handle, b"whole")
    clock.after(NS_PER_MS, ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        calls["fs_close"](handle)
    assert read(fat, "/a") == b"whole"


# Room.


def test_a_full_volume_takes_as_much_as_there_is_room_for():
    fat = FatFilesystem(clusters=4)
    write(fat, "/a", bytes(512))
    handle = fat.fs_open("/b", "w")
    with refused(FULL):
        fat.fs_write(handle, bytes(4 * 512))
    fat.fs_close(handle)
    assert (fat.fs_stat("/b")[1], free(fat)) == (3 * 512, 0)
    with refused(FULL):
        write(fat, "/c", b"x")
    with refused(13):
        fat.fs_mkdir("/d")
    fat.fs_remove("/b")
    assert free(fat) == 3
    write(fat, "/c", bytes(3 * 512))


def test_what_is_free_follows_every_change():
    fat = FatFilesystem(clusters=10)
    fat.fs_mkdir("/d")
    assert free(fat) == 9
    write(fat, "/d/a", bytes(513))
    assert free(fat) == 7
    write(fat, "/d/a", bytes(1000), "a")
    assert free(fat) == 6
    write(fat, "/d/a", b"short")
    assert free(fat) == 8
    fat.fs_rename("/d/a", "/b")
    assert free(fat) == 8
    fat.fs_remove("/b")
    fat.fs_rmdir("/d")
    assert free(fat) == 10


# What VfsFat refuses.


def test_a_folder_that_is_not_empty_stays():
    fat = FatFilesystem()
    fat.fs_mkdir("/d")
    write(fat, "/d/x", b"")
    with refused(13):
        fat.fs_rmdir("/d")
    assert names(fat, "/d") == {"x"}


def test_nothing_is_made_in_a_folder_that_is_not_there():
    fat = FatFilesystem()
    write(fat, "/a", b"")
    with refused(2):
        fat.fs_mkdir("/d/e")
    with refused(2):
        fat.fs_open("/d/x", "w")
    with refused(2):
        fat.fs_rename("/a", "/d/a")
    with refused(2):
        fat.fs_list("/d")
    assert names(fat) == {"a"}


def test_files_and_folders_are_not_taken_for_each_other():
    fat = FatFilesystem()
    fat.fs_mkdir("/d")
    write(fat, "/a", b"")
    for errno, function, args in (
        (21, fat.fs_remove, ["/d"]),
        (20, fat.fs_rmdir, ["/a"]),
        (13, fat.fs_open, ["/d", "w"]),
        (2, fat.fs_open, ["/d", "r"]),
        (21, fat.fs_rename, ["/a", "/d"]),
        (17, fat.fs_mkdir, ["/a"]),
        (17, fat.fs_open, ["/a", "x"]),
    ):
        with refused(errno):
            function(*args)


@pytest.mark.parametrize("leave", ["rename", "remove"])
def test_a_file_renamed_or_removed_while_it_is_open_does_not_come_back(leave):
    fat = FatFilesystem()
    handle = fat.fs_open("/a", "w")
    fat.fs_write(handle, b"late")
    if leave == "rename":
        fat.fs_rename("/a", "/b")
    else:
        fat.fs_remove("/a")
    fat.fs_close(handle)
    assert names(fat) == ({"b"} if leave == "rename" else set())
    if leave == "rename":
        assert read(fat, "/b") == b""
