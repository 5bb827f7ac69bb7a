"""The signature check accepts exactly the signatures that imgtool and other implementations
accept.

For vectors see tests/data/README.md."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

from stm32sim.in_process import Bench
from stm32up.host import paths
from stm32up.image import image_format, keys
from tests.support import image, in_micropython, payload, signing_key, trust

DATA = Path(__file__).parents[1] / "data"
MESSAGE = b"the content of an image"
DIGEST = hashlib.sha256(MESSAGE).digest()
SIZES = (2048, 3072)
BUDGET = 15 * 1024  # bytes of heap for the check of an image


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


@pytest.fixture(scope="module")
def signature(bench: Bench) -> Any:
    """The device's module."""
    return bench.device.imports("stm32_updater.signature")


def vectors(bits: int) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DATA / f"wycheproof_{bits}.json").read_text())
    return loaded


def modulus(bits: int) -> bytes:
    return keys.device_key(signing_key(bits)).content


def sign(bits: int, salt: int = 32, mask: HashAlgorithm | None = None) -> bytes:
    pss = padding.PSS(padding.MGF1(mask or SHA256()), salt)
    made: bytes = signing_key(bits).key.sign(MESSAGE, pss, SHA256())
    return made


@pytest.mark.parametrize("bits", SIZES)
def test_published_vectors(signature, bits):
    known = vectors(bits)
    number = bytes.fromhex(known["modulus"])
    seen = set()
    for test in known["tests"]:
        digest = hashlib.sha256(bytes.fromhex(test["msg"])).digest()
        found = signature.verify(bytes.fromhex(test["sig"]), digest, number)
        assert found == (test["result"] == "valid"), (test["tcId"], test["comment"])
        seen.add(found)
    assert seen == {True, False}


def test_a_dozen_of_them_in_real_micropython():
    bench = Bench()
    some = [(bits, test) for bits in SIZES for test in vectors(bits)["tests"][8:50:6]]
    cases = [
        (vectors(bits)["modulus"], hashlib.sha256(bytes.fromhex(test["msg"])).hexdigest())
        + (test["sig"], test["result"] == "valid")
        for bits, test in some
    ]
    assert len(cases) >= 12 and {case[3] for case in cases} == {True, False}
    bench.write_file("/cases.json", json.dumps(cases).encode())
    wrong = in_micropython(
        bench,
        "import json\n"
        "from binascii import unhexlify\n"
        "from stm32_updater import signature\n"
        "result = []\n"
        "for case in json.load(open('/cases.json')):\n"
        "    number, digest, made = [unhexlify(text) for text in case[:3]]\n"
        "    if signature.verify(made, digest, number) != case[3]:\n"
        "        result.append(case[2])\n",
    )
    assert wrong == []


# The whole check of an image, in a heap that has a room of some bytes free and not one more. This
# port never collects garbage while code runs, so all of it counts, and so does what pow() needs
# for a moment. Files come out of memory: what littlefs takes for an open one is not in there.
IN_A_ROOM = """
import sys
del sys.modules["gc"]  # which counts what a board's heap would have left
import gc, hashlib, io
from stm32_updater import image, signature
from stm32_updater.errors import UpdaterError

MAY_GROW = 128 * 1024 * 1024  # gc_get_max_new_split() of this port: counts as free
KEY = "/updater/keys/{key}"
contents = {{path: open(path, "rb").read() for path in ("/app.img", KEY)}}
stat = (0, 0, 0, 0, 0, 0, len(contents["/app.img"]))
keys = signature.Keys("/updater/keys")

class Files:
    stat = lambda path: stat

class Hashes:
    sha256 = hashlib._sha256  # MicroPython's own, without what the simulation adds

class Clock:
    feed = lambda: None

def heap():
    return gc.mem_alloc() + gc.mem_free()

def check():
    found = image.open_image("/app.img")
    found.check_digest(Clock)
    signature.check(found, keys, False)

image.os = Files
image.hashlib = signature.hashlib = Hashes
image.open = signature.open = lambda path, mode: io.BytesIO(contents[path])
room = [None] * ({room} // 4 + 4)
filler = [None] * 50000
count = 0
for at_once in (64, 1):  # gc.mem_free() looks at the whole heap
    while gc.mem_free() > MAY_GROW + 16 * (at_once - 1):
        for count in range(count, count + at_once):
            filler[count] = (count,)  # a block of 16 bytes, the smallest
        count += 1
before = heap()
room.clear()  # but for 4 entries
try:
    check()
    result = ["sound", heap() - before]
except UpdaterError as error:
    result = [error.code, heap() - before]
"""


def grown(content: bytes, room: int) -> tuple[str, int]:
    """The result of the check, and the bytes by which the heap grew."""
    bench = Bench()
    trust(bench, signing_key(3072))
    bench.write_file("/app.img", content)
    key = keys.device_key(signing_key(3072)).name
    said, growth = in_micropython(bench, IN_A_ROOM.format(key=key, room=room))
    return said, growth


def full_size() -> bytes:
    return image(payload(120 * 1024), key=signing_key(3072), product="nucleo-demo")


def with_tlvs(*areas: tuple[int, list[tuple[int, bytes]]]) -> bytes:
    """An image with these TLVs in the areas of these magics; nothing else in it is valid."""
    made = [
        (magic, b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in tlvs))
        for magic, tlvs in areas
    ]
    body = b"".join(struct.pack("<HH", magic, len(area) + 4) + area for magic, area in made)
    protected = len(made[0][1]) + 4 if len(made) > 1 else 0
    return full_size()[:10] + struct.pack("<HI", protected, 8) + full_size()[16:520] + body


PROTECTED, OTHER = image_format.PROTECTED_MAGIC, image_format.OTHER_MAGIC
OURS = [(0xA0, b"\x60\4"), (0x50, bytes(4)), (0x75, bytes(16))]
HOSTILE = {
    "500 TLVs": [(PROTECTED, [(kind, b"") for kind in range(0x1000, 0x11F4)]), (OTHER, [])],
    "two huge ones": [(PROTECTED, [(0x1000, bytes(2040))]), (OTHER, [(0x10, bytes(2040))])],
    "a huge class id": [(PROTECTED, [(0x75, bytes(2040))]), (OTHER, [])],
    "all that may be": [
        (PROTECTED, [(kind, bytes(150)) for kind in range(0x1000, 0x100A)] + OURS),
        (OTHER, [(0x10, bytes(32)), (0x01, bytes(32)), (0x23, bytes(384))]),
    ],
}


@pytest.mark.slow
def test_the_check_of_an_image_takes_a_constant_heap_within_its_budget():
    for size in (256, 120 * 1024):
        content = image(payload(size), key=signing_key(3072), product="nucleo-demo")
        assert grown(content, BUDGET) == ("sound", 0)
    said, growth = grown(full_size(), BUDGET // 2)
    assert said == "sound" and growth > 0  # otherwise nothing was measured


@pytest.mark.slow
@pytest.mark.parametrize("what", HOSTILE)
def test_no_image_takes_more(what):
    assert grown(with_tlvs(*HOSTILE[what]), BUDGET) == ("image-damaged", 0)


@pytest.mark.parametrize("bits", SIZES)
def test_what_cryptography_signs_and_every_flipped_bit_of_it(signature, bits):
    made = sign(bits)
    assert signature.verify(made, DIGEST, modulus(bits))
    assert not signature.verify(made, hashlib.sha256(b"other").digest(), modulus(bits))
    assert not signature.verify(made, DIGEST, keys.device_key(signing_key(bits, 1)).content)
    for bit in range(0, bits, 7):
        flipped = (int.from_bytes(made, "big") ^ 1 << bit).to_bytes(bits // 8, "big")
        assert not signature.verify(flipped, DIGEST, modulus(bits)), bit


@pytest.mark.parametrize("bits", SIZES)
@pytest.mark.parametrize("salt", [0, 1, 20, 31, 33, 64])
def test_another_length_of_salt(signature, bits, salt):
    assert not signature.verify(sign(bits, salt), DIGEST, modulus(bits))


@pytest.mark.parametrize("bits", SIZES)
def test_other_schemes(signature, bits):
    key = signing_key(bits).key
    assert not signature.verify(sign(bits, mask=SHA1()), DIGEST, modulus(bits))
    for made in (
        key.sign(MESSAGE, padding.PKCS1v15(), SHA256()),
        key.sign(DIGEST, padding.PSS(padding.MGF1(SHA256()), 32), SHA256()),  # hashed twice
    ):
        assert not signature.verify(made, DIGEST, modulus(bits))


@pytest.mark.parametrize("bits", SIZES)
def test_the_same_number_in_another_form(signature, bits):
    made = sign(bits)
    number = int.from_bytes(modulus(bits), "big")
    value = int.from_bytes(made, "big")
    length = bits // 8
    longer = (value + number).to_bytes(length + 1, "big")
    for wrong in (b"\0" + made, made + b"\0", made[:-1], made[1:], b"", longer, longer[1:]):
        assert not signature.verify(wrong, DIGEST, modulus(bits))
    for special in (0, 1, number - 1, number, (1 << bits) - 1):
        assert not signature.verify(special.to_bytes(length, "big"), DIGEST, modulus(bits))


def encoded(bits: int, change: str) -> bytes:
    """A signature made by hand, with a fault in its encoding; "" for none. Not every number with
    its top bit set is below the modulus, so the first salt with a number below it is used."""
    private = signing_key(bits).key.private_numbers()
    number = private.public_numbers.n
    values = (encoding(bits, change, bytes([salt]) * 32) for salt in range(256))
    value = next(value for value in values if value < number)
    return pow(value, private.d, number).to_bytes(bits // 8, "big")


def encoding(bits: int, change: str, salt: bytes) -> int:
    length = bits // 8
    hashed = hashlib.sha256(bytes(8) + DIGEST + salt).digest()
    padded = bytearray(length - 66) + b"\1" + salt
    if change == "padding":
        padded[5] = 1
    elif change == "separator":
        padded[-33] = 2
    mask = b"".join(
        hashlib.sha256(hashed + index.to_bytes(4, "big")).digest() for index in range(12)
    )
    masked = bytearray(a ^ b for a, b in zip(padded, mask, strict=False))
    masked[0] &= 0x7F
    if change == "top bit":
        masked[0] |= 0x80
    message = bytes(masked) + hashed + (b"\xbb" if change == "trailer" else b"\xbc")
    return int.from_bytes(message, "big")


@pytest.mark.parametrize("bits", SIZES)
@pytest.mark.parametrize("change", ["", "padding", "separator", "top bit", "trailer"])
def test_encodings_made_by_hand(signature, bits, change):
    made = encoded(bits, change)
    assert signature.verify(made, DIGEST, modulus(bits)) == (not change)
    pss = padding.PSS(padding.MGF1(SHA256()), 32)
    public = signing_key(bits).key.public_key()
    try:
        public.verify(made, DIGEST, pss, utils.Prehashed(SHA256()))
    except InvalidSignature:
        assert change
    else:
        assert not change


@pytest.mark.parametrize("bits", SIZES)
def test_what_imgtool_signs_and_names(signature, bits):
    key = signing_key(bits)
    parsed = image_format.parse(image(payload(900), key=key))
    made = parsed.find(image_format.RSA2048) or parsed.find(image_format.RSA3072)
    digest = parsed.find(image_format.SHA256)
    assert signature.verify(made, digest, modulus(bits))
    assert signature.key_hash(modulus(bits)) == parsed.find(image_format.KEYHASH)
    assert signature.key_id(signature.key_hash(modulus(bits))) + ".pub" == (
        keys.device_key(key).name
    )


# --- the keys of a board ---


@pytest.fixture
def trusting() -> Bench:
    bench = Bench()
    trust(bench, signing_key(2048), signing_key(3072))
    return bench


def keys_of(bench: Bench) -> Any:
    return bench.device.imports("stm32_updater.signature").Keys(paths.KEYS)


def test_deployed_keys_are_found_by_their_hash(trusting):
    found = keys_of(trusting)
    for bits in SIZES:
        key = signing_key(bits)
        assert found.find(keys.key_hash(key)) == modulus(bits)
    assert found.find(keys.key_hash(signing_key(2048, 1))) is None
    ids = [keys.device_key(signing_key(bits)).name.removesuffix(".pub") for bits in SIZES]
    assert found.ids() == sorted(ids)


def test_a_file_is_the_key_that_its_content_is_whatever_its_name(trusting):
    name = keys.device_key(signing_key(2048, 1)).name
    trusting.write_file(f"{paths.KEYS}/{name}", modulus(2048))
    assert keys_of(trusting).find(keys.key_hash(signing_key(2048, 1))) is None
    assert len(keys_of(trusting).ids()) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "longer", "zeros", "one bit"])
def test_a_damaged_key_file_is_no_key(trusting, damage):
    key = keys.device_key(signing_key(2048))
    content = {
        "empty": b"",
        "cut": key.content[:-1],
        "longer": key.content + b"\1",
        "zeros": bytes(256),
        "one bit": key.content[:-2] + bytes([key.content[-2] ^ 1]) + key.content[-1:],
    }[damage]
    trusting.write_file(f"{paths.KEYS}/{key.name}", content)
    assert keys_of(trusting).find(keys.key_hash(signing_key(2048))) is None
    assert len(keys_of(trusting).ids()) == 1


def test_a_hash_that_agrees_in_its_first_half_only_is_another_key(trusting):
    wanted = bytearray(keys.key_hash(signing_key(2048)))
    wanted[20] ^= 1
    assert keys_of(trusting).find(bytes(wanted)) is None


def test_without_a_folder_there_is_no_key(bench):
    assert keys_of(bench).ids() == [] and keys_of(bench).find(bytes(32)) is None
