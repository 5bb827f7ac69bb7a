"""Update at each start of the host, then do the product's work. The simplest way.

A start finishes an interrupted update, installs an image from the inbox, or has nothing to do and
goes on at once. A failed update is tried again at the next start; watchdog.py also tries again
while the product works.
"""

import time

from stm32_updater import Updater, UpdaterError


def work():
    """What the product does."""
    time.sleep_ms(100)


try:
    print(Updater.from_board("/board.json", answers=True).run())
except UpdaterError as error:  # board.json is missing or wrong
    print(error.message, error.next_step)
except Exception as error:  # a mistake, or no memory: the product works without the update
    print(repr(error))

while True:
    work()
