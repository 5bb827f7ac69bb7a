"""Converge: make the target's flash equal to an image, from any state of the flash.

Updating, resuming, repairing and rolling back all use this routine:

    compare     read every page that is not in doubt; select pages that differ or are in doubt
    remove      overwrite and erase the first vectors: from here on no application can run
    write       erase and write each selected page, without the first vectors
    verify      read all of the image; write pages that differ again, then read all again
    restore     write the first vectors: stack pointer and reset vector last

A page is *in doubt* from before its erase until all of it was written and a durable record says
so. A page in doubt is rewritten even if it reads right, because interrupted cells may flip later.
The image is hashed while it is compared and verified. So before the first vectors are written the
flash is known to hold the image that was checked, even if the file has changed since. All pages
are verified after the last erase, because a frame whose address was corrupted without changing its
XOR may have hit any page.
"""

from micropython import const

from stm32_rom.chips import BLOCK, GRANULE
from stm32_rom.errors import BusError, LoaderError, UpdaterError

from .errors import ImageDoesNotFit, PageProtected, VerifyFailed
from .run_events import progress, retry

_PAGE_TRIES = const(3)
_BLOCK_TRIES = const(8)  # for a block whose frames are refused or lost before flash changes
_ROUNDS = const(4)  # of writing and verifying
_COMPARE_READS = const(2)  # of each block, until it reads as wanted
_VERIFY_READS = const(4)
_VECTORS = const(16)  # bytes, two granules: initial SP, Reset, NMI, HardFault (PM0223 2.3.4)
_CHECKPOINT_PAGES = const(8)  # between durable records: at most so many pages are written again
_BLANK = memoryview(b"\xff" * BLOCK)
_ZEROS = memoryview(bytes(_VECTORS))


class Doubt:
    """The set of flash pages in doubt, as bits of one integer. `save()` makes the set durable; the
    caller provides it."""

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
    """Writes images to one target. Counts, for the last image:

    `verified`: bytes of the image that were read back from the target. `erased_pages`. `repeats`:
    how often a block was sent or read again, because a frame was refused or lost, or a bit
    flipped."""

    def __init__(self, target):
        self._target = target
        self._chip = target.chip
        self._wanted = memoryview(bytearray(self._chip.page_size))  # a page of the image
        self._block = memoryview(bytearray(BLOCK))  # as read from the target
        self._vectors = memoryview(bytearray(_VECTORS))  # of the image, as hashed
        self._why = UpdaterError("")  # the reason of the next retry
        self.verified = 0
        self.erased_pages = 0
        self.repeats = 0

    def converge(self, image, doubt):
        """Make the target's flash equal to `image`. The target must be in its loader. A generator
        of "progress" and "retry" events.

        Raises ImageDoesNotFit, PageProtected before any erase; ImageDamaged (the file changed
        since it was checked) before the first vectors are written; StoreError, VerifyFailed,
        LoaderError, BusError."""
        self.verified = self.erased_pages = self.repeats = 0
        self._refuse_too_large(image)
        first = self._chip.page_of(image.address)
        pages = [
            first + offset // self._chip.page_size
            for offset in range(0, image.size, self._chip.page_size)
            if not image.keeps(offset)
        ]
        self._refuse_protected(pages)
        with image.payload() as payload:
            todo = [page for page in pages if page in doubt]
            if todo != pages:
                todo = yield from self._compare(image, payload, doubt)
            if not todo:
                return
            if todo[0] != first:
                todo.insert(0, first)
            _put_in_doubt(todo, doubt)
            for left in range(_ROUNDS - 1, -1, -1):
                if todo[0] == first:  # later rounds, too: the new vectors may be there
                    yield from self._remove_first_vectors(first, image)
                yield from self._write_pages(todo, first, image, payload, doubt)
                todo = yield from self._compare(image, payload, (), _VECTORS)
                if not todo and self._restore_first_vectors(image):
                    break
                if not left:
                    raise self._why
                todo = todo or [first]
                yield retry(todo[-1], self._why)  # the page that `_why` is about
                _put_in_doubt(todo, doubt)
                # After one flash error the loader refuses all commands until it is reset.
                self._target.return_to_loader()
        doubt.remove(first)
        doubt.save()

    def holds(self, image):
        """Whether the target, in its loader, holds `image`. A generator of "progress" events."""
        with image.payload() as payload:
            differ = yield from self._compare(image, payload, ())
        return not differ

    # --- reading ---

    def _compare(self, image, payload, doubt, skip=0):
        """Hash all of the payload and compare it with the target. Returns the pages that differ or
        are in `doubt`. `skip` > 0: this is the verification after writing, and the first `skip`
        bytes must be blank. A generator of "progress" events. Raises ImageDamaged, StoreError."""
        size = self._chip.page_size
        first = self._chip.page_of(image.address)
        total = -(-image.size // size)
        todo = []
        self.verified = 0
        payload.begin_hash(self._block)
        for index in range(total):
            payload.hash_into(index * size, self._wanted)
            if not index:
                self._vectors[:] = self._wanted[:_VECTORS]
                self._wanted[:skip] = _BLANK[:skip]
            page = first + index
            if not image.keeps(index * size):
                if page in doubt or not self._page_matches(page, image, skip):
                    todo.append(page)
                else:
                    self.verified += self._length(page, image)
            yield progress("verify" if skip else "compare", index + 1, total)
        payload.end_hash(image, self._block)
        return todo

    def _page_matches(self, page, image, skip):
        """Whether the target's page equals `_wanted`."""
        address = self._chip.page_address(page)
        tries = _VERIFY_READS if skip else _COMPARE_READS
        for start in range(0, self._length(page, image), BLOCK):
            if not self._reads_as(address + start, self._wanted[start : start + BLOCK], tries):
                return False
        return True

    def _reads_as(self, address, wanted, tries):
        """Whether `wanted` is read at `address` in one of `tries` reads: a bit may flip on the
        bus, and data from the loader has no checksum. A read that fails each time counts as a
        difference. Sets `_why` if False."""
        found = self._block[: len(wanted)]
        for failed in range(tries):
            try:
                self._target.loader.read_into(address, found)
                if found == wanted:
                    self.repeats += failed
                    return True
                differs = address + _difference(found, wanted)
                self._why = VerifyFailed("flash differs at 0x%08X after writing" % differs)
            except (LoaderError, BusError) as error:
                self._why = error
                self._target.return_to_loader()
        return False

    # --- the first vectors ---

    def _remove_first_vectors(self, page, image):
        """Make sure that the old application cannot run. This is read back, because other pages
        are changed next. A generator of "retry" events.

        An erase takes 22 ms. If it is interrupted, the old vectors may still read right while the
        code they point to is damaged. So the vectors are first overwritten with zeros, which takes
        85 us per granule. Zeros can be programmed over any granule (RM0444 section 3.3.8, PROGERR)
        except one that was programmed with all ones (erratum 2.2.5); a granule that reads as all
        ones cannot start code and is left as it is. The vectors of NMI and HardFault are
        overwritten too: a reset vector damaged by an erase leads to an NMI.

        The last try skips the zeros: some loader may refuse them, and a risky erase beats never
        updating."""
        self._target.may_be_blank = True
        for left in range(_PAGE_TRIES - 1, -1, -1):
            try:
                if left:
                    self._overwrite_vectors(image.address)
                self._erase(page)
                if self._read_vectors(image.address) == _BLANK[:_VECTORS]:
                    return
                self._why = VerifyFailed("page %d was erased but is not blank" % page)
            except (LoaderError, BusError) as error:
                self._why = error
            if not left:
                raise self._why
            yield retry(page, self._why)
            self._target.return_to_loader()

    def _overwrite_vectors(self, address):
        """Program zeros over the vectors that are not blank or cannot be read."""
        begin, end = 0, _VECTORS
        try:
            begin, end = _not_blank(self._read_vectors(address), 0, _VECTORS)
        except (LoaderError, BusError):
            self._target.return_to_loader()
        if begin < end:
            self._write_block(address + begin, _ZEROS[begin:end])

    def _restore_first_vectors(self, image):
        """Write the vectors of NMI and HardFault, then stack pointer and reset vector. In this
        order an interruption cannot leave a reset vector that starts the application without fault
        vectors, and a torn reset vector, which leads to an NMI, finds them. Returns False and sets
        `_why` if it failed; the page must then be erased again."""
        try:
            for start in (GRANULE, 0):
                vectors = self._vectors[start : start + GRANULE]
                if vectors != _BLANK[:GRANULE]:
                    self._write_block(image.address + start, vectors)
        except (LoaderError, BusError) as error:
            self._why = error
            return False
        whole = self._reads_as(image.address, self._vectors, _VERIFY_READS)
        self._target.may_be_blank = not whole
        return whole

    def _read_vectors(self, address):
        vectors = self._block[:_VECTORS]
        self._target.loader.read_into(address, vectors)
        return vectors

    # --- writing ---

    def _write_pages(self, pages, first, image, payload, doubt):
        """Erase and write `pages`, but not the first vectors in page `first`, which is already
        erased. A generator of "progress" and "retry" events.

        A page leaves doubt when all of it was written without an interruption. Whether it was
        written correctly is checked by the next comparison."""
        for done, page in enumerate(pages):
            payload.read_into(self._chip.page_address(page) - image.address, self._wanted)
            is_blank = page == first
            if is_blank:
                self._wanted[:_VECTORS] = _BLANK[:_VECTORS]
            for left in range(_PAGE_TRIES - 1, -1, -1):
                try:
                    self._write_page(page, image, is_blank)
                    break
                except (LoaderError, BusError) as error:
                    if not left:
                        raise
                    yield retry(page, error)
                is_blank = False
                self._target.return_to_loader()
            if page != first:
                doubt.remove(page)
            if done % _CHECKPOINT_PAGES == _CHECKPOINT_PAGES - 1:
                doubt.save()
            yield progress("write", done + 1, len(pages))

    def _write_page(self, page, image, is_blank):
        """Erase the page unless it `is_blank`, then write what is not blank in `_wanted`. The
        erase removes the rest of an interrupted try."""
        if not is_blank:
            self._erase(page)
        address = self._chip.page_address(page)
        for start in range(0, self._length(page, image), BLOCK):
            begin, end = _not_blank(self._wanted, start, start + BLOCK)
            if begin < end:
                self._write_block(address + begin, self._wanted[begin:end])

    def _erase(self, page):
        self._target.loader.erase_page(page)
        self._target.wait_for_silent_loader(self._target.quirks.erase_settle_ms)
        self.erased_pages += 1

    def _write_block(self, address, data):
        """Write up to one block. Sends it again if it failed before the loader had all of the
        data. Any other error is raised; flash may then hold a part of it."""
        for left in range(_BLOCK_TRIES - 1, -1, -1):
            try:
                self._target.loader.write(address, data)
                return
            except (LoaderError, BusError):
                if not left or self._target.loader.changing:
                    raise
            self.repeats += 1
            self._target.return_to_loader()

    # --- pages ---

    def _length(self, page, image):
        """Bytes of the image in a page."""
        left = image.address + image.size - self._chip.page_address(page)
        return min(self._chip.page_size, left)

    def _refuse_too_large(self, image):
        """Check against the flash size that the chip states; `check_fit` used board.toml's."""
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


def _put_in_doubt(pages, doubt):
    """Record durably that these pages may hold anything."""
    for page in pages:
        doubt.add(page)
    doubt.save()


def _not_blank(data, begin, end):
    """(begin, end) without the blank granules at both ends of `data[begin:end]`."""
    if data[begin:end] == _BLANK[: end - begin]:
        return end, end
    while data[begin : begin + GRANULE] == _BLANK[:GRANULE]:
        begin += GRANULE
    while data[end - GRANULE : end] == _BLANK[:GRANULE]:
        end -= GRANULE
    return begin, end


def _difference(first, second):
    """Index of the first byte that differs."""
    for index in range(len(first)):
        if first[index] != second[index]:
            return index
    return len(first)
