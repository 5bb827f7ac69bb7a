"""The target's pins and state: into the loader, back into the application, and who is there."""

import time

from micropython import const

from . import chips, option_bytes
from .errors import (
    BusError,
    BusStuck,
    BusTimeout,
    LoaderError,
    LoaderRefused,
    LoaderSilent,
    LoaderTimeout,
    NoAnswer,
    ReadProtected,
    WrongChip,
)

_NRST_LOW_MS = const(2)  # DS12232: an NRST pulse of 300 ns is enough; capacitors want more
_ENTER_TRIES = const(3)
_BETWEEN_TRIES_MS = const(100)  # for whoever holds a line to let go of it
_COMMAND_MS = const(20)  # the application answers its frame, then resets
_SUPPLY_OFF_MS = const(200)  # capacitors discharge below the power-on reset threshold
_LET_GO_MS = const(1500)  # a loader out of step resets itself by then: LOADER_TIMEOUT_MS
_LET_GO_POLL_MS = const(50)
_NRST_POLL_US = const(200)  # a reset pulls NRST low for 20 us, the capacitor there for longer
_READ_TRIES = const(4)  # of what decides what is done, until two readings agree
_STATUS_TRIES = const(3)  # noise must not make a chip at work look idle
_BUSY = const(0x76)
_STATUSES = (0x79, 0x1F, 0xFF)  # ACK, NACK, and a line that nobody drives

BUSY, HELD = "busy", "clock held"


def at_work(link, clock):
    """What shows that the chip behind `link` programs its flash or its option bytes: BUSY or HELD;
    else None.

    By status reads alone: a command would be out of turn, and a loader out of turn resets the
    chip. An idle loader is out of turn by this read, too, and resets itself once; a blank V11.3
    that ignores BOOT0 then needs a power-on to come back (AN2606 table 108).

    A read that was given up is read again as soon as the clock is free: a loader at work waits
    no longer than 1 s for the rest of it."""
    status = bytearray(1)
    began = clock.now()
    for _ in range(_STATUS_TRIES):
        try:
            link.receive_into(status)
        except NoAnswer:
            pass
        except BusTimeout:
            if not lets_go(link, clock):
                return HELD
            if clock.since(began) >= chips.LOADER_TIMEOUT_MS:
                return None  # it was idle, and has reset itself
        else:
            if status[0] == _BUSY:
                return BUSY
            if status[0] in _STATUSES:
                return None
        clock.sleep(1)
    return None


def lets_go(link, clock, limit_ms=_LET_GO_MS):
    """Whether the bus becomes free: by default within the time in which an idle loader resets
    itself."""
    deadline = clock.deadline(limit_ms)
    while True:
        try:
            link.recover()
            return True
        except BusStuck:
            if deadline.expired():
                return False
            deadline.sleep(_LET_GO_POLL_MS)


class Target:
    """An STM32 behind its loader's link and its pins.

    Known after `enter_loader`: `protocol_version` (0x12 is V1.2), `quirks` (chips.Quirks),
    `options` (OptionBytes, None for a family whose layout is not known here), `flash_size` (bytes:
    what the part itself says, or None where its loader does not let that be read)."""

    def __init__(self, chip, pins, link, bootloader, clock, enter_command=None):
        """`enter_command`: a callable that asks the application to enter the loader, or None."""
        self.chip = chip
        self.loader = bootloader
        self.protocol_version = 0
        self.quirks = chip.quirks(None)
        self.options = None
        self.flash_size = None
        self.pins = pins
        self._link = link
        self._clock = clock
        self._enter_command = enter_command

    def enter_loader(self):
        """Into the loader, from whatever the target does or from a loader that is out of step, and
        find out who it is.

        Leaves BOOT0 high, so that a loader that resets itself comes back as the loader.
        Raises LoaderSilent, WrongChip, ReadProtected, BusStuck."""
        self._enter(self._identify)

    def return_to_loader(self):
        """Reset a loader that is out of step. Who it is was asked before: Get ID (02 FD) is not
        sent more often than it must, see docs/power-cuts.md.
        Raises LoaderSilent, LoaderError, BusStuck."""
        self._enter(self.loader.get_version)

    def _enter(self, ask):
        for left in range(_ENTER_TRIES - 1, -1, -1):
            if not left:
                self.power_cycle()  # the last resort: BOOT0 ignored since a debugger was seen, ...
            try:
                self._reach_loader()
                ask()
                return
            except (LoaderRefused, LoaderTimeout, NoAnswer, BusTimeout) as error:
                if not left:
                    raise LoaderSilent(
                        "the loader at I2C address 0x%02X cannot be reached: %s"
                        % (self._link.address, error.message),
                        LoaderSilent.without_boot0 if self.pins.boot0 is None else None,
                    )
            except (LoaderError, BusError):
                if not left:  # until then a flipped bit may have made it another chip, say
                    raise
            self._clock.sleep(_BETWEEN_TRIES_MS)

    def start_application(self):
        """Out of the loader, by what works first: a reset; Go, if the loader is still there (EMPTY
        flag latched at power-on); the supply. Whether the application runs is for others to ask.

        Where nothing could run the loader stays: a reset would lead into blank flash, or to the
        zeros of an update that did not get further, and without BOOT0 there is no way back from
        there before the next power-on (AN2606 table 108)."""
        if self._nothing_to_run():
            if self.pins.boot0 is not None:
                self.pins.boot0(0)
            return
        if self.pins.boot0 is not None:
            self.pins.boot0(0)
        if self.pins.nrst is not None:
            self._reset()
        if not self.in_loader():
            return
        self._go()
        if self.in_loader():
            self.power_cycle()

    def power_cycle(self):
        """Take the supply away and give it back. False if no pin can do that."""
        if self.pins.supply is None:
            return False
        self.pins.supply(0)
        self._clock.sleep(_SUPPLY_OFF_MS)
        self.pins.supply(1)
        self._clock.sleep(chips.STARTUP_MS)
        return True

    def in_loader(self):
        """Whether the loader answers now. One real command; never a bus scan."""
        try:
            self.loader.get_version()
        except (LoaderError, BusError):
            return False
        return True

    def at_work(self):
        """BUSY, HELD or None; see the function `at_work`."""
        return at_work(self._link, self._clock)

    def stay_up(self, ms):
        """Wait while the loader works and answers nothing. Raises LoaderError if the target is
        reset meanwhile: the loader that comes back would not know of it, and NRST shows it
        (where option bit NRST_MODE is 3, resets from inside as well)."""
        deadline = self._clock.deadline(ms)
        while not deadline.expired():
            self._clock.feed()
            if self.pins.nrst is not None and not self.pins.nrst():
                raise LoaderError("the target was reset while it worked")
            time.sleep_us(_NRST_POLL_US)

    def hold_boot0(self):
        """BOOT0 high, and no reset: where the pin counts, the next one leads to the loader."""
        if self.pins.boot0 is not None:
            self.pins.boot0(1)

    def check_chip(self):
        """Ask a loader that answers which chip it belongs to. Raises WrongChip."""
        product_id = self.loader.get_id()
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

    def read_memory(self, address, length):
        """`length` bytes (1..256) from `address`, or None where the loader refuses to read."""
        data = bytearray(length)
        try:
            self.loader.read_into(address, data)
        except LoaderRefused:
            return None
        return data

    def _read_surely(self, address, length):
        """As `read_memory`, until two readings agree: what the loader sends has no checksum."""
        data = self.read_memory(address, length)
        for _ in range(_READ_TRIES if data else 0):
            before, data = data, self.read_memory(address, length)
            if data == before:
                return data
        if data:
            raise LoaderError("0x%08X reads differently each time" % address)
        return None

    def blank(self):
        """Whether nothing could run: stack pointer and reset vector read as erased flash."""
        return self.read_memory(self.chip.flash_start, chips.GRANULE) == b"\xff" * chips.GRANULE

    def _nothing_to_run(self):
        """Whether stack pointer and reset vector are erased flash or zeros; False where no loader
        answers."""
        try:
            vectors = self.read_memory(self.chip.flash_start, chips.GRANULE)
        except (LoaderError, BusError):
            return False
        return vectors in (b"\xff" * chips.GRANULE, bytes(chips.GRANULE))

    def _go(self):
        try:
            self.loader.go(self.chip.flash_start)
        except (LoaderError, BusError):
            pass  # what runs now is asked next
        self._clock.sleep(chips.STARTUP_MS)

    def _reach_loader(self):
        """The reset comes first, then the bus: a loader that is out of step holds SCL until it is
        reset, by NRST or by its own timeout."""
        if self.pins.boot0 is not None and self.pins.nrst is not None:
            self.pins.boot0(1)
            self._reset()
            self._link.recover()
        elif not self.in_loader():
            self._clock.sleep(chips.LOADER_TIMEOUT_MS)
            self._link.recover()
            if self._enter_command is not None:
                self._enter_command()
                self._clock.sleep(_COMMAND_MS)

    def _identify(self):
        self.protocol_version = self.loader.get_version()
        self.check_chip()
        loader_id = None
        if self.chip.loader_id_address:
            data = self._read_surely(self.chip.loader_id_address, 1)
            loader_id = None if data is None else data[0]
        self.quirks = self.chip.quirks(loader_id)
        if self.chip.options_address:
            data = self._read_surely(self.chip.options_address, option_bytes.LENGTH)
            if data is None:
                raise ReadProtected("the target refuses to be read: readout protection level 1")
            self.options = option_bytes.OptionBytes(data)
        self.flash_size = None
        if self.chip.flash_size_address:
            data = self._read_surely(self.chip.flash_size_address, 2) or b"\0\0"
            kilobytes = data[0] | data[1] << 8
            if kilobytes not in (0, 0xFFFF):
                self.flash_size = kilobytes * 1024

    def _reset(self):
        self.pins.nrst(0)
        self._clock.sleep(_NRST_LOW_MS)
        self.pins.nrst(1)
        self._clock.sleep(chips.STARTUP_MS)
