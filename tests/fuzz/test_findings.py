"""Files that once caused something other than a result or an error of our own, kept as regression
tests."""

from __future__ import annotations

import json

import pytest

from stm32sim.chip.application import known_images
from stm32sim.in_process import Bench
from tests.fuzz import desktop_readers, device_readers, targets
from tests.support import image, known, payload


def board(**changes: object) -> bytes:
    """board.json with other values: confirm__tries=5 is "tries" in "confirm"."""
    settings = json.loads(device_readers.BoardJson.seeds()[0])
    for name, value in changes.items():
        table, _, key = name.rpartition("__")
        (settings[table] if table else settings)[key] = value
    return json.dumps(settings).encode()


def board_toml(chip: str) -> bytes:
    return desktop_readers.BoardToml.seeds()[0].replace(b"STM32G071RB", chip.encode())


def nested(depth: int) -> bytes:
    return b"[" * depth


MENDED = [
    ("desktop-log", b'{"n": 1, "x": NaN}\n'),  # came out as a line that is not JSON
    ("desktop-log", b'{"n": 1, "x": 1e999}\n'),
    ("desktop-log", b'{"n": true}\n{"n": 7}\n'),  # true is 1 for Python
    ("desktop-log", nested(16_000)),  # Python's json recurses
    ("device-log", b'{"n": 1e999}\n'),  # OverflowError, in MicroPython too
    ("board-json", board(unsigned="no")),  # any text but "" lets unsigned images in
    ("board-json", board(class_id="zz")),  # ValueError
    ("board-json", board(class_id="abcd")),  # no image would ever suit
    ("board-json", board(preserve=[[1]])),  # ValueError
    ("board-json", board(preserve=[["a", "b"]])),  # TypeError, once an image is looked at
    ("board-json", board(chip=5)),  # AttributeError
    ("board-json", board(enter=5)),  # AttributeError
    ("board-json", board(enter__command="zz")),  # ValueError
    ("board-json", board(i2c__freq=0)),  # ZeroDivisionError
    ("board-json", board(i2c__id=7)),  # ValueError of machine.I2C
    ("board-json", board(pins__nrst=99)),  # ValueError of machine.Pin
    ("board-json", board(confirm__tries="x")),  # TypeError, once an application is started
    ("board-toml", board_toml("STM32G071RB=")),  # the desktop took it, the device did not
    ("state", b"\2"),  # the whole file is read, however long it is
]


@pytest.mark.parametrize(("name", "content"), MENDED)
def test_a_mended_finding_stays_mended(name, content):
    targets.ALL[name]()(content)


def test_what_is_no_file_in_the_inbox_does_not_stop_every_update():
    bench = Bench(applications=known_images(known(payload(3000))))
    bench.updater()  # makes its folders
    bench.files.fs_mkdir("/updater/inbox/a.img")
    assert bench.install(image(payload(3000)))["status"] == "installed"
    (result,) = bench.run()  # a folder is no image, and is left where it is
    assert result["status"] == "idle" and bench.exists("/updater/inbox/a.img")


def test_a_log_with_an_odd_number_does_not_stop_every_update():
    bench = Bench(applications=known_images(known(payload(3000))))
    bench.updater()
    bench.write_file("/updater/log.0", b'{"n": 1e999}\n')
    assert bench.install(image(payload(3000)))["status"] == "installed"
