"""The hands-off file: it says that the target's option bytes may be half written.

It is written before the dangerous command is sent, and removed only after the target was checked
and is sound. While it exists the updater does not access the target, over any number of restarts.
"""

import json
import os

from stm32_updater.errors import StoreError
from stm32_updater.store import HANDS_OFF, hands_off


class HandsOffFile:
    """A JSON file {"what": "provision" | "unprotect", "stage": text, "chip": part number}."""

    def __init__(self, folder):
        self._folder = folder
        self.path = folder + HANDS_OFF

    def read(self):
        """Its content as a dict, None if there is no such file; see store.hands_off."""
        return hands_off(self._folder)

    def write(self, what, stage, chip):
        """Write the file; it is durable when this returns. Raises StoreError."""
        try:
            os.mkdir(self._folder)
        except OSError:
            pass  # it exists; otherwise `open` raises
        try:
            with open(self.path, "w") as file:
                file.write(json.dumps({"what": what, "stage": stage, "chip": chip}))
        except OSError as error:
            raise StoreError("%s cannot be written: %s" % (self.path, error))

    def remove(self):
        """Raises StoreError."""
        try:
            os.remove(self.path)
        except OSError as error:
            raise StoreError("%s cannot be removed: %s" % (self.path, error))
