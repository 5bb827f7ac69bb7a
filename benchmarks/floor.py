"""The least time in which any host can make flash equal to an image: wires and flash alone.

Left out, because a host could do without or because it is under 1 % of an update: the frames of
erases and checksums, the computing of a checksum, reading to find out what differs, the safe order
of writing, entering and leaving the loader, and all work of the host.
"""

from __future__ import annotations

from typing import NamedTuple

from stm32sim.chip.flash import ERASED_BYTE, GRANULE, PAGE, FlashTimes
from stm32sim.wires.clock import NS_PER_S

BLOCK = 256  # bytes of one Write or Read Memory at most [V AN4221, AN3155]


class Wires(NamedTuple):
    """`bits` of a byte; bytes on the wires beside the data of a write and of a read."""

    bits: int
    write: int
    read: int


# A byte with its ACK; START and STOP are left out. Each frame with its address byte [V AN4221].
# Write: command 3, status 2, address 6, status 2, length and XOR of the data frame with its
# address 3, status 2. Read: command 3, status 2, address 6, status 2, count 3, status 2, address
# of the data frame 1.
I2C = Wires(9, 18, 19)
# Start, 8 bits, parity, stop. Write: command 2, ACK, address 5, ACK, length and XOR 2, ACK. Read:
# command 2, ACK, address 5, ACK, count 2, ACK [V AN3155].
UART = Wires(11, 12, 12)


def floor(
    before: bytes,
    image: bytes,
    hertz: int,
    times: FlashTimes,
    verify: str,
    wires: Wires = I2C,
) -> int:
    """In ns. `hertz`: bits in a second. `before`: all of main flash. Pages that hold what `image`
    wants stay. The others are erased, together if the image fills the flash and none stays. Blank
    blocks are not written. All of the image is verified once: `verify` "read", or by one
    "checksum"."""
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
    on_wires = sum(written) + len(written) * wires.write
    if verify == "read":
        on_wires += len(image) + -(-len(image) // BLOCK) * wires.read
    programming = sum(-(-length // GRANULE) for length in written) * times.program
    return erasing + programming + on_wires * wires.bits * NS_PER_S // hertz
