"""board.json -> the objects that an Updater works with.

`stm32up deploy` checks board.toml and writes board.json from it. The file may have changed since,
so every value is checked again before any pin is driven.
"""

import json

from micropython import const

from stm32_rom import chips, pins
from stm32_rom.errors import BoardError
from stm32_rom.i2c import I2CLink

from .settings import Section

_MAX_LENGTH = const(4096)  # characters of board.json; a real one has about 700
_CLASS_ID_LENGTH = const(16)
# Limits of numbers in board.json. The desktop reads these lines to check board.toml.
_FREQ_MIN = const(10_000)  # Hz; a slower frame would take seconds without feeding the watchdog
_FREQ_MAX = const(1_000_000)  # of the fastest loaders; AN2606
_BAUDRATE_MIN = const(9_600)  # a slower frame would take too long without feeding the watchdog
_BAUDRATE_MAX = const(1_000_000)  # a G0's loader: 24 MHz / 16 is the most, RM0444
_ADDRESS_MIN = const(0x08)
_ADDRESS_MAX = const(0x77)
_REGISTER_MIN = const(0)
_REGISTER_MAX = const(255)
_COMMAND_MIN = const(1)  # bytes
_COMMAND_MAX = const(32)
_EDGES_MIN = const(2)
_EDGES_MAX = const(1000)
_TIMEOUT_MS_MIN = const(1)
_TIMEOUT_MS_MAX = const(60_000)
_TRIES_MIN = const(1)
_TRIES_MAX = const(100)
# Defaults for a product's own `confirm`.
_OWN_PROOF_TRIES = const(3)
_OWN_PROOF_MS = const(10_000)
_ENOENT = const(2)


class Board:
    """One host wired to one target. What talks to the target is made at its first use.

    `chip`, `target`, `preserved` [(start, length)], `checksums` (whether the loader's are used),
    `class_id` (16 bytes or None), `unsigned_allowed`, `confirm_tries`, `confirm_timeout_ms`,
    `application_shows`: whether this board can tell whether an application runs. `asks`: whether
    an application must prove itself."""

    def __init__(self, settings, clock, confirm=None):
        """`settings`: the content of board.json. Raises BoardError."""
        top = Section(settings)
        proof = top.section("confirm")
        self.chip = chips.by_name(top.part_number("chip"))
        self.preserved = _preserved(top, self.chip)
        self.class_id = top.hex("class_id", _CLASS_ID_LENGTH, _CLASS_ID_LENGTH, True)
        self.checksums = "verify" not in settings or (
            top.one_of("verify", ("checksum", "read")) == "checksum"
        )
        self.unsigned_allowed = top.one_of("unsigned", (True, False))
        tries, timeout_ms = (_OWN_PROOF_TRIES, _OWN_PROOF_MS) if confirm else (1, 0)
        self.confirm_tries = proof.number("tries", _TRIES_MIN, _TRIES_MAX, True) or tries
        longest = proof.number("timeout_ms", _TIMEOUT_MS_MIN, _TIMEOUT_MS_MAX, True)
        self.confirm_timeout_ms = longest or timeout_ms
        uart = _uart_of(top)
        over_i2c = uart is None  # what the application is asked over, too
        self._enter = _read_enter(top.section("enter"), self.chip, over_i2c)
        methods = ("i2c-version", "gpio", "none") if over_i2c else ("gpio", "none")
        method = proof.one_of("method", methods)
        self.application_shows = method != "none"
        self.asks = self.application_shows or confirm is not None
        self._version_at = _read_version_at(proof, self.chip) if method == "i2c-version" else None
        heartbeat = _read_heartbeat(proof) if method == "gpio" else None
        wired = top.section("pins")
        lines = [wired.pin(key, True) for key in ("nrst", "boot0", "supply")]
        if over_i2c:
            self._bus = _try("[i2c]", pins.i2c_bus, *_read_i2c(top.section("i2c"), self.chip))
            self._link = I2CLink(self._bus, self.chip.loader_address)
        else:
            self._bus = None
            self._link = _try("[uart]", pins.uart_link, *_read_uart(uart))
        if heartbeat:
            pin, edges, timeout_ms = heartbeat
            heartbeat = _try("[confirm]", pins.input_pin, pin), edges, timeout_ms
        self._heartbeat = heartbeat
        self._pins = _try("[pins]", pins.Pins, *lines)
        self._clock = clock
        self._confirm = confirm
        self._target = self._application = self._proof = None

    @classmethod
    def load(cls, path, clock, confirm=None):
        """A Board from the file at `path`. Raises BoardError."""
        try:
            with open(path) as file:
                text = file.read(_MAX_LENGTH)
            settings = json.loads(text) if len(text) < _MAX_LENGTH else None
        except OSError as error:
            if error.args[0] != _ENOENT:
                raise BoardError("%s cannot be read: %s" % (path, error), "Deploy: stm32up deploy")
            raise BoardError("there is no %s" % path, "Deploy: stm32up deploy")
        except ValueError as error:
            raise BoardError("%s is not JSON: %s" % (path, error))
        if len(text) >= _MAX_LENGTH:
            raise BoardError("%s is too long for a board.json" % path)
        return cls(settings, clock, confirm)

    @property
    def target(self):
        """The Target."""
        if self._target is None:
            from stm32_rom.target import Target

            self._ask()
            enter = self._application.enter_loader if self._application and self._enter else None
            self._target = Target(self.chip, self._pins, self._link, self._clock, enter)
        return self._target

    def confirm(self, image):
        """Whether the application of `image` proves itself now. Where board.json says "none",
        verified flash is enough."""
        if self._confirm is not None:
            return self._confirm(image)
        self._ask()
        return self._proof is None or self._proof.runs(image)

    def application_runs(self):
        """Whether an application shows that it runs; False if this board cannot tell."""
        self._ask()
        return self._proof is not None and self._proof.answers()

    def application_version(self):
        """The application's 8 bytes of version; None if it is silent or has no version
        register."""
        self._ask()
        return self._application.version() if self._application else None

    def _ask(self):
        """Make what asks the application, once."""
        if self._application or self._proof:
            return
        from stm32_rom.application import Application, Heartbeat

        if self._enter or self._version_at:
            address, command = self._enter or (None, None)
            address, register = self._version_at or (address, None)
            self._application = Application(self._bus, address, register, command)
        if self._heartbeat:
            pin, edges, timeout_ms = self._heartbeat
            self._proof = Heartbeat(pin, edges, timeout_ms, self._clock)
        elif self._version_at:
            self._proof = self._application


def _preserved(top, chip):
    """[(start, length)], all inside the flash."""
    regions = top.get("preserve")
    if not isinstance(regions, list):
        raise top.wrong("preserve", "must be a list")
    for region in regions:
        if (
            not isinstance(region, list)
            or [type(number) for number in region] != [int, int]
            or not chip.flash_start <= region[0] < region[0] + region[1] <= chip.flash_end
        ):
            raise top.wrong("preserve", "must hold [start, length] inside the flash")
    return [(start, length) for start, length in regions]


def _uart_of(top):
    """The section "uart", or None: the target is wired to I2C."""
    if not top.has("uart"):
        return None
    if top.has("i2c"):
        raise top.wrong("uart", "and i2c are both there: the target is wired to one of them")
    return top.section("uart")


def _read_enter(enter, chip, over_i2c):
    """(address, command) of the application's command to enter the loader; None if by BOOT0."""
    methods = ("boot0", "command") if over_i2c else ("boot0",)
    if enter.one_of("method", methods) == "boot0":
        return None
    return _read_address(enter, chip), enter.hex("command", _COMMAND_MIN, _COMMAND_MAX)


def _read_version_at(confirm, chip):
    """(address, register) of the application's version."""
    return _read_address(confirm, chip), confirm.number("register", _REGISTER_MIN, _REGISTER_MAX)


def _read_address(section, chip):
    """The application's address. Must not be the loader's, to which the same bytes may be any
    command."""
    address = section.number("address", _ADDRESS_MIN, _ADDRESS_MAX)
    if address == chip.loader_address:
        raise section.wrong("address", "is the address of the loader")
    return address


def _read_heartbeat(confirm):
    """(pin, edges, timeout in ms)"""
    edges = confirm.number("edges", _EDGES_MIN, _EDGES_MAX)
    timeout_ms = confirm.number("timeout_ms", _TIMEOUT_MS_MIN, _TIMEOUT_MS_MAX)
    return confirm.pin("pin"), edges, timeout_ms


def _read_i2c(i2c, chip):
    """Arguments of pins.i2c_bus."""
    frequency = i2c.number("freq", _FREQ_MIN, _FREQ_MAX)
    if frequency > chip.bus_limit:
        raise i2c.wrong("freq", "is above the limit of this chip's loader, %d" % chip.bus_limit)
    number = i2c.number("id", 0, 1, True)
    return i2c.pin("scl"), i2c.pin("sda"), frequency, number


def _read_uart(uart):
    """Arguments of pins.uart_link."""
    number = uart.number("id", 0, 2)  # the machine module knows which of them exist
    rate = uart.number("baudrate", _BAUDRATE_MIN, _BAUDRATE_MAX)
    return number, uart.pin("tx"), uart.pin("rx"), rate


def _try(what, make, *arguments):
    """`make(*arguments)`. Raises BoardError, e.g. for a pin without this function."""
    try:
        return make(*arguments)
    except (ValueError, OSError) as error:
        raise BoardError("board.json: this host cannot do what %s says: %s" % (what, error))
