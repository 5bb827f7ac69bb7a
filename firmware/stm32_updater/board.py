"""board.json -> the objects an Updater works with.

`stm32up deploy` writes board.json from board.toml, after checking it. The file may have been
changed since, so every value is checked again, all of them before any pin is driven.
"""

import json

from micropython import const

from stm32_rom import chips, pins
from stm32_rom.application import Application, Heartbeat
from stm32_rom.errors import BoardError
from stm32_rom.i2c import I2CLink

from .settings import Section

_MAX_LENGTH = const(4096)  # characters of board.json; a real one has some 700
_CLASS_ID_LENGTH = const(16)
# What a number of board.json may be. The desktop reads these lines, and checks board.toml by them.
_FREQ_MIN = const(10_000)  # Hz; a slower frame would keep the watchdog waiting for seconds
_FREQ_MAX = const(1_000_000)  # what the loaders of G0 bear; AN2606
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
# For a proof that the product brings along, where board.json names no other.
_OWN_PROOF_TRIES = const(3)
_OWN_PROOF_MS = const(10_000)
_ENOENT = const(2)


class Board:
    """One wired pair of boards.

    `chip`, `target`, `preserved` [(start, length)], `class_id` (16 bytes or None),
    `unsigned_allowed`, `confirm(image)` -> bool, `confirm_tries`, `confirm_timeout_ms`."""

    def __init__(self, settings, clock, confirm=None):
        """`settings`: the content of board.json. Raises BoardError."""
        top = Section(settings)
        proof = top.section("confirm")
        self.chip = chips.by_name(top.part_number("chip"))
        self.preserved = _preserved(top, self.chip)
        self.class_id = top.hex("class_id", _CLASS_ID_LENGTH, _CLASS_ID_LENGTH, True)
        self.unsigned_allowed = top.one_of("unsigned", (True, False))
        tries, timeout_ms = (_OWN_PROOF_TRIES, _OWN_PROOF_MS) if confirm else (1, 0)
        self.confirm_tries = proof.number("tries", _TRIES_MIN, _TRIES_MAX, True) or tries
        longest = proof.number("timeout_ms", _TIMEOUT_MS_MIN, _TIMEOUT_MS_MAX, True)
        self.confirm_timeout_ms = longest or timeout_ms
        enter = _read_enter(top.section("enter"), self.chip)
        method = proof.one_of("method", ("i2c-version", "gpio", "none"))
        asked = _read_asked(proof, self.chip) if method == "i2c-version" else None
        heartbeat = _read_heartbeat(proof) if method == "gpio" else None
        wired = top.section("pins")
        lines = [wired.pin(key, True) for key in ("nrst", "boot0", "supply")]
        bus = _made("[i2c]", _make_bus, top.section("i2c"))
        self._application = _make_application(bus, asked, enter)
        self._heartbeat = (
            _made("[confirm]", _make_heartbeat, *heartbeat, clock) if heartbeat else None
        )
        self._clock = clock
        self._link = I2CLink(bus, self.chip.loader_address)
        self._pins = _made("[pins]", pins.Pins, *lines)
        self._enter_command = self._application.enter_loader if enter else None
        self._target = None
        self._proof = self._heartbeat or (self._application if asked else None)
        self.confirm = confirm or self._proof and self._proof.runs or _trust

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
            raise BoardError("%s is longer than any board.json" % path)
        return cls(settings, clock, confirm)

    @property
    def target(self):
        """The Target. Its code is loaded when it is first asked for."""
        if self._target is None:
            from stm32_rom.target import Target

            self._target = Target(
                self.chip, self._pins, self._link, self._clock, self._enter_command
            )
        return self._target

    @property
    def application_shows(self):
        """Whether this board can tell that an application runs."""
        return self._proof is not None

    def application_runs(self):
        """Whether some application runs, as far as this board can tell: False for one that shows
        nothing."""
        return self._proof is not None and self._proof.answers()

    def application_version(self):
        """The 8 bytes of version the application answers; None if it is silent or cannot be
        asked."""
        return self._application.version() if self._application else None


def _trust(image):
    """For boards that say confirm = "none": what was verified counts as working."""
    return True


# --- reading: nothing is driven ---


def _preserved(top, chip):
    """[(start, length)], all of them in the flash."""
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


def _read_enter(enter, chip):
    """(address, command), or None if BOOT0 does it."""
    if enter.one_of("method", ("boot0", "command")) == "boot0":
        return None
    return _read_address(enter, chip), enter.hex("command", _COMMAND_MIN, _COMMAND_MAX)


def _read_asked(confirm, chip):
    """(address, register) of the application's version."""
    return _read_address(confirm, chip), confirm.number("register", _REGISTER_MIN, _REGISTER_MAX)


def _read_address(section, chip):
    """That of the application. Not the loader's: what an application takes for a question may be
    any command to that."""
    address = section.number("address", _ADDRESS_MIN, _ADDRESS_MAX)
    if address == chip.loader_address:
        raise section.wrong("address", "is the address of the loader")
    return address


def _read_heartbeat(confirm):
    """(pin, edges, timeout in ms)"""
    edges = confirm.number("edges", _EDGES_MIN, _EDGES_MAX)
    timeout_ms = confirm.number("timeout_ms", _TIMEOUT_MS_MIN, _TIMEOUT_MS_MAX)
    return confirm.pin("pin"), edges, timeout_ms


# --- making ---


def _made(what, make, *arguments):
    """`make(*arguments)`, or a BoardError: not every pin can do everything."""
    try:
        return make(*arguments)
    except (ValueError, OSError) as error:
        raise BoardError("board.json: this host cannot do what %s says: %s" % (what, error))


def _make_bus(i2c):
    number = i2c.number("id", 0, 1, True)
    scl, sda, frequency = i2c.pin("scl"), i2c.pin("sda"), i2c.number("freq", _FREQ_MIN, _FREQ_MAX)
    return pins.i2c_bus(scl, sda, frequency, number)


def _make_heartbeat(pin, edges, timeout_ms, clock):
    return Heartbeat(pins.watched(pin), edges, timeout_ms, clock)


def _make_application(bus, asked, enter):
    """The Application that board.json describes, or None if it cannot be asked anything."""
    if asked is None and enter is None:
        return None
    address, register = asked or (enter[0], None)
    return Application(bus, address, register, enter[1] if enter else None)
