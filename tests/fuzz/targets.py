"""What is fuzzed: one class for each reader of files that somebody else may have written.

A target has `seeds()`, real files to begin with, and is called with an input. It returns whatever
it likes, or raises: errors of the project's own tree are a good answer to a bad file, and
everything else is a finding.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from imgtool.keys import RSA, RSAPublic

from stm32up import boards, image_format, images, keys, logs
from stm32up.device import _device_module as device_module
from stm32up.errors import Stm32upError
from tests.fuzz import machine
from tests.fuzz.files import MAX_READ, Files
from tests.fuzz.finding import Finding
from tests.support import payload

Target = Callable[[bytes], object]
BOARD_FILES = Path(__file__).parents[2] / "boards"


@functools.cache
def private_key() -> RSA:
    """A key of 2048 bits that is the same in every process: inputs that hold its signatures can
    be replayed."""
    path = Path(__file__).with_name("fuzz_development_key.pem")
    key = keys.load(path)
    assert isinstance(key, RSA)
    return key


@functools.cache
def real_images() -> list[bytes]:
    """Images for the board under test: signed and not, with a build number and without."""
    with tempfile.TemporaryDirectory() as folder:
        raw, built = Path(folder, "app.bin"), Path(folder, "app.img")
        raw.write_bytes(payload(256))
        made = []
        for version, key in (("1.0.0", None), ("1.4.2+7", private_key())):
            images.build(raw, chip(), version, key, built, product="nucleo-demo")
            made.append(built.read_bytes())
    return made


def chip() -> Any:
    return device_module("chips").by_name("STM32G071RB")


def on(module: ModuleType, files: Files) -> ModuleType:
    """A device module whose files are these."""
    module.__dict__.update(open=files.open, os=files.os)
    return module


class Clock:
    """The device's clock, standing still."""

    feed = now = staticmethod(lambda: 0)
    since = staticmethod(lambda then: 0)


class DeviceReader:
    """A reader of the device package, over files in memory."""

    def __init__(self) -> None:
        self.files = Files()
        self.error: type[Exception] = device_module("errors").UpdaterError

    def __call__(self, data: bytes) -> object:
        try:
            return self.read(data)
        except self.error as error:
            return check_message(error, str(error))
        except RecursionError:
            return None  # CPython's json recurses; MicroPython's has a stack of its own

    def read(self, data: bytes) -> object:
        raise NotImplementedError


def check_message(error: Exception, message: str) -> object:
    if not message or "\n" in message.strip():
        raise Finding(f"{type(error).__name__} says {message!r}")
    return error


class DeviceImage(DeviceReader):
    """The inbox: everything the updater looks at before an image may be installed."""

    def __init__(self) -> None:
        super().__init__()
        self.image = on(device_module("image"), self.files)
        self.signature = on(device_module("signature"), self.files)
        key = keys.device_key(private_key())
        self.key = {f"/keys/{key.name}": key.content}
        self.keys = self.signature.Keys("/keys")
        self.class_id = images.class_id("nucleo-demo").bytes

    def seeds(self) -> list[bytes]:
        return real_images()

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
            payload.read_into(0, bytearray(256))
        return image.rank()


class Agreement(DeviceImage):
    """Desktop and device say the same of an image: sound or not, and signed by our key or not.

    The first byte says whether the digest is made right first, so that more than the digest is
    looked at."""

    def seeds(self) -> list[bytes]:
        return [flag + image for image in real_images() for flag in (b"\0", b"\1")]

    def __call__(self, data: bytes) -> object:
        content = with_right_digest(data[1:]) if data[:1] == b"\1" else data[1:]
        for key in (None, private_key()):
            ours = self._desktop(content, key)
            theirs = self._device(content, key is None)
            if (ours is None) != (theirs is None):
                raise Finding(f"desktop: {ours or 'valid'}; device: {theirs or 'valid'}")
        return None

    def _desktop(self, content: bytes, key: RSA | None) -> Stm32upError | None:
        try:
            images.check(Path("app.img"), content, key)
        except Stm32upError as error:
            return error
        return None

    def _device(self, content: bytes, unsigned_allowed: bool) -> Exception | None:
        self.files.hold(app_img=content)
        self.files.contents.update({} if unsigned_allowed else self.key)
        try:
            image = self.image.open_image("/app.img")
            image.check_digest(Clock)
            self.signature.check(image, self.keys, unsigned_allowed)
        except self.error as error:
            return error
        return None


def with_right_digest(content: bytes) -> bytes:
    """The image with the digest that its content has, as far as it has the form of one."""
    if len(content) < image_format.HEADER.size:
        return content
    fields = image_format.HEADER.unpack_from(content)
    end = fields[2] + fields[4] + fields[3]  # header, payload, protected TLVs
    at = content.find(struct.pack("<HH", image_format.SHA256, 32), end)
    if at < 0 or at + 36 > len(content):
        return content
    digest = hashlib.sha256(content[:end]).digest()
    return content[: at + 4] + digest + content[at + 36 :]


class State(DeviceReader):
    """The state record, and the note of a bench operation.

    The first byte: 1 says that the check in front of the record is made right first, 2 that the
    file is far too long."""

    def __init__(self) -> None:
        super().__init__()
        self.store = on(device_module("store"), self.files)

    def seeds(self) -> list[bytes]:
        bodies = [
            {
                "version": self.store._VERSION,
                "number": number,
                "phase": phase,
                "image": image,
                "installed": "ab" * 32,
                "failed": None,
                "doubt": "ffff",
                "counter": 16777216,
            }
            for number, phase, image in ((1, "idle", None), (2, "installing", "cd" * 32))
        ]
        texts = [json.dumps(body).encode() for body in bodies]
        return [b"\1" + text for text in texts] + [
            b"\0" + self._checked(texts[0]),
            b"\2",
            b'\0{"what": "option bytes"}',
        ]

    def _checked(self, body: bytes) -> bytes:
        return hashlib.sha256(body).hexdigest()[:16].encode() + body

    def read(self, data: bytes) -> object:
        content = self._checked(data[1:]) if data[:1] == b"\1" else data[1:]
        if data[:1] == b"\2":
            content += bytes(2 * MAX_READ)
        self.files.hold(state_0=content, state_1=b"")
        store = self.store.Store("")
        record = store.load()
        self.files.contents["/hands-off"] = data[1:]
        if not isinstance(store.hands_off(), str):
            raise Finding("a note is overlooked")
        if record is not None:
            self._use(record)
        return record

    def _use(self, record: Any) -> None:
        """As the updater does."""
        for digest in (record.image, record.installed, record.failed):
            if digest is not None and len(bytes.fromhex(digest)) != 32:
                raise Finding(f"a digest of {digest!r}")
        phases = (self.store.IDLE, self.store.INSTALLING, self.store.CONFIRMING)
        if record.phase not in (*phases, self.store.ROLLING_BACK, self.store.UNKNOWN):
            raise Finding(f"a phase {record.phase!r}")
        if type(record.counter) is not int or type(record.doubt) is not int or record.doubt < 0:
            raise Finding(f"counter {record.counter!r}, doubt {record.doubt!r}")


class BoardJson(DeviceReader):
    """board.json: any file, and what an updater asks of a board made of it."""

    def __init__(self) -> None:
        super().__init__()
        sys.modules.setdefault("machine", machine)
        self.board = on(device_module("board"), self.files)

    def seeds(self) -> list[bytes]:
        command = {"method": "command", "address": 0x2A, "command": "10424f4f54"}
        changed = {"enter": command, "preserve": [[0x0801_F000, 0x1000]]}
        settings = boards.load(str(BOARD_FILES / "pico_nucleo_g071rb")).as_json()
        return [json.dumps(content).encode() for content in (settings, {**settings, **changed})]

    def read(self, data: bytes) -> object:
        self.files.hold(board_json=data)
        board = self.board.Board.load("/board.json", Clock)
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
    """/updater/keys, and a signature checked with what lies there."""

    def __init__(self) -> None:
        super().__init__()
        self.signature = on(device_module("signature"), self.files)
        key = private_key()
        self.wanted = keys.key_hash(key)
        self.name = keys.device_key(key).name
        self.digest = hashlib.sha256(b"").digest()

    def seeds(self) -> list[bytes]:
        modulus = keys.device_key(private_key()).content
        return [modulus + private_key().sign(b""), modulus]

    def read(self, data: bytes) -> object:
        for size in (256, 384, len(data)):
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
        """The device's verdict is that of `cryptography`, whatever the key."""
        if not modulus[0] & 0x80 or not modulus[-1] & 1:
            return
        ours = self.signature.verify(signature, self.digest, modulus)
        theirs = verified(int.from_bytes(modulus, "big"), signature)
        if ours != theirs:
            raise Finding(f"signature {'valid' if ours else 'wrong'} for the device only")


def verified(modulus: int, signature: bytes) -> bool:
    """Whether the owner of `modulus` signed b"", says `cryptography`."""
    key = RSAPublic(rsa.RSAPublicNumbers(keys.EXPONENT, modulus).public_key())
    try:
        key.verify(signature, b"")
    except InvalidSignature:
        return False
    return True


class DeviceLog(DeviceReader):
    """The log on the board: where its numbering goes on. The file is long; the input is its
    end."""

    def __init__(self) -> None:
        super().__init__()
        self.event_log = on(device_module("event_log"), self.files)

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


LOG_LINES = [
    b'{"n": 0, "t": 12, "event": "installing", "version": "1.0.0", "bytes": 1576}\n'
    b'{"n": 1, "t": 900, "event": "result", "ok": true}\n',
    b'{"n": 7, "t": 1, "event": "refused", "message": "\\u00e9", "x": [1.5e3, null, -1]}\n{"n": 8',
]


class DesktopLog:
    """The log as the desktop merges it: what comes out is JSON, line by line, in order."""

    def seeds(self) -> list[bytes]:
        return LOG_LINES

    def __call__(self, data: bytes) -> object:
        merged = logs.merge([data, LOG_LINES[0]])
        lines = merged.as_lines().splitlines()
        numbers = [json.loads(line, parse_constant=_no_json)["n"] for line in lines]
        if numbers != sorted(set(numbers)):
            raise Finding(f"numbers {numbers}")
        return merged.summary()


def _no_json(name: str) -> None:
    raise Finding(f"{name} is no JSON")


class DesktopReader:
    """A reader of the desktop command, over a file."""

    NAME = "input"

    def __init__(self) -> None:
        memory = Path("/dev/shm")  # a file on disk takes milliseconds
        self.folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        self.path = Path(self.folder.name) / self.NAME

    def __call__(self, data: bytes) -> object:
        self.path.write_bytes(data)
        try:
            return self.read()
        except Stm32upError as error:
            return check_message(error, str(error))

    def read(self) -> object:
        raise NotImplementedError


class DesktopImage(DesktopReader):
    """`image show` and `image verify`."""

    def seeds(self) -> list[bytes]:
        return real_images()

    def read(self) -> object:
        shown = images.show(self.path)
        json.dumps(shown)
        return images.verify(self.path, private_key())


class DesktopKey(DesktopReader):
    """A PEM file, as --key takes it."""

    def seeds(self) -> list[bytes]:
        key = private_key().key
        plain = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        locked = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
        public = private_key().get_public_pem()
        return [keys.DEVELOPMENT.encode() + b"\n" + public, plain, locked]

    def read(self) -> object:
        key = keys.load(self.path)
        keys.why_development(self.path, key)
        return keys.device_key(key)


class BoardToml(DesktopReader):
    """board.toml: refused with file and line, or a board whose board.json the device takes."""

    NAME = "board.toml"

    def __init__(self) -> None:
        super().__init__()
        self.device = BoardJson()

    def seeds(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(BOARD_FILES.glob("*/board.toml"))]

    def read(self) -> object:
        board = boards.load(str(self.path))
        taken = self.device(json.dumps(board.as_json()).encode())
        if isinstance(taken, Exception):
            raise Finding(f"the device does not take it: {taken}")
        return board


ALL: dict[str, Callable[[], Any]] = {
    "device-image": DeviceImage,
    "agreement": Agreement,
    "state": State,
    "board-json": BoardJson,
    "device-keys": DeviceKeys,
    "device-log": DeviceLog,
    "desktop-log": DesktopLog,
    "desktop-image": DesktopImage,
    "desktop-key": DesktopKey,
    "board-toml": BoardToml,
}


TOKENS = [
    b"0",
    b"9",
    b"-",
    b"99",
    b"1e999",
    b"null",
    b"true",
    b'"',
    b'""',
    b"[]",
    b"{}",
    b"[",
    b"=",
]
NUMBERS = (0, 1, 0x7FFF, 0xFFFF, 0x8000_0000, 0xFFFF_FFFF)


def mutated(data: bytes, choose: random.Random) -> bytes:
    """One random change or a few, of the kinds that break readers."""
    content = bytearray(data)
    for _ in range(choose.choice((1, 1, 1, 2, 4))):
        at = _place(len(content), choose)
        kind = choose.randrange(7)
        if kind == 0:
            content[at : at + 1] = bytes(
                byte ^ 1 << choose.randrange(8) for byte in content[at:][:1]
            )
        elif kind == 1:
            step = choose.randint(-4, 4)
            content[at : at + 1] = bytes((byte + step) & 0xFF for byte in content[at:][:1])
        elif kind == 2:
            content[at : at + choose.randint(1, 8)] = choose.randbytes(choose.randint(0, 8))
        elif kind == 3:
            content[at : at + choose.choice((0, 1, 4))] = choose.choice(TOKENS)
        elif kind == 4:
            del content[at:]
        elif kind == 5:
            number = struct.pack("<I", choose.choice(NUMBERS))
            content[at : at + 4] = number[: choose.choice((1, 2, 4))]
        else:
            content[at:at] = content[at : at + choose.randint(1, 64)]
    return bytes(content)


def _place(size: int, choose: random.Random) -> int:
    """Anywhere, or near the beginning or the end, where formats say what is in between."""
    near = min(size, 64)
    return choose.choice(
        (choose.randint(0, size), choose.randint(0, near), size - choose.randint(0, near))
    )
