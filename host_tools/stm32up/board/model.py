"""A board as board.toml describes it, and the board.json that is made from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TypedDict, cast

from stm32up import device
from stm32up.events import Values
from stm32up.image import images


class I2cJson(TypedDict):
    id: int | None  # None: SoftI2C
    scl: int
    sda: int
    freq: int  # Hz


class UartJson(TypedDict):
    id: int
    tx: int
    rx: int
    baudrate: int


class PinsJson(TypedDict):
    nrst: int
    boot0: int | None
    supply: int | None  # active high
    short: int | None  # pulls SDA low: see stm32_cycles


class EnterJson(TypedDict):
    method: str
    address: int | None  # 7 bits
    command: str | None  # hex digits


class ConfirmJson(TypedDict):
    method: str
    address: int | None
    register: int | None
    pin: int | None
    edges: int | None
    timeout_ms: int | None
    tries: int | None


class BoardJson(TypedDict):
    """/board.json, the contract with the device's board.py: every key is always present; a value
    that does not apply is null.
    """

    title: str
    host: str  # how its controllers behave
    chip: str  # part number, a row of the chip table
    i2c: I2cJson | None  # the target is wired to one of the two
    uart: UartJson | None
    pins: PinsJson
    enter: EnterJson
    confirm: ConfirmJson
    preserve: list[list[int]]  # [start, length]: flash that is never erased, in whole pages
    verify: str  # "checksum" if the loader has that command, or "read"
    class_id: str  # 32 hex digits: what an image for this product carries
    unsigned: bool  # images without a signature may be installed
    bench: Values | None  # see Supply


@dataclass(frozen=True)
class I2c:
    id: int | None
    scl: int
    sda: int
    freq: int  # Hz


@dataclass(frozen=True)
class Uart:
    id: int
    tx: int
    rx: int
    baudrate: int


@dataclass(frozen=True)
class Command:
    """A write that makes the running application enter the loader."""

    address: int
    content: bytes


@dataclass(frozen=True)
class Confirm:
    """How the application proves that it runs: its version is read over I2C, or it toggles a pin
    of the host. Values of the other method are None."""

    method: str
    timeout_ms: int
    tries: int
    address: int | None = None
    register: int | None = None
    pin: int | None = None
    edges: int | None = None


@dataclass(frozen=True)
class Supply:
    """How the host measures the target's supply: through a divider, with a pin of its ADC."""

    supply_adc: int  # pin
    divider: float  # ratio of the supply to the voltage at the pin
    min_mv: int


@dataclass(frozen=True)
class Board:
    name: str
    title: str
    host: str
    chip: device.Chip
    link: I2c | Uart
    nrst: int
    boot0: int | None
    supply: int | None
    command: Command | None  # None: enter by BOOT0
    confirm: Confirm | None
    preserve: tuple[tuple[int, int], ...]  # (start, length) in bytes
    verify: str  # "checksum" or "read"
    product: str
    unsigned: bool
    bench: Supply | None = None
    short: int | None = None

    def as_json(self) -> BoardJson:
        command, confirm, link = self.command, self.confirm, self.link
        return {
            "title": self.title,
            "host": self.host,
            "chip": self.chip.name,
            "i2c": cast(I2cJson, asdict(link)) if isinstance(link, I2c) else None,
            "uart": cast(UartJson, asdict(link)) if isinstance(link, Uart) else None,
            "pins": {
                "nrst": self.nrst,
                "boot0": self.boot0,
                "supply": self.supply,
                "short": self.short,
            },
            "enter": {
                "method": "command" if command else "boot0",
                "address": command.address if command else None,
                "command": command.content.hex() if command else None,
            },
            "confirm": {
                "method": confirm.method if confirm else "none",
                "address": confirm.address if confirm else None,
                "register": confirm.register if confirm else None,
                "pin": confirm.pin if confirm else None,
                "edges": confirm.edges if confirm else None,
                "timeout_ms": confirm.timeout_ms if confirm else None,
                "tries": confirm.tries if confirm else None,
            },
            "preserve": [list(region) for region in self.preserve],
            "verify": self.verify,
            "class_id": images.class_id(self.product).hex,
            "unsigned": self.unsigned,
            "bench": None if self.bench is None else asdict(self.bench),
        }
