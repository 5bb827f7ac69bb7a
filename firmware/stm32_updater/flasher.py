"""Converge: make the target's flash equal to an image, from whatever state it is in.

Updating, resuming, repairing and rolling back are this one routine. A page is *in doubt* from
before its first erase until it was read back and a durable record says so; a page in doubt is
never believed, even if it reads right, since interrupted cells may flip later. The first vectors
of what was there are overwritten before anything else, and the image's first granule, stack
pointer and reset vector, is written last, so that a part of an application can never run.
"""

from micropython import const

from .chips import BLOCK, GRANULE
from .errors import BusError, ImageDoesNotFit, LoaderError, PageProtected, VerifyFailed

_PAGE_TRIES = const(3)
_VECTORS = const(16)  # bytes, two granules: initial SP, Reset, NMI, HardFault (PM0223 2.3.4)
_CHECKPOINT_PAGES = const(8)  # pages between durable records: at most this much is done again
_BLANK = memoryview(b"\xff" * BLOCK)


class Doubt:
    """The set of flash pages that no durable record vouches for, as bits of one integer.

    `save()` makes the present set durable; the caller provides it."""

    def __init__(self, bits, save):
        self.bits = bits
        self.save = save

    def __contains__(self, page):
        return bool(self.bits >> page & 1)

    def add(self, page):
        self.bits |= 1 << page

    def remove(self, page):
        self.bits &= ~(1 << page)


class Flasher:
    """Writes images to one target; counts what it did.

    `verified`: bytes of the image that the target was seen to hold."""

    def __init__(self, target):
        self._target = target
        self._chip = target.chip
        self._wanted = memoryview(bytearray(BLOCK))
        self._found = memoryview(bytearray(BLOCK))
        self.verified = 0
        self.erased_pages = 0
        self._first_is_blank = False  # the first page, since this run erased it

    def converge(self, image, doubt):
        """Make the target's flash equal to `image`; the target is in its loader. A generator of
        progress events (see updater.py).

        Raises ImageDoesNotFit, PageProtected before anything is erased; VerifyFailed, LoaderError,
        BusError."""
        self._refuse_too_large(image)
        first = self._chip.page_of(image.address)
        pages = range(first, self._chip.page_of(image.address + image.size - 1) + 1)
        self._refuse_protected(pages)
        self.verified = 0
        with image.payload() as payload:
            todo = []
            for page in pages:
                if page in doubt or not self._holds(page, payload, image):
                    todo.append(page)
                else:
                    self._count_verified(page, image)
                yield _progress("compare", page - first + 1, len(pages))
            if not todo:
                return
            yield from self._rewrite(first, todo, payload, image, doubt)

    def _rewrite(self, first, todo, payload, image, doubt):
        """Erase, write and verify the pages of `todo`, and `first` around them."""
        if todo[0] == first:
            del todo[0]
        elif self.verified:
            self.verified -= self._length(first, image)  # it is written again after all
        for page in todo:
            doubt.add(page)
        doubt.add(first)
        doubt.save()  # the intent: from here on these pages may be anything
        total = len(todo) + 1
        yield from self._attempt(first, payload, image, self._erase_first_vectors)
        for done, page in enumerate(todo):
            yield from self._attempt(page, payload, image, self._write_page)
            doubt.remove(page)
            if done % _CHECKPOINT_PAGES == _CHECKPOINT_PAGES - 1:
                doubt.save()
            yield _progress("write", done + 1, total)
        yield from self._attempt(first, payload, image, self._write_first_page)
        doubt.remove(first)
        doubt.save()
        yield _progress("write", total, total)

    def _attempt(self, page, payload, image, work):
        """Do `work` on a page; after a failure restart the loader and do it again, at most twice.
        A generator of an event for each failure. `work` is told how many tries are left.

        A second attempt begins with an erase, so a half done one leaves nothing behind."""
        for left in range(_PAGE_TRIES - 1, -1, -1):
            try:
                return work(page, payload, image, left)
            except (LoaderError, BusError, VerifyFailed) as error:
                if not left:
                    raise
                yield _retry(page, error)
                # The loader keeps refusing after one flash error, and one that is out of step
                # only comes back by a reset.
                self._target.enter_loader()

    def _erase(self, page):
        self._target.loader.erase_page(page)
        self._target.stay_up(self._target.quirks.erase_settle_ms)
        self.erased_pages += 1

    def _erase_first_vectors(self, page, payload, image, left):
        """From here on the old application cannot run. That must be seen, not believed: other
        pages are changed next.

        An erase takes 22 ms, and in the middle of it the old vectors may still read right while
        what they lead to does not. So they are overwritten first, which takes 85 us a granule:
        zeros are the one thing that can be programmed over anything (RM0444 section 3.3.8,
        PROGERR). Those of NMI and HardFault too: a reset vector that an erase left torn is an
        NMI.

        The last try does without: that the flash takes zeros is documented, that every loader
        passes them on is not, and rather an erase that must not be cut than no update ever."""
        vectors = self._found[:_VECTORS]
        for index in range(_VECTORS):
            vectors[index] = 0
        if left:
            self._target.loader.write(image.address, vectors)
        self._erase(page)
        self._target.loader.read_into(image.address, vectors)
        if vectors != _BLANK[:_VECTORS]:
            raise VerifyFailed("page %d was erased but is not blank" % page)
        self._first_is_blank = True

    def _write_page(self, page, payload, image, _left):
        self._erase(page)
        self._write(page, payload, image, 0)
        self._verify(page, payload, image)

    def _write_first_page(self, page, payload, image, left):
        """All of the first page, its first vectors when everything else was seen to be right:
        those of faults, which a chip without the others may take, then those of a reset.

        It was erased in the beginning. Another erase would be another 22 ms in which a target
        without BOOT0 must not lose its supply."""
        if not self._first_is_blank:
            self._erase_first_vectors(page, payload, image, left)
        self._first_is_blank = False
        self._write(page, payload, image, _VECTORS)
        self._verify(page, payload, image, _VECTORS)
        for start in (GRANULE, 0):
            granule = self._load(payload, 0, start, start + GRANULE)
            self._target.loader.write(image.address + start, granule)
        self._verify(page, payload, image)

    def _write(self, page, payload, image, skip):
        """Write a page block by block, leaving out its first `skip` bytes and what stays blank."""
        for block in self._blocks(page, image):
            offset = block - image.address
            begin = skip if not offset else 0
            data = self._load(payload, offset, begin, BLOCK)
            if data != _BLANK[begin:]:
                self._target.loader.write(block + begin, data)

    def _verify(self, page, payload, image, skip=0):
        """Read a page back. Raises VerifyFailed with the first address that differs."""
        for block in self._blocks(page, image):
            offset = block - image.address
            found = self._found
            self._target.loader.read_into(block, found)
            wanted = self._load(payload, offset, 0, BLOCK)
            if skip and not offset:
                wanted[:skip] = _BLANK[:skip]
            if found != wanted:
                raise VerifyFailed(
                    "flash differs at 0x%08X after writing" % (block + _difference(found, wanted))
                )
        if not skip:
            self._count_verified(page, image)

    def _holds(self, page, payload, image):
        """Whether a page that is vouched for holds what `image` wants there. A page whose reading
        upsets the loader does not."""
        try:
            for block in self._blocks(page, image):
                self._target.loader.read_into(block, self._found)
                if self._found != self._load(payload, block - image.address, 0, BLOCK):
                    return False
        except (LoaderError, BusError):
            self._target.enter_loader()
            return False
        return True

    def _load(self, payload, offset, begin, end):
        """Bytes `begin`..`end` of the block at `offset` of the payload, padded as erased flash."""
        block = self._wanted[: end - begin]
        payload.read_into(offset + begin, block)
        return block

    def _blocks(self, page, image):
        """Addresses of the blocks of a page, as far as the image goes."""
        start = self._chip.page_address(page)
        end = min(start + self._chip.page_size, image.address + image.size)
        return range(start, end, BLOCK)

    def _length(self, page, image):
        """Bytes of the image in a page."""
        left = image.address + image.size - self._chip.page_address(page)
        return min(self._chip.page_size, left)

    def _count_verified(self, page, image):
        self.verified += self._length(page, image)

    def _refuse_too_large(self, image):
        """`check_fit` went by the part number of board.toml; this goes by the part itself."""
        size = self._target.flash_size
        end = image.address - self._chip.flash_start + image.size
        if size is not None and end > size:
            raise ImageDoesNotFit(
                "%s reaches to %d bytes of flash; the part has %d KB, not the %d KB of %s"
                % (image.path, end, size // 1024, self._chip.flash_size // 1024, self._chip.name),
                "Correct `chip` in board.toml, and build an image for that part.",
            )

    def _refuse_protected(self, pages):
        options = self._target.options
        for page in pages if options else ():
            if options.write_protected(page):
                raise PageProtected(
                    "page %d (0x%08X) is write-protected" % (page, self._chip.page_address(page))
                )


def _progress(phase, done, total):
    return {"event": "progress", "phase": phase, "done": done, "total": total}


def _retry(page, error):
    return {"event": "retry", "page": page, "error": error.code, "message": error.message}


def _difference(first, second):
    """Index of the first byte that differs."""
    for index in range(len(first)):
        if first[index] != second[index]:
            return index
    return len(first)
