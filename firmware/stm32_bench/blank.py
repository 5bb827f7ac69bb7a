"""Reads flash to check that it is erased."""

from micropython import const

from stm32_rom import chips
from stm32_rom.errors import BusTimeout, LoaderRefused, LoaderTimeout, NoAnswer

from .errors import NotDone

_PAGES_PER_EVENT = const(4)


def check_blank(target, pages, what):
    """Read these pages of main flash. Raises NotDone, whose message begins with `what`, if one is
    not erased. A generator of progress."""
    chip = target.chip
    block = bytearray(chips.BLOCK)
    erased = b"\xff" * chips.BLOCK
    for done, page in enumerate(pages):
        start = chip.page_address(page)
        for address in range(start, start + chip.page_size, chips.BLOCK):
            try:
                target.loader.read_into(address, block)
            except (LoaderRefused, LoaderTimeout, NoAnswer, BusTimeout) as error:
                raise _not_blank(what, address, error.message)
            if block != erased:
                raise _not_blank(what, address, "it is not erased")
        if done % _PAGES_PER_EVENT == 0:
            yield {
                "event": "progress",
                "phase": "blank check",
                "done": done,
                "total": len(pages),
            }


def _not_blank(what, address, why):
    return NotDone(
        "%s, but flash at 0x%08X is not blank: %s" % (what, address, why),
        "Run stm32up update: it erases and writes the flash.",
    )
