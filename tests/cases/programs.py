"""Programs on the host that obstruct the command: endless ones, and their watchdogs."""

from __future__ import annotations

import random
import time

from tests.cases.case import Cases, Ran, build, expect
from tests.cases.holes import application
from tests.cases.hosts import host
from tests.simulator.host.client import Client, mpremote

CASES = Cases()

STARTED = "the program is there"
ENDLESS = f"import time\nprint({STARTED!r})\nwhile True:\n    time.sleep_ms(10)\n"
# Its globals are named as built-in functions.
SHADOWS = f"""\
import time
print({STARTED!r})
bytes = b"abc"
open = globals = len = None
while True: time.sleep_ms(50)
"""
SWALLOWS = f"""\
import time
print({STARTED!r})
while True:
    try:
        time.sleep_ms(10)
    except:
        pass
"""
PRODUCT = f"""\
import time
from machine import WDT
from stm32_updater import Updater
wdt = WDT(timeout=5000)
Updater.from_board("/board.json", feed=wdt.feed).run()
print({STARTED!r})
while True:
    wdt.feed(); time.sleep_ms(50)
"""
# The same, with a watchdog that nothing else can reach to feed it.
HIDDEN = "def main():\n" + "".join(f"    {line}\n" for line in PRODUCT.splitlines()) + "main()\n"


def build_full_image() -> None:
    """Build x.img: a working application of 124 KB."""
    code = application("1.1.0")
    build("full.bin", code + random.Random(0).randbytes(124 * 1024 - len(code))).succeeds()


def restart(url: str) -> None:
    """Ctrl-B and Ctrl-D in a terminal program: boot.py and main.py run; one of them is a program
    from above."""
    with Client(int(url.rpartition(":")[2])) as terminal:
        terminal.send(b"\x02\x04")
        terminal.until(STARTED.encode())


def named(ran: Ran, file: str) -> str:
    """The command connected, or names the file that prevents it and how to remove it."""
    return expect(file in ran.said and ("rm :" in ran.said or "flash_nuke" in ran.said), ran.said)


@CASES("boot.py never ends, then status, the command that is advised, and status")
def an_endless_boot_py_is_named_and_can_be_taken_off_as_advised() -> str:
    with host() as board:
        board.put("boot.py", ENDLESS)
        restart(board.url)
        said = named(board.stm32up("status"), "boot.py")
        mpremote(board.url, "resume", "fs", "rm", ":boot.py")
        board.stm32up("status").succeeds()
        return said


@CASES("main.py swallows Ctrl-C, then status")
def a_main_py_that_swallows_ctrl_c_is_named() -> str:
    with host() as board:
        board.put("main.py", SWALLOWS)
        restart(board.url)
        return named(board.stm32up("status"), "main.py")


def updated_under_watchdog(program: str) -> str:
    """An update of 124 KB while the product's watchdog runs. It is finished, or the cause of its
    interruption is reported at once."""
    build_full_image()
    with host() as board:
        board.put("main.py", program)
        restart(board.url)
        begun = time.monotonic()
        ran = board.stm32up("update", "x.img")
        expect(time.monotonic() - begun < 45, f"after 45 s: {ran.last}")
        if ran.status == 0:
            return expect("installed" in ran.said, ran.said)
        return ran.refuses("watchdog", status=ran.status)


@CASES("main.py runs a watchdog of 5 s, then update of 124 KB")
def a_watchdog_of_the_product_is_fed_or_named() -> str:
    return updated_under_watchdog(PRODUCT)


@CASES("main.py runs a watchdog of 5 s inside a function, then update of 124 KB")
def a_watchdog_that_cannot_be_fed_is_named_or_outlived() -> str:
    return updated_under_watchdog(HIDDEN)
