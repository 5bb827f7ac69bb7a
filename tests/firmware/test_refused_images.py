"""An image that must not be installed is refused by name, before the target notices anything."""

from __future__ import annotations

import struct

import pytest

from stm32sim.application import known_images
from stm32sim.chip import Running
from tests.support import FLASH, RAM_END, image, known, payload

RUNNING = payload(3000, 5)
GOOD = payload(4000, 6)


@pytest.fixture
def bench(make_bench):
    """A target whose application runs, and a host that knows it."""
    bench = make_bench(applications=known_images(known(RUNNING), known(GOOD, "1.1.0")))
    assert bench.install(image(RUNNING))["ok"]
    bench.trace = type(bench.trace)()
    bench.world.bus.tap = bench.trace.tap
    return bench


def refuse(bench, content: bytes) -> dict:
    """The result of pushing `content`; asserts that the target saw nothing of it."""
    boots = len(bench.target.boots)
    before = bytes(bench.target.flash.data)
    result = bench.install(content)
    assert not result["ok"] and result["message"] and result["next_step"]
    assert "\n" not in result["message"]
    assert len(bench.trace) == 0, "the bus was used"
    assert len(bench.target.boots) == boots and bench.target.running is Running.APPLICATION
    assert bytes(bench.target.flash.data) == before
    assert not bench.exists("/updater/inbox/app.img")
    return result


def test_truncated_anywhere(bench):
    whole = image(GOOD, "1.1.0")
    for length in [*range(64), *range(500, 530), 2000, *range(len(whole) - 80, len(whole))]:
        assert refuse(bench, whole[:length])["error"] == "image-damaged", length


def test_followed_by_something(bench):
    assert refuse(bench, image(GOOD, "1.1.0") + b"x")["error"] == "image-damaged"


def test_one_flipped_bit_anywhere(bench):
    whole = bytearray(image(GOOD, "1.1.0"))
    for at in [*range(36), 512, 513, 3000, *range(4512, len(whole))]:
        whole[at] ^= 4
        assert refuse(bench, bytes(whole))["error"].startswith("image"), at
        whole[at] ^= 4


def test_no_image_at_all(bench):
    assert refuse(bench, b"hello " * 1000)["error"] == "image-damaged"


def test_for_another_chip(bench):
    result = refuse(bench, image(GOOD, "1.1.0", chip="STM32G031K8"))
    assert result["error"] == "image-chip" and "0x466" in result["message"]


def test_larger_than_the_flash(bench):
    large = image(payload(200 * 1024, 7), "1.1.0", chip="STM32G491RE")
    small = image(payload(200 * 1024, 7), "1.1.0", chip="STM32G491RE")
    assert refuse(bench, large)["error"] == "image-chip"
    retargeted = retarget(small)
    assert refuse(bench, retargeted)["error"] == "image-fit"


def retarget(content: bytes) -> bytes:
    """Make a G491 image claim to be for G071, with the digest made right."""
    import hashlib

    data = bytearray(content)
    at = data.find(struct.pack("<HHH", 0xA0, 2, 0x479))
    data[at + 4 : at + 6] = struct.pack("<H", 0x460)
    digest = data.find(struct.pack("<HH", 0x10, 32))
    data[digest + 4 : digest + 36] = hashlib.sha256(data[: digest - 4]).digest()
    return bytes(data)


def test_covering_a_preserved_region(make_bench):
    bench = make_bench(settings={"preserve": [[FLASH + 2048, 2048]]})
    result = bench.install(image(GOOD))
    assert result["error"] == "image-fit" and "0x08000800" in result["message"]
    assert len(bench.trace) <= 3  # it was asked whether an application answers; no more


def test_a_preserved_region_in_the_last_page_counts_as_a_whole(make_bench):
    bench = make_bench(settings={"preserve": [[FLASH + 2048, 2048]]})
    assert bench.install(image(payload(2056, 1)))["error"] == "image-fit"


def test_next_to_a_preserved_region_is_fine(make_bench):
    bench = make_bench(
        applications=known_images(known(GOOD)), settings={"preserve": [[FLASH + 4096, 2048]]}
    )
    bench.target.flash.load(b"calibration data", 4096)
    assert bench.install(image(GOOD))["ok"]
    assert bytes(bench.target.flash.data[4096:][:16]) == b"calibration data"


def test_for_another_product(make_bench):
    bench = make_bench(settings={"class_id": "00" * 16})
    assert bench.install(image(GOOD, product="kettle"))["error"] == "image-product"


def test_for_no_product_where_the_board_names_one(make_bench):
    bench = make_bench(settings={"class_id": "00" * 16})
    assert bench.install(image(GOOD))["error"] == "image-product"


def test_unsigned_where_the_board_wants_signatures(make_bench):
    bench = make_bench(settings={"unsigned": False})
    assert bench.install(image(GOOD))["error"] == "image-unsigned"


@pytest.mark.parametrize(
    ("stack", "reset"),
    [
        (0xFFFF_FFFF, FLASH + 0xC1),
        (0x2000_0000, FLASH + 0xC1),
        (RAM_END + 8, FLASH + 0xC1),
        (RAM_END - 2, FLASH + 0xC1),
        (RAM_END, FLASH + 0xC0),
        (RAM_END, FLASH + 100_001),
        (RAM_END, 0x0000_00C1),
        (RAM_END, 0xFFFF_FFFF),
    ],
)
def test_with_vectors_that_cannot_work(bench, stack, reset):
    content = struct.pack("<II", stack, reset) + GOOD[8:]
    assert refuse(bench, image(content, "1.1.0"))["error"] == "image-fit"


def test_a_refused_image_does_not_stand_in_the_way_of_a_good_one(bench):
    bench.push(b"rubbish", "a")
    bench.push(image(GOOD, "1.1.0"), "b")
    events = bench.run()
    assert [event["event"] for event in events][:2] == ["refused", "installing"]
    assert events[-1]["ok"] and bench.flash_holds(GOOD)
