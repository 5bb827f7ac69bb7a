"""The target's pins and state: into the loader, back into the application, and who is there."""

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

# DS12232: an NRST pulse of 300 ns is enough. A capacitor at the pin, and a level shifter that only
# pulls up, want more.
_NRST_LOW_MS = const(5)
_ENTER_TRIES = const(3)
_BETWEEN_TRIES_MS = const(100)  # for whoever holds a line to let go of it
_COMMAND_MS = const(20)  # the application answers its frame, then resets
# Capacitors discharge below the power-on reset threshold; they may be large, and the chip draws
# little when it is held in reset. A cut that is too short resets nothing.
_SUPPLY_OFF_MS = const(500)
_NRST_POLL_US = const(200)  # a reset pulls NRST low for 20 us, the capacitor there for longer
_READ_TRIES = const(4)  # of what decides what is done, until two readings agree
_STATUS_TRIES = const(3)  # noise must not make a chip at work look idle


class Target:
    """An STM32 behind its loader's link and its pins.

    Known after `identify`, as far as that came: `protocol_version` (0x12 is V1.2), `product_id`,
    `loader_id` (None where it cannot be read), `quirks` (chips.Quirks), `options` (OptionBytes,
    None for a family whose layout is not known here), `flash_size` (bytes: what the part itself
    says, or None where its loader does not let that be read)."""

    def __init__(self, chip, pins, link, clock, enter_command=None):
        """`pins`: see pins.Pins. `enter_command`: a callable that asks the application to enter
        the loader, or None."""
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

    def enter_loader(self):
        """Into the loader, from whatever the target does or from a loader that is out of step, and
        find out who it is.

        Leaves BOOT0 high, so that a loader that resets itself comes back as the loader.
        Raises LoaderSilent, WrongChip, ReadProtected, BusStuck."""
        self._enter(self.identify)

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
                self.reach_loader()
                ask()
                return
            except (LoaderRefused, LoaderTimeout, NoAnswer, BusTimeout) as error:
                if not left:
                    raise LoaderSilent(
                        "the loader at %s cannot be reached: %s"
                        % (self.loader.name, error.message),
                        LoaderSilent.without_boot0 if self.pins.boot0 is None else None,
                    )
            except (LoaderError, BusError):
                if not left:  # until then a flipped bit may have made it another chip, say
                    raise
            self._clock.sleep(_BETWEEN_TRIES_MS)

    @property
    def protocol(self):
        """`protocol_version` as ST writes it: "1.2"."""
        return "%d.%d" % (self.protocol_version >> 4, self.protocol_version & 15)

    def start_application(self):
        """Out of the loader, by what works first: a reset; Go, if the loader is still there (EMPTY
        flag latched at power-on); the supply. Whether the application runs is for others to ask.

        Where nothing could run the loader stays: a reset would lead into blank flash, or to the
        zeros of an update that did not get further, and without BOOT0 there is no way back from
        there before the next power-on (AN2606 table 108)."""
        stays = self._nothing_to_run()
        if self.pins.boot0 is not None:
            self.pins.boot0(0)
        if stays:
            return
        if self.pins.nrst is not None:
            self.reset()
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
        """What shows that the chip programs its flash or its option bytes: BUSY or HELD; else
        None.

        By status reads alone: a command would be out of turn, and a loader out of turn resets the
        chip. An idle loader is out of turn by this read, too, and resets itself once; a blank
        V11.3 that ignores BOOT0 then needs a power-on to come back (AN2606 table 108).

        A read that was given up is read again as soon as the line is free: a loader at work waits
        no longer than 1 s for the rest of it."""
        began = self._clock.now()
        for _ in range(_STATUS_TRIES):
            seen = self.loader.status()
            if seen == BUSY:
                return BUSY
            if seen == HELD:
                if not self.loader.lets_go():
                    return HELD
                if self._clock.since(began) >= chips.LOADER_TIMEOUT_MS:
                    return None  # it was idle, and has reset itself
            elif seen in (ACK, NACK, UNDRIVEN):
                return None
            self._clock.sleep(1)
        return None

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

    def reach_loader(self):
        """Towards the loader; whether it is reached is for `identify` to ask. The reset comes
        first, then the bus: a loader that is out of step holds it until it is reset, by NRST or by
        its own timeout. Raises BusStuck."""
        self.hold_boot0()
        if self.pins.boot0 is not None and self.pins.nrst is not None:
            self.reset()
            self.loader.recover()
        elif not self.in_loader():
            self._clock.sleep(chips.LOADER_TIMEOUT_MS)
            self.loader.recover()
            if self._enter_command is not None:
                self._enter_command()
                self._clock.sleep(_COMMAND_MS)

    def identify(self):
        """Ask a loader that is in step who it is. Raises WrongChip, ReadProtected, LoaderError,
        BusError."""
        self.product_id = self.loader_id = self.options = self.flash_size = None
        self.protocol_version = self.loader.get_version()
        self._check_chip()
        if self.chip.loader_id_address:
            data = self._read_surely(self.chip.loader_id_address, 1)
            self.loader_id = None if data is None else data[0]
        self.quirks = self.chip.quirks(self.loader_id)
        if self.chip.flash_size_address:
            data = self._read_surely(self.chip.flash_size_address, 2) or b"\0\0"
            kilobytes = data[0] | data[1] << 8
            if kilobytes not in (0, 0xFFFF):
                self.flash_size = kilobytes * 1024
        if self.chip.options_address:  # last: where they are torn the less is sent the better
            data = self._read_surely(self.chip.options_address, option_bytes.LENGTH)
            if data is None:
                raise ReadProtected("the target refuses to be read: readout protection level 1")
            self.options = option_bytes.OptionBytes(data)

    def hold_in_reset(self):
        """NRST low, for as long as a pulse takes."""
        self.pins.nrst(0)
        self._clock.sleep(_NRST_LOW_MS)

    def reset(self):
        """A pulse on NRST, which is wired, and the start-up."""
        self.hold_in_reset()
        self.pins.nrst(1)
        self._clock.sleep(chips.STARTUP_MS)
