"""The file that says: hands off the target, its option bytes may be half written.

It is there before the dangerous command is sent and goes only after the target was looked at and
found sound. While it is there the updater leaves the target alone, over any number of restarts.
"""

import json
import os

from stm32_updater.errors import StoreError
from stm32_updater.store import HANDS_OFF, hands_off


class Note:
    """{"what": "provision" | "unprotect", "stage": text, "chip": part number} in a file."""

    def __init__(self, folder):
        self._folder = folder
        self.path = folder + HANDS_OFF

    def read(self):
        """The note as a dict, None if there is none; see stm32_updater.store.hands_off."""
        return hands_off(self._folder)

    def write(self, what, stage, chip):
        """Durable when this returns. Raises StoreError."""
        try:
            os.mkdir(self._folder)
        except OSError:
            pass  # it is there; if not, the next line tells
        try:
            with open(self.path, "w") as file:
                file.write(json.dumps({"what": what, "stage": stage, "chip": chip}))
        except OSError as error:
            raise StoreError("%s cannot be written: %s" % (self.path, error))

    def clear(self):
        """Raises StoreError."""
        try:
            os.remove(self.path)
        except OSError as error:
            raise StoreError("%s cannot be removed: %s" % (self.path, error))
