"""Images signed by imgtool's own command with options that the updater does not accept."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from imgtool.main import imgtool

from tests.cases.case import Cases, expect, stm32up
from tests.host_tools.input_files import application

CASES = Cases()
COMMON = ["--version", "1.2.0", "--pad-header", "--align", "8", "--slot-size", "0x20000"]
ADDRESS = ["-H", "0x200", "--rom-fixed", "0x08000000"]
CHIP = ["--custom-tlv", "0xA0", "0x6004"]
COUNTER = ["-s", "1"]
GOOD = [*ADDRESS, *CHIP, *COUNTER]

KEYS: dict[str, Callable[[], Any]] = {
    "rsa.pem": lambda: rsa.generate_private_key(65537, 2048),
    "p256.pem": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384.pem": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed.pem": ed25519.Ed25519PrivateKey.generate,
}

TAKEN: dict[str, list[str]] = {
    "an image without a signature is sound": GOOD,
    "an RSA-2048 signature is taken": [*GOOD, "-k", "rsa.pem"],
    "an automatic security counter is taken": [*ADDRESS, *CHIP, "-s", "auto"],
}

# name: (options, words of the message)
REFUSED: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "ECDSA P-256 is named": ([*GOOD, "-k", "p256.pem"], ("ECDSA P-256", "RSA-2048")),
    "ECDSA P-384 is named": ([*GOOD, "-k", "p384.pem"], ("ECDSA P-384", "RSA-2048")),
    "Ed25519 is named": ([*GOOD, "-k", "ed.pem"], ("Ed25519", "RSA-2048")),
    "a full key is named with the option that helps": (
        [*GOOD, "-k", "rsa.pem", "--public-key-format", "full"],
        ("whole public key", "--public-key-format hash"),
    ),
    "a padded image is named": ([*GOOD, "--pad"], ("padded to its slot", "without --pad")),
    "a confirmed image is named": ([*GOOD, "--confirm"], ("padded to its slot", "--confirm")),
    "SHA-512 is named": ([*GOOD, "--sha", "512"], ("SHA-512", "--sha 256")),
    "SHA-384 is named": ([*GOOD, "--sha", "384"], ("SHA-384", "--sha 256")),
    "a signed image with SHA-512 is named": (
        [*GOOD, "-k", "ed.pem", "--sha", "512"],
        ("SHA-512", "Ed25519"),
    ),
    "an encrypted image is named": (
        [*GOOD, "-k", "rsa.pem", "-E", "public-rsa.pem"],
        ("encrypted",),
    ),
    "an image for RAM is named": (
        ["-H", "0x200", "--load-addr", "0x20000000", *CHIP, *COUNTER],
        ("RAM", "--rom-fixed 0x08000000"),
    ),
    "an image without an address is named": (
        ["-H", "0x200", *CHIP, *COUNTER],
        ("no flash address", "--rom-fixed 0x08000000"),
    ),
    "an image without a chip is named": (
        [*ADDRESS, *COUNTER],
        ("names no chip", "--custom-tlv 0xA0 0x6004"),
    ),
    "an image without a counter is named": (
        [*ADDRESS, *CHIP],
        ("no security counter", "--security-counter"),
    ),
    "a big-endian image is named": ([*GOOD, "-e", "big"], ("big-endian",)),
    "an image not bootable is named": (
        [*GOOD, "--non-bootable"],
        ("without --non-bootable",),
    ),
}


@functools.cache
def key_files(name: str) -> dict[str, bytes]:
    """A key of this type, private and public."""
    key = KEYS[name]()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {name: private, f"public-{name}": public}


def sign(options: list[str]) -> None:
    """Run imgtool sign app.bin x.img with these options."""
    Path("app.bin").write_bytes(application(4096))
    for key in KEYS:
        if key in options:
            for name, content in key_files(key).items():
                Path(name).write_bytes(content)
    command = ["sign", *COMMON, *options, "app.bin", "x.img"]
    done = click.testing.CliRunner().invoke(imgtool, command)
    expect(done.exit_code == 0, f"imgtool: {done.output}")


def taken(options: list[str]) -> str:
    sign(options)
    return stm32up("image", "verify", "x.img").succeeds()


def refused(options: list[str], words: tuple[str, ...]) -> str:
    sign(options)
    return stm32up("image", "verify", "x.img").refuses("x.img", *words)


def shown(options: list[str]) -> str:
    return f"imgtool sign {' '.join(options)}, then image verify"


for name, options in TAKEN.items():
    CASES.add(name, shown(options), taken, options)
for name, (options, words) in REFUSED.items():
    CASES.add(name, shown(options), refused, options, words)
