"""The smallest product: keep the target up to date, and do the product's own work.

A product with a watchdog makes one, gives its `feed`, and calls it in work() as well:

    from machine import WDT
    wdt = WDT(timeout=5000)
    updater = Updater.from_board("/board.json", feed=wdt.feed)
"""

import time

from stm32_updater import Updater, UpdaterError

# An update that failed (a target without power, say) is tried again, later each time: every try
# resets the target.
AGAIN_MS = 10_000
LATEST_MS = 60_000


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
    except Exception as error:  # a mistake, no memory: the product goes on, and so does the update
        print(repr(error))
    return False


def main():
    done, tried, wait = update(), time.ticks_ms(), AGAIN_MS
    while True:
        work()
        if not done and time.ticks_diff(time.ticks_ms(), tried) > wait:
            done, tried, wait = update(), time.ticks_ms(), min(2 * wait, LATEST_MS)


if __name__ == "__main__":
    main()
