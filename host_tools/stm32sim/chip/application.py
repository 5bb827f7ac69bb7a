"""The application in main flash: its interface, and a fast model that recognises images by their
bytes.

The model is for hundreds of thousands of runs; `cortex_m.EmulatedApplication` executes the real
machine code. Both answer the register protocol of boards/nucleo_g071rb_app.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from stm32sim.chip.families import Family
from stm32sim.wires.bus import NOT_DRIVEN, I2CDevice
from stm32sim.wires.clock import NS_PER_MS, Clock

APP_ADDRESS = 0x2A
IDENTITY_REGISTER, VERSION_REGISTER, COMMAND_REGISTER = 0x00, 0x01, 0x10
ENTER_LOADER_KEY = b"BOOT"


class Application(I2CDevice, Protocol):
    """Code running from main flash."""

    @property
    def led(self) -> bool:
        """Whether PA5 is driven high: LD4 of the NUCLEO, and the heartbeat if it is wired to the
        host."""
        ...

    def halt(self) -> None:
        """Power loss or reset: the application stops."""
        ...


class Surroundings(Protocol):
    """The parts of the chip that an application uses."""

    @property
    def clock(self) -> Clock: ...

    @property
    def family(self) -> Family: ...

    @property
    def ram(self) -> bytes | bytearray:
        """The content of SRAM: noise from power-on, and data that a loader wrote."""
        ...

    @property
    def empty_flag(self) -> bool:
        """EMPTY in FLASH_ACR: the boot logic takes main flash for empty."""
        ...

    def set_empty_flag(self, value: bool) -> None: ...
    def enter_system_memory(self) -> None: ...
    def system_reset(self) -> None: ...


# Makes the application from the content of flash; None if it crashes at once.
ApplicationFactory = Callable[[bytes, Surroundings], Application | None]


@dataclass(frozen=True)
class KnownImage:
    """The bytes of a sound application at the start of flash, and how it behaves."""

    content: bytes
    version: bytes  # 8 bytes, MCUboot's image_version
    answers: bool = True  # False: hangs silently
    enters_loader: bool = True  # False: it does not set the EMPTY flag either
    blinks_ms: int = 0  # how long PA5 stays high, and then low; 0: always low


class ModelApplication:
    """A running known image: answers its version, and enters the loader on command."""

    def __init__(self, image: KnownImage, surroundings: Surroundings) -> None:
        self.image = image
        self._surroundings = surroundings
        self._running = True
        self._frame = bytearray()
        self._writing = False
        self._reply = b""
        if image.enters_loader:
            surroundings.set_empty_flag(False)

    @property
    def led(self) -> bool:
        blinks = self.image.blinks_ms * NS_PER_MS
        return bool(blinks and self._surroundings.clock.now // blinks % 2)

    def halt(self) -> None:
        self._running = False

    def start(self, address: int, reading: bool) -> bool:
        if not self._running or not self.image.answers or address != APP_ADDRESS:
            self._writing = False  # a START for another device discards the frame
            return False
        if reading:
            self._reply = self._register(self._frame[0] if self._frame else IDENTITY_REGISTER)
        else:
            self._frame.clear()
        self._writing = not reading
        return True

    def _register(self, register: int) -> bytes:
        answers = {IDENTITY_REGISTER: b"G071", VERSION_REGISTER: self.image.version}
        return answers.get(register, b"")

    def write(self, byte: int) -> bool:
        if not self._running or not self._writing:
            return False
        self._frame.append(byte)
        return True

    def read(self) -> int:
        byte, self._reply = (self._reply[0], self._reply[1:]) if self._reply else (NOT_DRIVEN, b"")
        return byte

    def acked(self, ack: bool) -> None:
        pass

    def stop(self) -> None:
        command = bytes([COMMAND_REGISTER]) + ENTER_LOADER_KEY
        if self._running and self._writing and bytes(self._frame) == command:
            self._writing = False
            if self.image.enters_loader:
                self._surroundings.set_empty_flag(True)
                self._surroundings.system_reset()
        self._writing = False

    def holding_scl(self) -> bool:
        return False


@dataclass(frozen=True)
class KnownImages:
    """An application runs if flash holds one of `images` byte for byte; anything else crashes."""

    images: tuple[KnownImage, ...]

    def __call__(self, flash: bytes, surroundings: Surroundings) -> Application | None:
        for image in self.images:
            if flash.startswith(image.content):
                return ModelApplication(image, surroundings)
        return None

    def whole_from(self, offset: int, flash: bytes) -> bool:
        return any(flash.startswith(image.content[offset:], offset) for image in self.images)


def known_images(*images: KnownImage) -> KnownImages:
    return KnownImages(images)
