"""Reads flash to check that it is erased."""

from micropython import const

from stm32_rom import chips
from stm32_rom.errors import BusTimeout, LoaderRefused, LoaderTimeout, NoAnswer

from .errors import NotDone

_PAGES_PER_EVENT = const(4)
_READS = const(4)  # of each block: data from the loader has no checksum, and a frame may be lost


def check_blank(target, pages, what):
    """Read these pages of main flash. Raises NotDone, whose message begins with `what`, if one is
    not erased. A generator of progress."""
    chip = target.chip
    block = bytearray(chips.BLOCK)
    erased = b"\xff" * chips.BLOCK
    for done, page in enumerate(pages):
        start = chip.page_address(page)
        for address in range(start, start + chip.page_size, chips.BLOCK):
            for left in range(_READS - 1, -1, -1):
                why = "it is not erased"
                try:
                    target.loader.read_into(address, block)
                    if block == erased:
                        break
                except (LoaderRefused, LoaderTimeout, NoAnswer, BusTimeout) as error:
                    why = error.message
                if not left:
                    raise _not_blank(what, address, why)
                # In step again; not by a reset if possible: a blank part may not return from it.
                if not target.in_loader():
                    target.return_to_loader()
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
