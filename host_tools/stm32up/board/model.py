"""A board as board.toml describes it.

`Board.as_json()` is the contract with the device's board.py, which reads it as /board.json. Every
key is always there; what does not apply is null:

    title    text
    host     "rp2" | "esp32": how its I2C controller behaves
    chip     part number, a row of the chip table
    i2c      {"id": number | null (SoftI2C), "scl": pin, "sda": pin, "freq": Hz}
    pins     {"nrst": pin, "boot0": pin | null, "supply": pin | null (active high)}
    enter    {"method": "boot0" | "command", "address": 7 bits | null, "command": hex digits |
              null}
    confirm  {"method": "i2c-version" | "gpio" | "none", "address": 7 bits | null,
              "register": number | null, "pin": pin | null, "edges": number | null,
              "timeout_ms": number | null, "tries": number | null}
    preserve [[start, length], ...]: flash that is never erased, in whole pages
    class_id 32 hex digits: what an image for this product carries
    unsigned true if images without a signature may be installed
    bench    null | {"supply_adc": pin, "divider": number, "min_mv": mV}: see [bench]
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from stm32up import device
from stm32up.image import images


@dataclass(frozen=True)
class Command:
    """A write that asks the running application to enter the loader."""

    address: int
    content: bytes


@dataclass(frozen=True)
class Confirm:
    """How the application proves that it runs: its version is read over I2C, or it toggles a pin
    of the host. What belongs to the other method is None."""

    method: str
    timeout_ms: int
    tries: int
    address: int | None = None
    register: int | None = None
    pin: int | None = None
    edges: int | None = None


@dataclass(frozen=True)
class Supply:
    """How the host sees the target's supply: through a divider, at a pin of its ADC."""

    supply_adc: int  # pin
    divider: float  # the supply over what the pin sees
    min_mv: int


@dataclass(frozen=True)
class Board:
    name: str
    title: str
    host: str
    chip: device.Chip
    i2c_id: int | None
    scl: int
    sda: int
    frequency: int  # Hz
    nrst: int
    boot0: int | None
    supply: int | None
    command: Command | None  # None: enter by BOOT0
    confirm: Confirm | None
    preserve: tuple[tuple[int, int], ...]  # (start, length) in bytes
    product: str
    unsigned: bool
    bench: Supply | None = None

    def as_json(self) -> dict[str, Any]:
        """The content of board.json; the module's docstring says what stands where."""
        command, confirm = self.command, self.confirm
        return {
            "title": self.title,
            "host": self.host,
            "chip": self.chip.name,
            "i2c": {"id": self.i2c_id, "scl": self.scl, "sda": self.sda, "freq": self.frequency},
            "pins": {"nrst": self.nrst, "boot0": self.boot0, "supply": self.supply},
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
            "class_id": images.class_id(self.product).hex,
            "unsigned": self.unsigned,
            "bench": None if self.bench is None else asdict(self.bench),
        }
