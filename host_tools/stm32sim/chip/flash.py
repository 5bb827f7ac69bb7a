"""Main flash of an STM32G0: pages, 64-bit granules with ECC, and the effects of power loss.

Evidence: RM0444 ch. 3 / RM0490 ch. 4 (same flash IP), HAL-G0, AN2606; [V] verified in the source,
[D] derived, [R] recollection.

A marginal granule reads right or is broken; each power-on decides this again. Reading a broken one
is a fault or gives wrong data: ECC helps against wear but does not prove the content.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from stm32sim.chip.option_bytes import OPTION_LENGTH, OptionBytes
from stm32sim.wires.clock import NS_PER_MS, NS_PER_US, Clock

GRANULE = 8  # bytes; 64 data bits + 8 ECC bits, the unit of programming [V RM0444]
PAGE = 2048  # bytes, the unit of erasing of a G0 [V RM0444]
ERASED_BYTE = 0xFF
ONES = bytes([ERASED_BYTE]) * GRANULE
# Points in an operation where `Flash.tap` is called.
TAPS = {"erase": 16, "program": 8, "option": 16}
FLASH_START = 0x0800_0000
# The share of marginal granules that are broken after a power-on, as supply and temperature may
# have changed. Large enough that a torture run meets every outcome, small enough that some read
# right [D].
FLIPS = 1 / 4
# The share of power-ons at which any granule of a page can be broken: after an erase that was cut
# early or late, all granules of the page behave alike.
PAGE_FLIPS = 1 / 2
# The share of broken granules whose read raises no fault. 8 ECC bits correct one wrong bit of 72
# and detect two; with any number of wrong bits, 73 of 256 syndromes mean one wrong bit or none
# [D].
MISREAD = 73 / 256


class Cell(IntEnum):
    """The state of one granule."""

    ERASED = 0
    PROGRAMMED = 1
    TORN = 2  # interrupted: reading it is an uncorrectable ECC error [D]
    WEAK_ERASED = 3  # reads erased, but the erase was interrupted: it may flip
    WEAK_PROGRAMMED = 4  # reads right, but was interrupted or written on weak cells: it may flip
    WRONG = 5  # interrupted: ECC mistakes its wrong bits for one or none, reads wrong data [D]


BLANK = (Cell.ERASED, Cell.WEAK_ERASED)
MARGINAL = (Cell.WEAK_ERASED, Cell.WEAK_PROGRAMMED)
BROKEN = (Cell.TORN, Cell.WRONG)
WEAK = (*BROKEN, *MARGINAL)
_SOUND = bytes((Cell.ERASED, Cell.PROGRAMMED))


@dataclass(frozen=True)
class FlashTimes:
    """Durations in ns."""

    program: int
    page_erase: int
    mass_erase: int

    @property
    def option(self) -> int:
        """The option page is erased and its 16 double words are programmed [D: no source states
        the time of an option programming]."""
        return self.page_erase + OPTION_LENGTH // GRANULE * self.program


# DS12232 flash characteristics [R], consistent with 40.1 ms mass erase [V GOOGLE-RS] and the
# limits of 36 ms a page and 37 ms a block in production drivers [V SAMSUNG].
TYPICAL = FlashTimes(85 * NS_PER_US, 22 * NS_PER_MS, 22_100 * NS_PER_US)
SLOWEST = FlashTimes(125 * NS_PER_US, 40 * NS_PER_MS, 40_100 * NS_PER_US)


class EccError(Exception):
    """A read met a torn granule: two or more wrong bits, an NMI on silicon [V RM0444]."""


@dataclass
class _Operation:
    started: int
    ends: int
    complete: Callable[[], None]
    tear: Callable[[float], None]  # gets the share of its time that had passed
    granules: range  # of main flash, changed by it
    run: bytes = b""  # the data of `Flash.start_program_run`


class Flash:
    """Main flash and the state machine that erases and programs it, and the option bytes too.

    An operation starts, is busy for its time, and then takes effect. A refusal sets the error
    flag, which is not visible outside. While it is set, every further operation is refused
    (PGSERR, [V RM0490 4.3]; AN2606 4.6 says the same about the loader: after one bad write all
    following ones fail). With `clears_errors` each operation first clears the flag.

    `tap` is called as tap("erase" | "program" | "option", number of the point) at the TAPS points
    inside each operation, so that power can be cut there.
    """

    def __init__(
        self, clock: Clock, size: int, times: FlashTimes = TYPICAL, page: int = PAGE
    ) -> None:
        self.clock = clock
        self.page = page  # bytes
        self.size = size
        self.times = times
        self.data = bytearray([ERASED_BYTE]) * size
        self.cells = bytearray(size // GRANULE)
        self.ones: set[int] = set()  # granules that were programmed with ones; they read as erased
        self.worn: set[int] = set()  # granules whose first byte is 0 after they were programmed
        self.write_protected: set[int] = set()  # page numbers
        self.error = False
        self.clears_errors = False
        self.takes_zeros = True  # over anything; False: as if the loader did not pass them on
        self.tap: Callable[[str, int], None] | None = None
        self.on_ready: Callable[[], None] | None = None
        self.randomness = random.Random(0)
        self.run_length = 1  # granules of the last `start_program_run`
        self.option_operations = 0  # started so far
        self.erase_counts = [0] * (size // self.page)
        self._operation: _Operation | None = None

    @property
    def pages(self) -> int:
        return self.size // self.page

    @property
    def busy(self) -> bool:
        return self._operation is not None

    @property
    def page_at_work(self) -> int | None:
        """The first page that an operation is changing now; None if there is no such operation."""
        granules = range(0) if self._operation is None else self._operation.granules
        return granules.start * GRANULE // self.page if granules else None

    def changing(self, offset: int) -> bool:
        """Whether the current operation changes the granule at `offset`."""
        return self._operation is not None and offset // GRANULE in self._operation.granules

    # --- reading ---

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; EccError if one of the granules is torn."""
        first, last = offset // GRANULE, (offset + length - 1) // GRANULE
        if Cell.TORN in self.cells[first : last + 1]:
            raise EccError(f"torn granule between {offset:#x} and {offset + length:#x}")
        return bytes(self.data[offset : offset + length])

    def sound_length(self, offset: int, length: int) -> int:
        """How many of `length` bytes from `offset` can be read before a torn granule."""
        last = (offset + length - 1) // GRANULE
        torn = self.cells.find(Cell.TORN, offset // GRANULE, last + 1)
        return length if torn < 0 else max(0, torn * GRANULE - offset)

    def weak_granules(self, start: int = 0, end: int | None = None) -> list[int]:
        """Offsets of granules in [start, end) that are broken or may flip."""
        first = start // GRANULE
        cells = self.cells[first : ((self.size if end is None else end) + GRANULE - 1) // GRANULE]
        if not cells.translate(None, _SOUND):
            return []
        return [index * GRANULE for index, cell in enumerate(cells, first) if cell in WEAK]

    def load(self, content: bytes, offset: int = 0) -> None:
        """Write `content` as a factory would: complete, sound, in no time (for tests and set-up).
        Blank granules are programmed too."""
        end = offset + len(content)
        self.data[offset:end] = content
        for index in range(offset // GRANULE, (end + GRANULE - 1) // GRANULE):
            self.cells[index] = Cell.PROGRAMMED
            self._note_ones(index, self._held(index))

    # --- operations ---

    # Each returns whether it started. It is refused for protected or missing pages, and while the
    # flash is busy or its error flag is set.

    def start_page_erase(self, page: int) -> bool:
        """Start to erase one page."""
        if self._refused(page not in range(self.pages) or page in self.write_protected):
            return False
        return self._begin_erase(self.times.page_erase, range(page, page + 1))

    def start_mass_erase(self, *, despite_protection: bool = False) -> bool:
        """Start to erase everything; refused if any page is protected [V RM0490 4.3]. With
        `despite_protection` as hardware does it on the change from level 1 to 0 [D]."""
        if self._refused(bool(self.write_protected) and not despite_protection):
            return False
        return self._begin_erase(self.times.mass_erase, range(self.pages))

    def start_options(
        self, options: OptionBytes, values: Mapping[int, int], longer: int = 0
    ) -> bool:
        """Start to erase and rewrite the option page (OPTSTRT), with new `values` of some
        registers. `longer`: additional ns."""
        if self._refused():
            return False
        self.option_operations += 1
        return self._begin(
            "option",
            range(0),
            self.times.option + longer,
            lambda: options.program(values),
            lambda done: options.tear(values, done, self.randomness),
        )

    def start_program(self, offset: int, data: bytes) -> bool:
        """Start to program one granule (8 bytes, 8-aligned offset).

        Refused unless the granule is erased or the data are all zeros [V RM0490 4.3 PROGERR]. A
        granule that was programmed with ones counts as programmed [a G030 was seen to do so], and
        zeros fail over it too [erratum 2.2.5 of the G071, as quoted by ST's community; strict:
        also after a power cut, until it is erased]."""
        index = offset // GRANULE
        if self._refused(
            offset % GRANULE != 0
            or len(data) != GRANULE
            or not 0 <= offset < self.size
            or offset // self.page in self.write_protected
            or not (self.cells[index] in BLANK or self._takes_zeros(index, data))
        ):
            return False
        return self._begin(
            "program",
            range(index, index + 1),
            self.times.program,
            functools.partial(self._program_now, index, data),
            functools.partial(self._tear_program, index, data),
        )

    def start_program_run(self, offset: int, data: bytes) -> bool:
        """Start to program `run_length` first granules of `data`, one after the other, as one
        operation: equal to a `start_program` for each when the one before ends, but faster. The
        others need another call. With a tap it is one granule, so that the tap gets its points."""
        self.run_length = 1
        erased = self._erased_granules(offset, data)
        if self.tap is not None or erased < 2:
            return self.start_program(offset, data[:GRANULE])
        if self._refused():
            return False
        self._begin_run(offset // GRANULE, data[: erased * GRANULE], self.clock.now)
        return True

    def end_run(self) -> None:
        """Let a run in progress end with its current granule; `run_length` is what it has then."""
        operation = self._operation
        if operation is not None and operation.run:
            count = (self.clock.now - operation.started) // self.times.program + 1
            run = operation.run[: count * GRANULE]
            self._begin_run(operation.granules.start, run, operation.started)

    def _erased_granules(self, offset: int, data: bytes) -> int:
        """How many first granules of `data` fit into erased cells of one page."""
        page = offset // self.page
        if offset % GRANULE or page in self.write_protected:
            return 0
        end = min(offset + len(data), (page + 1) * self.page, self.size)
        cells = self.cells[offset // GRANULE : end // GRANULE]
        return len(cells) - len(cells.lstrip(bytes([Cell.ERASED])))

    def _begin_run(self, first: int, data: bytes, started: int) -> None:
        self.run_length = len(data) // GRANULE
        operation = _Operation(
            started,
            started + self.run_length * self.times.program,
            functools.partial(self._program_run_now, first, data),
            lambda done: self._tear_run(first, data, started),
            range(first, first + self.run_length),
            data,
        )
        self._operation = operation
        self.clock.at(operation.ends, lambda: self._finish(operation))

    def _takes_zeros(self, index: int, data: bytes) -> bool:
        return self.takes_zeros and data == bytes(GRANULE) and index not in self.ones

    def _refused(self, wrong: bool = False) -> bool:
        if self.clears_errors:
            self.error = False
        self.error = self.error or self.busy or wrong
        return self.error

    def _begin_erase(self, takes: int, pages: range) -> bool:
        return self._begin(
            "erase",
            range(pages.start * self.page // GRANULE, pages.stop * self.page // GRANULE),
            takes,
            functools.partial(self._erase_now, pages),
            functools.partial(self._tear_pages, pages),
        )

    def _begin(
        self,
        what: str,
        granules: range,
        takes: int,
        complete: Callable[[], None],
        tear: Callable[[float], None],
    ) -> bool:
        now = self.clock.now
        operation = _Operation(now, now + takes, complete, tear, granules)
        self._operation = operation
        points = TAPS[what]
        for point in range(points) if self.tap is not None else ():
            touch = functools.partial(self._touch, operation, what, point)
            self.clock.at(now + takes * point // points, touch)
        self.clock.at(operation.ends, lambda: self._finish(operation))
        return True

    def _touch(self, operation: _Operation, what: str, point: int) -> None:
        if self._operation is operation and self.tap is not None:
            self.tap(what, point)

    def _finish(self, operation: _Operation) -> None:
        if self._operation is not operation:
            return  # power was lost in the meantime
        self._operation = None
        operation.complete()
        if self.on_ready is not None:
            self.on_ready()

    def _program_now(self, index: int, data: bytes) -> None:
        weak = self.cells[index] in WEAK
        self._put(index, data)
        self._note_ones(index, data)
        self.cells[index] = Cell.WEAK_PROGRAMMED if weak else Cell.PROGRAMMED

    def _program_run_now(self, first: int, data: bytes) -> None:
        for index in range(0, len(data), GRANULE) if ONES in data else ():
            self._note_ones(first + index // GRANULE, data[index : index + GRANULE])
        count = len(data) // GRANULE
        self.data[first * GRANULE : (first + count) * GRANULE] = data
        for index in self.worn & set(range(first, first + count)) if self.worn else ():
            self.data[index * GRANULE] = 0
        self.cells[first : first + count] = bytes([Cell.PROGRAMMED]) * count

    def _erase_now(self, pages: range) -> None:
        for page in pages:
            self.erase_counts[page] += 1
            self.data[page * self.page : (page + 1) * self.page] = bytes([ERASED_BYTE]) * self.page
            first = page * self.page // GRANULE
            self.cells[first : first + self.page // GRANULE] = bytes(self.page // GRANULE)
            self.ones.difference_update(range(first, first + self.page // GRANULE))

    def _put(self, index: int, data: bytes) -> None:
        self.data[index * GRANULE : (index + 1) * GRANULE] = data
        if index in self.worn:
            self.data[index * GRANULE] = 0

    def _held(self, index: int) -> bytes:
        return bytes(self.data[index * GRANULE : (index + 1) * GRANULE])

    def _note_ones(self, index: int, data: bytes) -> None:
        """Note that `data` was programmed, or was being programmed, there."""
        if data == ONES:
            self.ones.add(index)
        else:
            self.ones.discard(index)

    # --- losing power or being reset, and coming back ---

    def power_on(self) -> None:
        """Decide for each marginal granule whether it reads right or is broken until the next
        power-on. The granules of a page are correlated: all of them may read right several times
        [D]."""
        breaks = [self.randomness.random() < PAGE_FLIPS for _ in range(self.pages)]
        for state in MARGINAL:
            index = self.cells.find(state)
            while index >= 0:
                if breaks[index * GRANULE // self.page] and self.randomness.random() < FLIPS:
                    noise = self.randomness.randbytes(GRANULE)
                    held = self._held(index)
                    self._break(index, bytes(a ^ b for a, b in zip(held, noise, strict=True)))
                index = self.cells.find(state, index + 1)

    def _break(self, index: int, bits: bytes) -> None:
        """Leave an invalid codeword in a granule: it reads as `bits`, or as a fault."""
        self._put(index, bits)
        self.cells[index] = Cell.WRONG if self.randomness.random() < MISREAD else Cell.TORN

    def interrupt(self) -> None:
        """Power loss or reset: the current operation is torn, and flags are cleared.

        The result on silicon is not specified; every physically possible outcome occurs [D]."""
        operation, self._operation = self._operation, None
        self.error = False
        if operation is None:
            return
        operation.tear((self.clock.now - operation.started) / (operation.ends - operation.started))

    def _granules_of(self, page: int) -> Iterator[int]:
        return iter(range(page * self.page // GRANULE, (page + 1) * self.page // GRANULE))

    def _tear_program(self, index: int, data: bytes, done: float) -> None:
        chance = self.randomness.random()
        if chance < done / 2:
            self._put(index, data)
            self._note_ones(index, data)
            self.cells[index] = Cell.WEAK_PROGRAMMED
        elif chance < 0.25 * (1 - done):
            before = self.cells[index]  # not blank when zeros were being written over data
            if before not in BROKEN:
                blank = before in BLANK
                self.cells[index] = Cell.WEAK_ERASED if blank else Cell.WEAK_PROGRAMMED
        else:
            old = self._held(index)
            self._note_ones(index, data)
            bits = self.randomness.randbytes(GRANULE)  # bits that had not become 0 yet
            mixed = (new | was & bit for new, was, bit in zip(data, old, bits, strict=True))
            self._break(index, bytes(mixed))

    def _tear_run(self, first: int, data: bytes, started: int) -> None:
        """Tear the current granule of a run; those before it are complete."""
        takes = self.times.program
        count, passed = divmod(self.clock.now - started, takes)
        self._program_run_now(first, data[: count * GRANULE])
        granule = data[count * GRANULE : (count + 1) * GRANULE]
        self._tear_program(first + count, granule, passed / takes)

    def _tear_pages(self, pages: range, done: float) -> None:
        for page in pages:
            self._tear_page(page, done)

    def _tear_page(self, page: int, done: float) -> None:
        """The cells of a page lose their charge roughly together: an erase that was cut early may
        leave the whole page readable, one that was cut late may leave it blank, and in both cases
        bits may flip."""
        fate = self.randomness.random()
        for index in self._granules_of(page):
            if fate < (1 - done) / 3:
                if self.cells[index] not in BROKEN:
                    blank = self.cells[index] in BLANK
                    self.cells[index] = Cell.WEAK_ERASED if blank else Cell.WEAK_PROGRAMMED
            elif fate > 1 - done / 3:
                self._leave_weakly_erased(index)
            else:
                self._tear_erase(index, done)

    def _tear_erase(self, index: int, done: float) -> None:
        blank = self.cells[index] in BLANK
        chance = self.randomness.random()
        if blank or chance < done / 2:
            self._leave_weakly_erased(index)
        elif self.cells[index] not in BROKEN and chance > 0.5 + done / 2:
            self.cells[index] = Cell.WEAK_PROGRAMMED
        else:
            old = self._held(index)
            self._break(index, bytes(byte | self.randomness.getrandbits(8) for byte in old))

    def _leave_weakly_erased(self, index: int) -> None:
        self._put(index, ONES)
        self.ones.discard(index)
        self.cells[index] = Cell.WEAK_ERASED
