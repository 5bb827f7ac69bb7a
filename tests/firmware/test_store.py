"""The record survives damage to files; the log has its events in order."""

from __future__ import annotations

import hashlib
import itertools
import json

import pytest

DIGEST = b"\xab" * 32
LENGTH = 109  # bytes of a record after its check, with no page in doubt
STATES = ("/updater/state.0", "/updater/state.1")


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
    first.save(record(store, phase="installing", image=DIGEST, doubt=(1 << 64) - 1, counter=7))
    modules.boot()
    found = store_of(modules).Store("/updater").load()
    assert (found.phase, found.image, found.doubt) == ("installing", DIGEST, (1 << 64) - 1)
    assert found.counter == 7


def test_the_newest_record_counts(modules):
    store = store_of(modules)
    keeper = store.Store("/updater")
    for number in range(5):
        keeper.save(record(store, doubt=number))
        assert store.Store("/updater").load().doubt == number


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone", "longer"])
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
            "longer": content + b"\x01",
        }[damage]
        assert changed != content
        modules.write_file("/updater/state.0", changed)
    assert store.Store("/updater").load().doubt == 1


def with_right_check(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:8] + body


def test_every_record_comes_back(modules):
    records = modules.device.imports("stm32_updater.record")
    made = records.Record()
    made.image, made.installed, made.failed = None, DIGEST, bytes(31) + b"\x01"
    made.counter, made.again = 0xFFFFFFFF, 1
    doubts = [0, 1, 0xFF00, 1 << 63, (1 << 64) - 1, 1 << 255]
    for made.phase, made.tries, made.doubt in itertools.product(records.PHASES, [0, 105], doubts):
        number, read = records.from_bytes(made.to_bytes(0xFFFFFFFF))
        assert (number, vars(read)) == (0xFFFFFFFF, vars(made))


@pytest.mark.parametrize(
    "at, value",
    {
        "another version": (0, 4),
        "a version to come": (0, 6),
        "no such phase": (5, 5),
        "again neither 0 nor 1": (6, 2),
        "a zero byte at the end": (LENGTH, 0),
    }.values(),
    ids=str,
)
def test_a_record_with_a_right_check_and_a_field_that_makes_no_sense_is_none(modules, at, value):
    store = store_of(modules)
    store.Store("/updater").save(record(store))
    body = bytearray(modules.read_file("/updater/state.1")[8:])
    assert len(body) == LENGTH
    body[at : at + 1] = bytes([value])
    modules.write_file("/updater/state.1", with_right_check(bytes(body)))
    assert store.Store("/updater").load() is None


@pytest.mark.parametrize("length", [0, 1, LENGTH - 1, LENGTH + 65])
def test_a_record_with_a_right_check_and_a_wrong_length_is_none(modules, length):
    store = store_of(modules)
    store.Store("/updater").save(record(store))
    body = (modules.read_file("/updater/state.1")[8:] + b"\1" * 65)[:length]
    modules.write_file("/updater/state.1", with_right_check(body))
    assert store.Store("/updater").load() is None


def test_the_record_of_every_chip_holds_all_of_its_pages(modules):
    """And that of the small ones stays in littlefs' folder, in which an esp32 has room for files
    of 128 bytes."""
    chips = modules.device.imports("stm32_rom.chips")
    records = modules.device.imports("stm32_updater.record")
    errors = modules.device.imports("stm32_rom.errors")
    tried = 0
    for row in chips._families().SUPPORTED:
        for part in row.split()[1].split(","):
            for letter in chips.SIZE_LETTERS:
                try:
                    chip = chips.by_name(f"STM32{part}R{letter}")
                except errors.UnknownChip:
                    continue  # no part of the family is so large
                tried += 1
                made = records.Record()
                made.doubt = (1 << chip.pages) - 1
                content = made.to_bytes(1)
                assert records.from_bytes(content)[1].doubt == made.doubt
                assert len(content) <= 128 or chip.flash_size > 128 * 1024
    assert tried > 200


def of_version_4(content: bytes) -> bytes:
    text = '{"version": 4, "number": 9, "phase": "idle", "doubt": "0"}'
    return (hashlib.sha256(text.encode()).hexdigest()[:16] + text).encode()


@pytest.mark.parametrize(
    "other_version",
    [of_version_4, lambda content: with_right_check(b"\6" + content[9:])],
    ids=["4", "6"],
)
def test_a_record_of_another_version_does_not_outlive_the_first_of_this_one(
    modules, other_version
):
    """Otherwise it would be the newest again when that version is back, with outdated doubts."""
    keeper = store_of(modules).Store("/updater")
    for _ in range(4):
        keeper.save(record(store_of(modules)))
    for name in STATES:
        modules.write_file(name, other_version(modules.read_file(name)))
    modules.boot()
    store = store_of(modules)
    fresh = store.Store("/updater")
    assert fresh.load() is None
    fresh.save(record(store))
    assert not modules.exists("/updater/state.0")
    assert modules.read_file("/updater/state.1")[8] == 5 and fresh.load()


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
