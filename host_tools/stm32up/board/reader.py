"""board.toml, key by key. Every mistake is one BoardFileError that names file, line and key."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from stm32up import device
from stm32up.board.board import Board, Command, Confirm, Supply
from stm32up.board.toml_lines import Lines
from stm32up.errors import BoardFileError, UsageError
from stm32up.image import images

HIGHEST_PIN = {"rp2": 29, "esp32": 48}
# RP2040 datasheet 4.9; on an ESP32 whichever of its ADC pins the chip has, MicroPython tells.
ADC_PINS = {"rp2": range(26, 30), "esp32": range(49)}
NO_PULL_DOWN = {"rp2": range(0), "esp32": range(34, 40)}  # ESP32 datasheet, appendix A
MIN_FREQUENCY = 10_000  # Hz: a slower frame would keep the watchdog waiting for seconds
MAX_FREQUENCY = 1_000_000  # Hz: what the loaders of G0 bear (AN2606)
KEYS = {
    "": {"title", "host", "chip", "i2c", "pins", "enter", "confirm", "flash", "images", "bench"},
    "i2c": {"id", "scl", "sda", "frequency"},
    "pins": {"nrst", "boot0", "supply"},
    "enter": {"method", "command"},
    "enter.command": {"address", "bytes"},
    "confirm": {"method", "address", "register", "pin", "edges", "timeout_ms", "tries"},
    "flash": {"preserve"},
    "flash.preserve": {"start", "length"},
    "images": {"product", "unsigned"},
    "bench": {"supply_adc", "divider", "min_mv"},
}


class BoardReader:
    """One board.toml. Tables are named as in the file: "i2c", and "" for the top."""

    def __init__(self, shown: str, content: dict[str, Any], lines: Lines) -> None:
        self._shown = shown
        self._content = content
        self._lines = lines

    def board(self, name: str) -> Board:
        self._only_known("", self._content)
        host = self._choice("", "host", HIGHEST_PIN)
        chip = self._chip()
        pins = self._pins(host)
        preserve = self._preserve(chip)
        command = self._command(pins["boot0"] is not None, chip)
        product = self._text("images", "product")
        try:
            images.class_id(product)
        except UsageError as error:
            raise self._error("images", "product", str(error)) from None
        return Board(
            name=name,
            title=self._text("", "title"),
            host=host,
            chip=chip,
            i2c_id=self._i2c_id(host, pins["sda"], pins["scl"]),
            scl=pins["scl"],
            sda=pins["sda"],
            frequency=self._number("i2c", "frequency", MIN_FREQUENCY, MAX_FREQUENCY, unit=" Hz"),
            nrst=pins["nrst"],
            boot0=pins["boot0"],
            supply=pins["supply"],
            command=command,
            confirm=self._confirm(pins["pin"], chip),
            preserve=preserve,
            product=product,
            unsigned=self._get("images", "unsigned", bool, "true or false", False),
            bench=self._bench(host),
        )

    # What the tables mean

    def _chip(self) -> device.Chip:
        name = self._text("", "chip")
        try:
            return device.chip(name)
        except UsageError as error:
            raise self._error("", "chip", str(error)) from None

    def _pins(self, host: str) -> dict[str, Any]:
        """The pin numbers by what they are for, None for one that is not wired."""
        wanted = [("i2c", "scl"), ("i2c", "sda"), ("pins", "nrst")]
        wanted += [("pins", key) for key in ("boot0", "supply") if key in self._table("pins")]
        wanted += [("confirm", "pin")] if "pin" in self._table("confirm") else []
        wanted += [("bench", "supply_adc")] if "supply_adc" in self._table("bench") else []
        pins: dict[str, Any] = {"boot0": None, "supply": None, "pin": None}
        used: dict[int, str] = {}
        for table, key in wanted:
            pin = self._number(table, key, 0, HIGHEST_PIN[host])
            if pin in used:
                raise self._error(table, key, f"pin {pin} is also {used[pin]}")
            used[pin] = f"[{table}] {key}"
            pins[key] = pin
        if pins["pin"] in NO_PULL_DOWN[host]:
            what = f"pin {pins['pin']} of a classic ESP32 has no pull-down: noise would count"
            raise self._error("confirm", "pin", what)
        return pins

    def _i2c_id(self, host: str, sda: int, scl: int) -> int | None:
        value = self._table("i2c").get("id", "soft")
        if value == "soft":
            return None
        if type(value) is not int or value not in (0, 1):
            raise self._error("i2c", "id", 'must be 0, 1 or "soft"')
        # On RP2040 and RP2350 the pin decides the controller and the line: 0 SDA, 0 SCL, 1 SDA, 1
        # SCL, ...
        if host == "rp2":
            for key, pin, place in (("sda", sda, 2 * value), ("scl", scl, 2 * value + 1)):
                if pin % 4 != place:
                    free = ", ".join(str(n) for n in range(place, HIGHEST_PIN[host] + 1, 4))
                    raise self._error(
                        "i2c", key, f'I2C {value} has {key.upper()} on {free} only; or id = "soft"'
                    )
        return value

    def _command(self, boot0_wired: bool, chip: device.Chip) -> Command | None:
        if self._choice("enter", "method", ("boot0", "command")) == "boot0":
            if "command" in self._table("enter"):
                raise self._error("enter", "command", 'is only for method = "command"')
            if not boot0_wired:
                raise self._error("pins", "boot0", 'is needed by [enter] method = "boot0"')
            return None
        command = self._get("enter", "command", dict, "{address = 0x2A, bytes = [0x10]}")
        self._only_known("enter.command", command, at=("enter", "command"))
        address, content = command.get("address"), command.get("bytes")
        if type(address) is not int or not 0x08 <= address <= 0x77:
            raise self._error("enter", "command", "address must be 0x08 to 0x77")
        if address == chip.loader_address:
            raise self._error("enter", "command", "address is that of the loader")
        if not isinstance(content, list) or not 1 <= len(content) <= 32:
            raise self._error("enter", "command", "bytes must be a list of 1 to 32 numbers")
        if not all(type(byte) is int and 0 <= byte <= 255 for byte in content):
            raise self._error("enter", "command", "each of bytes must be 0 to 255")
        return Command(address, bytes(content))

    def _confirm(self, pin: int | None, chip: device.Chip) -> Confirm | None:
        keys = {
            "i2c-version": {"address", "register", "timeout_ms", "tries"},
            "gpio": {"pin", "edges", "timeout_ms", "tries"},
            "none": set[str](),
        }
        method = self._choice("confirm", "method", keys)
        for key in sorted(self._table("confirm").keys() - {"method"} - keys[method]):
            right = " or ".join(f'"{name}"' for name in keys if key in keys[name])
            raise self._error("confirm", key, f"is only for method = {right}")
        if method == "none":
            return None
        timeout_ms = self._number("confirm", "timeout_ms", 1, 60_000)
        tries = self._number("confirm", "tries", 1, 100)
        if method == "gpio":
            if pin is None:
                raise self._error("confirm", "pin", 'is needed by method = "gpio"')
            edges = self._number("confirm", "edges", 2, 1000)
            return Confirm(method, timeout_ms, tries, pin=pin, edges=edges)
        address = self._number("confirm", "address", 0x08, 0x77, show=hex)
        if address == chip.loader_address:
            raise self._error("confirm", "address", "is that of the loader")
        return Confirm(
            method,
            timeout_ms,
            tries,
            address=address,
            register=self._number("confirm", "register", 0, 255),
        )

    def _preserve(self, chip: device.Chip) -> tuple[tuple[int, int], ...]:
        regions = self._get("flash", "preserve", list, "[{start = 0x..., length = 0x...}]", [])
        end_of_flash = chip.flash_start + chip.flash_size
        checked: list[tuple[int, int]] = []
        for region in regions:
            if not isinstance(region, dict):
                raise self._error("flash", "preserve", "must hold {start = 0x..., length = 0x...}")
            self._only_known("flash.preserve", region, at=("flash", "preserve"))
            start, length = region.get("start"), region.get("length")
            if type(start) is not int or type(length) is not int or length <= 0:
                raise self._error("flash", "preserve", "needs start and length, both numbers")
            shown = f"0x{start:08X} + 0x{length:X}"
            if start % chip.page_size or length % chip.page_size:
                what = f"{shown} is not in whole pages of 0x{chip.page_size:X} bytes"
                raise self._error("flash", "preserve", what)
            if start < chip.flash_start or start + length > end_of_flash:
                flash = f"0x{chip.flash_start:08X} to 0x{end_of_flash - 1:08X}"
                raise self._error("flash", "preserve", f"{shown} is outside the flash, {flash}")
            if start == chip.flash_start:
                what = f"{shown} covers the first page, where every application starts"
                raise self._error("flash", "preserve", what)
            if any(start < at + size and at < start + length for at, size in checked):
                raise self._error("flash", "preserve", f"{shown} overlaps another region")
            checked.append((start, length))
        return tuple(sorted(checked))

    def _bench(self, host: str) -> Supply | None:
        if not self._table("bench"):
            return None
        lowest = min(ADC_PINS[host])
        pin = self._number("bench", "supply_adc", lowest, HIGHEST_PIN[host])
        if pin not in ADC_PINS[host]:
            raise self._error("bench", "supply_adc", f"pin {pin} has no ADC")
        divider = self._table("bench").get("divider", 1)
        if type(divider) not in (int, float) or not 1 <= divider <= 20:
            raise self._error("bench", "divider", "must be a number, 1 to 20")
        return Supply(pin, divider, self._number("bench", "min_mv", 1700, 3600, unit=" mV"))

    # How values are read

    def _table(self, table: str) -> dict[str, Any]:
        value = self._content.get(table, {}) if table else self._content
        if not isinstance(value, dict):
            raise self._error("", table, f"must be a table: [{table}]")
        if table:
            self._only_known(table, value)
        return value

    def _only_known(
        self, table: str, content: dict[str, Any], at: tuple[str, str] | None = None
    ) -> None:
        for key in content.keys() - KEYS[table]:
            close = difflib.get_close_matches(key, KEYS[table], n=1)
            known = ", ".join(sorted(KEYS[table]))
            hint = f"did you mean {close[0]}?" if close else f"known are {known}"
            line = self._lines.of(*at) if at else self._line_of_unknown(table, key)
            place = f"[{table}] {key}" if table else key
            raise BoardFileError(f"{self._shown}:{line}: {place} is not a key here; {hint}")

    def _line_of_unknown(self, table: str, key: str) -> int:
        unknown_table = not table and isinstance(self._content.get(key), dict)
        return self._lines.of(key) if unknown_table else self._lines.of(table, key)

    def _get(self, table: str, key: str, kind: type, allowed: str, default: Any = None) -> Any:
        """The value, which must be of exactly this type; `default` None means that it must be
        there.
        """
        values = self._table(table)
        if key not in values:
            if default is None:
                raise self._error(table, key, f"is missing; it must be {allowed}")
            return default
        if type(values[key]) is not kind:  # bool is an int for isinstance
            raise self._error(table, key, f"must be {allowed}")
        return values[key]

    def _text(self, table: str, key: str) -> str:
        value: str = self._get(table, key, str, "text")
        if not value.strip() or not value.isprintable():
            raise self._error(table, key, "must be printable text")
        return value

    def _choice(self, table: str, key: str, allowed: Iterable[str]) -> str:
        options = " or ".join(f'"{option}"' for option in allowed)
        value: str = self._get(table, key, str, options)
        if value not in allowed:
            raise self._error(table, key, f"must be {options}")
        return value

    def _number(
        self,
        table: str,
        key: str,
        lowest: int,
        highest: int,
        unit: str = "",
        show: Callable[[int], str] = str,
    ) -> int:
        allowed = f"{show(lowest)} to {show(highest)}{unit}"
        value: int = self._get(table, key, int, allowed)
        if not lowest <= value <= highest:
            raise self._error(table, key, f"is {show(value)}; it must be {allowed}")
        return value

    def _error(self, table: str, key: str, what: str) -> BoardFileError:
        place = f"[{table}] {key}" if table else key
        return BoardFileError(f"{self._shown}:{self._lines.of(table, key)}: {place} {what}")
