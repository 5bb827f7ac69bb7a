"""Wake up, update, work, sleep: for a product on a battery.

machine.deepsleep() ends in a start, on both ports, so each time the host wakes it is as after a
power cut: the updater finishes what was interrupted. The target keeps running meanwhile. It needs
its resistors: the pins of a sleeping ESP32 are released, and a floating NRST or BOOT0 would stop
the application.

With machine.lightsleep() instead, in a loop, the program goes on where it was and the pins stay as
they are. Nothing else changes for the updater.
"""

import time

import machine

from stm32_updater import Updater, UpdaterError

SLEEP_MS = 30 * 60 * 1000  # an rp2 can sleep for 71 minutes at most
# A failed update is tried again earlier, then less and less often: each try costs energy.
AGAIN_MS = 60 * 1000
# A host that sleeps does not answer on USB. After power-on it stays awake for this long.
AWAKE_MS = 10_000
FAILURES = "/failures"  # how many tries in a row have failed; absent: none


def work():
    """What the product does each time it wakes."""
    time.sleep_ms(100)


def failures():
    try:
        with open(FAILURES) as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def note(failed):
    """Count a failure, or forget all of them. Writes nothing where nothing changes."""
    import os

    count = failures()
    if failed:
        with open(FAILURES, "w") as file:
            file.write(str(min(count + 1, 30)))
    elif count:
        os.remove(FAILURES)


def update():
    """Bring the target up to date. Returns True if it need not be tried again."""
    try:
        result = Updater.from_board("/board.json", answers=True).run()
        print(result)
        return result["ok"]
    except UpdaterError as error:
        print(error.message, error.next_step)
    except Exception as error:  # a bug or no memory: the product continues
        print(repr(error))
    return False


def time_to_sleep():
    """In ms, after an update that may have failed."""
    return min(AGAIN_MS << failures(), SLEEP_MS) if failures() else SLEEP_MS


if machine.reset_cause() == machine.PWRON_RESET:
    time.sleep_ms(AWAKE_MS)
try:
    note(failed=not update())
    work()
except OSError as error:  # a full filesystem must not keep the host awake
    print(repr(error))
machine.deepsleep(time_to_sleep())
