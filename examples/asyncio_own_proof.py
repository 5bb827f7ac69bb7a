"""Update beside other tasks, with a proof of the product's own.

The application of boards/nucleo_g071rb_app answers over I2C: its version in register 1, the
milliseconds since its start in register 2. Here a new one is confirmed when its version is right
and it has run for half a second without a restart. Ask your application what matters to you: a
self-test, a sensor, a checksum of its settings.
"""

import asyncio
import struct

from machine import I2C, Pin

from stm32_updater import Updater, UpdaterError
from stm32_updater.answers import answer

APPLICATION = 0x2A
VERSION, UPTIME = 1, 2
ENOUGH_MS = 500
AGAIN_S = 30


def ask(register, length):
    """`length` bytes from a register of the application. Raises OSError if it does not answer."""
    # The controller, pins and speed of board.toml: the updater uses the same ones.
    bus = I2C(0, scl=Pin(5), sda=Pin(4), freq=400_000)
    bus.writeto(APPLICATION, bytes([register]))
    return bus.readfrom(APPLICATION, length)


def works(image):
    """The proof. The updater calls it until it returns True or the time of [confirm] is over; an
    exception counts as "not yet"."""
    if ask(VERSION, 8) != image.version_bytes:
        return False
    (uptime_ms,) = struct.unpack("<I", ask(UPTIME, 4))
    return uptime_ms >= ENOUGH_MS


async def update():
    """One attempt, a step at a time; True if nothing is left to do."""
    try:
        with Updater.from_board("/board.json", confirm=works, answers=True).events() as events:
            async for event in events:
                print(event)
        return event["ok"]  # the last event is the result
    except UpdaterError as error:
        print(error.message, error.next_step)
    return False


async def keep_up_to_date():
    while not await update():
        await asyncio.sleep(AGAIN_S)


async def work():
    """What the product does. docs/product.md says how long an update delays it; works() delays it
    too."""
    while True:
        answer()  # stm32up asks whether an update runs, before it interrupts this program
        await asyncio.sleep_ms(100)


async def main():
    await asyncio.gather(keep_up_to_date(), work())


asyncio.run(main())
