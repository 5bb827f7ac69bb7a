"""The smallest product: bring the target up to date, then do the product's own work.

A product with a watchdog makes it here and gives its `feed`:

    from machine import WDT
    updater = Updater.from_board("/board.json", feed=WDT(timeout=5000).feed)
"""

import time

from stm32_updater import Updater, UpdaterError


def work():
    """What the product is for."""
    time.sleep_ms(1000)


def main():
    try:
        result = Updater.from_board("/board.json").run()
        print(result)  # an update that failed is tried again at the next start
    except UpdaterError as error:
        print(error.message, error.next_step)
    while True:
        work()


if __name__ == "__main__":
    main()
