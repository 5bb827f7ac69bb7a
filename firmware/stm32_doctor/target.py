"""Looks at bus and target: who answers, in which state, to which controller.

Only Get Version, Get ID, Read Memory and, to leave the loader, Go are sent. Other addresses than
the target's own are asked only if nobody answers there while NRST is low: what answers then is
another device, to which two bytes may mean anything.
"""

import binascii

from micropython import const

from stm32_rom import chips, option_bytes, pins
from stm32_rom.application import Application, Heartbeat
from stm32_rom.commands import Bootloader
from stm32_rom.errors import BusError, BusStuck, LoaderRefused, UpdaterError
from stm32_rom.i2c import I2CLink
from stm32_rom.target import at_work

from .wires import Wires

_NRST_LOW_MS = const(5)
_SUPPLY_OFF_MS = const(500)
_COMMAND_MS = const(20)
_POLL_MS = const(50)
_APPLICATION_MS = const(2000)  # where board.json names no time
_BOOT_SEL = const(1 << 24)  # of OPTR: BOOT0 is ignored
_FACTS = ("lines", "nrst", "stuck", "at_work", "found", "spared", "reset", "entry") + (
    "elsewhere",
    "reached_by",
    "loader",
    "start",
    "application",
)
_IDENTITY = ("product_id", "loader_id", "refuses", "option_bytes", "blank", "unreadable", "error")


def facts(settings, others, fresh, clock):
    """What is found, as a dict; the target is reset and, where possible, back in its application
    at the end. One that is at work on its flash gets one status read, and nothing else.

    `others`: addresses at which loaders of other families answer. `fresh`: its supply was just
    switched off and on, so it is not at work, and not asked whether it is.

        lines       levels as found, see Wires.levels; `nrst` likewise
        stuck       the line that stays low after the bus was cleared, or None
        at_work     "busy", "clock held": see stm32_rom.target.at_work; else None
        found       {"application", "loader"}: who answered before anything was reset
        spared      why the target was not reset: "at-work", "blank", "torn"; else None
        reset       while NRST was low: {"lines", "boot0", "stuck", "application", "answering"};
                    "answering": which of `others` and the loader's address were acknowledged
        entry       after a reset with BOOT0 high: {"loader", "application", "stuck"}
        elsewhere   address at which a loader answered instead, or None
        reached_by  "own" controller, "exchanged" lines, "patient" controller, "supply"; None
        loader      see `_identify`; None if it was not reached
        start       after a reset with BOOT0 low: {"loader", "application", "stuck"}
        application after all that, see below

    A "loader" is {"protocol", "ms"} or {"error": code}; an "application" the 16 hex digits of its
    version, "runs" if it only shows signs of life, or None."""
    examination = _Examination(settings, others, clock)
    examination.run(fresh)
    return examination.facts


class _Examination:
    def __init__(self, settings, others, clock):
        self._chip = chips.by_name(settings["chip"])
        self._others = others
        self._clock = clock
        self._wires = Wires(settings)
        self._bus = self._wires.bus()
        self._loader = self._loader_at(self._chip.loader_address)
        self._settings = settings
        self._pins = self._wires.pins()
        proof = settings["confirm"]
        self._application_ms = proof["timeout_ms"] or _APPLICATION_MS
        self.facts = dict.fromkeys(_FACTS)

    def run(self, fresh):
        facts = self.facts
        facts["lines"] = self._wires.levels()
        facts["nrst"] = self._wires.nrst_level()
        facts["stuck"] = self._free()
        if not fresh:
            link = I2CLink(self._bus, self._chip.loader_address)
            facts["at_work"] = at_work(link, self._clock)
            if facts["at_work"]:
                facts["spared"] = "at-work"
                return
        facts["found"] = found = self._who(0)
        if "protocol" in found["loader"]:
            facts["reached_by"] = "own"
            facts["loader"] = self._identify()
        facts["spared"] = self._why_no_reset()
        if facts["spared"]:
            return
        if self._pins.nrst:
            self._look_in_reset()
        self._look_for_loader()
        self._look_at_start()

    # --- the stages ---

    def _why_no_reset(self):
        """A reset must not make things worse: into blank flash without BOOT0 there is no way back
        (AN2606 table 108), and torn option bytes lock the chip when they are loaded."""
        loader = self.facts["loader"]
        if loader is None or loader["option_bytes"] is None:
            return None
        words = option_bytes.OptionBytes(binascii.unhexlify(loader["option_bytes"]))
        if words.torn:
            return "torn"
        no_way_in = not self._pins.boot0 or words.word(0) & _BOOT_SEL
        return "blank" if loader["blank"] and no_way_in else None

    def _look_in_reset(self):
        self._pins.nrst(0)
        self._clock.sleep(_NRST_LOW_MS)
        lines = self._wires.levels()
        boot0 = self._wires.boot0_level()
        stuck = self._free()
        application, answering = None, []
        if not stuck:
            application = self._application(0)
            addresses = self._others + [self._chip.loader_address]
            answering = [address for address in addresses if self._acknowledged(address)]
        self.facts["reset"] = {
            "lines": lines,
            "boot0": boot0,
            "stuck": stuck,
            "application": application,
            "answering": answering,
        }
        if self._chip.loader_address in answering:
            self._clock.sleep(chips.LOADER_TIMEOUT_MS)  # a loader after all: it starts over
        if not self._pins.boot0:  # the way in is through the application
            self._reset()
            self._application(self._application_ms)

    def _look_for_loader(self):
        facts = self.facts
        stuck = self._enter()
        facts["entry"] = entry = self._who(self._application_ms)
        entry["stuck"] = stuck
        if "protocol" in entry["loader"]:
            facts["reached_by"] = "own"
        elif facts["reached_by"]:
            return  # it was there before: the reset led out of it
        elif not entry["application"] and not stuck:
            self._look_further(entry)
        if not facts["reached_by"] and self._pins.supply:
            self._look_after_power_cycle()
        if facts["reached_by"]:
            facts["loader"] = self._identify()

    def _look_further(self, entry):
        """Nobody answers at all: another family, exchanged lines, an impatient controller?"""
        facts = self.facts
        if facts["reset"]:
            for address in self._others:
                if address in facts["reset"]["answering"]:
                    continue
                if "protocol" in self._ask(self._loader_at(address)):
                    facts["elsewhere"] = address
                    return
        for name in ("exchanged", "patient"):
            own = self._bus
            exchanged = name == "exchanged"
            self._bus = self._wires.exchanged_bus() if exchanged else self._wires.patient_bus()
            self._loader = self._loader_at(self._chip.loader_address)
            self._enter()
            answer = self._ask(self._loader)
            if "protocol" in answer:
                facts["reached_by"] = name
                entry["patient_ms"] = answer["ms"]
                return
            self._bus = own
            self._loader = self._loader_at(self._chip.loader_address)
            self._free()

    def _look_after_power_cycle(self):
        self._pins.supply(0)
        self._clock.sleep(_SUPPLY_OFF_MS)
        self._pins.supply(1)
        self._clock.sleep(chips.STARTUP_MS)
        self._free()
        if "protocol" in self._ask(self._loader):
            self.facts["reached_by"] = "supply"

    def _look_at_start(self):
        """Back to the application, as the updater does it: Go where a reset leads to the
        loader."""
        facts = self.facts
        if self._pins.boot0:
            self._pins.boot0(0)
        blank = facts["loader"] is not None and facts["loader"]["blank"]
        if blank:
            return
        stuck = self._reset()
        facts["start"] = start = self._who(self._application_ms)
        start["stuck"] = stuck
        facts["application"] = start["application"]
        if "protocol" in start["loader"]:
            try:
                self._loader.go(self._chip.flash_start)
            except UpdaterError:
                pass  # who answers is asked next
            facts["application"] = self._application(self._application_ms)

    # --- asking ---

    def _who(self, application_ms):
        loader = self._ask(self._loader)
        ms = 0 if "protocol" in loader else application_ms
        return {"loader": loader, "application": self._application(ms)}

    def _ask(self, loader):
        began = self._clock.now()
        try:
            protocol = loader.get_version()
        except UpdaterError as error:
            return {"error": error.code}
        return {"protocol": protocol, "ms": self._clock.since(began)}

    def _application(self, ms):
        """What it answers within `ms`, or None."""
        proof = self._settings["confirm"]
        if proof["method"] == "gpio":
            pin = pins.watched(proof["pin"])
            heartbeat = Heartbeat(pin, proof["edges"], proof["timeout_ms"], self._clock)
            return "runs" if heartbeat.answers() else None
        if proof["address"] is None:
            return None
        application = Application(self._bus, proof["address"], proof["register"] or 0)
        deadline = self._clock.deadline(ms)
        while True:
            version = application.version()
            if version is not None:
                return _hex(version)
            if deadline.expired():
                return None
            deadline.sleep(_POLL_MS)

    def _acknowledged(self, address):
        try:
            self._bus.send(address, b"")
        except BusError:
            return False
        return True

    def _identify(self):
        """Of a loader in step, as far as it comes: "product_id", "loader_id", "option_bytes" (256
        hex digits), "blank": the first granule is erased. Or why it comes no further: "refuses" to
        read (readout protection), "unreadable": the first granule is a fault, "error": code."""
        chip, loader = self._chip, self._loader
        found = dict.fromkeys(_IDENTITY)
        try:
            found["product_id"] = loader.get_id()
            if found["product_id"] != chip.product_id:
                return found
            if chip.loader_id_address:
                found["loader_id"] = self._read(chip.loader_id_address, 1)[0]
            if chip.options_address:
                found["option_bytes"] = _hex(self._read(chip.options_address, option_bytes.LENGTH))
        except LoaderRefused:
            found["refuses"] = True
            return found
        except UpdaterError as error:
            found["error"] = error.code
            return found
        try:
            granule = self._read(chip.flash_start, chips.GRANULE)
            found["blank"] = granule == b"\xff" * chips.GRANULE
        except UpdaterError:
            found["unreadable"] = True
            self._enter()
        return found

    def _read(self, address, length):
        data = bytearray(length)
        self._loader.read_into(address, data)
        return data

    # --- moving ---

    def _loader_at(self, address):
        return Bootloader(I2CLink(self._bus, address), self._clock)

    def _enter(self):
        """Towards the loader; the line that stays low, or None."""
        if self._pins.boot0:
            self._pins.boot0(1)
            return self._reset()
        if "protocol" not in self._ask(self._loader):
            self._command()
        return self._free()

    def _command(self):
        """Ask the application to enter the loader, where that is the way."""
        enter = self._settings["enter"]
        if enter["command"] is None:
            return
        command = binascii.unhexlify(enter["command"])
        Application(self._bus, enter["address"], 0, command).enter_loader()
        self._clock.sleep(_COMMAND_MS)

    def _reset(self):
        if self._pins.nrst:
            self._pins.nrst(0)
            self._clock.sleep(_NRST_LOW_MS)
            self._pins.nrst(1)
            self._clock.sleep(chips.STARTUP_MS)
        return self._free()

    def _free(self):
        """Clear the bus; the line that stays low, or None."""
        try:
            self._bus.recover()
        except BusStuck as error:
            return error.message[:3]
        return None


def _hex(data):
    return binascii.hexlify(data).decode()
