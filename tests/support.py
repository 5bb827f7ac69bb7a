"""Payloads and images for tests, made once per process."""

from __future__ import annotations

import functools
import hashlib
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from imgtool.keys import RSA

from stm32sim.chip.application import KnownImage
from stm32sim.faults import InFront
from stm32sim.host.micropython import MicroPythonHost
from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS
from stm32sim.world import Wiring
from stm32up import device
from stm32up.host import deploy, paths
from stm32up.image import image_format, images, inputs, keys

RAM_END = 0x2000_9000
FLASH = 0x0800_0000


@functools.cache
def payload(size: int = 6000, seed: int = 1) -> bytes:
    """A bootable payload: valid stack pointer and reset vector, the rest random."""
    body = random.Random(seed).randbytes(size - 8)
    return struct.pack("<II", RAM_END, FLASH + 0xC1) + body


@functools.cache
def image(
    content: bytes,
    version: str = "1.0.0",
    *,
    chip: str = "STM32G071RB",
    product: str | None = None,
    address: int | None = None,
    key: RSA | None = None,
    counter: int | None = None,
    kept: tuple[tuple[int, int], ...] = (),
) -> bytes:
    """The MCUboot image of a payload, not checked as a board would; signed if there is a key. The
    security counter is taken from the version unless it is given. `kept`: (offset, length) of
    pages that are not changed."""
    part = device.chip(chip)
    start = part.flash_start if address is None else address
    whole = content + inputs.ERASED * (-len(content) % inputs.GRANULE)
    loaded = inputs.Payload(start, whole, [(0, len(content))])
    return images.pack(
        loaded, part, version, key, security_counter=counter, product=product, kept=kept
    )


@functools.cache
def signing_key(bits: int = 2048, number: int = 0) -> RSA:
    """A different key for each `number`."""
    return RSA(rsa.generate_private_key(public_exponent=keys.EXPONENT, key_size=bits))


def over_uart(rate: int = 460_800, **settings: Any) -> dict[str, Any]:
    """Arguments of a Bench whose target is wired to the host's UART, as in
    boards/pico_nucleo_g071rb_uart; its application shows by a heartbeat that it runs."""
    return {
        "wiring": Wiring(scl=None, sda=None, tx=4, rx=5, heartbeat=6),
        "settings": {
            "i2c": None,
            "uart": {"id": 1, "tx": 4, "rx": 5, "baudrate": rate},
            "confirm": {"method": "gpio", "pin": 6, "edges": 2, "timeout_ms": 2000, "tries": 3},
            **settings,
        },
    }


def trust(bench: Bench, *trusted: RSA) -> None:
    """Deploy these keys."""
    for folder in ("/updater", paths.KEYS):
        if not bench.exists(folder):
            bench.files.fs_mkdir(folder)
    for key in map(keys.device_key, trusted):
        bench.write_file(f"{paths.KEYS}/{key.name}", key.content)


def run_until_cut(bench: Bench) -> None:
    """Cut the host's power when page 0 is erased, so that nothing can run on the target."""

    def tap(what: str, point: int) -> None:
        if what == "program" and sum(bench.target.flash.erase_counts) > erased:
            raise HostPowerLost

    erased = sum(bench.target.flash.erase_counts)
    bench.target.flash.tap = tap
    with pytest.raises(HostPowerLost):
        bench.run()
    bench.target.flash.tap = None
    bench.boot()


def reset_in_erase(bench: Bench, number: int, point: int) -> list[int]:
    """Pull the target's NRST low for 1 ms at this point of the `number`-th erase from now on (from
    1). Returns a list that grows with each erase which gets there."""
    begun: list[int] = []

    def tap(what: str, at: int) -> None:
        if what == "erase" and at == point:
            begun.append(at)
            if len(begun) == number:
                bench.target.nrst(False)
                bench.clock.after(NS_PER_MS, lambda: bench.target.nrst(True))

    bench.target.flash.tap = tap
    return begun


def rehashed(content: bytes) -> bytes:
    """An altered image with a corrected digest."""
    data = bytearray(content)
    digest = data.rindex(struct.pack("<HH", 0x10, 32))
    data[digest + 4 : digest + 36] = hashlib.sha256(data[: digest - 4]).digest()
    return bytes(data)


def restated(content: bytes, kind: int, change: Callable[[bytes], bytes | None]) -> bytes:
    """An unsigned image whose protected TLV `kind` has another value; None removes it."""
    parsed = image_format.parse(content)
    area = b""
    for tlv in parsed.tlvs:
        value = change(tlv.value) if tlv.type == kind else tlv.value
        if tlv.protected and value is not None:
            area += struct.pack("<HH", tlv.type, len(value)) + value
    area = struct.pack("<HH", image_format.PROTECTED_MAGIC, len(area) + 4) + area
    end = parsed.header_size + len(parsed.payload)
    signed = content[:10] + struct.pack("<H", len(area)) + content[12:end] + area
    digest = struct.pack("<HH", 0x10, 32) + hashlib.sha256(signed).digest()
    return signed + struct.pack("<HH", image_format.OTHER_MAGIC, len(digest) + 4) + digest


def without_checksums(content: bytes) -> bytes:
    """As other tools make an image."""
    return restated(content, image_format.CHECKSUMS, lambda value: None)


def put_updater(bench: Bench) -> None:
    """Write the product package to the host's filesystem, as bytecode."""
    for folder in (paths.LIB, paths.ROM_LIBRARY, paths.LIBRARY):
        if not bench.exists(folder):
            bench.files.fs_mkdir(folder)
    for path, content in deploy.product_modules().items():
        bench.write_file(path, content)


def in_micropython(bench: Bench, code: str) -> Any:
    """Run `code` on the bench's host in real MicroPython, with the updater deployed as bytecode;
    return its variable `result`, passed as JSON."""
    put_updater(bench)
    end = 'import json\nwith open("/result", "w") as file: json.dump(result, file)\n'
    bench.write_file(paths.MAIN, f"{code}\n{end}".encode())
    world = bench.world
    with MicroPythonHost(world.call, world, executed=world.executed, platform=world.host) as host:
        host.power_on()
        assert host.wait_idle(120.0)
    bench.world.mount()
    return json.loads(bench.read_file("/result"))


def between_marks(document: Path, name: str, lines: list[str]) -> None:
    """Replace the text between two marks of a document by `lines`."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = document.read_text()
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{document} has no place for {name}")
    before, after = text.partition(begin)[0], text.partition(end)[2]
    document.write_text("\n".join([before + begin, "", *lines, "", end + after]))


def version_bytes(version: str) -> bytes:
    """The version as the application answers it: MCUboot's image_version."""
    major, minor, revision = (int(part) for part in version.split("."))
    return struct.pack("<BBHI", major, minor, revision, 0)


def known(content: bytes, version: str = "1.0.0", **behaviour: Any) -> KnownImage:
    """How the simulated target behaves when it holds `content`."""
    return KnownImage(content, version_bytes(version), **behaviour)


class Changed(InFront):
    """Replaces the first frame that equals `frame` by another one."""

    def __init__(self, bench: Bench, frame: bytes, other: bytes) -> None:
        super().__init__(bench.world.bus, bench.target)
        self._frame, self._other = frame, other
        self._sent = bytearray()
        self.struck = False

    def take(self, data: bytes) -> None:
        self._sent += data

    def write(self, byte: int) -> bool:
        self._sent.append(byte)
        return True

    def stop(self) -> None:
        if not self.struck and self._sent == self._frame:
            self.struck = True
            self._sent[:] = self._other
        for byte in self._sent:
            self._target.write(byte)
        self._sent.clear()
        super().stop()
