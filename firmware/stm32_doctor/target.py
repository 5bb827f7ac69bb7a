"""Facts about bus and target: what answers, in which state, and with which bus settings.

Only Get Version, Get ID, Read Memory and, to leave the loader, Go are sent. An address other than
the target's own gets a command only if nothing acknowledges it while NRST is low. What does is
another device, to which these bytes may mean anything.
"""

from micropython import const

from stm32_rom import chips, pins
from stm32_rom.application import Application, Heartbeat
from stm32_rom.errors import BusError, BusStuck, ReadProtected, UpdaterError, WrongChip
from stm32_rom.target import Target

from .wires import Wires

_POLL_MS = const(50)
_APPLICATION_MS = const(2000)  # if board.json has no time
_FACTS = ("lines", "nrst", "stuck", "at_work", "found", "spared", "reset", "entry") + (
    "elsewhere",
    "reached_by",
    "loader",
    "start",
    "application",
)
_IDENTITY = ("product_id", "loader_id", "refuses", "option_bytes", "blank", "unreadable", "error")


def facts(settings, others, fresh, clock):
    """The facts as a dict. Resets the target, and starts its application at the end if possible. A
    target that may be programming its flash or option bytes is not reset, and gets no command.

    `others`: addresses of the loaders of other families. `fresh`: the target was just switched off
    and on, so it cannot be at work; this skips `at_work`.

        lines       levels before anything was done, see Wires.levels
        nrst        level of NRST, see Wires.nrst_level
        stuck       the line that stays low after the bus was cleared, or None
        at_work     "busy" or "line held", see Target.at_work; else None
        found       before any reset: {"loader", "application"}
        spared      why the target was not reset: "at-work", "blank", "torn"; else None
        reset       while NRST was low: {"lines", "boot0", "stuck", "application", "answering"};
                    "answering": which of `others` and the loader's address were acknowledged;
                    over UART only the latter, if the loader answers still
        entry       after a reset with BOOT0 high: {"loader", "application", "stuck"}, and "lines"
                    if nothing answers over UART
        elsewhere   another address at which a loader answered, or None
        reached_by  how the loader was reached: "own" (settings of board.json), "exchanged" (SCL
                    and SDA exchanged), "patient" (slow bus), "supply" (power cycle); None.
                    Over UART, lines that are exchanged show in entry "lines"
        loader      see `_identify`; None if it was not reached
        start       after a reset with BOOT0 low: {"loader", "application", "stuck"}
        application at the end, see below

    A "loader" is {"protocol", "ms"} or {"error": code}. An "application" is its version as 16 hex
    digits, "runs" if it only toggles a line, or None."""
    examination = _Examination(settings, others, clock)
    examination.run(fresh)
    return examination.facts


class _Examination:
    def __init__(self, settings, others, clock):
        self._chip = chips.by_name(settings["chip"])
        self._others = others
        self._clock = clock
        self._wires = Wires(settings)
        self._settings = settings
        self._pins = self._wires.pins()
        self._use(self._wires.bus())
        proof = settings["confirm"]
        self._application_ms = proof["timeout_ms"] or _APPLICATION_MS
        self.facts = dict.fromkeys(_FACTS)

    def run(self, fresh):
        facts = self.facts
        facts["lines"] = self._wires.levels()
        facts["nrst"] = self._wires.nrst_level()
        facts["stuck"] = self._free()
        if not fresh:
            facts["at_work"] = self._target.at_work()
            if facts["at_work"]:
                facts["spared"] = "at-work"
                return
        facts["found"] = found = self._what_answers(0)
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
        """Why a reset would do damage, or None: from blank flash without BOOT0 there is no way
        back to the loader (AN2606 table 108), and torn option bytes lock the chip when a reset
        loads them."""
        loader, options = self.facts["loader"], self._target.options
        if loader is None or options is None:
            return None
        if options.torn:
            return "torn"
        no_way_in = not self._pins.boot0 or options.as_dict()["nBOOT_SEL"]
        return "blank" if loader["blank"] and no_way_in else None

    def _look_in_reset(self):
        self._target.hold_in_reset()
        lines = self._wires.levels()
        boot0 = self._wires.boot0_level()
        stuck = self._free()
        application, answering = None, []
        if not stuck:
            application = self._application(0)
            own = self._chip.loader_address
            if not self._wires.over_uart:
                answering = [at for at in self._others + [own] if self._acknowledged(at)]
            elif self.facts["loader"] and self._target.in_loader():
                answering = [own]
        self.facts["reset"] = {
            "lines": lines,
            "boot0": boot0,
            "stuck": stuck,
            "application": application,
            "answering": answering,
        }
        if self._chip.loader_address in answering:
            self._clock.sleep(self._chip.loader_timeout_ms)  # it may be a loader: let it time out
        if not self._pins.boot0:  # the application must start the loader
            self._reset()
            self._application(self._application_ms)

    def _look_for_loader(self):
        facts = self.facts
        stuck = self._enter()
        facts["entry"] = entry = self._what_answers(self._application_ms)
        entry["stuck"] = stuck
        if "protocol" in entry["loader"]:
            facts["reached_by"] = "own"
        elif facts["reached_by"]:
            return  # the loader answered before the reset, and the reset left it
        elif not entry["application"] and not stuck:
            self._look_further(entry)
        if not facts["reached_by"] and self._pins.supply:
            self._look_after_power_cycle()
        if facts["reached_by"]:
            facts["loader"] = self._identify()

    def _look_further(self, entry):
        """Nothing answers: try the addresses of other families, exchanged lines, a slow bus."""
        facts = self.facts
        if self._wires.over_uart:
            entry["lines"] = self._wires.levels()
        elif facts["reset"]:
            for address in self._others:
                if address in facts["reset"]["answering"]:
                    continue
                if "protocol" in self._ask(self._target_at(address)):
                    facts["elsewhere"] = address
                    return
        for name in ("patient",) if self._wires.over_uart else ("exchanged", "patient"):
            own = self._bus
            exchanged = name == "exchanged"
            self._use(self._wires.exchanged_bus() if exchanged else self._wires.patient_bus())
            self._enter()
            answer = self._ask(self._target)
            if "protocol" in answer:
                facts["reached_by"] = name
                entry["patient_ms"] = answer["ms"]
                return
            self._use(own)
            self._free()

    def _look_after_power_cycle(self):
        self._target.power_cycle()
        self._free()
        if "protocol" in self._ask(self._target):
            self.facts["reached_by"] = "supply"

    def _look_at_start(self):
        """Start the application as the updater does: by a reset, or by Go if that leads to the
        loader."""
        facts = self.facts
        if self._pins.boot0:
            self._pins.boot0(0)
        blank = facts["loader"] is not None and facts["loader"]["blank"]
        if blank:
            return
        stuck = self._reset()
        facts["start"] = start = self._what_answers(self._application_ms)
        start["stuck"] = stuck
        facts["application"] = start["application"]
        if "protocol" in start["loader"]:
            try:
                self._target.loader.go(self._chip.flash_start)
            except UpdaterError:
                pass  # the application is asked next
            facts["application"] = self._application(self._application_ms)

    # --- asking ---

    def _what_answers(self, application_ms):
        loader = self._ask(self._target)
        ms = 0 if "protocol" in loader else application_ms
        return {"loader": loader, "application": self._application(ms)}

    def _ask(self, target):
        began = self._clock.now()
        try:
            protocol = target.loader.get_version()
        except UpdaterError as error:
            return {"error": error.code}
        return {"protocol": protocol, "ms": self._clock.since(began)}

    def _application(self, ms):
        """Its answer within `ms`, see `facts`; None if there is none."""
        proof = self._settings["confirm"]
        if proof["method"] == "gpio":
            pin = pins.input_pin(proof["pin"])
            heartbeat = Heartbeat(pin, proof["edges"], proof["timeout_ms"], self._clock)
            return "runs" if heartbeat.answers() else None
        if proof["address"] is None:
            return None
        application = self._application_at(proof["address"], proof["register"] or 0)
        deadline = self._clock.deadline(ms)
        while True:
            version = application.version()
            if version is not None:
                return version.hex()
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
        """Identify the chip behind a loader that is in step: "product_id", "loader_id",
        "option_bytes" (256 hex digits), "blank": whether the first granule is erased; None for
        what was not reached. If it stopped early: "refuses": the loader refuses to read (readout
        protection); "unreadable": reading the first granule failed; "error": code. It is believed
        if the loader stops a second time, because noise may look like any of these."""
        found = self._look_at_chip()
        if found["blank"] is None and self._target.in_loader():
            found = self._look_at_chip()
        return found

    def _look_at_chip(self):
        target = self._target
        found = dict.fromkeys(_IDENTITY)
        try:
            target.identify()
        except ReadProtected:
            found["refuses"] = True
        except WrongChip as error:
            if target.product_id == self._chip.product_id:  # else "product_id" shows it
                found["error"] = error.code
        except UpdaterError as error:
            found["error"] = error.code
        else:
            self._look_at_first_granule(found)
        found["product_id"] = target.product_id
        found["loader_id"] = target.loader_id
        if target.options is not None:
            found["option_bytes"] = target.options.data.hex()
        return found

    def _look_at_first_granule(self, found):
        try:
            granule = self._target.read_memory(self._chip.flash_start, chips.GRANULE)
        except UpdaterError:
            found["unreadable"] = True
            self._enter()
            return
        if granule is None:
            found["refuses"] = True
        else:
            found["blank"] = granule == b"\xff" * chips.GRANULE

    # --- moving ---

    def _use(self, bus):
        """Use `bus` for the target from now on."""
        self._bus = bus
        self._target = self._target_at(self._chip.loader_address)

    def _target_at(self, address):
        enter = self._settings["enter"]
        command = enter["command"] and self._application_at(
            enter["address"], command=enter["command"]
        )
        link = self._wires.link(self._bus, address)
        return Target(self._chip, self._pins, link, self._clock, command and command.enter_loader)

    def _application_at(self, address, register=None, command=None):
        return Application(self._bus, address, register, command and bytes.fromhex(command))

    def _enter(self):
        """Do what should start the loader. Returns the line that stays low, or None."""
        try:
            self._target.reach_loader()
        except BusStuck as error:
            return error.line
        return self._free()

    def _reset(self):
        if self._pins.nrst:
            self._target.reset()
        return self._free()

    def _free(self):
        """Clear the bus. Returns the line that stays low, or None. Nothing holds a UART's."""
        if self._wires.over_uart:
            self._bus.reopen()
            return None
        try:
            self._bus.recover()
        except BusStuck as error:
            return error.line
        return None
