"""Update and work under a watchdog, and try a failed update again.

The updater feeds the watchdog while it waits. Afterwards only the main loop does, so a work() that
hangs resets the host. To the updater a reset is a power cut: the next start goes on.
"""

import time

from machine import WDT

from stm32_updater import Updater, UpdaterError
from stm32_updater.answers import answer

# At least 2 s: the updater feeds the watchdog every 0.5 s. An rp2 allows 8.3 s at most.
wdt = WDT(timeout=5000)

# Every attempt resets the target, so a failed update is tried again later each time.
AGAIN_MS = 10_000
LATEST_MS = 60_000


def work():
    """What the product does. It returns well before the watchdog's time is over."""
    time.sleep_ms(100)


def update():
    """Bring the target up to date; True if nothing is left to do."""
    try:
        result = Updater.from_board("/board.json", feed=wdt.feed, answers=True).run()
        print(result)
        return result["ok"]
    except UpdaterError as error:
        print(error.message, error.next_step)
    except Exception as error:  # no memory, say: the product works on
        print(repr(error))
    return False


done, tried, wait = update(), time.ticks_ms(), AGAIN_MS
while True:
    work()
    answer()  # stm32up asks whether an update runs, before it interrupts this program
    wdt.feed()
    if not done and time.ticks_diff(time.ticks_ms(), tried) > wait:
        done, tried, wait = update(), time.ticks_ms(), min(2 * wait, LATEST_MS)
