"""Every key of board.toml: its meaning, its allowed values, and its default.

The reader checks a file with these rows, and docs/board-toml.md explains them. The limits of
numbers come from the code on the host, which checks /board.json with them again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from stm32up import device

T = TypeVar("T", covariant=True)

# What differs between the ports of MicroPython.
PINS = {"rp2": range(30), "esp32": range(49)}
# RP2040 datasheet 4.9. An ESP32's ADC pins depend on the chip, so MicroPython checks them.
ADC_PINS = {"rp2": range(26, 30), "esp32": range(49)}
NO_PULL_DOWN = {"rp2": range(0), "esp32": range(34, 40)}  # ESP32 datasheet, appendix A
INPUT_ONLY = NO_PULL_DOWN  # the same pins
# The UARTs that are free: an ESP32's first one is for the REPL.
UARTS = {"rp2": (0, 1), "esp32": (1, 2)}


def i2c_of_rp2(sda: int, scl: int) -> int | None:
    """The controller of these pins; None if they belong to none. By RP2040 and RP2350 datasheet,
    pin functions: from pin 0 on SDA and SCL of I2C 0, SDA and SCL of I2C 1, and again."""
    number = sda // 2 % 2
    return number if sda % 2 == 0 and scl % 4 == 2 * number + 1 else None


def uart_of_rp2(pin: int) -> int:
    """The UART that has TX, RX, CTS or RTS on this pin: from pin 4 on eight of UART 1, eight of
    UART 0, and again."""
    return (pin + 4) // 8 % 2


@dataclass(frozen=True)
class Text:
    def allowed(self, host: str) -> str:
        return "text"

    def trouble(self, value: object, host: str) -> str:
        if not isinstance(value, str):
            return "must be text"
        return "" if value.strip() and value.isprintable() else "must be printable text"


@dataclass(frozen=True)
class Choice:
    options: tuple[object, ...]

    def allowed(self, host: str) -> str:
        *others, last = [str(o).lower() if o != str(o) else f'"{o}"' for o in self.options]
        return f"{', '.join(others)} or {last}"

    def trouble(self, value: object, host: str) -> str:
        known = any(type(value) is type(option) and value == option for option in self.options)
        return "" if known else f"must be {self.allowed(host)}"  # checks types: 1 is not true


@dataclass(frozen=True)
class Number:
    """`limits`: its key in board.json, which has the limits; "pin": a pin of the host."""

    limits: str
    unit: str = ""
    show: Callable[[int], str] = str
    types: tuple[type, ...] = (int,)

    def allowed(self, host: str) -> str:
        lowest, highest = map(self.show, self._ends(host))
        return f"{lowest} to {highest}{self.unit}"

    def trouble(self, value: object, host: str) -> str:
        if not isinstance(value, int | float) or type(value) not in self.types:  # True is an int
            quoted = ", without quotes" if isinstance(value, str) else ""
            return f"must be a number{quoted}, {self.allowed(host)}"
        lowest, highest = self._ends(host)
        if lowest <= value <= highest:
            return ""
        shown = self.show(value) if isinstance(value, int) else value
        return f"is {shown}; it must be {self.allowed(host)}"

    def _ends(self, host: str) -> tuple[int, int]:
        if self.limits == "pin":
            return PINS[host][0], PINS[host][-1]
        return device.limits()[self.limits]


@dataclass(frozen=True)
class Of:
    """A table or a list; the reader checks its content."""

    type: type
    example: str

    def allowed(self, host: str) -> str:
        return self.example

    def trouble(self, value: object, host: str) -> str:
        return "" if type(value) is self.type else f"must be {self.example}"


@dataclass(frozen=True, eq=False)
class Key(Generic[T]):
    """A row. `default`: a tuple with the default; () if the key is required. `methods`: the
    methods of its table that need the key; other methods exclude it."""

    at: str  # "i2c.scl"
    kind: Text | Choice | Number | Of
    what: str
    default: tuple[T, ...] = ()
    methods: tuple[str, ...] = ()
    missing: str = ""  # a special message for a missing key

    @property
    def table(self) -> str:
        return self.at.rpartition(".")[0]

    @property
    def name(self) -> str:
        return self.at.rpartition(".")[2]

    def __str__(self) -> str:
        return f"[{self.table}] {self.name}" if self.table else self.name


_PIN, _ABSENT = Number("pin"), (None,)
_ASKED, _GPIO = ("i2c-version",), ("gpio",)

TITLE = Key[str]("title", Text(), "for people")
HOST = Key[str]("host", Choice(tuple(PINS)), "how its I2C and UART controllers behave")
CHIP = Key[str]("chip", Text(), "part number of the target")
ID = Key[object]("i2c.id", Choice((0, 1, "soft")), "hardware controller", ("soft",))
SCL = Key[int]("i2c.scl", _PIN, "pin number of the host")
SDA = Key[int]("i2c.sda", _PIN, "pin number of the host")
FREQUENCY = Key[int]("i2c.frequency", Number("freq", " Hz"), "of the bus, in Hz")
UART_ID = Key[int]("uart.id", Choice((0, 1, 2)), "number of the UART")
TX = Key[int]("uart.tx", _PIN, "pin number of the host, to the target's RX")
RX = Key[int]("uart.rx", _PIN, "pin number of the host, to the target's TX")
BAUDRATE = Key[int]("uart.baudrate", Number("baudrate", " baud"), "in baud; always 8E1")
NRST = Key[int]("pins.nrst", _PIN, "to the target's NRST, open drain")
BOOT0 = Key[int | None]("pins.boot0", _PIN, "to its BOOT0", _ABSENT)
SUPPLY = Key[int | None]("pins.supply", _PIN, "switches its supply, active high", _ABSENT)
ENTER = Key[str](
    "enter.method", Choice(("boot0", "command")), "by BOOT0 and NRST, or by asking the application"
)
COMMAND = Key[dict[str, object]](
    "enter.command",
    Of(dict, "{address = 0x2A, bytes = [0x10]}"),
    "the frame that asks it",
    methods=("command",),
)
CONFIRM = Key[str](
    "confirm.method",
    Choice(("i2c-version", "gpio", "none")),
    "by its version over I2C, by a line that it toggles, or not at all",
)
ADDRESS = Key[int](
    "confirm.address", Number("address", show=hex), "its I2C address", methods=_ASKED
)
REGISTER = Key[int](
    "confirm.register",
    Number("register"),
    "the byte written before its 8 bytes of version are read",
    methods=_ASKED,
)
PIN = Key[int](
    "confirm.pin",
    _PIN,
    "where the line ends, pulled down by the host",
    methods=_GPIO,
    missing='is needed by method = "gpio"',
)
EDGES = Key[int]("confirm.edges", Number("edges"), "how often the line must change", methods=_GPIO)
TIMEOUT_MS = Key[int](
    "confirm.timeout_ms",
    Number("timeout_ms"),
    "how long it may take after a start, in ms",
    methods=_ASKED + _GPIO,
)
TRIES = Key[int](
    "confirm.tries",
    Number("tries"),
    "how often it is started before the last good image comes back",
    methods=_ASKED + _GPIO,
)
PRESERVE = Key[list[object]](
    "flash.preserve",
    Of(list, "[{start = 0x..., length = 0x...}]"),
    "whole pages that no update may touch",
    ([],),
)
VERIFY = Key[str](
    "flash.verify",
    Choice(("checksum", "read")),
    "by the loader's checksum command where it has it, or always by reading all of it back",
    ("checksum",),
)
PRODUCT = Key[str]("images.product", Text(), "images for another product are refused")
UNSIGNED = Key[bool](
    "images.unsigned",
    Choice((True, False)),
    "whether an image may be without a signature",
    (False,),
)
SUPPLY_ADC = Key[int]("bench.supply_adc", _PIN, "ADC pin that sees the target's supply")
DIVIDER = Key[float](
    "bench.divider",
    Number("divider", types=(int, float)),
    "the supply over the voltage at the pin",
    (1,),
)
MIN_MV = Key[int]("bench.min_mv", Number("min_mv", " mV"), "what the supply must not fall below")
SHORT_PIN = Key[int | None]("bench.short_pin", _PIN, "pulls SDA low, for bench --noise", _ABSENT)
KEYS: tuple[Key[object], ...] = (
    *(TITLE, HOST, CHIP, ID, SCL, SDA, FREQUENCY, UART_ID, TX, RX, BAUDRATE, NRST, BOOT0),
    *(
        SUPPLY,
        ENTER,
        COMMAND,
        CONFIRM,
        ADDRESS,
        REGISTER,
        PIN,
        EDGES,
        TIMEOUT_MS,
        TRIES,
        PRESERVE,
        VERIFY,
        PRODUCT,
    ),
    *(UNSIGNED, SUPPLY_ADC, DIVIDER, MIN_MV, SHORT_PIN),
)
ALL_PINS = (SCL, SDA, TX, RX, NRST, BOOT0, SUPPLY, PIN, SUPPLY_ADC, SHORT_PIN)
DRIVEN = (SCL, SDA, TX, NRST, BOOT0, SUPPLY, SHORT_PIN)  # by the host: no pins for input only
METHODS = {"enter": ENTER, "confirm": CONFIRM}
LINKS = ("i2c", "uart")  # tables of which a board has one
MEASURED = (SUPPLY_ADC, DIVIDER, MIN_MV)  # required only if one of them is given

TABLES = tuple(dict.fromkeys(key.table for key in KEYS if key.table))
# The known names of each table; names with a dot are tables inside a value.
NAMES = {table: [key.name for key in KEYS if key.table == table] for table in TABLES} | {
    "": [*(key.name for key in KEYS if not key.table), *TABLES],
    "enter.command": ["address", "bytes"],
    "flash.preserve": ["start", "length"],
}
