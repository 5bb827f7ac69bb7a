"""Values of board.json, each checked as it is read."""

import binascii
import json

from micropython import const

from stm32_rom import pins
from stm32_rom.errors import BoardError

_HIGHEST_PIN = const(255)  # which pins there are, the machine module tells


class Section:
    """An object of board.json; "" is the whole. What is read is sound, or a BoardError names it.

    `may_lack`: null is sound too, and reads as None."""

    def __init__(self, content, name=""):
        self._name = name
        self._content = content
        if not isinstance(content, dict):
            raise BoardError("board.json: %s must be an object" % (name or "the whole"))

    def wrong(self, key, what):
        place = "[%s] %s" % (self._name, key) if self._name else key
        return BoardError("board.json: %s %s" % (place, what))

    def get(self, key):
        if key not in self._content:
            raise self.wrong(key, "is missing")
        return self._content[key]

    def section(self, key):
        return Section(self.get(key), key)

    def number(self, key, lowest, highest, may_lack=False):
        value = self.get(key)
        if value is None and may_lack:
            return None
        if type(value) is not int or not lowest <= value <= highest:
            raise self.wrong(key, "must be a number, %d to %d" % (lowest, highest))
        return value

    def pin(self, key, may_lack=False):
        """The number of a pin that this host has."""
        number = self.number(key, 0, _HIGHEST_PIN, may_lack)
        if number is not None:
            try:
                pins.as_it_is(number)
            except ValueError as error:
                raise self.wrong(key, "is no pin of this host: %s" % error)
        return number

    def one_of(self, key, values):
        """By identity of type too: 1 is not true."""
        value = self.get(key)
        for known in values:
            if type(value) is type(known) and value == known:
                return known
        raise self.wrong(key, "must be one of %s" % json.dumps(values))

    def hex(self, key, shortest, longest, may_lack=False):
        """Bytes, as hex digits."""
        value = self.get(key)
        if value is None and may_lack:
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
