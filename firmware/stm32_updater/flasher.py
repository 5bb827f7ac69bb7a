"""Converge: make the target's flash equal to an image, from whatever state it is in.

Updating, resuming, repairing and rolling back are this one routine:

    compare     read every page that is vouched for; pages that differ or are in doubt are to do
    take away   overwrite and erase the first vectors: nothing can run from here on
    write       erase and write each page to do, without the first vectors
    verify      read all of the image; pages that differ are written again, and all is read again
    give back   write the first vectors, the stack pointer and the reset vector last

A page is *in doubt* from before its erase until all of it was written and a durable record says
so. A page in doubt is never believed, even if it reads right, since interrupted cells may flip
later. What the image says is hashed while it is compared and verified, so what is in flash before
the first vectors are written is what was admitted, whatever became of the file meanwhile. And all
of it is verified after the last erase: a frame whose address was changed on the way, unnoticed by
its XOR, may have hit any page.
"""

from micropython import const

from stm32_rom.chips import BLOCK, GRANULE
from stm32_rom.errors import BusError, LoaderError, UpdaterError

from .errors import ImageDoesNotFit, PageProtected, VerifyFailed
from .run_events import progress, retry

_PAGE_TRIES = const(3)
_BLOCK_TRIES = const(8)  # of a block whose frames are refused or lost before anything changes
_ROUNDS = const(4)  # of writing and verifying
_COMPARE_READS = const(2)  # of a block that differs
_VERIFY_READS = const(4)
_VECTORS = const(16)  # bytes, two granules: initial SP, Reset, NMI, HardFault (PM0223 2.3.4)
_CHECKPOINT_PAGES = const(8)  # pages between durable records: at most this much is done again
_BLANK = memoryview(b"\xff" * BLOCK)
_ZEROS = memoryview(bytes(_VECTORS))


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
    """Writes images to one target; counts what it did for the last of them.

    `verified`: bytes of the image that the target was seen to hold. `erased_pages`. `repeats`:
    how often a block was sent or read again, because a frame was refused or lost or a bit
    flipped."""

    def __init__(self, target):
        self._target = target
        self._chip = target.chip
        self._wanted = memoryview(bytearray(self._chip.page_size))
        self._found = memoryview(bytearray(BLOCK))
        self._vectors = memoryview(bytearray(_VECTORS))  # of the image, as they were hashed
        self._why = UpdaterError("")  # why something has to be done again
        self.verified = 0
        self.erased_pages = 0
        self.repeats = 0

    def converge(self, image, doubt):
        """Make the target's flash equal to `image`; the target is in its loader. A generator of
        progress events (see run_events.py).

        Raises ImageDoesNotFit, PageProtected before anything is erased; ImageDamaged (the file
        changed since it was checked) before the first vectors are written; VerifyFailed,
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
                if todo[0] == first:  # again, too: the new ones may be there
                    yield from self._take_first_vectors(first, image)
                yield from self._write_pages(todo, first, image, payload, doubt)
                todo = yield from self._compare(image, payload, (), _VECTORS)
                if not todo and self._gives_first_vectors(image):
                    break
                if not left:
                    raise self._why
                todo = todo or [first]
                yield retry(todo[0], self._why)
                _put_in_doubt(todo, doubt)
                # One flash error makes the loader refuse all that follows, until it is reset.
                self._target.return_to_loader()
        doubt.remove(first)
        doubt.save()

    def holds(self, image):
        """Whether the target, in its loader, holds `image`. A generator of progress events."""
        with image.payload() as payload:
            differ = yield from self._compare(image, payload, ())
        return not differ

    # --- reading ---

    def _compare(self, image, payload, doubt, skip=0):
        """Read and hash all of the payload and compare it with the target: the pages that differ
        or are in `doubt`. With `skip` it is verified after writing: the first `skip` bytes have to
        be blank. A generator of progress. Raises ImageDamaged, StoreError."""
        size = self._chip.page_size
        first = self._chip.page_of(image.address)
        total = -(-image.size // size)
        todo = []
        self.verified = 0
        payload.begin_hash(self._found)
        for index in range(total):
            payload.hash_into(index * size, self._wanted)
            if not index:
                self._vectors[:] = self._wanted[:_VECTORS]
                self._wanted[:skip] = _BLANK[:skip]
            page = first + index
            if not image.keeps(index * size):
                if page in doubt or not self._is_held(page, image, skip):
                    todo.append(page)
                else:
                    self.verified += self._length(page, image)
            yield progress("verify" if skip else "compare", index + 1, total)
        payload.end_hash(image, self._found)
        return todo

    def _is_held(self, page, image, skip):
        """Whether the target holds the page in `_wanted`."""
        address = self._chip.page_address(page)
        tries = _VERIFY_READS if skip else _COMPARE_READS
        for start in range(0, self._length(page, image), BLOCK):
            if not self._reads(address + start, self._wanted[start : start + BLOCK], tries):
                return False
        return True

    def _reads(self, address, wanted, tries):
        """Whether `wanted` is read at `address`. What differs is read again: a bit may have
        flipped on the way, and what the loader sends has no checksum. What upsets the loader each
        time it is read is not there. If not, the reason is `_why`."""
        found = self._found[: len(wanted)]
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

    def _take_first_vectors(self, page, image):
        """From here on the old application cannot run. That must be seen, not believed: other
        pages are changed next. A generator of retries.

        An erase takes 22 ms, and in the middle of it the old vectors may still read right while
        what they lead to does not. So they are overwritten first, which takes 85 us a granule:
        zeros can be programmed over anything (RM0444 section 3.3.8, PROGERR) but a granule that
        was programmed with all ones (erratum 2.2.5). What reads all ones leads nowhere and stays.
        Those of NMI and HardFault too: a reset vector that an erase left torn is an NMI.

        The last try skips the zeros: some loader may not pass them on, and a risky erase beats
        never updating."""
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
        """Program zeros over the vectors that are there, and over those that cannot be read."""
        begin, end = 0, _VECTORS
        try:
            begin, end = _not_blank(self._read_vectors(address), 0, _VECTORS)
        except (LoaderError, BusError):
            self._target.return_to_loader()
        if begin < end:
            self._write_block(address + begin, _ZEROS[begin:end])

    def _gives_first_vectors(self, image):
        """Write the vectors of faults, which a chip without the others may take, then those of a
        reset. False if that failed, and the page has to be erased again; the reason is `_why`."""
        try:
            for start in (GRANULE, 0):
                vectors = self._vectors[start : start + GRANULE]
                if vectors != _BLANK[:GRANULE]:
                    self._write_block(image.address + start, vectors)
        except (LoaderError, BusError) as error:
            self._why = error
            return False
        return self._reads(image.address, self._vectors, _VERIFY_READS)

    def _read_vectors(self, address):
        vectors = self._found[:_VECTORS]
        self._target.loader.read_into(address, vectors)
        return vectors

    # --- writing ---

    def _write_pages(self, pages, first, image, payload, doubt):
        """Erase and write `pages`; of `first`, which was erased already, all but the first
        vectors. A generator of progress and retries.

        A page is vouched for when all of it was written without an interruption. Whether it was
        written right is for the next comparison to say."""
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
        """Write what is in `_wanted`, but for what stays blank. It begins with an erase, unless
        the page `is_blank`, so a half done attempt leaves nothing behind."""
        if not is_blank:
            self._erase(page)
        address = self._chip.page_address(page)
        for start in range(0, self._length(page, image), BLOCK):
            begin, end = _not_blank(self._wanted, start, start + BLOCK)
            if begin < end:
                self._write_block(address + begin, self._wanted[begin:end])

    def _erase(self, page):
        self._target.loader.erase_page(page)
        self._target.stay_up(self._target.quirks.erase_settle_ms)
        self.erased_pages += 1

    def _write_block(self, address, data):
        """Write up to a block. What fails before the loader has all of it is sent again; any other
        error is raised, and the flash may hold a part."""
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


def _put_in_doubt(pages, doubt):
    """From here on these pages may be anything."""
    for page in pages:
        doubt.add(page)
    doubt.save()


def _not_blank(data, begin, end):
    """`begin`..`end` of `data` without the granules at both ends that stay erased."""
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
