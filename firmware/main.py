"""A minimal product: keeps the target up to date and does its own work.

A product with a watchdog passes its `feed` to the updater, and also calls it in work():

    from machine import WDT
    wdt = WDT(timeout=5000)
    updater = Updater.from_board("/board.json", feed=wdt.feed, answers=True)

stm32up asks on the serial port whether an update runs, and this program answers. If your work()
reads sys.stdin itself, remove `answers=True` and `answer()`: stm32up then interrupts an update.
"""

# The updater first: it loads `time`, too, which is then not looked for on the filesystem again.
from stm32_updater import Updater, UpdaterError  # noqa: I001
import time

# A failed update (e.g. the target has no power) is tried again after AGAIN_MS. Each further wait
# is twice as long, up to LATEST_MS, because every try resets the target.
AGAIN_MS = 10_000
LATEST_MS = 60_000


def work():
    """The product's own work goes here."""
    time.sleep_ms(100)


def update():
    """Bring the target up to date. Returns True if it need not be tried again."""
    try:
        result = Updater.from_board("/board.json", answers=True).run()
        print(result)
        return result["ok"]
    except UpdaterError as error:
        print(error.message, error.next_step)
    except Exception as error:  # a bug or no memory: the product continues, and tries again later
        print(repr(error))
    return False


def main():
    done, tried, wait = update(), time.ticks_ms(), AGAIN_MS
    from stm32_updater.answers import answer  # loaded now: the update comes first

    while True:
        work()
        answer()
        if not done and time.ticks_diff(time.ticks_ms(), tried) > wait:
            done, tried, wait = update(), time.ticks_ms(), min(2 * wait, LATEST_MS)


if __name__ == "__main__":
    main()
