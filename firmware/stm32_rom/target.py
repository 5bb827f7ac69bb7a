"""The target: enter its loader, identify it, start its application."""

import struct
import time

from micropython import const

from . import chips, option_bytes
from .commands import ACK, BUSY, HELD, NACK, UNDRIVEN, Loader
from .errors import (
    BusError,
    BusTimeout,
    LoaderError,
    LoaderRefused,
    LoaderSilent,
    LoaderTimeout,
    NoAnswer,
    ReadProtected,
    WrongChip,
)

# DS12232: an NRST pulse of 300 ns is enough. A capacitor at the pin, or a level shifter with only
# a pull-up, needs more.
NRST_LOW_MS = const(5)
_ENTER_TRIES = const(3)
_GO_TRIES = const(2)
_BETWEEN_TRIES_MS = const(100)  # time for a device to release a line that it holds
_COMMAND_MS = const(20)  # the application acknowledges its frame, then resets
# Time for capacitors to discharge below the power-on reset threshold. They may be large, and a
# chip held in reset draws little. A cut that is too short does not reset the chip.
_SUPPLY_OFF_MS = const(500)
_NRST_POLL_US = const(200)  # a reset pulls NRST low for 20 us, its capacitor for longer
_READ_TRIES = const(4)
# The option word of G4 and L4+, and two of its bits: there are two banks, and they are exchanged.
# CMSIS-G4; for L4+ not verified
_OPTR_ADDRESS = const(0x1FFF7800)
_DBANK = const(1 << 22)
_BFB2 = const(1 << 20)
_STATUS_TRIES = const(3)  # so that noise does not make a chip at work look idle


class Target:
    """An STM32 behind its loader's link and its pins.

    Set by `identify`, up to the point where it failed: `protocol_version` (0x12 is V1.2),
    `product_id`, `loader_id` (None if unreadable), `quirks` (chips.Quirks), `options`
    (OptionBytes; None for a family with unknown layout), `flash_size` (bytes, as stated by the
    chip; None if unreadable).

    `may_be_blank`: set by who erases the first vectors, until they are written and read back."""

    def __init__(self, chip, pins, link, clock, enter_command=None):
        """`pins`: a pins.Pins. `enter_command`: a callable that asks the application to enter the
        loader, or None."""
        self.chip = chip
        self.loader = Loader(link, clock)
        self.protocol_version = 0
        self.product_id = None
        self.loader_id = None
        self.quirks = chip.quirks(None)
        self.options = None
        self.flash_size = None
        self.pins = pins
        self._clock = clock
        self._enter_command = enter_command
        self.may_be_blank = False

    def enter_loader(self):
        """Enter the loader from any state of the target, also from a loader that is out of step,
        and identify the chip.

        BOOT0 stays high, so that a loader that resets itself starts again as the loader.
        Raises LoaderSilent, WrongChip, ReadProtected, BusStuck."""
        self._enter(self.identify)

    def return_to_loader(self):
        """Reset a loader that is out of step. Does not identify the chip again: Get ID (02 FD) is
        sent no more often than needed, see docs/power-cuts.md.
        Raises LoaderSilent, LoaderError, BusStuck."""
        self._enter(self.loader.get_version)

    def _enter(self, ask):
        seen = None
        for left in range(_ENTER_TRIES - 1, -1, -1):
            if not left:
                self._last_resort()
            try:
                self.reach_loader()
                ask()
                return
            except (LoaderRefused, LoaderTimeout, NoAnswer, BusTimeout) as error:
                if not left:
                    raise LoaderSilent(
                        "the loader at %s cannot be reached: %s"
                        % (self.loader.name, error.message),
                        LoaderSilent.without_boot0
                        if self.pins.boot0 is None
                        else self.loader.silent_advice,
                    )
            except (WrongChip, ReadProtected) as error:
                # Noise may look like these, and they end an update: they are believed if they are
                # seen twice.
                if not left:
                    if seen == error.message:
                        raise
                    raise LoaderError("seen only once, in the last try: %s" % error.message)
                seen = error.message
            except (LoaderError, BusError):
                if not left:
                    raise
            self._clock.sleep(_BETWEEN_TRIES_MS)

    @property
    def protocol(self):
        """`protocol_version` as ST writes it: "1.2"."""
        return "%d.%d" % (self.protocol_version >> 4, self.protocol_version & 15)

    def start_application(self):
        """Leave the loader: by a reset; if the loader still answers (EMPTY flag latched at
        power-on), by code that corrects the flag, and by Go; then by a power cycle. Does not check
        that the application runs.

        Go comes first if BOOT0 does not lead back into the loader: it leaves EMPTY set, and then a
        reset leads back from an application that turns out not to run.

        Stays in the loader if there is no application: a reset would lead into blank flash, or to
        the zeros of an interrupted update, and without BOOT0 only a power-on leads back from
        there (AN2606 table 108)."""
        stays = self._nothing_to_run()
        if stays is None:
            stays = self.may_be_blank
        if self.pins.boot0 is not None:
            self.pins.boot0(0)
        if stays:
            return
        if self.pins.nrst is not None:
            self.reset()
        if not self.in_loader() or self._nothing_to_run():  # a loader that hung was not asked
            return
        if self._boot0_leads_back() and self._left_by_code():
            return
        for _ in range(_GO_TRIES):  # a damaged frame is refused
            self._go()
            if not self.in_loader():
                return
        if not self._left_by_code():
            self.power_cycle()

    def _boot0_leads_back(self):
        """Whether the host can enter the loader whatever the application does."""
        pins = self.pins.boot0 is not None and self.pins.nrst is not None
        return pins and self.options is not None and self.options.boot0_from_pin

    def _left_by_code(self):
        """Let code in the target's RAM correct EMPTY and reset the chip; whether the loader was
        left. Not if no RAM is known to be free."""
        if not self.chip.free_ram:
            return False
        from . import empty_flag

        try:
            empty_flag.correct(self.loader, self.read_memory, self.chip.free_ram)
        except (LoaderError, BusError):
            if self.pins.nrst is None:
                return False
            self.reset()  # it may be out of step
        else:
            self._clock.sleep(self.chip.startup_ms)
        return not self.in_loader()

    def _last_resort(self):
        """Before the last try: the supply, because BOOT0 may be ignored since a debugger was
        attached. Without a switch and without BOOT0, NRST: a loader that read a torn granule may
        hold SCL until it is reset, and a dead application that was started by Go may have left
        EMPTY set, which then leads into the loader. Not where a reset clears EMPTY and nothing
        else leads out of blank flash."""
        if self.power_cycle() or self.pins.boot0 is not None or self.pins.nrst is None:
            return
        if not (self.may_be_blank and self.quirks.clears_empty_flag):
            self.reset()

    def power_cycle(self):
        """Switch the supply off and on. False if no pin does that."""
        if self.pins.supply is None:
            return False
        self.pins.supply(0)
        self._clock.sleep(_SUPPLY_OFF_MS)
        self.pins.supply(1)
        self._clock.sleep(self.chip.startup_ms)
        return True

    def in_loader(self):
        """Whether the loader answers now. Sends one command, never a bus scan."""
        try:
            self.loader.get_version()
        except (LoaderError, BusError):
            return False
        return True

    def at_work(self):
        """BUSY or HELD if the chip may be programming its flash or its option bytes, else None.

        Uses status reads only: a command would be out of turn, and then the loader resets the
        chip. For an idle loader this read is out of turn, too, and it resets itself once; a blank
        V11.3 that ignores BOOT0 then needs a power-on to come back (AN2606 table 108).

        A read that timed out is repeated as soon as the lines are free: a loader at work waits at
        most its own timeout for the rest of it."""
        began = self._clock.now()
        for _ in range(_STATUS_TRIES):
            seen = self.loader.status()
            if seen == BUSY:
                return BUSY
            if seen == HELD:
                if not self.loader.releases_lines(self.chip.release_ms):
                    return HELD
                if self._clock.since(began) >= self.chip.loader_timeout_ms:
                    return None  # the loader was idle and has reset itself
            elif seen in (ACK, NACK, UNDRIVEN):
                return None
            self._clock.sleep(1)
        return None

    def erase_page(self, page):
        """Erase one page by its number, and wait until it is erased.

        A loader with `erase_settle_ms` acknowledges an erase that it has only begun, and does not
        report a reset in that time: NRST shows it (resets from inside the chip only if NRST_MODE
        is 3). Over UART the ACK may lie in the host's buffer since before the reset; there a
        restarted loader does not answer. Raises LoaderError and BusError."""
        self.loader.erase_page(page)
        ms = self.quirks.erase_settle_ms
        if not ms:
            return
        nrst = self.pins.nrst
        deadline = self._clock.deadline(ms)
        while not deadline.expired():
            self._clock.feed()
            if nrst is not None and not nrst():
                break
            time.sleep_us(_NRST_POLL_US)
        else:
            if self.loader.is_polled or self.read_memory(self.chip.flash_start, 1):
                return
        raise LoaderError("the target was reset in an erase")

    def hold_boot0(self):
        """Set BOOT0 high without a reset: the next reset leads to the loader if nBOOT_SEL is 0."""
        if self.pins.boot0 is not None:
            self.pins.boot0(1)

    def _check_chip(self):
        self.product_id = product_id = self.loader.get_id()
        if product_id != self.chip.product_id:
            raise WrongChip(
                "the chip is 0x%03X (%s), the board says 0x%03X (%s)"
                % (
                    product_id,
                    chips.family_name(product_id),
                    self.chip.product_id,
                    self.chip.name,
                )
            )

    def _check_banks(self):
        """Where the second bank begins, and how large a page is, must be as the board says."""
        chip = self.chip
        if chip.second_bank != chip.pages and self.flash_size not in (None, chip.flash_size):
            raise WrongChip(
                "the chip has %d KB of flash in two banks, the board says %d KB (%s)"
                % (self.flash_size // 1024, chip.flash_size // 1024, chip.name)
            )
        if chip.has_dbank:
            data = self.read_until_equal(_OPTR_ADDRESS, 8)
            optr, inverse = struct.unpack("<II", data or bytes(8))
            if optr ^ inverse != 0xFFFFFFFF or optr & (_DBANK | _BFB2) != _DBANK:
                raise WrongChip(
                    "the chip's option bytes do not show two banks in their order (DBANK 1, "
                    "BFB2 0)",
                    "Set these bits with a debugger, as they were at the factory: they change the "
                    "size of pages and their numbers.",
                )

    def read_memory(self, address, length):
        """`length` bytes (1..256) from `address`, or None if the loader refuses to read."""
        data = bytearray(length)
        try:
            self.loader.read_into(address, data)
        except LoaderRefused:
            return None
        return data

    def read_flash_size(self):
        """The flash size that the chip states, in bytes; None if the loader does not tell it."""
        data = self.read_until_equal(self.chip.flash_size_address, 2) or b"\0\0"
        kilobytes = data[0] | data[1] << 8
        return None if kilobytes in (0, 0xFFFF) else kilobytes * 1024

    def read_until_equal(self, address, length):
        """As `read_memory`, repeated until two readings in a row are equal: data from the loader
        has no checksum, and on I2C a target that loses its supply reads as erased flash."""
        data = self.read_memory(address, length)
        for _ in range(_READ_TRIES if data else 0):
            before, data = data, self.read_memory(address, length)
            if data == before:
                return data
        if data:
            raise LoaderError("0x%08X reads differently each time" % address)
        return None

    def blank(self):
        """Whether stack pointer and reset vector are erased flash."""
        vectors = self.read_until_equal(self.chip.flash_start, chips.GRANULE)
        return vectors == b"\xff" * chips.GRANULE

    def _nothing_to_run(self):
        """Whether stack pointer and reset vector are erased flash or zeros; None if no loader
        answers, or if it refuses to tell, as it refuses a damaged frame."""
        try:
            vectors = self.read_until_equal(self.chip.flash_start, chips.GRANULE)
        except (LoaderError, BusError):
            return None
        return vectors and vectors in (b"\xff" * chips.GRANULE, bytes(chips.GRANULE))

    def _go(self):
        try:
            self.loader.go(self.chip.flash_start)
        except (LoaderError, BusError):
            pass  # the caller checks what runs now
        self._clock.sleep(self.chip.startup_ms)

    def reach_loader(self):
        """Do what should start the loader; `identify` shows whether it did. First the reset, then
        the bus recovery: a loader that is out of step holds the bus until it is reset, by NRST or
        by its own timeout. Raises BusStuck."""
        self.hold_boot0()
        if self.pins.boot0 is not None and self.pins.nrst is not None:
            self.reset()
            self.loader.recover()
        elif not self.in_loader():
            self._clock.sleep(self.chip.loader_timeout_ms)
            self.loader.recover()
            if self._enter_command is not None:
                self._enter_command()
                self._clock.sleep(_COMMAND_MS)

    def identify(self):
        """Identify the chip behind a loader that is in step. Raises WrongChip, ReadProtected,
        LoaderError, BusError."""
        self.product_id = self.loader_id = self.options = self.flash_size = None
        self.protocol_version = self.loader.get_version()
        self._check_chip()
        if self.chip.loader_id_address:
            data = self.read_until_equal(self.chip.loader_id_address, 1)
            self.loader_id = None if data is None else data[0]
            if data is None and not self.chip.options_address:
                raise ReadProtected("the target refuses to be read: readout protection level 1")
        self.quirks = self.chip.quirks(self.loader_id)
        self.flash_size = self.read_flash_size()
        self._check_banks()
        if self.chip.options_address:  # last: a chip with torn ones should be sent little
            data = self.read_until_equal(self.chip.options_address, option_bytes.LENGTH)
            if data is None:
                raise ReadProtected("the target refuses to be read: readout protection level 1")
            fields = option_bytes.fields_of(self.chip.name)
            self.options = option_bytes.OptionBytes(data, self.chip.pages, fields)

    def hold_in_reset(self):
        """Pull NRST low, and wait until it is long enough for a reset."""
        self.pins.nrst(0)
        self._clock.sleep(NRST_LOW_MS)

    def reset(self):
        """Pulse NRST (which must be wired) and wait for the start-up."""
        self.hold_in_reset()
        self.pins.nrst(1)
        self._clock.sleep(self.chip.startup_ms)
