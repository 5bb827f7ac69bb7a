"""The smallest product: keep the target up to date, and do the product's own work.

A product with a watchdog makes one, gives its `feed`, and calls it in work() as well:

    from machine import WDT
    wdt = WDT(timeout=5000)
    updater = Updater.from_board("/board.json", feed=wdt.feed)
"""

import time

from stm32_updater import Updater, UpdaterError

AGAIN_MS = 10_000  # an update that failed (a target without power, say) is tried again


def work():
    """What the product is for."""
    time.sleep_ms(100)


def update():
    """Bring the target up to date; True if nothing is left to do."""
    try:
        result = Updater.from_board("/board.json").run()
        print(result)
        return result["ok"]
    except UpdaterError as error:
        print(error.message, error.next_step)
        return False


def main():
    done, tried = update(), time.ticks_ms()
    while True:
        work()
        if not done and time.ticks_diff(time.ticks_ms(), tried) > AGAIN_MS:
            done, tried = update(), time.ticks_ms()


if __name__ == "__main__":
    main()
