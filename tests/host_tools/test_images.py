"""Images are the same as from MCUboot's tool, and every damaged one is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import bincopy
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from imgtool.image import Image, VerifyResult

from stm32up.errors import ImageError, KeyFileError, Stm32upError, UsageError
from stm32up.image import image_format, images, inputs, keys
from tests.host_tools.input_files import FLASH, elf
from tests.support import image as image_of
from tests.support import payload, rehashed


def test_imgtool_itself_accepts_a_signed_image_and_names_its_version(image, key_files):
    verdict, version, *_ = Image.verify(str(image), keys.load(key_files[0]))
    assert (verdict, version) == (VerifyResult.OK, (1, 4, 2, 0))


def test_imgtool_itself_accepts_an_unsigned_image(tmp_path, chip, payload):
    (tmp_path / "app.bin").write_bytes(payload)
    images.build(tmp_path / "app.bin", chip, "1.0.0", None, tmp_path / "app.img")
    assert Image.verify(str(tmp_path / "app.img"), None)[0] == VerifyResult.OK
    assert images.verify(tmp_path / "app.img")["signature"] == "none"


def test_the_image_carries_what_the_updater_needs(image, payload, key_files):
    shown = images.show(image)
    assert shown["address"] == FLASH
    assert shown["header_size"] == 0x200
    assert shown["flags"] == ["rom-fixed"]
    assert shown["product_id"] == 0x460
    assert shown["class_id"] == images.class_id("nucleo-demo").hex
    assert shown["security_counter"] == (1 << 24) + (4 << 16) + 2
    assert shown["signed_with"] == "rsa2048"
    name = keys.device_key(keys.load(key_files[0])).name
    assert name == f"{shown['key_hash']:.16}.pub"
    assert image.read_bytes()[0x200 : 0x200 + len(payload)] == payload


def test_the_product_id_is_two_bytes_little_endian_in_the_protected_part(image):
    tlv = next(tlv for tlv in images.show(image)["tlvs"] if tlv["type"] == 0xA0)
    assert (tlv["value"], tlv["protected"]) == ("6004", True)


def test_the_class_id_is_the_one_imgtool_derives():
    # imgtool sign --vid stm32up --cid nucleo-demo
    assert images.class_id("nucleo-demo").hex == "7164ea85fe1d53d192a165c62d3d8167"
    raw = "00112233-4455-6677-8899-aabbccddeeff"
    assert str(images.class_id(raw)) == raw


def test_building_twice_gives_the_same_bytes_up_to_the_signature(tmp_path, chip, payload):
    (tmp_path / "app.bin").write_bytes(payload)
    for name in ("a", "b"):
        images.build(tmp_path / "app.bin", chip, "1.0.0", None, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kind", ["bin", "hex", "srec", "elf"])
def test_every_input_format_gives_the_same_payload(tmp_path, chip, payload, kind):
    file = bincopy.BinFile()
    file.add_binary(payload, address=FLASH)
    file.execution_start_address = FLASH
    content = {
        "bin": payload,
        "hex": file.as_ihex().encode(),
        "srec": file.as_srec(address_length_bits=32).encode(),
        "elf": elf((FLASH, FLASH, payload)),
    }[kind]
    path = tmp_path / f"app.{kind}"
    path.write_bytes(content)
    assert inputs.read(path, chip)[:2] == (FLASH, payload)  # 5000 is a multiple of 8


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=40)), min_size=1))
def test_whatever_lies_in_flash_keeps_its_place(tmp_path_factory, pieces):
    from stm32up import device

    file = bincopy.BinFile()
    flash = bytearray(b"\xff" * 4096)
    for offset, data in [(0, b"\x00")] + pieces:
        file.add_binary(data, address=FLASH + offset, overwrite=True)
        flash[offset : offset + len(data)] = data
    path = tmp_path_factory.mktemp("hex") / "app.hex"
    path.write_text(file.as_ihex())
    read = inputs.read(path, device.chip("STM32G071RB"))
    assert read.data == flash[: len(read.data)]
    assert set(flash[len(read.data) :]) <= {0xFF}


@pytest.mark.parametrize(
    ("address", "size", "named"),
    [
        (0x1FFF7800, 8, "0x1FFF7800"),  # option bytes
        (0x20000000, 8, "0x20000000"),
        (FLASH - 8, 8, "0x07FFFFF8"),
        (FLASH + 0x1FFF8, 16, "0x08020000"),  # the end sticks out
    ],
)
def test_data_outside_flash_is_refused_with_its_address(tmp_path, chip, address, size, named):
    file = bincopy.BinFile()
    file.add_binary(b"good" * 2, address=FLASH)
    file.add_binary(b"\0" * size, address=address)
    path = tmp_path / "app.hex"
    path.write_text(file.as_ihex())
    with pytest.raises(ImageError, match=named):
        inputs.read(path, chip)


def test_a_binary_larger_than_the_flash_is_refused(tmp_path, chip):
    (tmp_path / "app.bin").write_bytes(bytes(128 * 1024 + 1))
    with pytest.raises(ImageError, match="128 KB"):
        inputs.read(tmp_path / "app.bin", chip)


def test_a_flipped_bit_anywhere_is_found(image, key_files):
    good = image.read_bytes()
    key = keys.load(key_files[0])
    for position in range(0, len(good), 61):
        damaged = bytearray(good)
        damaged[position] ^= 0x10
        image.write_bytes(damaged)
        with pytest.raises(Stm32upError):
            images.verify(image, key)


def test_a_flipped_bit_in_what_the_digest_covers_is_found_without_a_key(image):
    good = image.read_bytes()
    for position in range(0, 0x200 + 5000 + 50, 37):
        damaged = bytearray(good)
        damaged[position] ^= 1
        image.write_bytes(damaged)
        with pytest.raises(ImageError):
            images.verify(image)


def test_every_truncation_and_any_appendix_is_found(image):
    good = image.read_bytes()
    for length in [*range(0, len(good), 97), len(good) - 1]:
        image.write_bytes(good[:length])
        with pytest.raises(ImageError):
            images.verify(image)
    image.write_bytes(good + b"\0")
    with pytest.raises(ImageError, match="after its end"):
        images.verify(image)


def test_a_wrong_key_is_found(image, key_files):
    assert images.verify(image, keys.load(key_files[0]))["signature"] == "valid"
    with pytest.raises(ImageError, match="another key"):
        images.verify(image, keys.load(key_files[1]))


def test_without_a_key_the_signature_counts_as_unchecked(image):
    assert images.verify(image)["signature"] == "unchecked"


def test_a_public_key_verifies_but_does_not_sign(tmp_path, image, chip, key_files):
    private = keys.load(key_files[0])
    (tmp_path / "public.pem").write_bytes(private.get_public_pem())
    public = keys.load(tmp_path / "public.pem")
    assert images.verify(image, public)["signature"] == "valid"
    with pytest.raises(KeyFileError, match="cannot sign"):
        images.build(tmp_path / "app.bin", chip, "1.0.0", public, tmp_path / "x.img")


@pytest.mark.parametrize("version", ["", "1.x", "1.2.3.4", "256.0.0", "1.0.65536", "vv1"])
def test_a_version_that_does_not_fit_the_header_is_refused(tmp_path, chip, payload, version):
    (tmp_path / "app.bin").write_bytes(payload)
    with pytest.raises(UsageError, match="version"):
        images.build(tmp_path / "app.bin", chip, version, None, tmp_path / "app.img")
    assert not (tmp_path / "app.img").exists()


@pytest.mark.posix
def test_a_key_file_is_private_and_never_overwritten(key_files):
    before = key_files[0].read_bytes()
    assert key_files[0].stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="exists"):
        keys.new(key_files[0], bits=2048)
    assert key_files[0].read_bytes() == before


def test_an_encrypted_key_needs_its_passphrase(tmp_path):
    keys.new(tmp_path / "key.pem", 2048, "secret")
    with pytest.raises(keys.PassphraseNeeded):
        keys.load(tmp_path / "key.pem")
    with pytest.raises(KeyFileError, match="wrong passphrase"):
        keys.load(tmp_path / "key.pem", "guess")
    assert keys.load(tmp_path / "key.pem", "secret").key_size() == 2048


def _pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"),
        (_pem(ec.generate_private_key(ec.SECP256R1())), "RSA"),
        (_pem(rsa.generate_private_key(65537, 1024)), "1024 bits"),
        (_pem(rsa.generate_private_key(3, 2048)), "exponent"),
    ],
    ids=["empty", "damaged", "ecdsa", "small", "exponent"],
)
def test_other_kinds_of_keys_are_refused(tmp_path: Path, content, message):
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(KeyFileError, match=message):
        keys.load(tmp_path / "key.pem")


def test_the_key_on_the_board_is_the_modulus(key_files):
    key = keys.load(key_files[0])
    content = keys.device_key(key).content
    assert len(content) == 256
    assert int.from_bytes(content, "big") == key.key.public_key().public_numbers().n


def test_the_input_is_never_overwritten(tmp_path, run):
    source = tmp_path / "app.bin"
    source.write_bytes(payload(600))
    built = tmp_path / "app.img"
    assert run("image", "build", source, "--version", "1.0.0", "-o", built).status == 0
    key = tmp_path / "key.pem"
    assert run("keys", "new", key).status == 0
    for verb in (
        ("image", "build", source, "--version", "1.0.0", "-o", source),
        ("image", "build", source, "--version", "1.0.0", "--key", key, "-o", key),
        ("image", "digest", built, "-o", built),
        ("image", "sign", built, "--key", key, "-o", key),
        ("image", "sign", built, "--key", key, "--signature", source, "-o", source),
    ):
        before = {path: path.read_bytes() for path in (source, built, key)}
        ran = run(*verb)
        assert ran.status == 2 and "is the input itself" in ran.err
        assert before == {path: path.read_bytes() for path in (source, built, key)}


def test_checksums_of_a_payload_that_is_not_whole_words_are_refused():
    """Only other tools make such an image; the STM32 computes checksums of words."""
    content = image_of(payload(512), "1.0.0")
    end = image_format.parse(content).header_size + 512
    odd = rehashed(content[:12] + struct.pack("<I", 510) + content[16 : end - 2] + content[end:])
    with pytest.raises(ImageError, match="states wrong checksums"):
        images.check(Path("app.img"), odd, None)
