"""Fuzzing runs the device code in CPython. Here MicroPython reads the same files, with the same
results."""

from __future__ import annotations

import random

import pytest

from stm32sim.in_process import Bench
from tests.fuzz import device_readers, mutation, targets
from tests.support import in_micropython

COUNT = 150  # files for each reader

# Reads every file in /in; `result` is what came of each: an error's code, or None.
CODE = """
import os
from stm32_updater import UpdaterError
{setup}

class Clock:
    feed = now = lambda *_: 0
    since = lambda *_: 0

result = []
for number in range({count}):
    path = "/in/%d" % number
    try:
        {read}
        result.append(None)
    except UpdaterError as error:
        result.append(error.code)
    except Exception as error:
        result.append("%s: %s" % (type(error).__name__, error))
"""
READERS = {
    "device-image": (
        "from stm32_updater.image import open_image",
        "open_image(path).check_digest(Clock())",
    ),
    "device-log": (
        "from stm32_updater.event_log import _last_number",
        "assert type(_last_number(path)) is int",
    ),
    "state": (
        "import os\nfrom stm32_updater.store import Store\nstore = Store('/updater')",
        "os.rename(path, '/updater/state.1'); store.load()",
    ),
}


def files(name: str) -> list[bytes]:
    target, choose = targets.ALL[name](), random.Random(name)
    seeds = target.seeds()
    changed = [mutation.mutated(choose.choice(seeds), choose) for _ in range(COUNT - len(seeds))]
    if name == "state":  # with the check that they should have
        changed = [target.checked(content[1:]) for content in changed]
    return [*seeds, *changed]


def in_cpython(content: bytes) -> str | None:
    """The result of the image reader for a file."""
    target = device_readers.DeviceImage()
    target.files.hold(app_img=content)
    try:
        target.image.open_image("/app.img").check_digest(device_readers.Clock)
    except target.error as error:
        return error.code  # type: ignore[attr-defined]
    return None


@pytest.mark.parametrize("name", READERS)
def test_micropython_bears_the_same_files(name):
    setup, read = READERS[name]
    bench = Bench()
    bench.files.fs_mkdir("/in")
    contents = files(name)
    for number, content in enumerate(contents):
        bench.write_file(f"/in/{number}", content)
    said = in_micropython(bench, CODE.format(setup=setup, read=read, count=COUNT))
    if name == "device-image":
        assert said == [in_cpython(content) for content in contents]
        assert None in said and "image-damaged" in said
    else:
        assert said == [None] * COUNT
