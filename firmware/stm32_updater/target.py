"""The target's pins and state: into the loader, back into the application, and what is there now."""

from micropython import const

from . import chips, option_bytes
from .errors import (
    BusError,
    LoaderError,
    LoaderRefused,
    LoaderSilent,
    ReadProtected,
    WrongChip,
)

_NRST_LOW_MS = const(2)  # DS12232: an NRST pulse of 300 ns is enough; capacitors want more
_ENTER_TRIES = const(3)
_COMMAND_MS = const(20)  # the application answers its frame, then jumps


class Pins:
    """The lines to the target, as callables taking 0 or 1; None where not wired.

    `nrst(0)` holds the target in reset, `boot0(1)` asks for the loader, `supply(0)` switches it
    off."""

    def __init__(self, nrst=None, boot0=None, supply=None):
        self.nrst = nrst
        self.boot0 = boot0
        self.supply = supply


class Target:
    """An STM32 behind its loader's link and its pins."""

    def __init__(self, chip, pins, link, bootloader, clock, enter_command=None):
        """`enter_command`: a callable that asks the application to enter the loader, or None."""
        self.chip = chip
        self.loader = bootloader
        self.protocol_version = None
        self.quirks = chip.quirks(None)
        self._pins = pins
        self._link = link
        self._clock = clock
        self._enter_command = enter_command

    def enter_loader(self):
        """Into the loader, and make sure that it is the right chip's. Leaves BOOT0 high, so that a
        loader that resets itself comes back as the loader.

        Raises LoaderSilent, WrongChip, BusStuck."""
        for attempt in range(_ENTER_TRIES):
            if self._pins.boot0 is None and attempt == 0 and self._loader_answers():
                break  # already there, and no pin could bring it back
            self._ask_for_loader()
            if self._loader_answers():
                break
        else:
            raise LoaderSilent("no loader answers at I2C address 0x%02X" % self._link.address)
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
        self.quirks = self.chip.quirks(self._loader_id())

    def restart_loader(self):
        """Get a loader that is out of step, or whose flash reported an error, back to its start."""
        self._recover_bus()
        self.enter_loader()

    def leave_loader(self):
        """Reset into the application, as far as the pins allow; `probe` tells what came of it."""
        if self._pins.boot0 is not None:
            self._pins.boot0(0)
        if self._pins.nrst is not None:
            self._reset()
        else:
            self.go()

    def stay_in_loader(self):
        """Let go of BOOT0 without a reset: with blank flash a reset would lead nowhere, and V11.3
        would not come back from there before the next power-on (AN2606 table 108)."""
        if self._pins.boot0 is not None:
            self._pins.boot0(0)

    def power_cycle(self):
        """Take the supply away and give it back. False if no pin can do that."""
        if self._pins.supply is None:
            return False
        self._pins.supply(0)
        self._clock.sleep(200)  # capacitors; below the power-on reset threshold for certain
        self._pins.supply(1)
        self._clock.sleep(chips.STARTUP_MS)
        return True

    def go(self):
        """Have the loader start the application; a loader that does not answer is no error."""
        try:
            self.loader.go(self.chip.flash_start)
        except (LoaderError, BusError):
            self._recover_bus()

    def in_loader(self):
        """Whether the loader answers now. One real command; never a bus scan."""
        return self._loader_answers()

    def read_memory(self, address, length):
        """`length` bytes (1..256) from `address`, or None where the loader refuses to read."""
        data = bytearray(length)
        try:
            self.loader.read_into(address, data)
        except LoaderRefused:
            return None
        return data

    def first_granule_blank(self):
        """Whether nothing could run: stack pointer and reset vector read as erased flash."""
        return self.read_memory(self.chip.flash_start, chips.GRANULE) == b"\xff" * chips.GRANULE

    def option_bytes(self):
        """The chip's OptionBytes, or None for a family whose layout is not known here.

        Raises ReadProtected if the loader refuses to read at all."""
        if not self.chip.options_address:
            return None
        data = self.read_memory(self.chip.options_address, option_bytes.LENGTH)
        if data is None:
            raise ReadProtected("the target refuses to be read: readout protection level 1")
        return option_bytes.OptionBytes(data)

    def _ask_for_loader(self):
        if self._pins.boot0 is not None:
            self._pins.boot0(1)
        elif self._enter_command is not None:
            self._enter_command()
            self._clock.sleep(_COMMAND_MS)
            return
        if self._pins.nrst is not None:
            self._reset()

    def _reset(self):
        self._pins.nrst(0)
        self._clock.sleep(_NRST_LOW_MS)
        self._pins.nrst(1)
        self._clock.sleep(chips.STARTUP_MS)

    def _loader_answers(self):
        try:
            self.protocol_version = self.loader.get_version()
        except LoaderError:
            self._recover_bus()
            return False
        except BusError:
            return False
        return True

    def _recover_bus(self):
        """Out of step: a loader that waits for a frame lets go after its own timeout at the latest."""
        self._link.recover()

    def _loader_id(self):
        """The loader's ID byte, or None if the chip has none known or reading is refused."""
        if not self.chip.loader_id_address:
            return None
        data = self.read_memory(self.chip.loader_id_address, 1)
        return None if data is None else data[0]
