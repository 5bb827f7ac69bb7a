"""stm32flash, an independent client of the loader, finds in the simulated one what it expects of
the real one, and is refused what a real one refuses."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import stm32flash
from benchmarks.i2c_dev import Computer
from benchmarks.preload import Finished
from stm32sim.chip.crc import crc_stm32
from stm32sim.chip.flash import PAGE
from stm32sim.chip.stm32 import Running
from tests.simulator.rig import APP, Rig

PROGRAM = stm32flash.found()
pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="stm32flash is not installed (nor in build/)"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]
BEFORE = random.Random(1).randbytes(128 * 1024)
IMAGE = random.Random(2).randbytes(2 * PAGE)
Client = Callable[..., Finished]

every_version = pytest.mark.parametrize("version", [3, 4])


@pytest.fixture
def client() -> Client:
    """Runs stm32flash on a rig."""

    def run(rig: Rig, *arguments: str | Path) -> Finished:
        assert PROGRAM is not None
        return stm32flash.run(PROGRAM, Computer(rig.bus, 400_000), *arguments)

    return run


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.bin"
    path.write_bytes(IMAGE)
    return path


@every_version
def test_it_erases_writes_verifies_and_reads_back(client, image, tmp_path, version):
    rig = Rig(version=version, content=BEFORE)
    erased = client(rig, "-o")
    assert erased.status == 0, erased.output
    assert bytes(rig.flash.data) == b"\xff" * len(BEFORE)
    written = client(rig, "-e", "0", "-w", image, "-v")
    assert written.status == 0, written.output
    assert bytes(rig.flash.data[: len(IMAGE)]) == IMAGE
    back = tmp_path / "back.bin"
    read = client(rig, "-S", f"0x08000000:{len(IMAGE)}", "-r", back)
    assert read.status == 0, read.output
    assert back.read_bytes() == IMAGE


@every_version
def test_it_gets_the_checksum_of_the_crc_unit(client, version):
    rig = Rig(version=version, content=BEFORE)
    told = client(rig, "-C", "-S", "0x08000800:4096")
    assert told.status == 0, told.output
    (checksum,) = re.findall(r"CRC\(.*\) = (0x\w+)", told.output)
    assert int(checksum, 16) == crc_stm32(BEFORE[0x800:0x1800])


@every_version
def test_it_starts_the_application(client, tmp_path, version):
    rig = Rig(version=version)
    (tmp_path / "app.bin").write_bytes(APP.content)
    client(rig, "-w", tmp_path / "app.bin", "-v", "-e", "0", "-g", "0x08000000")
    assert rig.running is Running.APPLICATION


@every_version
def test_it_protects_and_unprotects(client, version):
    rig = Rig(version=version, content=BEFORE)
    assert client(rig, "-j").status == 0
    rig.power_cycle()
    assert rig.chip.rdp_level == 1
    assert client(rig, "-k").status == 0
    rig.power_cycle()
    assert rig.chip.rdp_level == 0
    assert bytes(rig.flash.data) == b"\xff" * len(BEFORE)


def test_it_erases_the_pages_of_the_image_only(client, image):
    rig = Rig(content=BEFORE)
    written = client(rig, "-w", image, "-v")
    assert written.status == 0, written.output
    assert bytes(rig.flash.data) == IMAGE + BEFORE[len(IMAGE) :]


def test_on_v11_3_neither_it_nor_the_loader_waits_for_erases_of_pages(client, image):
    """AN2606 table 108: one page for each command, and 40 ms before the next operation.
    stm32flash makes no difference between versions."""
    rig = Rig(version=3, content=BEFORE)
    failed = client(rig, "-w", image, "-v")
    assert failed.status == 1
    assert "Failed to verify" in failed.output


def test_it_cannot_write_flash_that_is_not_erased(client, image):
    rig = Rig(content=BEFORE)
    failed = client(rig, "-e", "0", "-w", image, "-v")
    assert failed.status == 1
    assert "Failed to verify" in failed.output
    assert bytes(rig.flash.data) == BEFORE


def test_it_cannot_write_protected_pages(client, image):
    rig = Rig(content=BEFORE, protected=(0, 0))
    failed = client(rig, "-w", image, "-v")
    assert failed.status == 1
    assert "Failed to verify" in failed.output
    assert bytes(rig.flash.data[:PAGE]) == BEFORE[:PAGE]


def test_it_cannot_read_after_readout_protection(client, tmp_path):
    rig = Rig(content=BEFORE)
    assert client(rig, "-j").status == 0
    rig.power_cycle()
    failed = client(rig, "-r", tmp_path / "back.bin")
    assert failed.status == 1
    assert "Got NACK from device on command 0x11" in failed.output


@pytest.mark.parametrize(
    ("rig", "arguments"),
    [
        (lambda: Rig(content=APP.content, boot0=False), ()),
        (lambda: Rig(powered=False), ()),
        (lambda: Rig(), ("-a", "0x50")),
    ],
    ids=["the application runs", "no supply", "wrong address"],
)
def test_it_is_not_answered(client, rig, arguments):
    failed = client(rig(), *arguments)
    assert failed.status == 1
    assert "Failed to send command" in failed.output
