"""Images made by imgtool's own command: accepted, or refused with the reason and the option that
helps."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

import click.testing
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from imgtool.main import imgtool

from stm32up import device
from stm32up.errors import ImageError
from stm32up.image import image_format, images, keys
from tests.host_tools.input_files import application

GOOD = ["--rom-fixed", "0x08000000", "--custom-tlv", "0xA0", "0x6004", "-s", "1"]
KEYS: dict[str, Callable[[], Any]] = {
    "rsa.pem": lambda: rsa.generate_private_key(65537, 2048),
    "p256.pem": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384.pem": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed.pem": ed25519.Ed25519PrivateKey.generate,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An application and a key of each kind."""
    folder = tmp_path_factory.mktemp("imgtool")
    (folder / "app.bin").write_bytes(application(4096))
    for name, make in KEYS.items():
        key = make()
        (folder / name).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (folder / f"public-{name}").write_bytes(public)
    return folder


@pytest.fixture
def sign(folder, monkeypatch):
    """imgtool sign with these options; returns the image."""
    monkeypatch.chdir(folder)

    def sign(*options: str, output: str = "x.img"):
        common = ["--version", "1.2.0", "--pad-header", "-H", "0x200", "--slot-size", "0x20000"]
        arguments = ["sign", *common, "--align", "8", *options, "app.bin", output]
        result = click.testing.CliRunner().invoke(imgtool, arguments)
        assert result.exit_code == 0, result.output
        return folder / output

    return sign


@pytest.mark.parametrize(
    "options",
    [[], ["-k", "rsa.pem"], ["--boot-record", "app"], ["--vid", "stm32up", "--cid", "toaster"]],
)
def test_an_image_of_imgtool_with_the_right_options_is_sound(sign, options):
    assert images.verify(sign(*GOOD, *options))["version"] == "1.2.0"


CASES: dict[str, tuple[list[str], str]] = {
    "P-256": (
        [*GOOD, "-k", "p256.pem"],
        "signed with ECDSA P-256, and the updater checks RSA-2048 and RSA-3072 only.*keys new",
    ),
    "P-384": ([*GOOD, "-k", "p384.pem"], "signed with ECDSA P-384"),
    "Ed25519": ([*GOOD, "-k", "ed.pem"], "signed with Ed25519"),
    "full key": (
        [*GOOD, "-k", "rsa.pem", "--public-key-format", "full"],
        "carries the whole public key.*--public-key-format hash",
    ),
    "padded": ([*GOOD, "--pad"], "is padded to its slot.*without --pad"),
    "confirmed": ([*GOOD, "--confirm"], "is padded to its slot"),
    "padded, aligned": ([*GOOD, "--pad", "--max-align", "32"], "is padded to its slot"),
    "padded, erased 0": ([*GOOD, "--pad", "-R", "0"], "is padded to its slot"),
    "sha512": ([*GOOD, "--sha", "512"], "states SHA-512, not SHA-256.*--sha 256"),
    "sha384": ([*GOOD, "--sha", "384"], "states SHA-384, not SHA-256.*--sha 256"),
    "encrypted": (
        [*GOOD, "-k", "rsa.pem", "-E", "public-rsa.pem"],
        "is encrypted.*without --encr",
    ),
    "encrypted by curve": ([*GOOD, "-k", "p256.pem", "-E", "public-p256.pem"], "is encrypted, is"),
    "clear": ([*GOOD, "-k", "rsa.pem", "-E", "public-rsa.pem", "--clear"], "is encrypted"),
    "non-bootable": ([*GOOD, "--non-bootable"], "not bootable.*without --non-bootable"),
    "RAM": (
        ["--load-addr", "0x20000000", *GOOD[2:]],
        "is linked to run from RAM, names no flash address.*--load-addr.*--rom-fixed 0x08000000",
    ),
    "no address": (GOOD[2:], "names no flash address.*--rom-fixed 0x08000000"),
    "no chip": (GOOD[:2] + GOOD[5:], "names no chip.*--custom-tlv 0xA0 0x6004"),
    "no counter": (GOOD[:5], "has no security counter.*--security-counter auto"),
    "nothing": ([], "names no flash address, names no chip, has no security counter"),
    "big-endian": ([*GOOD, "-e", "big"], "is a big-endian MCUboot image"),
    "another chip": ([*GOOD[:4], "0x6604", *GOOD[5:]], "stack pointer"),
    "another address": (["--rom-fixed", "0x08004000", *GOOD[2:]], "starts at 0x08004000"),
    "text for a number": ([*GOOD[:4], "6004", *GOOD[5:]], "its chip in 4 bytes.*0xA0 0x6004"),
    "bytes in the wrong order": (
        [*GOOD[:4], "0x0460", *GOOD[5:]],
        "the bytes in the wrong order.*0xA0 0x6004",
    ),
    "many TLVs": (
        [
            *GOOD,
            *(word for n in range(20) for word in ("--custom-tlv", f"0x{0xB0 + n:X}", "0x00")),
        ],
        "has 23 TLVs, more than the 16 that the updater reads.*fewer --custom-tlv",
    ),
    "kept pages of others": (
        [*GOOD, "--custom-tlv", "0xA1", "0x1234"],
        "a TLV 0xA1 that is not one of stm32up.*without --custom-tlv 0xA1",
    ),
    "checksums of others": (
        [*GOOD, "--custom-tlv", "0xA2", "0x1234"],
        "a TLV 0xA2 that is not one of stm32up.*without --custom-tlv 0xA2",
    ),
    "an unknown chip": ([*GOOD[:4], "0x1234", *GOOD[5:]], "is for chip 0x3412"),
}


@pytest.mark.parametrize("what", CASES)
def test_an_image_of_imgtool_is_refused_with_the_reason(sign, run, what):
    options, message = CASES[what]
    path = sign(*options)
    with pytest.raises(ImageError, match=f"^{path}:? .*{message}"):
        images.verify(path)
    ran = run("update", path)
    assert ran.status == 1 and ran.err.count("\n") == 1 and "x.img" in ran.err


def test_the_updater_reads_as_many_tlvs_as_this_tool_says():
    assert device.module("stm32_updater.image")._MAX_TLVS == image_format.MOST_TLVS


def test_every_tlv_has_a_name_and_it_is_said_how_to_check_the_image(sign, run):
    path = sign(*GOOD, "-k", "rsa.pem", "--vid", "a", "--cid", "b", "--boot-record", "app")
    lines = run("image", "show", path).out.splitlines()
    named = dict(line.split(maxsplit=1) for line in lines if re.match("  0x", line))
    assert named["0x74"].startswith("vendor id, 16 bytes")
    assert named["0x60"].startswith("boot record") and named["0xA0"].startswith("product id")
    assert not any("unknown" in name for name in named.values())
    advised = lines[-1].strip()
    advised = advised.replace("IMAGE", str(path)).replace("KEY.pem", "rsa.pem")
    assert "signature is valid" in run(*shlex.split(advised)[1:]).out


def test_tlvs_of_others_are_named_as_such(sign, run):
    path = sign(*GOOD, "--custom-tlv", "0xB0", "0x01")
    assert re.search(r"0xB0 +vendor-specific, 1 bytes", run("image", "show", path).out)


def test_what_is_advised_makes_the_image_right(sign):
    assert images.verify(
        sign(*GOOD, "-k", "rsa.pem", "--public-key-format", "hash", "--sha", "256")
    )
    advised = ["--rom-fixed", "0x08000000", "--custom-tlv", "0xA0", "0x6004"]
    assert images.verify(sign(*advised, "--security-counter", "auto"))


def test_hex_of_imgtool_is_named_as_an_image_in_a_hex_file(sign, run, folder, tmp_path):
    path = sign(*GOOD, "--hex-addr", "0x08000000", output="signed.hex")
    assert "signed.hex is Intel hex, not an MCUboot image" in run("update", path).err
    build = ["image", "build", path, "--version", "1", "-o", tmp_path / "x.img"]
    assert "already contains an MCUboot image" in run(*build).err


def test_bytes_after_the_end_are_no_padding(sign):
    path = sign(*GOOD)
    path.write_bytes(path.read_bytes() + b"\xff" * 100)
    with pytest.raises(ImageError, match="100 bytes after its end"):
        images.verify(path)


def test_the_command_in_the_documentation_makes_an_image_that_is_sound(folder, monkeypatch):
    page = (device.PROJECT / "docs" / "images.md").read_text()
    (command,) = re.findall(r"^```sh\n(imgtool sign .*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(folder)
    arguments = shlex.split(command.replace("\\\n", " "))[1:]
    assert click.testing.CliRunner().invoke(imgtool, arguments).exit_code == 0
    shown = images.verify(folder / "app.img", keys.load(folder / "rsa.pem"))
    assert (shown["version"], shown["signature"]) == ("1.4.2", "valid")
    assert shown["class_id"] == images.class_id("PRODUCT").hex
