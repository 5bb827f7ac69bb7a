"""The plan of an image for flash: which bytes it writes, which pages it keeps, and what it fills
with FF.

Only whole pages can be erased. A page without any input data is a hole: it is kept unchanged,
unless it is the first or the last of the image. Every other gap is padded.
"""

from __future__ import annotations

from collections.abc import Sequence

from stm32up.device import Chip
from stm32up.errors import ImageError
from stm32up.events import Area, Stretch
from stm32up.image.image_format import MAX_HOLES
from stm32up.image.inputs import Payload

Run = tuple[int, int]  # offset from the start of the payload (or address), length; in bytes


def holes(source: object, payload: Payload, chip: Chip) -> list[Run]:
    """The runs of whole pages without data from the input `source`, ascending.

    Raises ImageError for more holes than an image can list: padding the rest would erase pages
    that the input has no data for.
    """
    found = []
    for (start, length), (end, _) in zip(payload.given, payload.given[1:], strict=False):
        first = _up(payload.address + start + length, chip.page_size) - payload.address
        last = (payload.address + end) // chip.page_size * chip.page_size - payload.address
        if first < last:
            found.append((first, last - first))
    if len(found) > MAX_HOLES:
        raise ImageError(
            f"{source} has {len(found)} gaps of whole pages, and an image can list {MAX_HOLES}",
            "Link the parts without gaps, or fill them: objcopy --gap-fill 0xFF.",
        )
    return found


def stretches(
    address: int, size: int, kept: list[Run], chip: Chip, given: list[Run] | None = None
) -> list[Stretch]:
    """The ranges of all pages that a payload touches, in order. `given` None: the input is not
    known, so its padding counts as written.
    """
    found: list[Stretch] = []

    def add(what: str, start: int, end: int) -> None:
        if start < end:
            found.append({"what": what, "address": address + start, "length": end - start})

    position = 0
    written = [(0, size)] if given is None else given
    ends = [(start, start + length) for start, length in kept]
    end_of_pages = _up(address + size, chip.page_size) - address
    for hole_start, hole_end in [*ends, (end_of_pages, end_of_pages)]:
        for start, length in written:
            start, end = max(start, position), min(start + length, hole_start)
            if start < end:
                add("padded", position, start)
                add("written", start, end)
                position = end
        add("padded", position, hole_start)
        add("kept", hole_start, hole_end)
        position = hole_end
    return found


def memory_map(
    address: int, size: int, kept: list[Run], chip: Chip, preserve: Sequence[Run] = ()
) -> list[Area]:
    """What installing a payload does to each page of the chip, as runs of pages. `preserve`:
    (start, length) of what the board preserves."""
    end = address + size
    holes = [(address + start, length) for start, length in kept]
    areas: list[Area] = []
    for page in range(chip.flash_size // chip.page_size):
        start = chip.flash_start + page * chip.page_size
        inside = max(0, min(end, start + chip.page_size) - max(address, start))
        preserved = _touch(preserve, start, chip.page_size)
        if inside and not _touch(holes, start, chip.page_size):
            what = "refused" if preserved else "written"
        else:
            what = "preserved" if preserved else "hole" if inside else "untouched"
        if not areas or areas[-1]["what"] != what:
            areas.append(
                {
                    "what": what,
                    "address": start,
                    "length": 0,
                    "first_page": page,
                    "last_page": page,
                    "bytes": 0,
                }
            )
        area = areas[-1]
        area["length"] += chip.page_size
        area["last_page"] = page
        area["bytes"] += inside if what in ("written", "refused") else 0
    return areas


def _touch(regions: Sequence[Run], start: int, length: int) -> bool:
    return any(start < at + size and at < start + length for at, size in regions)


def _up(address: int, page_size: int) -> int:
    return address + -address % page_size
