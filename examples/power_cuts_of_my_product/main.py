"""A product: it keeps its STM32 up to date, feeds its watchdog, and does its own work."""

import time

from machine import WDT

from stm32_updater import Updater, UpdaterError

AGAIN_MS = 10_000  # after a failure

watchdog = WDT(timeout=5000)


def work():
    """What the product is for."""
    time.sleep_ms(100)


def update():
    """True if nothing is left to do."""
    try:
        return Updater.from_board("/board.json", feed=watchdog.feed).run()["ok"]
    except UpdaterError as error:
        print(error.message, error.next_step)
        return False


done, tried = update(), time.ticks_ms()
while True:
    watchdog.feed()
    work()
    if not done and time.ticks_diff(time.ticks_ms(), tried) > AGAIN_MS:
        done, tried = update(), time.ticks_ms()
