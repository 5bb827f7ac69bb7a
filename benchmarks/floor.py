"""The least time in which any host can make flash equal to an image: wires and flash alone.

Left out, because a host could do without or because it is under 1 % of an update: the frames of
erases and checksums, the computing of a checksum, reading to find out what differs, the safe order
of writing, entering and leaving the loader, and all work of the host.
"""

from __future__ import annotations

from stm32sim.chip.flash import ERASED_BYTE, GRANULE, PAGE, FlashTimes
from stm32sim.wires.clock import NS_PER_S

BLOCK = 256  # bytes of one Write or Read Memory at most [V AN4221]
BITS = 9  # of a byte on the wires, with its ACK; START and STOP are left out
# Bytes on the wires beside the data, each frame with its address byte [V AN4221]. Write: command
# 3, status 2, address 6, status 2, length and XOR of the data frame with its address 3, status 2.
WRITE_FRAMES = 18
# Read: command 3, status 2, address 6, status 2, count 3, status 2, address of the data frame 1.
READ_FRAMES = 19


def floor(before: bytes, image: bytes, hertz: int, times: FlashTimes, verify: str) -> int:
    """In ns. `before`: all of main flash. Pages that hold what `image` wants stay. The others are
    erased, together if the image fills the flash and none stays. Blank blocks are not written. All
    of the image is verified once: `verify` "read", or by one "checksum"."""
    pages = range(0, len(image), PAGE)
    changed = [at for at in pages if not before.startswith(image[at : at + PAGE], at)]
    together = len(changed) * PAGE == len(before)
    erasing = times.mass_erase if together else len(changed) * times.page_erase
    blocks = [
        image[at : at + BLOCK]
        for page in changed
        for at in range(page, min(page + PAGE, len(image)), BLOCK)
    ]
    written = [len(block) for block in blocks if block.strip(bytes([ERASED_BYTE]))]
    on_wires = sum(written) + len(written) * WRITE_FRAMES
    if verify == "read":
        on_wires += len(image) + -(-len(image) // BLOCK) * READ_FRAMES
    programming = sum(-(-length // GRANULE) for length in written) * times.program
    return erasing + programming + on_wires * BITS * NS_PER_S // hertz
