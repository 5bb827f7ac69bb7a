"""An image that must not be installed is refused by name before the target is touched."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator

import pytest

from stm32sim.chip.application import known_images
from stm32sim.chip.stm32 import Running
from stm32sim.host.speed import SPEEDS
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS
from stm32up.image import image_format, images, keys
from tests.support import (
    FLASH,
    RAM_END,
    image,
    known,
    payload,
    rehashed,
    signing_key,
    trust,
)

RUNNING = payload(3000, 5)
GOOD = payload(4000, 6)


@pytest.fixture
def bench(make_bench):
    """A target with a running application, and a host with its record."""
    bench = make_bench(applications=known_images(known(RUNNING), known(GOOD, "1.1.0")))
    assert bench.install(image(RUNNING))["ok"]
    bench.trace = type(bench.trace)()
    bench.world.bus.tap = bench.trace.tap
    return bench


def refuse(bench, content: bytes) -> dict:
    """The result of pushing `content`; asserts that the target saw nothing of it."""
    boots = len(bench.target.boots)
    before = bytes(bench.target.flash.data)
    levels = set()
    bench.target.nrst = lambda high: levels.add(("NRST", high))
    bench.target.boot0 = lambda high: levels.add(("BOOT0", high))
    result = bench.install(content)
    del bench.target.nrst, bench.target.boot0
    assert levels <= {("NRST", True), ("BOOT0", False)}
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
    assert f"{length} of {len(whole)} bytes" in refuse(bench, whole[:length])["message"]


def test_followed_by_something(bench):
    assert refuse(bench, image(GOOD, "1.1.0") + b"x")["error"] == "image-damaged"


def test_one_flipped_bit_anywhere(bench):
    whole = bytearray(image(GOOD, "1.1.0"))
    for at in [*range(36), 512, 513, 3000, *range(4512, len(whole))]:
        whole[at] ^= 4
        assert refuse(bench, bytes(whole))["error"].startswith("image"), at
        whole[at] ^= 4


@pytest.mark.parametrize("flag", [0x04, 0x08, 0x10, 0x20, 0x200, 0x400], ids=hex)
def test_a_flag_that_asks_for_what_this_updater_does_not_do(bench, flag):
    """Encrypted, compressed, to be run from RAM, ..."""
    content = bytearray(image(GOOD, "1.1.0"))
    flags = struct.unpack_from("<I", content, 16)[0]
    struct.pack_into("<I", content, 16, flags | flag)
    refuse(bench, rehashed(bytes(content)))


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


def test_starting_elsewhere_than_flash_does(bench):
    """For example behind a user's boot loader: the code that starts would stay, while the pages
    that it jumps to are changed."""
    content = bytearray(payload(3000, 1))
    content[4:8] = struct.pack("<I", FLASH + 0x4000 + 0xC1)
    result = refuse(bench, image(bytes(content), "1.1.0", address=FLASH + 0x4000))
    assert result["error"] == "image-fit" and "0x08004000" in result["message"]


def retarget(content: bytes) -> bytes:
    """Make a G491 image claim to be for G071, with a corrected digest."""
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
    assert len(bench.trace) <= 3  # it was only asked whether an application answers


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
        (RAM_END, FLASH + 0x3D),  # the last of the core's 16 vectors
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
    assert [event["event"] for event in events][:2] == ["refused", "checked"]
    assert events[-1]["ok"] and bench.flash_holds(GOOD)


def test_an_older_image_beside_a_good_one_is_removed_and_named(bench):
    bench.push(image(GOOD, "1.1.0"), "newer")
    bench.push(image(GOOD, "1.0.9"), "older")
    (event,) = [event for event in bench.run() if event["event"] == "superseded"]
    assert event == {
        "event": "superseded",
        "image": "/updater/inbox/older.img",
        "version": "1.0.9",
    }
    assert not bench.exists("/updater/inbox/older.img")


# --- signed images for a product ---

PRODUCT = "kettle"
KEY, OTHER_KEY, LARGE_KEY = (
    functools.partial(signing_key, *which) for which in ((2048,), (2048, 1), (3072,))
)


@pytest.fixture
def product() -> Bench:
    """A product: accepts only its own images, signed by one of two keys. 1.0.0 is installed."""
    settings = {"unsigned": False, "class_id": images.class_id(PRODUCT).hex}
    applications = known_images(known(RUNNING), known(GOOD, "1.1.0"))
    bench = Bench(settings=settings, applications=applications)
    trust(bench, KEY(), LARGE_KEY())
    assert bench.install(signed(RUNNING, "1.0.0"))["ok"]
    bench.trace = type(bench.trace)()
    bench.world.bus.tap = bench.trace.tap
    return bench


def signed(content: bytes = GOOD, version: str = "1.1.0", **changes) -> bytes:
    return image(content, version, **{"key": KEY(), "product": PRODUCT, **changes})


def end_of_signed_part(content: bytes) -> int:
    return len(image_format.parse(content).signed_part)


def with_tlvs(content: bytes, *tlvs: tuple[int, bytes]) -> bytes:
    """The image with other TLVs outside its protected part."""
    area = b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in tlvs)
    info = struct.pack("<HH", image_format.OTHER_MAGIC, len(area) + 4)
    return content[: end_of_signed_part(content)] + info + area


def with_stray_bytes(content: bytes) -> bytes:
    """The image with two more bytes at the end of its last TLV area."""
    at = end_of_signed_part(content) + 2
    length = struct.unpack_from("<H", content, at)[0] + 2
    return content[:at] + struct.pack("<H", length) + content[at + 2 :] + b"xx"


def others(content: bytes) -> list[tuple[int, bytes]]:
    """Its TLVs outside the protected part: digest, key hash, signature."""
    tlvs = image_format.parse(content).tlvs
    return [(tlv.type, tlv.value) for tlv in tlvs if not tlv.protected]


def moved_into_protected_part(content: bytes, kind: int) -> bytes:
    """The image with one of its TLVs among the protected ones."""
    (value,) = [value for found, value in others(content) if found == kind]
    size = struct.unpack_from("<H", content, 10)[0] + 4 + len(value)
    end = end_of_signed_part(content)
    start = end - struct.unpack_from("<H", content, 10)[0]
    area = content[start + 4 : end] + struct.pack("<HH", kind, len(value)) + value
    info = struct.pack("<HH", image_format.PROTECTED_MAGIC, size)
    head = content[:10] + struct.pack("<H", size) + content[12:start]
    kept = [tlv for tlv in others(content) if tlv[0] != kind]
    moved = with_tlvs(head + info + area + content[end:], *kept)
    return moved if kind == image_format.SHA256 else rehashed(moved)


def signature_of(content: bytes) -> tuple[int, bytes]:
    return next(tlv for tlv in others(content) if tlv[0] in image_format.SIGNATURES)


def with_signature(content: bytes, signature: tuple[int, bytes]) -> bytes:
    kept = [tlv for tlv in others(content) if tlv[0] not in image_format.SIGNATURES]
    return with_tlvs(content, *kept, signature)


def changed(content: bytes, at: int) -> bytes:
    """One bit is changed, and the digest is corrected."""
    data = bytearray(content)
    data[at] ^= 1
    return rehashed(bytes(data))


@pytest.mark.parametrize("key", [KEY, LARGE_KEY], ids=["2048", "3072"])
def test_a_signed_image_is_installed(product, key):
    product.push(signed(key=key()))
    events = product.run()
    assert events[0]["event"] == "checked"
    assert events[0]["key"] + ".pub" == keys.device_key(key()).name
    assert events[-1]["ok"] and product.flash_holds(GOOD)


@pytest.mark.parametrize(
    ("key", "bits", "size"), [(KEY, 2048, 4000), (KEY, 2048, 100_000), (LARGE_KEY, 3072, 4000)]
)
def test_the_times_of_hashing_and_of_rsa_are_told(make_bench, host, key, bits, size):
    """One grows with the image, the other with the key. Python and files add to both."""
    content = payload(size)
    bench = make_bench(applications=known_images(known(content)), settings={"unsigned": False})
    trust(bench, key())
    result = bench.install(image(content, key=key()))
    speed = SPEEDS[host]
    multiplications = 17  # of the exponent 65537
    hash_ms = size * speed.sha256_byte / NS_PER_MS
    signature_ms = speed.power(bits, multiplications) / NS_PER_MS
    assert hash_ms <= result["hash_ms"] <= 1.3 * hash_ms + 40
    assert signature_ms <= result["signature_ms"] <= signature_ms + 30


WRONG: dict[str, tuple[str, Callable[[], bytes]]] = {
    "not signed": ("image-unsigned", lambda: signed(key=None)),
    "signed with an unknown key": ("image-key", lambda: signed(key=OTHER_KEY())),
    "signed with an unknown key that claims to be known": (
        "image-signature",
        lambda: with_tlvs(
            signed(key=OTHER_KEY()),
            *[tlv for tlv in others(signed(key=OTHER_KEY())) if tlv[0] != image_format.KEYHASH],
            (image_format.KEYHASH, keys.key_hash(KEY())),
        ),
    ),
    "signed with a known key that claims to be the other": (
        "image-signature",
        lambda: with_tlvs(
            signed(),
            *[tlv for tlv in others(signed()) if tlv[0] != image_format.KEYHASH],
            (image_format.KEYHASH, keys.key_hash(LARGE_KEY())),
        ),
    ),
    "with the signature of another image": (
        "image-signature",
        lambda: with_signature(signed(), signature_of(signed(RUNNING, "1.0.0"))),
    ),
    "with a flipped bit in its signature": (
        "image-signature",
        lambda: signed()[:-100] + bytes([signed()[-100] ^ 1]) + signed()[-99:],
    ),
    "with a changed payload": ("image-signature", lambda: changed(signed(), 0x200 + 1000)),
    "with a changed payload and the old digest": (
        "image-damaged",
        lambda: signed()[:2000] + bytes([signed()[2000] ^ 1]) + signed()[2001:],
    ),
    "with a changed version": ("image-signature", lambda: changed(signed(), 22)),
    "with a changed padding of the header": ("image-signature", lambda: changed(signed(), 300)),
    "with a raised security counter": (
        "image-signature",
        lambda: changed(signed(), signed().index(struct.pack("<HH", 0x50, 4)) + 4),
    ),
    "for another product": ("image-product", lambda: signed(product="toaster")),
    "for no product": ("image-product", lambda: signed(product=None)),
    "for another chip": ("image-chip", lambda: signed(chip="STM32G031K8")),
    "older": ("image-older", lambda: signed(RUNNING, "0.9.0")),
    "older by its counter": ("image-older", lambda: signed(counter=(1 << 24) - 1)),
    "with two signatures": (
        "image-damaged",
        lambda: with_tlvs(signed(), *others(signed()), signature_of(signed(key=LARGE_KEY()))),
    ),
    "with one signature twice": (
        "image-damaged",
        lambda: with_tlvs(signed(), *others(signed()), signature_of(signed())),
    ),
    "with a signature that names no key": (
        "image-damaged",
        lambda: with_tlvs(
            signed(), *[tlv for tlv in others(signed()) if tlv[0] != image_format.KEYHASH]
        ),
    ),
    "with a short signature": (
        "image-damaged",
        lambda: with_signature(signed(), (image_format.RSA2048, bytes(255))),
    ),
    "with a class id that nobody signed": (
        "image-damaged",
        lambda: with_tlvs(
            signed(product=None),
            *others(signed(product=None)),
            (image_format.CLASS_ID, images.class_id(PRODUCT).bytes),
        ),
    ),
    "with an unknown TLV that nobody signed": (
        "image-damaged",
        lambda: with_tlvs(signed(), *others(signed()), (0x3333, b"x")),
    ),
    "with two bytes that are no TLV": (
        "image-damaged",
        lambda: with_stray_bytes(signed()),
    ),
    "with its digest in the protected part": (
        "image-damaged",
        lambda: moved_into_protected_part(signed(), image_format.SHA256),
    ),
    "with its key hash in the protected part": (
        "image-damaged",
        lambda: moved_into_protected_part(signed(), image_format.KEYHASH),
    ),
    "with its signature in the protected part": (
        "image-damaged",
        lambda: moved_into_protected_part(signed(), image_format.RSA2048),
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_image_that_is_wrong_in_one_way(product, what):
    error, make = WRONG[what]
    result = refuse(product, make())
    assert result["error"] == error, result


@pytest.mark.slow
def test_a_signed_image_cut_at_every_byte_of_header_and_tlvs(product):
    whole = signed()
    payload_end = 512 + len(GOOD)
    for length in [*range(512), *range(payload_end, len(whole))]:
        assert refuse(product, whole[:length])["error"] == "image-damaged", length


def flips(whole: bytearray) -> Iterator[int]:
    yield from range(32)
    yield from range(512 + len(GOOD), len(whole), 3)


def test_a_signed_image_with_one_flipped_bit_in_header_or_tlvs(product):
    whole = bytearray(signed())
    for at in flips(whole):
        whole[at] ^= 1
        assert refuse(product, bytes(whole))["error"].startswith("image"), at
        whole[at] ^= 1


def test_an_unknown_key_is_named_beside_those_that_are_known(product):
    message = refuse(product, signed(key=OTHER_KEY()))["message"]
    for key in (KEY(), OTHER_KEY(), LARGE_KEY()):
        assert keys.device_key(key).name.removesuffix(".pub") in message


# --- signatures where the board asks for none ---


@pytest.fixture
def lenient() -> Bench:
    """Unsigned images are allowed, and a key is known."""
    bench = Bench(applications=known_images(known(GOOD, "1.1.0")))
    trust(bench, KEY())
    return bench


@pytest.mark.parametrize("key", [None, KEY, OTHER_KEY], ids=["none", "known", "unknown"])
def test_where_unsigned_images_are_allowed_a_signature_by_anyone_does_no_harm(lenient, key):
    lenient.push(signed(key=key and key()))
    events = lenient.run()
    assert events[-1]["ok"]
    known_key = keys.device_key(KEY()).name.removesuffix(".pub")
    assert events[0]["key"] == (known_key if key is KEY else None)


def test_a_wrong_signature_is_refused_even_there(lenient):
    result = lenient.install(with_signature(signed(), signature_of(signed(RUNNING, "1.0.0"))))
    assert result["error"] == "image-signature"
    assert len(lenient.trace) == 1  # whether an application answers
