"""Reads and checks the values of board.json."""

import binascii
import json

from micropython import const

from stm32_rom import pins
from stm32_rom.errors import BoardError

_HIGHEST_PIN = const(255)  # an upper limit; the machine module knows which pins exist


class Section:
    """An object in board.json; `name` "" is the whole file. Methods raise a BoardError that names
    the key if its value is missing or invalid. `optional`: null is valid and returns None."""

    def __init__(self, content, name=""):
        self._name = name
        self._content = content
        if not isinstance(content, dict):
            raise BoardError("board.json: %s must be an object" % (name or "the whole file"))

    def wrong(self, key, what):
        place = "[%s] %s" % (self._name, key) if self._name else key
        return BoardError("board.json: %s %s" % (place, what))

    def get(self, key):
        if key not in self._content:
            raise self.wrong(key, "is missing")
        return self._content[key]

    def has(self, key):
        """Whether there is a value, other than null."""
        return self._content.get(key) is not None

    def section(self, key):
        return Section(self.get(key), key)

    def number(self, key, lowest, highest, optional=False):
        value = self.get(key)
        if value is None and optional:
            return None
        if type(value) is not int or not lowest <= value <= highest:
            raise self.wrong(key, "must be a number, %d to %d" % (lowest, highest))
        return value

    def pin(self, key, optional=False):
        """A pin number that this host has."""
        number = self.number(key, 0, _HIGHEST_PIN, optional)
        if number is not None:
            try:
                pins.unconfigured(number)
            except ValueError as error:
                raise self.wrong(key, "is not a pin of this host: %s" % error)
        return number

    def one_of(self, key, values):
        """One of `values`, of the same type too: 1 is not true."""
        value = self.get(key)
        for known in values:
            if type(value) is type(known) and value == known:
                return known
        raise self.wrong(key, "must be one of %s" % json.dumps(values))

    def hex(self, key, shortest, longest, optional=False):
        """`shortest`..`longest` bytes, from hex digits."""
        value = self.get(key)
        if value is None and optional:
            return None
        try:
            content = binascii.unhexlify(value)
        except (ValueError, TypeError):
            content = b""
        if not shortest <= len(content) <= longest:
            raise self.wrong(key, "must be hex digits, %d to %d bytes" % (shortest, longest))
        return content

    def part_number(self, key):
        value = self.get(key)
        if type(value) is not str:
            raise self.wrong(key, "must be a part number")
        return value
