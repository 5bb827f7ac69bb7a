"""The signature check says yes to exactly what imgtool and the rest of the world call a signature.

One on vectors: tests/data/README.md."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

from stm32sim.bench import Bench
from stm32up import deploy, image_format, keys
from tests.support import image, in_micropython, payload, signing_key, trust

DATA = Path(__file__).parents[1] / "data"
MESSAGE = b"the content of an image"
DIGEST = hashlib.sha256(MESSAGE).digest()
SIZES = (2048, 3072)
BUDGET = 12 * 1024  # bytes of heap for one check


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


def test_a_dozen_of_them_in_real_micropython_and_the_heap_it_takes():
    """The garbage collector is off while the heap is looked at, so garbage counts as well."""
    bench = Bench()
    some = [(bits, test) for bits in SIZES for test in vectors(bits)["tests"][8:50:6]]
    cases = [
        (vectors(bits)["modulus"], hashlib.sha256(bytes.fromhex(test["msg"])).hexdigest())
        + (test["sig"], test["result"] == "valid")
        for bits, test in some
    ]
    assert len(cases) >= 12 and {case[3] for case in cases} == {True, False}
    bench.write_file("/cases.json", json.dumps(cases).encode())
    result = in_micropython(
        bench,
        "import gc, json\n"
        "from binascii import unhexlify\n"
        "from stm32_updater import signature\n"
        'result = {"heap": [], "wrong": []}\n'
        "for case in json.load(open('/cases.json')):\n"
        "    number, digest, made = [unhexlify(text) for text in case[:3]]\n"
        "    gc.collect()\n"
        "    gc.disable()\n"
        "    before = gc.mem_alloc()\n"
        "    found = signature.verify(made, digest, number)\n"
        '    result["heap"].append(gc.mem_alloc() - before)\n'
        "    gc.enable()\n"
        "    if found != case[3]:\n"
        '        result["wrong"].append(made)\n',
    )
    assert result["wrong"] == []
    # What pow() frees itself is not in there: the square, its remainder and the quotient of a
    # modulus of 384 bytes, less than 3 KB.
    assert len(result["heap"]) == len(cases)
    assert 1024 < max(result["heap"]) < BUDGET - 3 * 1024, result["heap"]


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
    """A signature made by hand, with something wrong in its encoding; "" for nothing. Not every
    number with its top bit set is below the modulus: the first salt with which it is serves."""
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
    return bench.device.imports("stm32_updater.signature").Keys(deploy.KEYS)


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
    trusting.write_file(f"{deploy.KEYS}/{name}", modulus(2048))
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
    trusting.write_file(f"{deploy.KEYS}/{key.name}", content)
    assert keys_of(trusting).find(keys.key_hash(signing_key(2048))) is None
    assert len(keys_of(trusting).ids()) == 1


def test_a_hash_that_agrees_in_its_first_half_only_is_another_key(trusting):
    wanted = bytearray(keys.key_hash(signing_key(2048)))
    wanted[20] ^= 1
    assert keys_of(trusting).find(bytes(wanted)) is None


def test_without_a_folder_there_is_no_key(bench):
    assert keys_of(bench).ids() == [] and keys_of(bench).find(bytes(32)) is None
