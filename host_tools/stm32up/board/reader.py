"""board.toml -> Board. Reports all mistakes of a file together, each with line and key."""

from __future__ import annotations

from typing import TypeVar, cast

from stm32up import device
from stm32up.board import toml_file, toml_keys
from stm32up.board.model import Board, Command, Confirm, I2c, Supply, Uart
from stm32up.board.toml_keys import Key
from stm32up.board.toml_lines import Lines
from stm32up.errors import BoardFileError, UsageError
from stm32up.image import images

T = TypeVar("T")
_WIDEST = "esp32"  # has every pin that any host has; used if the file does not name a known host


class BoardReader:
    """One board.toml. Tables are named as in the file: "i2c"; "" is the top level."""

    def __init__(
        self, shown: str, content: dict[str, object], lines: Lines, chip: str | None = None
    ) -> None:
        """`chip`: the part that was identified, if the file says "auto"."""
        self._shown = shown
        self._identified = chip
        self._content = content
        self._lines = lines
        self._mistakes: list[tuple[int, str]] = []  # line, what is wrong there
        self._found: dict[Key[object], object] = {}  # the valid values
        self._chip: device.Chip | None = None

    def board(self, name: str) -> Board:
        """The board. Raises BoardFileError with all mistakes."""
        self._look()
        self._check_chip_and_product()
        self._check_pins()
        self._check_controller()
        self._check_uart()
        self._check_boot0()
        self._check_address()
        self._check_frequency()
        command, preserve = self._command(), self._preserve()
        chip = self._chip or (device.NOT_IDENTIFIED if self._is_auto() else None)
        if self._mistakes or chip is None:
            mistakes = [f"{self._shown}:{line}: {what}" for line, what in sorted(self._mistakes)]
            raise BoardFileError(*mistakes)
        return Board(
            name=name,
            title=self._get(toml_keys.TITLE),
            host=self._get(toml_keys.HOST),
            chip=chip,
            link=self._i2c() if self._sound(toml_keys.SCL) else self._uart(),
            nrst=self._get(toml_keys.NRST),
            boot0=self._get(toml_keys.BOOT0),
            supply=self._get(toml_keys.SUPPLY),
            command=command,
            confirm=self._confirm(),
            preserve=preserve,
            verify=self._get(toml_keys.VERIFY),
            product=self._get(toml_keys.PRODUCT),
            unsigned=self._get(toml_keys.UNSIGNED),
            bench=self._bench(),
            short=self._get(toml_keys.SHORT_PIN),
        )

    # Each key by itself

    def _look(self) -> None:
        """Collect every valid value, and every mistake in a single key."""
        tables = {"": self._content}
        for table in toml_keys.TABLES:
            content = self._content.get(table, {})
            if isinstance(content, dict):
                tables[table] = content
            else:
                self._wrong("", table, f"must be a table: [{table}]")
        absent = self._links_not_used()
        meant = {
            (table, name)
            for table, content in tables.items()
            for name in self._refuse_unknown(table, content)
        }
        given = self._content.get("host")
        host = given if isinstance(given, str) and given in toml_keys.PINS else _WIDEST
        for key in toml_keys.KEYS:
            content = tables.get(key.table)
            if content is None or key.table in absent:
                continue  # already reported, or not this board's
            if key.name in content:
                self._look_at(key, content, host)
            elif (key.table, key.name) in meant:
                continue  # already reported
            elif key.default:
                self._found[key] = key.default[0]
            elif self._wanted(key, content):
                what = f"is missing ({key.what}); it must be {key.kind.allowed(host)}"
                self._refuse(key, key.missing or what)

    def _links_not_used(self) -> list[str]:
        """The tables that are not looked at: a board has one link. Reports if it is not one."""
        used = [table for table in toml_keys.LINKS if table in self._content]
        if not used:
            self._mistakes.append((1, "[i2c] or [uart] is missing: how the target is wired"))
        elif len(used) > 1:
            self._wrong("uart", "", "and [i2c] are both there: the target is wired to one of them")
            used = []
        return [table for table in toml_keys.LINKS if table not in used]

    def _look_at(self, key: Key[object], content: dict[str, object], host: str) -> None:
        trouble = key.kind.trouble(content[key.name], host)
        if key.methods and content.get("method") not in key.methods:
            if toml_keys.METHODS[key.table].kind.trouble(content.get("method"), host):
                return  # the method is reported; what the key should be is not known
            right = " or ".join(f'"{method}"' for method in key.methods)
            trouble = f"is only for method = {right}"
        if trouble:
            self._refuse(key, trouble)
        else:
            self._found[key] = content[key.name]

    def _wanted(self, key: Key[object], content: dict[str, object]) -> bool:
        if key in toml_keys.MEASURED:
            return any(other.name in content for other in toml_keys.MEASURED)
        return not key.methods or content.get("method") in key.methods

    def _refuse_unknown(
        self, table: str, content: dict[str, object], at: Key[object] | None = None
    ) -> list[str]:
        """Report unknown names in the table; return the keys that they probably stand for."""
        known, meant = toml_keys.NAMES[table], []
        for name in content.keys() - known:
            what, close = toml_file.meant(name, known)
            meant += close
            if at is None and not table and isinstance(content[name], dict):
                self._mistakes.append((self._lines.of(name), f"{name} {what}"))
            elif at is None:
                self._wrong(table, name, what)
            else:
                line = self._lines.of(at.table, at.name)
                self._mistakes.append((line, f"[{table}] {name} {what}"))
        return meant

    # What the keys mean together

    def _check_chip_and_product(self) -> None:
        name = self._identified if self._is_auto() else self._found.get(toml_keys.CHIP)
        if isinstance(name, str):
            try:
                self._chip = device.chip(name)
            except UsageError as error:
                self._refuse(toml_keys.CHIP, str(error))
        if self._sound(toml_keys.PRODUCT):
            try:
                images.class_id(self._get(toml_keys.PRODUCT))
            except UsageError as error:
                self._refuse(toml_keys.PRODUCT, str(error))

    def _check_pins(self) -> None:
        host = self._get(toml_keys.HOST) if self._sound(toml_keys.HOST) else ""
        used: dict[object, Key[object]] = {}
        for key in toml_keys.ALL_PINS:
            pin = self._found.get(key)
            if pin is None:
                continue
            if pin in used:
                self._refuse(key, f"pin {pin} is also {used[pin]}")
            elif key is toml_keys.PIN and pin in toml_keys.NO_PULL_DOWN.get(host, ()):
                what = f"pin {pin} of a classic ESP32 has no pull-down, so noise would count"
                self._refuse(key, what)
            elif key in toml_keys.DRIVEN and pin in toml_keys.INPUT_ONLY.get(host, ()):
                self._refuse(key, f"pin {pin} of a classic ESP32 is only an input")
            elif key is toml_keys.SHORT_PIN and "i2c" not in self._content:
                self._refuse(key, "pulls SDA low, so it needs [i2c]")
            elif key is toml_keys.SUPPLY_ADC and pin not in toml_keys.ADC_PINS.get(host, [pin]):
                self._refuse(key, f"pin {pin} has no ADC")
            used.setdefault(pin, key)

    def _check_controller(self) -> None:
        """On RP2040 and RP2350 the pin determines controller and line."""
        if not self._sound(toml_keys.HOST, toml_keys.ID) or self._get(toml_keys.HOST) != "rp2":
            return
        number = self._get(toml_keys.ID)
        if not isinstance(number, int):
            return
        if self._sound(toml_keys.SDA, toml_keys.SCL):
            right = toml_keys.i2c_of_rp2(self._get(toml_keys.SDA), self._get(toml_keys.SCL))
            if right is not None and right != number:
                self._refuse(toml_keys.ID, f"must be {right}: these pins are those of I2C {right}")
                return
        for key, place in ((toml_keys.SDA, 2 * number), (toml_keys.SCL, 2 * number + 1)):
            if self._sound(key) and self._get(key) % 4 != place:
                free = ", ".join(map(str, toml_keys.PINS["rp2"][place::4]))
                line = key.name.upper()
                self._refuse(key, f'I2C {number} has {line} on {free} only; or id = "soft"')

    def _check_uart(self) -> None:
        """On RP2040 and RP2350 the pin determines UART and line. And what needs I2C."""
        if not self._sound(toml_keys.HOST, toml_keys.UART_ID):
            return
        host, number = self._get(toml_keys.HOST), self._get(toml_keys.UART_ID)
        if number not in toml_keys.UARTS[host]:
            known = " or ".join(map(str, toml_keys.UARTS[host]))
            self._refuse(toml_keys.UART_ID, f"must be {known} on {host}")
        elif host == "rp2":
            for key, place in ((toml_keys.TX, 0), (toml_keys.RX, 1)):
                line = key.name.upper()
                pins: dict[int, list[int]] = {0: [], 1: []}
                for pin in toml_keys.PINS[host][place::4]:
                    pins[toml_keys.uart_of_rp2(pin)].append(pin)
                if self._sound(key) and self._get(key) not in pins[number]:
                    free, others = (", ".join(map(str, pins[n])) for n in (number, 1 - number))
                    what = f"UART {number} has {line} on {free} only"
                    self._refuse(key, f"{what}, UART {1 - number} on {others}")
        if self._sound(toml_keys.CONFIRM) and self._get(toml_keys.CONFIRM) == "i2c-version":
            what = '"i2c-version" needs [i2c]; over UART: "gpio" or "none"'
            self._refuse(toml_keys.CONFIRM, what)
        if self._is_auto():
            self._refuse(toml_keys.CHIP, '"auto" needs [i2c]; over UART: a part number')
        if self._sound(toml_keys.ENTER) and self._get(toml_keys.ENTER) == "command":
            what = '"command" needs [i2c]; over UART: "boot0"'
            self._refuse(toml_keys.ENTER, what)

    def _check_boot0(self) -> None:
        if self._sound(toml_keys.ENTER, toml_keys.BOOT0):
            for needs, why in (
                (self._get(toml_keys.ENTER) == "boot0", '[enter] method = "boot0"'),
                (self._is_auto(), 'chip = "auto"'),
            ):
                if needs and self._get(toml_keys.BOOT0) is None:
                    self._refuse(toml_keys.BOOT0, f"is needed by {why}")
                    break

    def _check_address(self) -> None:
        if self._sound(toml_keys.ADDRESS) and self._is_loader(self._get(toml_keys.ADDRESS)):
            self._refuse(toml_keys.ADDRESS, "is the address of the loader")

    def _check_frequency(self) -> None:
        if self._chip is None or not self._sound(toml_keys.FREQUENCY):
            return
        limit = self._chip.bus_limit
        if self._get(toml_keys.FREQUENCY) > limit:
            what = f"is above the limit of the loader of {self._chip.name}: {limit} Hz"
            self._refuse(toml_keys.FREQUENCY, what)

    def _command(self) -> Command | None:
        if not self._sound(toml_keys.COMMAND):
            return None
        command = self._get(toml_keys.COMMAND)
        self._refuse_unknown("enter.command", command, toml_keys.COMMAND)
        address, content = command.get("address"), command.get("bytes")
        trouble = toml_keys.ADDRESS.kind.trouble(address, _WIDEST)
        fewest, most = device.limits()["command"]
        if trouble:
            self._refuse(toml_keys.COMMAND, f"address {trouble}")
        elif self._is_loader(address):
            self._refuse(toml_keys.COMMAND, "address is the address of the loader")
        if not isinstance(content, list) or not fewest <= len(content) <= most:
            what = f"bytes must be a list of {fewest} to {most} numbers"
            self._refuse(toml_keys.COMMAND, what)
        elif not all(type(byte) is int and 0 <= byte <= 255 for byte in content):
            self._refuse(toml_keys.COMMAND, "each of bytes must be 0 to 255")
        elif isinstance(address, int):
            return Command(address, bytes(content))
        return None

    def _preserve(self) -> tuple[tuple[int, int], ...]:
        regions: list[tuple[int, int]] = []
        for region in self._get(toml_keys.PRESERVE) if self._sound(toml_keys.PRESERVE) else []:
            if not isinstance(region, dict):
                self._refuse(toml_keys.PRESERVE, "must contain {start = 0x..., length = 0x...}")
                continue
            self._refuse_unknown("flash.preserve", region, toml_keys.PRESERVE)
            start, length = region.get("start"), region.get("length")
            if type(start) is not int or type(length) is not int or length <= 0:
                self._refuse(toml_keys.PRESERVE, "needs start and length, both numbers")
                continue
            if self._chip is not None:
                trouble = _misplaced(start, length, self._chip, regions)
                if trouble:
                    self._refuse(toml_keys.PRESERVE, f"0x{start:08X} + 0x{length:X} {trouble}")
            regions.append((start, length))
        return tuple(sorted(regions))

    def _i2c(self) -> I2c:
        number = self._get(toml_keys.ID)
        return I2c(
            id=number if isinstance(number, int) else None,
            scl=self._get(toml_keys.SCL),
            sda=self._get(toml_keys.SDA),
            freq=self._get(toml_keys.FREQUENCY),
        )

    def _uart(self) -> Uart:
        return Uart(
            id=self._get(toml_keys.UART_ID),
            tx=self._get(toml_keys.TX),
            rx=self._get(toml_keys.RX),
            baudrate=self._get(toml_keys.BAUDRATE),
        )

    def _confirm(self) -> Confirm | None:
        method = self._get(toml_keys.CONFIRM)
        if method == "none":
            return None
        timeout_ms, tries = self._get(toml_keys.TIMEOUT_MS), self._get(toml_keys.TRIES)
        if method == "gpio":
            pin, edges = self._get(toml_keys.PIN), self._get(toml_keys.EDGES)
            return Confirm(method, timeout_ms, tries, pin=pin, edges=edges)
        address, register = self._get(toml_keys.ADDRESS), self._get(toml_keys.REGISTER)
        return Confirm(method, timeout_ms, tries, address=address, register=register)

    def _bench(self) -> Supply | None:
        if not self._sound(toml_keys.SUPPLY_ADC):
            return None
        supply_adc, divider = self._get(toml_keys.SUPPLY_ADC), self._get(toml_keys.DIVIDER)
        return Supply(supply_adc, divider, self._get(toml_keys.MIN_MV))

    def _is_auto(self) -> bool:
        return self._found.get(toml_keys.CHIP) == device.AUTO

    def _is_loader(self, address: object) -> bool:
        return self._chip is not None and address == self._chip.loader_address

    # What was found

    def _sound(self, *wanted: Key[object]) -> bool:
        return all(key in self._found for key in wanted)

    def _get(self, key: Key[T]) -> T:
        """A valid value, whose type has been checked."""
        return cast(T, self._found[key])

    def _refuse(self, key: Key[object], what: str) -> None:
        self._wrong(key.table, key.name, what)

    def _wrong(self, table: str, name: str, what: str) -> None:
        place = f"[{table}] {name}".rstrip() if table else name
        self._mistakes.append((self._lines.of(table, name), f"{place} {what}"))


def _misplaced(start: int, length: int, chip: device.Chip, others: list[tuple[int, int]]) -> str:
    """Why this region of flash cannot be preserved; empty if it can."""
    end_of_flash = chip.flash_start + chip.flash_size
    if start % chip.page_size or length % chip.page_size:
        return f"does not consist of whole pages of 0x{chip.page_size:X} bytes"
    if start < chip.flash_start or start + length > end_of_flash:
        return f"is outside the flash, 0x{chip.flash_start:08X} to 0x{end_of_flash - 1:08X}"
    if start == chip.flash_start:
        return "covers the first page, where every application starts"
    if any(start < at + size and at < start + length for at, size in others):
        return "overlaps another region"
    return ""
