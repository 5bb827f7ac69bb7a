"""Converge: make the target's flash equal to an image, from any state of the flash.

Updating, resuming, repairing and rolling back all use this routine:

    compare     select the pages that differ or are in doubt
    remove      overwrite and erase the first vectors: from here on no application can run
    write       erase and write each selected page, without the first vectors
    verify      compare all of the image; write pages that differ again, then compare all again
    restore     write the first vectors: stack pointer and reset vector last

A page is *in doubt* from before its erase until all of it was written and a durable record says
so. A page in doubt is rewritten even if it reads right, because interrupted cells may flip later.
All of the image is hashed while it is read for writing, and the hash is checked before the first
vectors are written. So flash holds the image that was checked, even if the file has changed since.
All pages are verified after the last erase, because a frame whose address was corrupted without
changing its XOR may have hit any page.

A page is compared by the checksum that the loader computes, if it has that command and the image
states its checksums, else by reading it. A different checksum is not believed in the verification:
the page is read, and if it is right after all, checksums are not used any more. That an image
states the checksums of its own payload is the business of who builds and signs it: `stm32up image
verify` checks it.

A page to be written is erased even if it reads blank: if it was erased by an application that lost
its supply, its cells may be marginal.

Pages of a second bank: which numbers the ROM wants for them is documented nowhere. So between
"remove" and "write" one of them is erased, by each number that may be right, until it reads blank.
This is always the bank's first page: in every known way to count, a wrong number of it means page
0, which is blank at that time, or no page. So no page that must stay is in danger, but the image
must cover the bank's first page. If no number works, only the first bank can be used.
"""

from time import ticks_diff, ticks_ms

from micropython import const

from stm32_rom.chips import BLOCK, GRANULE
from stm32_rom.commands import FRAME, Block
from stm32_rom.errors import BusError, LoaderError, UpdaterError

from .errors import ImageDoesNotFit, PageProtected, VerifyFailed
from .image import VECTORS
from .run_events import progress, retry

_PAGE_TRIES = const(3)
_BLOCK_TRIES = const(8)  # for a block whose frames are refused or lost before flash changes
_ROUNDS = const(4)  # of writing and verifying
_COMPARE_READS = const(2)  # of each block or checksum, until it is as wanted
_VERIFY_READS = const(4)
_PAUSE_MS = const(20)  # a block at 100 kHz takes 28 ms
_CHECKPOINT_PAGES = const(8)  # between durable records: at most so many pages are written again
_BLANK = memoryview(b"\xff" * VECTORS)
_BLANK_BLOCK = memoryview(b"\xff" * BLOCK)
_ZEROS = memoryview(bytes(VECTORS))
# All pages are erased at once, which takes as long as one, if at most one of so many pages would
# be written again only because of that.
_WORTH_ERASING_ALL = const(5)


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

    `verified`: bytes of the image that were compared with the target. `erased_pages`. `repeats`:
    how often a block was sent or read again, because a frame was refused or lost, or a bit
    flipped. `took`: milliseconds of each phase; the first vectors count as writing."""

    def __init__(self, target, checksums=True):
        """`checksums`: whether the loader's checksum command may be used."""
        self._target = target
        self._read_into = target.loader.read_into
        self._chip = target.chip
        self._checksums = checksums
        count = self._chip.page_size // BLOCK
        memory = memoryview(bytearray(count * FRAME))
        self._blocks = [Block(memory[at * FRAME : (at + 1) * FRAME]) for at in range(count)]
        # A page without frames, while the blocks are not in use: whole, and in blocks.
        self._page = memory[: self._chip.page_size]
        self._parts = [self._page[at * BLOCK : (at + 1) * BLOCK] for at in range(count)]
        self._data = [block.data for block in self._blocks]
        self._paused = ticks_ms()  # when other tasks ran last
        self._found = memoryview(bytearray(BLOCK))  # as read from the target
        self._vectors = memoryview(bytearray(VECTORS))  # of the image, as hashed
        self._blank = 0  # pages that this round has erased, as bits
        self._second_bank = None  # the number of its first page for the loader, once proven
        self._why = UpdaterError("")  # the reason of the next retry
        self.verified = 0
        self.erased_pages = 0
        self.repeats = 0

    def converge(self, image, doubt, installed=None):
        """Make the target's flash equal to `image`. The target must be in its loader. A generator
        of "progress" and "retry" events, and of None where other tasks may run. `installed`: the
        image that flash should hold, as long as no page is in doubt, or None.

        Raises ImageDoesNotFit, PageProtected before any erase; ImageDamaged (the file changed
        since it was checked) before the first vectors are written; StoreError, VerifyFailed,
        LoaderError, BusError."""
        self.verified = self.erased_pages = self.repeats = self._blank = 0
        self.took, self._then = {}, ticks_ms()
        self._refuse_too_large(image)
        first = self._chip.page_of(image.address)
        pages = pages_of(image, self._chip)
        self._refuse_protected(pages)
        self._refuse_second_bank(image, pages)
        with image.payload() as payload:
            todo = [page for page in pages if page in doubt]
            if todo:
                installed = None
            if todo != pages:
                todo = yield from self._compare(image, payload, doubt, False, installed)
            if not todo and installed:
                todo = yield from self._compare(image, payload, doubt, False)
            self._ended("compare_ms")
            if not todo:
                yield from self._hash(image, payload)
                return
            if todo[0] != first:
                todo.insert(0, first)
            at_once = self._may_erase_all(todo, pages)
            if at_once:
                todo = pages
            _put_in_doubt(todo, doubt)
            for left in range(_ROUNDS - 1, -1, -1):
                if todo[0] == first:  # later rounds, too: the new vectors may be there
                    yield from self._remove_first_vectors(first, image, at_once)
                    at_once = False
                yield from self._write_pages(todo, first, image, payload, doubt)
                self._ended("write_ms")
                todo = yield from self._compare(image, payload, (), True)
                self._ended("verify_ms")
                if not todo and self._restore_first_vectors(image):
                    break
                if not left:
                    raise self._why
                todo = todo or [first]
                yield retry(todo[-1], self._why)  # the page that `_why` is about
                _put_in_doubt(todo, doubt)
                self._blank = 0
                # After one flash error the loader refuses all commands until it is reset.
                self._target.return_to_loader()
        doubt.remove(first)
        doubt.save()
        self._ended("write_ms")

    def _ended(self, phase):
        """Add the time since the phase before has ended."""
        then, self._then = self._then, ticks_ms()
        self.took[phase] = self.took.get(phase, 0) + ticks_diff(self._then, then)

    def holds(self, image):
        """Whether the target, in its loader, holds `image`. A generator of "progress" events and
        None."""
        with image.payload() as payload:
            differ = yield from self._compare(image, payload, (), False, is_final=True)
        return not differ

    def _hash(self, image, payload):
        """Hash all of the payload, as `_write_pages` does. A generator of None. Raises
        ImageDamaged, StoreError."""
        payload.begin_hash(self._found)
        for offset in range(0, image.size, self._chip.page_size):
            payload.hash_into(offset, self._page)
            if ticks_diff(ticks_ms(), self._paused) >= _PAUSE_MS:
                yield None
                self._paused = ticks_ms()
        payload.end_hash(image)

    # --- comparing ---

    def _compare(self, image, payload, doubt, written, installed=None, is_final=False):
        """Compare the image with the target. Returns the pages that differ or are in `doubt`.
        Pages of the `installed` image are compared with what it states. If that is wrong, the
        verification after writing finds it.

        `written`: this is the verification after writing, and the first vectors must be blank.
        Then, and if `is_final`, a checksum that differs is checked by reading. A generator of
        "progress" and None."""
        size = self._chip.page_size
        total = -(-image.size // size)
        self.verified = 0
        if written and self._all_sums_match(image):
            self.verified = image.own_size
            yield progress("verify", total, total)
            return []
        todo = []
        for index in range(total):
            page = self._chip.page_of(image.address) + index
            if not image.keeps(index * size):
                same = False
                if page not in doubt:
                    if installed and self._length(page, installed) == self._length(page, image):
                        stated = installed.checksum(index)
                        same = stated == image.checksum(index) and not installed.keeps(
                            index * size
                        )
                    else:
                        same = yield from self._page_matches(
                            page, index, image, payload, written, is_final or written
                        )
                if same:
                    self.verified += self._length(page, image)
                else:
                    todo.append(page)
            yield progress("verify" if written else "compare", index + 1, total)
        return todo

    def _all_sums_match(self, image):
        """Whether one checksum shows that all of the image was written."""
        wanted = image.checksum()
        address = image.address + VECTORS
        return (
            wanted is not None
            and self._sum_is(address, image.size - VECTORS, wanted, _VERIFY_READS)
            and self._reads_as(image.address, _BLANK, _VERIFY_READS)
        )

    def _page_matches(self, page, index, image, payload, written, is_final):
        """Whether the target's page is the image's page `index`. A generator of None."""
        address, length = self._chip.page_address(page), self._length(page, image)
        end = address + length
        tries = _VERIFY_READS if written else _COMPARE_READS
        wanted = image.checksum(index)
        summed = wanted is not None and self._checksums
        if summed:
            skip = 0 if index else VECTORS  # not covered by the checksum
            if self._sum_is(address + skip, length - skip, wanted, tries):
                return index > 0 or self._vectors_match(image, payload, written)
            if not is_final and self._checksums:
                return False
        payload.read_into(index * self._chip.page_size, self._page)
        if written and not index:
            self._page[:VECTORS] = _BLANK
        # Most pages that differ do so in their first bytes.
        if not written and not self._reads_as(address, self._page[:VECTORS], tries):
            return False
        for data in self._parts:
            if ticks_diff(ticks_ms(), self._paused) >= _PAUSE_MS:
                yield None
                self._paused = ticks_ms()
            if end - address < BLOCK:
                data = data[: end - address]
            if len(data) and not self._reads_as(address, data, tries):
                return False
            address += BLOCK
        if summed:
            self._checksums = False
        return True

    def _vectors_match(self, image, payload, written):
        """Whether the first vectors are those of the image, or blank if it is being `written`."""
        wanted = _BLANK
        if not written:
            wanted = payload.read_into(0, self._vectors)
        return self._reads_as(image.address, wanted, _VERIFY_READS if written else _COMPARE_READS)

    def _sum_is(self, address, length, wanted, tries):
        """Whether the loader's checksum of `length` bytes is `wanted`, in one of `tries`: the
        answer may arrive damaged. A loader without an answer in two tries does not have the
        command. Sets `_why` if False."""
        failed = False
        while self._checksums and tries:
            tries -= 1
            try:
                found = self._target.loader.checksum(address, length)
                if found == wanted:
                    return True
                self._why = VerifyFailed(
                    "flash differs at or after 0x%08X after writing" % address
                )
                return False
            except (LoaderError, BusError) as error:
                self._why = error
                self._checksums = not failed
                failed = True
                self._target.return_to_loader()
        return False

    def _reads_as(self, address, wanted, tries):
        """Whether `wanted` is read at `address` in one of `tries` reads: a bit may flip on the
        bus, and data from the loader has no checksum. A read that fails each time counts as a
        difference. Sets `_why` if False."""
        found = self._found
        if len(wanted) != BLOCK:
            found = found[: len(wanted)]
        for failed in range(tries):
            try:
                self._read_into(address, found)
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

    def _may_erase_all(self, todo, pages):
        """Whether to erase all of the flash in one operation: only if every page of the part
        belongs to the image, few pages would be rewritten because of that, and this loader waits
        for its erases."""
        every = self._chip.pages
        return (
            len(pages) == every
            and (self._chip.is_largest or self._target.flash_size == self._chip.flash_size)
            and self._chip.erases_all
            and not self._target.quirks.erase_settle_ms
            and (every - len(todo)) * _WORTH_ERASING_ALL < len(todo)
        )

    def _remove_first_vectors(self, page, image, at_once):
        """Make sure that the old application cannot run. This is read back, because other pages
        are changed next. `at_once`: erase all pages. A generator of "retry" events.

        An erase takes 22 ms. If it is interrupted, the old vectors may still read right while the
        code they point to is damaged. So the vectors are first overwritten with zeros, which takes
        85 us per granule. Zeros can be programmed over any granule (RM0444 section 3.3.8, PROGERR)
        except one that was programmed with all ones (erratum 2.2.5); a granule that reads as all
        ones cannot start code and is left as it is. The vectors of NMI and HardFault are
        overwritten too: a reset vector damaged by an erase leads to an NMI.

        The last try skips the zeros: some loader may refuse them, and a risky erase beats never
        updating."""
        for left in range(_PAGE_TRIES - 1, -1, -1):
            try:
                if left:
                    self._overwrite_vectors(image.address)
                self._target.may_be_blank = True
                if at_once:
                    self._target.loader.erase_all()
                    self.erased_pages += self._chip.pages
                else:
                    self._erase(page)
                if self._target.read_until_equal(image.address, VECTORS) == _BLANK:
                    self._blank = -1 if at_once else self._blank | 1 << page
                    return
                self._why = VerifyFailed("page %d was erased but is not blank" % page)
            except (LoaderError, BusError) as error:
                self._why = error
            if not left:
                raise self._why
            at_once = False  # refused if any page is write-protected
            self._blank = 0
            yield retry(page, self._why)
            self._target.return_to_loader()

    def _overwrite_vectors(self, address):
        """Program zeros over the vectors that are not blank or cannot be read."""
        begin, end = 0, VECTORS
        try:
            found = self._target.read_until_equal(address, VECTORS) or _ZEROS
            if found[:GRANULE] == _BLANK[:GRANULE]:
                begin = GRANULE
            if found[GRANULE:] == _BLANK[:GRANULE]:
                end = GRANULE
        except (LoaderError, BusError):
            self._target.return_to_loader()
        if begin < end:
            self._target.may_be_blank = True
            self._write_short(address + begin, _ZEROS[begin:end])

    def _restore_first_vectors(self, image):
        """Write the vectors of NMI and HardFault, then stack pointer and reset vector. In this
        order an interruption cannot leave a reset vector that starts the application without fault
        vectors, and a torn reset vector, which leads to an NMI, finds them. Returns False and sets
        `_why` if it failed; the page must then be erased again."""
        try:
            for start in (GRANULE, 0):
                vectors = self._vectors[start : start + GRANULE]
                if vectors != _BLANK[:GRANULE]:
                    self._write_short(image.address + start, vectors)
        except (LoaderError, BusError) as error:
            self._why = error
            return False
        whole = self._reads_as(image.address, self._vectors, _VERIFY_READS)
        self._target.may_be_blank = not whole
        return whole

    # --- the second bank ---

    def _refuse_second_bank(self, image, pages):
        """Raises ImageDoesNotFit if the image needs the second bank but leaves its first page
        open, so that no number can be tried."""
        second = self._chip.second_bank
        if pages[-1] >= second and second not in pages:
            raise self._does_not_fit(image, "the image keeps page %d, its first one" % second)

    def _find_second_bank(self, image, doubt):
        """Find the number by which the loader erases the first page of the second bank. Page 0
        must be blank. A generator of "retry" events. Raises ImageDoesNotFit."""
        page = self._chip.second_bank
        _put_in_doubt([page], doubt)
        for number in self._chip.second_bank_numbers * _PAGE_TRIES:
            try:
                self._second_bank = number
                marked = self._mark(page)
                if not marked:  # only the right number makes it take zeros
                    self._erase(page)
                    marked = self._mark(page)
                self._erase(page)
                # Twice: a target that loses its supply reads blank, too.
                if marked and self._is_blank(page) and self._is_blank(page):
                    self._blank |= 1 << page
                    return
                self._why = VerifyFailed(
                    "page %d was erased as number %d but is not blank" % (page, number)
                )
            except (LoaderError, BusError) as error:
                self._why = error
            self._second_bank = None
            self._blank &= ~1  # it may have meant page 0, and have been interrupted
            yield retry(page, self._why)
            self._target.return_to_loader()
        raise self._does_not_fit(image, "the loader erases it by no known page number")

    def _mark(self, page):
        """Make sure that a page does not read blank, so that its erase can be seen. False if its
        first granule was programmed with ones, and so takes no zeros. Raises LoaderError,
        BusError."""
        if not self._is_blank(page):
            return True
        self._write_short(self._chip.page_address(page), _ZEROS[:GRANULE])
        if not self._is_blank(page):
            return True
        self._target.return_to_loader()  # after one flash error it refuses all commands
        return False

    def _is_blank(self, page):
        """Whether all of a page reads as erased flash; a torn granule does not."""
        address = self._chip.page_address(page)
        for start in range(address, address + self._chip.page_size, BLOCK):
            if not self._reads_as(start, _BLANK_BLOCK, _VERIFY_READS):
                return False
        return True

    def _does_not_fit(self, image, why):
        limit = self._chip.second_bank * self._chip.page_size
        return ImageDoesNotFit(
            "%s needs the second bank of flash, which cannot be written: %s" % (image.name, why),
            "Build an image that ends in the first %d KB." % (limit // 1024),
        )

    # --- writing ---

    def _write_pages(self, pages, first, image, payload, doubt):
        """Erase and write `pages`, but not the first vectors in page `first`, which is already
        erased. Hash all of the payload meanwhile. A generator of "progress" and "retry" events,
        and None.

        A page leaves doubt when all of it was written without an interruption. Whether it was
        written correctly is checked by the next comparison. Raises ImageDamaged, StoreError."""
        second = self._chip.second_bank
        if self._second_bank is None and pages[-1] >= second:
            yield from self._find_second_bank(image, doubt)
            pages = sorted(set(pages + [first, second]))
        done = 0
        payload.begin_hash(self._found)
        for index in range(-(-image.size // self._chip.page_size)):
            page = first + index
            is_next = done < len(pages) and page == pages[done]
            if is_next or not index:
                self._fill(payload, index)
            else:
                payload.hash_into(index * self._chip.page_size, self._page)
            if ticks_diff(ticks_ms(), self._paused) >= _PAUSE_MS:
                yield None
                self._paused = ticks_ms()
            if not index:
                self._vectors[:] = self._blocks[0].data[:VECTORS]
                self._blocks[0].data[:VECTORS] = _BLANK
            if not is_next:
                continue
            is_blank = self._blank >> page & 1
            for left in range(_PAGE_TRIES - 1, -1, -1):
                try:
                    yield from self._write_page(page, is_blank)
                    break
                except (LoaderError, BusError) as error:
                    if not left:
                        raise
                    yield retry(page, error)
                is_blank = False
                self._target.return_to_loader()
            if page != first:
                doubt.remove(page)
            done += 1
            if done % _CHECKPOINT_PAGES == 0:
                yield None
                doubt.save()
            yield progress("write", done, len(pages))
        payload.end_hash(image)

    def _fill(self, payload, index):
        """Read page `index` of the payload into `_blocks`, and hash it."""
        for block in self._blocks:
            block.begin()
        payload.hash_parts(index * self._chip.page_size, self._data)

    def _write_page(self, page, is_blank):
        """Erase the page unless it `is_blank`, then write what is not blank in `_blocks`. The
        erase removes the rest of an interrupted try. A generator of None.

        While the loader programs a block, the next one is prepared."""
        if not is_blank:
            self._erase(page)
        address = self._chip.page_address(page)
        loader = self._target.loader
        before = None
        for block in self._blocks:
            block.seal()
            if before:
                self._end_block(address - BLOCK, before)
                if ticks_diff(ticks_ms(), self._paused) >= _PAUSE_MS:
                    yield None
                    self._paused = ticks_ms()
            before = None
            if block.length:
                before = block
                try:
                    loader.begin_write(address, block)
                except (LoaderError, BusError) as error:
                    self._again(error, loader.begin_write, address, block)
            address += BLOCK
        if before:
            self._end_block(address - BLOCK, before)

    def _erase(self, page):
        if page >= self._chip.second_bank:
            page += self._second_bank - self._chip.second_bank
        self._target.erase_page(page)
        self.erased_pages += 1

    def _end_block(self, address, block):
        """Wait until a block is written."""
        loader = self._target.loader
        try:
            loader.end_write()
        except (LoaderError, BusError) as error:
            self._again(error, loader.begin_write, address, block, loader.end_write)

    def _write_short(self, address, data):
        """Write up to 32 bytes."""
        try:
            self._target.loader.write(address, data)
        except (LoaderError, BusError) as error:
            self._again(error, self._target.loader.write, address, data)

    def _again(self, error, write, address, data, end=None):
        """`write(address, data)`, and `end()`, after they failed with `error` before the loader
        had all of the data. Any other error is raised; flash may then hold a part of them."""
        for _ in range(_BLOCK_TRIES):
            if self._target.loader.changing:
                break
            self.repeats += 1
            self._target.return_to_loader()
            try:
                write(address, data)
                if end:
                    end()
                return
            except (LoaderError, BusError) as next_error:
                error = next_error
        raise error

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
                % (image.name, end, size // 1024, self._chip.flash_size // 1024, self._chip.name),
                "Correct `chip` in board.toml, and build an image for that part.",
            )

    def _refuse_protected(self, pages):
        options = self._target.options
        for page in pages if options else ():
            if options.write_protected(page):
                raise PageProtected(
                    "page %d (0x%08X) is write-protected" % (page, self._chip.page_address(page))
                )


def pages_of(image, chip):
    """The numbers of the flash pages that `image` writes."""
    first = chip.page_of(image.address)
    return [
        first + offset // chip.page_size
        for offset in range(0, image.size, chip.page_size)
        if not image.keeps(offset)
    ]


def _put_in_doubt(pages, doubt):
    """Record durably that these pages may hold anything."""
    for page in pages:
        doubt.add(page)
    doubt.save()


def _difference(first, second):
    """Index of the first byte that differs."""
    for index in range(len(first)):
        if first[index] != second[index]:
            return index
    return len(first)
