"""The record survives damage to files; the log has its events in order."""

from __future__ import annotations

import hashlib
import json

import pytest


@pytest.fixture
def modules(make_bench):
    """The device's store, event_log and clock modules, and its bench."""
    bench = make_bench()
    bench.files.fs_mkdir("/updater")
    return bench


def store_of(bench):
    return bench.device.imports("stm32_updater.store")


def record(store, **changes):
    fields = {"phase": "idle", "image": None, "installed": None, "failed": None}
    made = store.records.Record()
    for name, value in {**fields, "doubt": 0, **changes}.items():
        setattr(made, name, value)
    return made


def test_without_files_there_is_no_record(modules):
    assert store_of(modules).Store("/updater").load() is None


def test_a_record_comes_back_as_it_was_saved(modules):
    store = store_of(modules)
    first = store.Store("/updater")
    first.save(record(store, phase="installing", image="ab" * 32, doubt=(1 << 64) - 1, counter=7))
    modules.boot()
    found = store_of(modules).Store("/updater").load()
    assert (found.phase, found.image, found.doubt) == ("installing", "ab" * 32, (1 << 64) - 1)
    assert found.counter == 7


def test_the_newest_record_counts(modules):
    store = store_of(modules)
    keeper = store.Store("/updater")
    for number in range(5):
        keeper.save(record(store, doubt=number))
        assert store.Store("/updater").load().doubt == number


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone", "newer"])
def test_when_the_newest_is_damaged_the_one_before_counts(modules, damage):
    store = store_of(modules)
    keeper = store.Store("/updater")
    keeper.save(record(store, doubt=1))
    keeper.save(record(store, doubt=2))
    content = modules.read_file("/updater/state.0")
    if damage == "gone":
        modules.files.fs_remove("/updater/state.0")
    else:
        changed = {
            "cut": content[:-1],
            "flip": content[:30] + bytes([content[30] ^ 1]) + content[31:],
            "empty": b"",
            "newer": content.replace(b'"version": 4', b'"version": 5'),
        }[damage]
        assert changed != content
        modules.write_file("/updater/state.0", changed)
    assert store.Store("/updater").load().doubt == 1


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"number": "7"},
        {"number": -1},
        {"number": 2**32},
        {"number": True},
        {"phase": "asleep"},
        {"phase": None},
        {"image": 5},
        {"image": "ab"},
        {"image": "zz" * 32},
        {"installed": ["ab" * 32]},
        {"failed": ""},
        {"doubt": None},
        {"doubt": 3},
        {"doubt": ""},
        {"doubt": "-1"},
        {"doubt": "0x1"},
        {"counter": None},
        {"counter": 1.5},
        {"counter": -1},
        {"counter": 2**32},
        {"starts": "1"},
        *[{key: ...} for key in ("version", "number", "phase", "image", "doubt", "counter")],
    ],
    ids=str,
)
def test_a_record_with_a_right_checksum_and_a_field_that_makes_no_sense_is_none(modules, change):
    store = store_of(modules)
    store.Store("/updater").save(record(store))
    fields = json.loads(modules.read_file("/updater/state.1")[16:])
    for key, value in change.items():
        if value is ...:
            del fields[key]
        else:
            fields[key] = value
    write_checked(modules, json.dumps(fields))
    assert store.Store("/updater").load() is None


@pytest.mark.parametrize("text", ["", "null", "[]", "7", '"version"', "{", "{}", "[2]"])
def test_a_record_with_a_right_checksum_that_is_no_record_at_all_is_none(modules, text):
    write_checked(modules, text)
    assert store_of(modules).Store("/updater").load() is None


def test_a_record_of_another_version_does_not_outlive_the_first_of_this_one(modules):
    """Otherwise it would be the newest again when that version is back, with outdated doubts."""
    store = store_of(modules)
    keeper = store.Store("/updater")
    for _ in range(4):
        keeper.save(record(store))
    for name in ("state.0", "state.1"):
        fields = json.loads(modules.read_file(f"/updater/{name}")[16:])
        write_checked(modules, json.dumps({**fields, "version": 2}), name)
    modules.boot()
    store = store_of(modules)
    fresh = store.Store("/updater")
    assert fresh.load() is None
    fresh.save(record(store))
    assert not modules.exists("/updater/state.0")
    assert b'"version": 2' not in modules.read_file("/updater/state.1")


def write_checked(bench, text: str, name: str = "state.1") -> None:
    check = hashlib.sha256(text.encode()).hexdigest()[:16]
    bench.write_file(f"/updater/{name}", (check + text).encode())


def test_one_save_wears_the_host_by_few_operations(modules):
    store = store_of(modules)
    keeper = store.Store("/updater")
    keeper.save(record(store))
    erases, progs = modules.host_flash.erases, modules.host_flash.progs
    for number in range(100):
        keeper.save(record(store, doubt=number))
    assert modules.host_flash.erases - erases <= 100
    assert modules.host_flash.progs - progs <= 400


# --- the log ---


def log_of(bench):
    clock = bench.device.imports("stm32_rom.clock").Clock()
    return bench.device.imports("stm32_updater.event_log").EventLog("/updater", clock)


def lines(bench, name):
    if not bench.exists(name):
        return []
    return [json.loads(line) for line in bench.read_file(name).splitlines()]


def test_log_lines_are_numbered_on_over_restarts(modules):
    log_of(modules).write({"event": "one"})
    modules.boot()
    log_of(modules).write({"event": "two"})
    assert [(line["n"], line["event"]) for line in lines(modules, "/updater/log.0")] == [
        (0, "one"),
        (1, "two"),
    ]


def test_the_time_of_a_run_is_counted_from_its_beginning(make_bench):
    """Not since the Updater was created: ticks wrap around after 12 days."""
    bench = make_bench()
    updater = bench.updater()
    for _ in range(3):
        list(updater.events())
        bench.clock.advance(7 * 24 * 3600 * 10**9)
    assert all(0 <= line["t"] < 60_000 for line in lines(bench, "/updater/log.0"))


def test_each_line_is_there_although_power_is_lost_right_after(modules):
    log_of(modules).write({"event": "one"})
    modules.boot()  # drops whatever was not in flash
    assert lines(modules, "/updater/log.0")[0]["event"] == "one"


def test_a_line_cut_short_does_not_disturb_the_numbering(modules):
    log_of(modules).write({"event": "one"})
    modules.write_file("/updater/log.0", modules.read_file("/updater/log.0") + b'{"n": 1, "ev')
    log_of(modules).write({"event": "two"})
    assert b'"n": 1, "t"' in modules.read_file("/updater/log.0")


def test_the_log_stays_bounded_and_keeps_the_newest(modules):
    log = log_of(modules)
    for number in range(1000):
        log.write({"event": "something", "text": "x" * 40, "number": number})
    both = lines(modules, "/updater/log.0") + lines(modules, "/updater/log.1")
    newest = sorted(line["number"] for line in both)
    assert newest[-1] == 999 and newest == list(range(newest[0], 1000))
    for name in ("/updater/log.0", "/updater/log.1"):
        assert len(modules.read_file(name)) <= 16384


def test_a_full_filesystem_loses_log_lines_but_nothing_else(modules):
    log = log_of(modules)
    real = modules.world.file_calls["fs_open"]

    def full(path, mode):
        raise OSError(28)

    modules.world.file_calls["fs_open"] = full
    log.write({"event": "one"})
    modules.world.file_calls["fs_open"] = real
    assert log.lost == 1
