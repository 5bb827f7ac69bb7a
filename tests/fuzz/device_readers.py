"""Fuzzed on the device: image, state, board.json, keys, log."""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from imgtool.keys import RSAPublic

from stm32up.board import boards
from stm32up.device import module as device_module
from stm32up.image import images, keys
from tests.fuzz import machine
from tests.fuzz.files import MAX_READ, Files
from tests.fuzz.finding import Finding
from tests.fuzz.material import (
    BOARD_FILES,
    LOG_LINES,
    check_message,
    chip,
    many_tlvs,
    private_key,
    real_images,
    with_a_hole,
)


def on(module: ModuleType, files: Files) -> ModuleType:
    """A copy of a device module that uses these files; the desktop uses the module itself."""
    spec = module.__spec__
    assert spec is not None and spec.loader is not None
    copy = module_from_spec(spec)
    spec.loader.exec_module(copy)
    copy.__dict__.update(open=files.open, os=files.os)
    return copy


class Clock:
    """The device's clock, which stands still."""

    feed = now = staticmethod(lambda: 0)
    since = staticmethod(lambda then: 0)


class DeviceReader:
    """A reader of the device package, over files in memory."""

    def __init__(self) -> None:
        self.files = Files()
        self.error: type[Exception] = device_module("stm32_rom.errors").UpdaterError

    def __call__(self, data: bytes) -> object:
        """For one input in 16 a read fails, because the reader of every kind of file must handle
        that."""
        digest = zlib.crc32(data)
        self.files.fails_at = digest // 16 % 16 if digest % 16 == 0 else -1
        return self.outcome(data)

    def outcome(self, data: bytes) -> object:
        """The outcome if every read succeeds, or all but `files.fails_at`."""
        try:
            return self.read(data)
        except self.error as error:
            return check_message(error, str(error))
        except RecursionError:
            return None  # CPython's json recurses; MicroPython's uses its own stack

    def read(self, data: bytes) -> object:
        raise NotImplementedError


class DeviceImage(DeviceReader):
    """The inbox: everything that the updater checks before it installs an image."""

    def __init__(self) -> None:
        super().__init__()
        self.image = on(device_module("stm32_updater.image"), self.files)
        self.signature = on(device_module("stm32_updater.signature"), self.files)
        key = keys.device_key(private_key())
        self.key = {f"/keys/{key.name}": key.content}
        self.keys = self.signature.Keys("/keys")
        self.class_id = images.class_id("nucleo-demo").bytes

    def seeds(self) -> list[bytes]:
        return real_images() + [many_tlvs(), with_a_hole()]

    def read(self, data: bytes) -> object:
        self.files.hold(app_img=data)
        self.files.contents.update(self.key)
        image = self.image.open_image("/app.img")
        image.check_digest(Clock)
        image.check_fit(chip(), [(0x0801_F000, 0x1000)])
        image.check_product(self.class_id)
        image.check_vectors(chip())
        self.signature.check(image, self.keys, False)
        with image.payload() as payload:
            payload.read_into(0, memoryview(bytearray(256)))
        return image.rank()


class State(DeviceReader):
    """The state record, and the note of a bench operation.

    The first byte: 1 corrects the check value in front of the record first, 2 makes the file far
    too long."""

    def __init__(self) -> None:
        super().__init__()
        self.store = on(device_module("stm32_updater.store"), self.files)
        self.record = device_module("stm32_updater.record")

    def seeds(self) -> list[bytes]:
        bodies = []
        for number, phase, image in ((1, "idle", None), (2, "installing", b"\xcd" * 32)):
            made = self.record.Record()
            made.phase, made.image, made.installed = phase, image, b"\xab" * 32
            made.doubt, made.counter, made.starts = 0xFFFF, 16777216, 1
            bodies.append(made.to_bytes(number)[8:])
        return [b"\1" + body for body in bodies] + [
            b"\0" + self.checked(bodies[0]),
            b"\2",
            b'\0{"what": "option bytes"}',
        ]

    def checked(self, body: bytes) -> bytes:
        return hashlib.sha256(body).digest()[:8] + body

    def read(self, data: bytes) -> object:
        content = self.checked(data[1:]) if data[:1] == b"\1" else data[1:]
        if data[:1] == b"\2":
            content += bytes(2 * MAX_READ)
        self.files.hold(state_0=content, state_1=b"")
        store = self.store.Store("")
        record = store.load()
        self.files.contents["/hands-off"] = data[1:]
        if not isinstance(self.store.hands_off("")["what"], str):
            raise Finding("a note is overlooked")
        if record is not None:
            self._use(record)
        return record

    def _use(self, record: Any) -> None:
        """As the updater does."""
        for digest in (record.image, record.installed, record.failed):
            if digest is not None and (len(digest) != 32 or not any(digest)):
                raise Finding(f"a digest of {digest!r}")
        if record.phase not in self.record.PHASES:
            raise Finding(f"a phase {record.phase!r}")
        if record.again not in (0, 1):
            raise Finding(f"again {record.again!r}")
        if record.doubt != self.record.EVERY_PAGE and not 0 <= record.doubt < 1 << 512:
            raise Finding(f"doubt {record.doubt!r}")


class BoardJson(DeviceReader):
    """board.json: any file, and what an updater reads from a board made from it."""

    def __init__(self) -> None:
        super().__init__()
        sys.modules.setdefault("machine", machine)
        self.board = on(device_module("stm32_updater.board"), self.files)

    @staticmethod
    def seeds() -> list[bytes]:
        command = {"method": "command", "address": 0x2A, "command": "10424f4f54"}
        changed = {"enter": command, "preserve": [[0x0801_F000, 0x1000]]}
        settings = boards.load(str(BOARD_FILES / "pico_nucleo_g071rb")).as_json()
        return [json.dumps(content).encode() for content in (settings, {**settings, **changed})]

    def read(self, data: bytes) -> object:
        self.files.hold(board_json=data)
        machine.driven.clear()
        try:
            board = self.board.Board.load("/board.json", Clock)
        except self.error as error:
            if machine.driven:
                raise Finding(f"pins {machine.driven} are driven, and then: {error}") from error
            raise
        pages = board.chip.pages
        for start, length in board.preserved:
            if not 0 < start < start + length < 1 << 32:
                raise Finding(f"preserves {start!r}, {length!r}")
        if type(board.confirm_tries) is not int or type(board.confirm_timeout_ms) is not int:
            raise Finding(f"tries {board.confirm_tries!r}, timeout {board.confirm_timeout_ms!r}")
        if board.unsigned_allowed and json.loads(data)["unsigned"] is not True:
            raise Finding("unsigned images are let in by something else than true")
        if board.class_id is not None and len(board.class_id) != 16:
            raise Finding(f"class id {board.class_id!r}")
        return pages


class DeviceKeys(DeviceReader):
    """/updater/keys, and a signature checked with the keys there."""

    def __init__(self) -> None:
        super().__init__()
        self.signature = on(device_module("stm32_updater.signature"), self.files)
        key = private_key()
        self.wanted = keys.key_hash(key)
        self.name = keys.device_key(key).name
        self.digest = hashlib.sha256(b"").digest()

    def seeds(self) -> list[bytes]:
        modulus = keys.device_key(private_key()).content
        return [modulus + private_key().sign(b""), modulus]

    def read(self, data: bytes) -> object:
        for size in (0, 256, 384, len(data)):
            modulus, signature = data[:size], data[size:]
            self.files.hold()
            self.files.contents["/keys/" + self.name] = modulus
            found = self.signature.Keys("/keys")
            found.ids()
            if found.find(self.wanted) not in (None, keys.device_key(private_key()).content):
                raise Finding("another key passes for ours")
            if size in (256, 384) and len(modulus) == size:
                self._check(modulus, signature)
        return None

    def _check(self, modulus: bytes, signature: bytes) -> None:
        """The device agrees with `cryptography` for every key."""
        if not modulus[0] & 0x80 or not modulus[-1] & 1:
            return
        ours = self.signature.verify(signature, self.digest, modulus)
        theirs = verified(int.from_bytes(modulus, "big"), signature)
        if ours != theirs:
            raise Finding(f"signature {'valid' if ours else 'wrong'} for the device only")


def verified(modulus: int, signature: bytes) -> bool:
    """Whether the owner of `modulus` signed b"", according to `cryptography`."""
    key = RSAPublic(rsa.RSAPublicNumbers(keys.EXPONENT, modulus).public_key())
    try:
        key.verify(signature, b"")
    except InvalidSignature:
        return False
    return True


class DeviceLog(DeviceReader):
    """The log on the board: the next number. The file is long; the input is its end."""

    def __init__(self) -> None:
        super().__init__()
        self.event_log = on(device_module("stm32_updater.event_log"), self.files)
        store = on(device_module("stm32_updater.store"), self.files)
        vars(self.event_log).update(size_of=store.size_of)

    def seeds(self) -> list[bytes]:
        return [*LOG_LINES, b'{"n": 20e1, "event": ""}\n']

    def read(self, data: bytes) -> object:
        self.files.hold(
            log_0=bytes(2 * MAX_READ) + b"\n" + data, log_1=b'{"n": 3, "t": 1, "event": "x"}\n'
        )
        log = self.event_log.EventLog("", Clock)
        json.dumps({"n": log._number})
        if type(log._number) is not int:
            raise Finding(f"the next number is {log._number!r}")
        return log._number
