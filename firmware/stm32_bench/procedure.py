"""The common part of Provision and Unprotect: read the target, plan, send one dangerous command,
leave the target alone while it works, check the result.

Events are dicts with "event" as first key:

    {"event": "interrupted", "what", "stage"}             an earlier run was not finished
    {"event": "power-on-needed"}                          its changes may need a power-on to load
    {"event": "loader", "chip", "version", "protocol"}
    {"event": "sending", "what": text}                    the dangerous command
    {"event": "doubt", "message"}                         an error while it was sent
    {"event": "seen", "what", "ms"}                       a new status; the same one every 10 s
    {"event": "hands-off", "ms": left}                    nothing is sent, reset or switched
    {"event": "progress", "phase": "erase" | "blank check", "done": pages, "total": pages}
    {"event": "result", "ok": bool, "status": ..., ...}   always the last event

A result has "stages" if the target was watched, and "warning" if the operation succeeded but the
hands-off file could not be removed.
"""

from micropython import const

from stm32_rom import option_bytes
from stm32_rom.clock import Clock
from stm32_rom.errors import BusError, LoaderError, LoaderSilent, ReadProtected, UpdaterError
from stm32_updater.errors import StoreError
from stm32_updater.event_log import EventLog

from . import optr
from .board import BenchBoard
from .errors import LayoutUnknown, NotAllowed, OptionsTorn, PlanOutdated
from .hands_off import HandsOffFile
from .loader import BenchLoader
from .watch import SENDING, Watch

_TRIES = const(3)

_NO_WAY_IN = (
    "If the part is blank, switch it off and on, and run the command again with --power-cycled: "
    "it then starts its loader by itself, and the command skips the status read that makes V11.3 "
    "leave its loader. If it holds an application that cannot enter the loader, and ignores the "
    "BOOT0 pin (factory option bytes), there is no way over I2C: use an ST-LINK and "
    "STM32CubeProgrammer once. Otherwise check the wiring, and whether a debugger was attached "
    "since power-on."
)
_LEFT_ITS_LOADER = (
    "Switch the target off and on once, and run the command again with --power-cycled: a reset "
    "makes a blank part with this loader leave it, and only a power-on starts it again."
)
_MAYBE_LOCKED = (
    "Switch the target off and on once, and run the command again with --power-cycled. If it "
    "stays silent, and it was reset or lost its supply while it worked, it may be locked "
    "permanently."
)


class Procedure:
    """One operation of the bench. `plan()` is read-only. `apply(plan)` makes the plan again and
    refuses if anything differs. Both are generators of events."""

    what = ""  # the operation, in the hands-off file and in the plan
    changes_options = True  # whether the chip programs its option bytes

    def __init__(self, board, clock, folder="/updater"):
        self._board = board
        self._clock = clock
        self._target = board.target
        self._loader = BenchLoader(board.target)
        self._folder = folder
        self._file = HandsOffFile(folder)
        self._log = EventLog(folder, clock)
        self._watch = Watch(board, clock, self._file)
        self._needs_power_on = False  # whether a reset makes this blank part leave its loader
        self._warning = None

    @classmethod
    def from_board(cls, path="/board.json", feed=None):
        """For the board that the file at `path` describes. Raises BoardError, StoreError."""
        clock = Clock(feed)
        return cls(BenchBoard.load(path, clock), clock)

    def plan(self, power_cycled=False, **wishes):
        """Read-only. The result event is the plan, JSON values; pass it to `apply` unchanged.

        `power_cycled`: the target was just switched off and on by hand. So it cannot be at work,
        and no status is read and no time waited for that."""
        return self._logged(self._plan_flow(power_cycled, wishes))

    def apply(self, plan):
        """Carry out `plan`, at most once."""
        return self._logged(self._apply_flow(plan))

    # --- for each operation ---

    def _planned(self, options, wishes):
        """The plan for a target with these option bytes (128 bytes; None: unreadable, RDP 1)."""
        raise NotImplementedError

    def _applied(self, plan):
        """Carry out the plan on a target that is in its loader and as planned. A generator; the
        last event is the result."""
        raise NotImplementedError

    def _supply_needed(self, plan):
        """Minimum of the target's supply in mV for this plan, in addition to the board's."""
        return 0

    # --- the flow ---

    def _logged(self, events):
        for event in self._guarded(events):
            if event["event"] != "progress":
                self._log.write(event)
            yield event

    def _guarded(self, events):
        """Turns an UpdaterError into a result event. Does not clean up: the target is left as it
        is, because it may be at work."""
        try:
            yield from events
        except UpdaterError as error:
            yield self._result(False, "failed", error.as_dict())

    def _plan_flow(self, power_cycled, wishes):
        self._check_layout()
        unfinished = self._file.read()
        if unfinished is not None:
            yield from self._finish_interrupted(unfinished, power_cycled)
        elif not power_cycled:
            self._watch.check_not_at_work(self.what)
        options = self._enter()
        yield self._loader_event()
        try:
            plan = self._planned(options, wishes)
        finally:
            self._target.start_application()
        yield self._result(True, plan["status"], plan)

    def _apply_flow(self, plan):
        self._check_layout()
        if self._file.read() is not None:
            raise NotAllowed(
                "an earlier run is not finished", "Make a new plan, which finishes it first."
            )
        if plan.get("what") != self.what or plan.get("chip") != self._board.chip.name:
            raise PlanOutdated("this plan is for another operation or chip")
        options = self._enter()
        yield self._loader_event()
        try:
            again = self._planned(options, plan["wishes"])
            for key in again:
                if again[key] != plan.get(key):
                    raise PlanOutdated("the target differs from the plan: %s" % key)
            if again["status"] == "planned" and self._board.supply is not None:
                self._board.supply.check(self._clock, self._supply_needed(again))
        except UpdaterError:
            self._target.start_application()
            raise
        yield from self._applied(again)

    def _check_layout(self):
        if self.changes_options and not self._target.loader.is_polled:
            raise NotAllowed(
                "over UART no option bytes are changed: a loader that missed a byte waits for it, "
                "and looks like one that works",
                "Wire the target's I2C for this, or use an ST-LINK and STM32CubeProgrammer.",
            )
        chip = self._board.chip
        if not chip.options_address:
            raise LayoutUnknown("the option bytes of the %s are not known" % chip.name)

    def _finish_interrupted(self, unfinished, power_cycled):
        """Finish an earlier run that was interrupted: wait as long as it would have, check the
        target, remove the hands-off file."""
        yield {"event": "interrupted", "what": unfinished["what"], "stage": unfinished["stage"]}
        if not power_cycled:
            yield from self._watch.after_interruption(unfinished)
        self._clear_if_sound(self._enter_after_work())
        if power_cycled:
            return
        # The loader may not have loaded the option bytes that it had programmed.
        if not self._target.power_cycle():
            yield {"event": "power-on-needed"}

    # --- the target ---

    def _enter(self):
        """Enter the loader. Returns the 128 option bytes, None if unreadable (RDP 1). Raises
        OptionsTorn without a reset.

        Does not reset if the loader already answers: a blank part that ignores BOOT0 is in its
        loader since power-on, and a reset makes V11.3 leave it (AN2606 table 108)."""
        refused = False
        for left in range(_TRIES - 1, -1, -1):
            try:
                return self._identified()
            except ReadProtected:  # noise may look like it: it is believed if it is seen twice
                if refused:
                    return None
                refused = True
                if not left:
                    raise
            except (LoaderError, BusError):  # a flipped bit may look like another chip: try again
                if not left:
                    raise

    def _enter_after_work(self):
        """As `_enter`, after the chip may have programmed its option bytes."""
        try:
            return self._enter()
        except LoaderSilent as error:
            advice = _LEFT_ITS_LOADER if self._needs_power_on else _MAYBE_LOCKED
            raise LoaderSilent(error.message, advice)

    def _identified(self):
        target = self._target
        try:
            if target.in_loader():
                target.identify()
            else:
                target.enter_loader()
        except LoaderSilent as error:
            raise LoaderSilent(error.message, _NO_WAY_IN)
        options = target.options
        if options.torn:
            raise OptionsTorn(
                "an option word and its complement do not match: a reset would lock the target"
            )
        if target.quirks.clears_empty_flag and target.blank():
            counts = optr.boot0_counts(optr.read(options.data))
            self._needs_power_on = target.pins.boot0 is None or not counts
        return bytes(options.data)

    def _send(self, shown, send, *arguments):
        """Send the dangerous command, never twice, and wait for its end. A generator."""
        self._file.write(self.what, SENDING, self._board.chip.name)
        self._target.hold_boot0()
        self._watch.start()
        yield {"event": "sending", "what": shown}
        try:
            send(*arguments)
        except UpdaterError as error:  # it may still have arrived: watch, do not send again
            yield {"event": "doubt", "message": error.message}
        yield from self._watch.after_command(self.what)

    def _loader_event(self):
        return {
            "event": "loader",
            "chip": self._board.chip.name,
            "version": self._target.quirks.version,
            "protocol": self._target.protocol,
        }

    def _clear_if_sound(self, options):
        """Remove the hands-off file if the option bytes are sound."""
        if not self._is_sound(options):
            return
        try:
            self._file.remove()
        except StoreError as error:  # a warning only: the target is sound
            self._warning = "%s; while it exists the updater does not access the target" % error

    def _is_sound(self, options):
        """Whether the option bytes can be read and are without protection. Torn ones have already
        raised OptionsTorn."""
        return options is not None and optr.read(options) & 0xFF == option_bytes.RDP_LEVEL_0

    def _result(self, ok, status, more):
        result = {"event": "result", "ok": ok, "status": status}
        result.update(more)
        if self._watch.stages:
            result["stages"] = self._watch.stages
        if self._warning is not None:
            result["warning"] = self._warning
        return result
