"""How deep the device code calls.

An rp2 has 8 KB of C stack, and MicroPython takes some 240 bytes of it for a function, or for a
generator that another one waits for; a file operation on littlefs takes 1.7 KB below its frame,
and an import within an import 0.9 KB. CPython and the WebAssembly port have far more, so there no
test would ever see an end of it.
"""

from __future__ import annotations

import functools
import gc
import sys
from types import CodeType, FrameType
from typing import Any

import pytest

from stm32sim.chip.application import known_images
from stm32sim.faults import KINDS, Fault, FaultyTarget
from stm32sim.in_process import Bench
from tests.support import image, known, over_uart, payload

pytestmark = pytest.mark.slow

OLD, DEAD = payload(2304, 1), payload(2304, 2)
# Of the product packages, from `run` on; a product calls that from two or three frames of its
# own.
DEEPEST = 19
FILE_OPERATION = 7  # frames' worth
PACKAGES = ("/stm32_rom/", "/stm32_updater/")
DEEPEST_IMPORT = 2  # modules of these packages, one importing the other


class Depth:
    """While it is entered it measures; `deepest` are the names of the frames, the first last;
    `imports`: how many modules were being imported at once."""

    def __init__(self) -> None:
        self.deepest: list[str] = []
        self.imports = 0
        self._bottom: FrameType | None = None

    def __enter__(self) -> Depth:
        gc.disable()  # or files of earlier tests are closed somewhere in here
        self._bottom = sys._getframe(1)
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()

    def _called(self, frame: FrameType | None, event: str, _: Any) -> None:
        if event != "call" or frame is None or not (kind := _kind(frame.f_code)):
            return
        names = [kind] * FILE_OPERATION if kind == FILE else []
        while frame is not None and frame is not self._bottom:
            if _kind(frame.f_code) == OURS:
                names.append(frame.f_code.co_name)
            frame = frame.f_back
        self.imports = max(self.imports, names.count("<module>"))
        if len(names) > len(self.deepest):
            self.deepest = names


OURS, FILE = "ours", "file operation"


@functools.cache
def _kind(code: CodeType) -> str:
    """Whether a function takes stack that is counted; "" if not."""
    if code.co_filename.endswith("shims/_files.py"):
        return FILE
    return OURS if any(package in code.co_filename for package in PACKAGES) else ""


def deepest(kind: str, at: int) -> list[str]:
    """Of an update that is rolled back, with a fault at a transaction of the way back."""
    bench = Bench(applications=known_images(known(OLD, "1.0.0"), known(DEAD, answers=False)))
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.push(image(DEAD, "1.1.0"))
    with Depth() as depth:
        for event in bench.updater().events():
            if event["event"] == "rolling-back":
                FaultyTarget(bench.world.bus, bench.target, Fault(kind, at))
    return depth.deepest


def test_modules_are_imported_one_after_the_other(make_bench) -> None:
    bench = make_bench()
    with Depth() as depth:
        bench.updater()
    assert 1 <= depth.imports <= DEEPEST_IMPORT


def test_a_file_operation_counts_for_what_it_takes() -> None:
    bench = Bench()
    with Depth() as depth:
        bench.updater().status()
    assert depth.deepest.count(FILE) == FILE_OPERATION


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_fails_on_the_way_back_the_stack_of_an_rp2_is_deep_enough(kind: str) -> None:
    for at in range(0, 240, 48):
        frames = deepest(kind, at)
        assert 12 < len(frames) <= DEEPEST, f"{at}: {' < '.join(frames)}"


@pytest.mark.parametrize("missing", [5, 61, 400])
def test_whatever_is_lost_over_uart_the_stack_of_an_rp2_is_deep_enough(missing: int) -> None:
    """Each byte of so many, on the way back."""
    applications = known_images(known(OLD, "1.0.0", blinks_ms=20), known(DEAD))
    bench = Bench(applications=applications, **over_uart())
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.push(image(DEAD, "1.1.0"))
    count = 0

    def distortion(byte: int) -> list[tuple[int, bool]]:
        nonlocal count
        count += 1
        return [(byte, False)] if count % missing else []

    with Depth() as depth:
        for event in bench.updater().events():
            if event["event"] == "rolling-back":
                bench.world.line.to_host.distortion = distortion
    assert 12 < len(depth.deepest) <= DEEPEST, " < ".join(depth.deepest)
