"""board.json -> the objects an Updater works with. The only module that makes machine objects.

`stm32up deploy` writes board.json from board.toml, after checking it; what is checked here is only
what would otherwise end in an error that nobody understands.
"""

import binascii
import json

from . import chips
from .application import Application, Heartbeat
from .bootloader import Bootloader
from .errors import BoardError
from .i2c_link import I2CBus, I2CLink, transaction_timeout_us
from .target import Pins, Target


class Board:
    """One wired pair of boards.

    `chip`, `target`, `preserved` [(start, length)], `class_id` (16 bytes or None),
    `unsigned_allowed`, `confirm(image)` -> bool, `confirm_tries`, `confirm_timeout_ms`."""

    make_loader = Bootloader

    def __init__(self, settings, clock, confirm=None):
        """`settings`: the content of board.json. Raises BoardError."""
        try:
            self._build(settings, clock, confirm)
        except (KeyError, TypeError, IndexError) as error:
            raise BoardError("board.json lacks or misstates %s" % error)

    @classmethod
    def load(cls, path, clock, confirm=None):
        """A Board from the file at `path`. Raises BoardError."""
        try:
            with open(path) as file:
                settings = json.load(file)
        except OSError:
            raise BoardError("there is no %s" % path, "Deploy: stm32up deploy")
        except ValueError as error:
            raise BoardError("%s is not JSON: %s" % (path, error))
        return cls(settings, clock, confirm)

    def _build(self, settings, clock, confirm):
        self.chip = chips.by_name(settings["chip"])
        self.preserved = [(start, length) for start, length in settings["preserve"]]
        class_id = settings["class_id"]
        self.class_id = None if class_id is None else binascii.unhexlify(class_id)
        self.unsigned_allowed = bool(settings["unsigned"])
        bus = _make_bus(settings["i2c"])
        self._application = _make_application(settings, bus)
        self._heartbeat = _make_heartbeat(settings["confirm"], clock)
        link = I2CLink(bus, self.chip.loader_address)
        enter = self._application.enter_loader if self._application else None
        self.target = Target(
            self.chip,
            _make_pins(settings["pins"]),
            link,
            self.make_loader(link, clock),
            clock,
            enter if settings["enter"]["method"] == "command" else None,
        )
        proof = settings["confirm"]
        self.confirm_tries = proof["tries"] or 1
        self.confirm_timeout_ms = proof["timeout_ms"] or 0
        self._proof = self._heartbeat or self._application
        self.confirm = confirm or self._proof and self._proof.runs or _trust

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


def _make_bus(i2c):
    from machine import I2C, Pin, SoftI2C

    scl, sda, frequency = i2c["scl"], i2c["sda"], i2c["freq"]
    timeout = transaction_timeout_us(frequency)

    def make_bus():
        if i2c["id"] is None:
            return SoftI2C(scl=Pin(scl), sda=Pin(sda), freq=frequency, timeout=timeout)
        return I2C(i2c["id"], scl=Pin(scl), sda=Pin(sda), freq=frequency, timeout=timeout)

    def make_line(name):
        return Pin(scl if name == "scl" else sda, Pin.OPEN_DRAIN, value=1)

    return I2CBus(make_bus, make_line)


def _make_pins(pins):
    """NRST is open drain: the target and its debugger drive it too."""
    from machine import Pin

    nrst, boot0, supply = pins["nrst"], pins["boot0"], pins["supply"]
    return Pins(
        None if nrst is None else Pin(nrst, Pin.OPEN_DRAIN, value=1),
        None if boot0 is None else Pin(boot0, Pin.OUT, value=0),
        None if supply is None else Pin(supply, Pin.OUT, value=1),
    )


def _make_heartbeat(confirm, clock):
    """The Heartbeat that board.json describes, or None. The pull-down keeps a line that nobody
    drives from counting."""
    if confirm["method"] != "gpio":
        return None
    from machine import Pin

    pin = Pin(confirm["pin"], Pin.IN, Pin.PULL_DOWN)
    return Heartbeat(pin, confirm["edges"], confirm["timeout_ms"], clock)


def _make_application(settings, bus):
    """The Application that board.json describes, or None if it cannot be asked anything."""
    confirm, enter = settings["confirm"], settings["enter"]
    command = enter.get("command")
    if confirm["method"] != "i2c-version":
        if command is None:
            return None
        return Application(bus, enter["address"], 0, binascii.unhexlify(command))
    return Application(
        bus,
        confirm["address"],
        confirm["register"],
        None if command is None else binascii.unhexlify(command),
    )
