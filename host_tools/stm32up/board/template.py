"""Makes the board.toml of a new board from answers, and checks each answer by the reader."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from stm32up import device, outputs
from stm32up.board import boards, toml_keys
from stm32up.board.model import I2c
from stm32up.board.reader import BoardReader
from stm32up.board.toml_keys import Key
from stm32up.board.toml_lines import Lines
from stm32up.errors import BoardFileError, UsageError
from stm32up.events import Values


class Question(NamedTuple):
    name: str
    text: str
    default: str


# Questions with a few answers of their own, and what each stands for.
_CHOICES: dict[str, dict[str, object]] = {
    "link": {name: name for name in toml_keys.LINKS},
    "unsigned": {"yes": True, "no": False},
}
_KEYS: dict[str, Key[object]] = {
    "host": toml_keys.HOST,
    "chip": toml_keys.CHIP,
    "sda": toml_keys.SDA,
    "scl": toml_keys.SCL,
    "frequency": toml_keys.FREQUENCY,
    "tx": toml_keys.TX,
    "rx": toml_keys.RX,
    "baudrate": toml_keys.BAUDRATE,
    "nrst": toml_keys.NRST,
    "boot0": toml_keys.BOOT0,
    "heartbeat": toml_keys.PIN,
    "title": toml_keys.TITLE,
    "product": toml_keys.PRODUCT,
    "unsigned": toml_keys.UNSIGNED,
}
# The defaults of a host are the pins of its examples in boards/.
_RP2 = {"sda": "4", "scl": "5", "tx": "4", "rx": "5", "nrst": "2", "boot0": "3", "heartbeat": "6"}
_ESP32 = {"sda": "21", "scl": "22", "tx": "22", "rx": "21", "nrst": "25", "boot0": "26"}
_PINS = {"rp2": _RP2, "esp32": {**_ESP32, "heartbeat": "27"}}
_UART_OF_ESP32 = 2
_TRIED_RATES = {0x460: "460800"}  # by product ID; ST tested no loader beyond the other (AN3155)
_TESTED_RATE = "115200"
_TITLES = {"rp2": "RP2040", "esp32": "ESP32"}

_BEGIN = """\
title = {title}
host = {host}
chip = {chip}

"""
_LINK = {
    "i2c": """\
[i2c]
{id}scl = {scl}
sda = {sda}
frequency = {frequency}
""",
    "uart": """\
[uart]
{id}tx = {tx}
rx = {rx}
baudrate = {baudrate}
""",
}
_PINS_AND_ENTRY = """
[pins]
nrst = {nrst}  # open drain
boot0 = {boot0}

[enter]
method = "boot0"

[confirm]
"""
_CONFIRM = {
    "i2c": """\
method = "i2c-version"   # the application answers its version, as boards/nucleo_app does
address = 0x2A
register = 0x01
timeout_ms = 2000
tries = 3
""",
    "uart": """\
method = "gpio"   # the application toggles a line, as boards/nucleo_app does
pin = {heartbeat}
edges = 2
timeout_ms = 3000
tries = 3
""",
}
_END = """
[flash]
preserve = []

[images]
product = {product}
unsigned = {unsigned}
"""


@dataclass
class Draft:
    """A board.toml that is being made. Raises UsageError if there is one already."""

    name: str
    path: Path
    _values: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if Path(self.name).name != self.name or self.name in ("..", ""):
            raise UsageError(f"{self.name} is not a name", "Give the folder with -o.")
        if self.name in boards.names():
            raise UsageError(
                f"{self.name} is a board of this project, which --board would take instead",
                "Choose another name.",
            )
        if self.path.exists():
            raise UsageError(f"{self.path} exists", "Choose another name, or edit that file.")

    def questions(self) -> Iterator[Question]:
        """The questions in order; answer each before the next one is made."""
        yield Question("host", "MicroPython port of the host", "rp2")
        yield Question("chip", "part number of the target", "STM32G071RB")
        yield Question("link", "bus to the target", "i2c")
        pins = _PINS[str(self._values["host"])]
        if self._values["link"] == "i2c":
            yield Question("sda", "SDA, pin of the host", pins["sda"])
            yield Question("scl", "SCL, pin of the host", pins["scl"])
            yield Question("frequency", "speed of the bus", "400000")
        else:
            yield Question("tx", "TX, pin of the host", pins["tx"])
            yield Question("rx", "RX, pin of the host", pins["rx"])
            product_id = device.chip(str(self._values["chip"])).product_id
            rate = _TRIED_RATES.get(product_id, _TESTED_RATE)
            yield Question("baudrate", "speed of the line", rate)
        yield Question("nrst", "NRST, pin of the host", pins["nrst"])
        yield Question("boot0", "BOOT0, pin of the host", pins["boot0"])
        if self._values["link"] == "uart":
            text = "line that the application toggles, pin of the host"
            yield Question("heartbeat", text, pins["heartbeat"])
        chip = str(self._values["chip"])
        target = "an STM32" if chip == device.AUTO else chip
        title = f"{_TITLES[str(self._values['host'])]} and {target}"
        yield Question("title", "title for people", title)
        yield Question("product", "product, as its images name it", self.name)
        yield Question("unsigned", "accept unsigned images, for development only", "no")

    def allowed(self, question: Question) -> str:
        """What may be answered."""
        if question.name in _CHOICES:
            return " or ".join(_CHOICES[question.name])
        kind = _KEYS[question.name].kind
        return kind.allowed(str(self._values.get("host", "rp2"))).replace('"', "")

    def answer(self, question: Question, text: str) -> str:
        """Take an answer. Returns what is wrong with it, and then has not taken it."""
        value: object = text.strip()
        choices, key = _CHOICES.get(question.name), _KEYS.get(question.name)
        if choices is not None:
            if value not in choices:
                return f"must be {self.allowed(question)}"
            value = choices[text.strip()]
        elif key is not None and isinstance(key.kind, toml_keys.Number):
            try:
                value = int(text.replace("_", ""), 0)
            except ValueError:
                return f"must be {self.allowed(question)}"
        self._values[question.name] = value
        mistakes = [what.removeprefix(f"{key} ") for what in self._mistakes()]
        if mistakes:
            del self._values[question.name]
        return "; ".join(mistakes).replace('"', "")

    def write(self) -> Values:
        """Write the file. Raises BoardFileError if it cannot be valid, UsageError."""
        text = self._text()
        reader = BoardReader(str(self.path), tomllib.loads(text), Lines(text))
        board = reader.board(self.name)
        with outputs.written(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        return {
            "status": "made",
            "file": str(self.path),
            "folder": str(self.path.parent),
            "soft_i2c": isinstance(board.link, I2c) and board.link.id is None,
            "unsigned": board.unsigned,
        }

    def _text(self) -> str:
        link, number = str(self._values["link"]), self._controller()
        shown = {name: json.dumps(value, ensure_ascii=False) for name, value in self._all()}
        shown["id"] = "" if number is None else f"id = {number}\n"
        whole = _BEGIN + _LINK[link] + _PINS_AND_ENTRY + _CONFIRM[link] + _END
        return whole.format(**shown)

    def _all(self) -> list[tuple[str, object]]:
        return [(name, value) for name, value in self._values.items() if name in _KEYS]

    def _controller(self) -> int | None:
        """The number of the hardware controller for these pins; None: there is none."""
        first = self._values.get("sda", self._values.get("tx"))
        if not isinstance(first, int):
            return None
        is_rp2 = self._values["host"] == "rp2"
        if self._values["link"] == "uart":
            return toml_keys.uart_of_rp2(first) if is_rp2 else _UART_OF_ESP32
        scl = self._values["scl"]
        assert isinstance(scl, int)
        return toml_keys.i2c_of_rp2(first, scl) if is_rp2 else 0

    def _mistakes(self) -> list[str]:
        """The reader's mistakes about what is answered so far."""
        content: dict[str, object] = {}
        for name, value in self._all():
            key = _KEYS[name]
            table = content.setdefault(key.table, {}) if key.table else content
            assert isinstance(table, dict)
            table[key.name] = value
        link = self._values.get("link")
        if isinstance(link, str):  # what the chip lacks is a mistake before any pin is
            content.setdefault(link, {})
        uart = content.get("uart")
        if isinstance(uart, dict):
            uart["id"] = self._controller() or 0
        try:
            BoardReader("", content, Lines("")).board(self.name)
        except BoardFileError as error:
            answered = tuple(f"{_KEYS[name]} " for name, _ in self._all())
            found = [mistake.partition(": ")[2] for mistake in error.mistakes]
            return [what for what in found if what.startswith(answered)]
        return []
