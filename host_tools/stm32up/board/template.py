"""Makes the board.toml of a new board from answers, and checks each answer by the reader."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from stm32up.board import toml_keys
from stm32up.board.reader import BoardReader
from stm32up.board.toml_keys import Key
from stm32up.board.toml_lines import Lines
from stm32up.errors import BoardFileError, UsageError
from stm32up.events import Values


class Question(NamedTuple):
    name: str
    text: str
    default: str

    @property
    def key(self) -> Key[object]:
        return _KEYS[self.name]

    @property
    def is_number(self) -> bool:
        return isinstance(self.key.kind, toml_keys.Number)


_KEYS: dict[str, Key[object]] = {
    "host": toml_keys.HOST,
    "chip": toml_keys.CHIP,
    "sda": toml_keys.SDA,
    "scl": toml_keys.SCL,
    "nrst": toml_keys.NRST,
    "boot0": toml_keys.BOOT0,
    "frequency": toml_keys.FREQUENCY,
    "title": toml_keys.TITLE,
    "product": toml_keys.PRODUCT,
    "unsigned": toml_keys.UNSIGNED,
}
# The defaults of a host are the pins of its example in boards/.
_PINS = {
    "rp2": {"sda": "4", "scl": "5", "nrst": "2", "boot0": "3"},
    "esp32": {"sda": "21", "scl": "22", "nrst": "25", "boot0": "26"},
}
_TITLES = {"rp2": "RP2040", "esp32": "ESP32"}
_YES = {"yes": True, "no": False}

_TEXT = """\
title = {title}
host = {host}
chip = {chip}

[i2c]
{id}scl = {scl}
sda = {sda}
frequency = {frequency}

[pins]
nrst = {nrst}  # open drain
boot0 = {boot0}

[enter]
method = "boot0"

[confirm]
method = "i2c-version"   # the application answers its version, as boards/nucleo_g071rb_app does
address = 0x2A
register = 0x01
timeout_ms = 2000
tries = 3

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
        if Path(self.name).name != self.name:
            raise UsageError(f"{self.name} is no name", "Give the folder with -o.")
        if self.path.exists():
            raise UsageError(f"{self.path} exists", "Choose another name, or edit that file.")

    def questions(self) -> Iterator[Question]:
        """The questions in order; answer each before the next one is made."""
        yield Question("host", "MicroPython port of the host", "rp2")
        yield Question("chip", "part number of the target", "STM32G071RB")
        pins = _PINS[str(self._values["host"])]
        yield Question("sda", "SDA, pin of the host", pins["sda"])
        yield Question("scl", "SCL, pin of the host", pins["scl"])
        yield Question("nrst", "NRST, pin of the host", pins["nrst"])
        yield Question("boot0", "BOOT0, pin of the host", pins["boot0"])
        yield Question("frequency", "I2C, in Hz", "400000")
        title = f"{_TITLES[str(self._values['host'])]} and {self._values['chip']}"
        yield Question("title", "title for people", title)
        yield Question("product", "product, as its images name it", self.name)
        yield Question("unsigned", "accept unsigned images, for development only", "no")

    def allowed(self, question: Question) -> str:
        """What may be answered."""
        if question.key is toml_keys.UNSIGNED:
            return "yes or no"
        return question.key.kind.allowed(str(self._values.get("host", "rp2"))).replace('"', "")

    def answer(self, question: Question, text: str) -> str:
        """Take an answer. Returns what is wrong with it, and then has not taken it."""
        value: object = text.strip()
        if question.key is toml_keys.UNSIGNED:
            if text not in _YES:
                return "must be yes or no"
            value = _YES[text]
        elif question.is_number:
            try:
                value = int(text.replace("_", ""), 0)
            except ValueError:
                return f"must be {self.allowed(question)}"
        self._values[question.name] = value
        mistakes = [what.removeprefix(f"{question.key} ") for what in self._mistakes()]
        if mistakes:
            del self._values[question.name]
        return "; ".join(mistakes).replace('"', "")

    def write(self) -> Values:
        """Write the file. Raises BoardFileError if it cannot be valid, UsageError."""
        text = self._text()
        board = _read(text, str(self.path)).board(self.name)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from None
        i2c = "soft" if board.link.id is None else board.link.id
        folder = str(self.path.parent)
        return {"status": "made", "file": str(self.path), "folder": folder, "i2c": i2c}

    def _text(self) -> str:
        number = self._controller()
        where = "" if number is None else f"id = {number}\n"
        shown = {name: json.dumps(value) for name, value in self._values.items()}
        return _TEXT.format(**{**shown, "id": where})

    def _controller(self) -> int | None:
        """The number of the hardware controller; None: these pins need SoftI2C."""
        if self._values["host"] != "rp2":
            return 0
        sda, scl = self._values["sda"], self._values["scl"]
        assert isinstance(sda, int) and isinstance(scl, int)
        number = sda % 4 // 2
        return number if (sda % 4, scl % 4) == (2 * number, 2 * number + 1) else None

    def _mistakes(self) -> list[str]:
        """The reader's mistakes about what is answered so far."""
        content: dict[str, object] = {}
        for name, value in self._values.items():
            key = _KEYS[name]
            table = content.setdefault(key.table, {}) if key.table else content
            assert isinstance(table, dict)
            table[key.name] = value
        try:
            BoardReader("", content, Lines("")).board(self.name)
        except BoardFileError as error:
            answered = tuple(f"{_KEYS[name]} " for name in self._values)
            found = [mistake.partition(": ")[2] for mistake in error.mistakes]
            return [what for what in found if what.startswith(answered)]
        return []


def _read(text: str, shown: str) -> BoardReader:
    return BoardReader(shown, tomllib.loads(text), Lines(text))
