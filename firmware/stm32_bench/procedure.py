"""What both procedures of the bench have in common: look, plan, send, keep the hands off, look.

Events are dicts, "event" first:

    {"event": "interrupted", "what", "stage"}             an earlier run did not come to its end
    {"event": "power-on-needed"}                          ... only then all of it takes effect
    {"event": "loader", "chip", "version", "protocol"}
    {"event": "sending", "what": text}                    the one dangerous command
    {"event": "doubt", "message"}                         the bus failed while it was sent
    {"event": "seen", "what", "ms"}                       what the target answers; also every 10 s
    {"event": "hands-off", "ms": left}                    nothing is sent, reset or switched
    {"event": "progress", "phase": "blank check", "done": pages, "total": pages}
    {"event": "result", "ok": bool, "status": ..., ...}   always the last one

A result has "stages" where the target was watched, and "warning" where the note could not be
removed although all is well.
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
from .hands_off import Note
from .loader import BenchLoader
from .watch import SENDING, Watch

_TRIES = const(3)

_NO_WAY = (
    "If the part is blank, switch its supply off and on, and run the command again with "
    "--power-cycled: it then starts its loader by itself, and is not asked whether it is at work "
    "(V11.3 leaves its loader by that). "
    "If it holds an application that cannot enter the loader, and the BOOT0 pin is ignored "
    "(factory option bytes), there is no way over I2C: use an ST-LINK and "
    "STM32CubeProgrammer once. Else "
    "look at the wiring, and for a debugger that was attached since power-on."
)
_LEFT_ITS_LOADER = (
    "Switch its supply off and on once, and run the command again with --power-cycled: a blank "
    "part with this loader leaves it at a reset, and only a power-on brings it back."
)
_MAYBE_LOCKED = (
    "Switch its supply off and on once, and run the command again with --power-cycled. If it "
    "stays silent, and its "
    "supply failed or it was reset while it worked, it may have locked itself for good."
)


class Procedure:
    """One verb of the bench. `plan()` looks and changes nothing; `apply(plan)` takes what `plan`
    said, looks again, and refuses if anything differs. Both are generators of events."""

    what = ""  # in the note and the plan

    def __init__(self, board, clock, folder="/updater"):
        self._board = board
        self._clock = clock
        self._target = board.target
        self._loader = BenchLoader(board.target)
        self._note = Note(folder)
        self._log = EventLog(folder, clock)
        self._watch = Watch(board, clock, self._note)
        self._needs_power_on = False  # known to be blank, and to leave its loader at a reset
        self._warning = None

    @classmethod
    def from_board(cls, path="/board.json", feed=None):
        """For the board described in the file at `path`. Raises BoardError."""
        clock = Clock(feed)
        return cls(BenchBoard.load(path, clock), clock)

    def plan(self, power_cycled=False, **wishes):
        """Read-only. The result is the plan: JSON values, to be given to `apply` as they are.

        `power_cycled`: the target's supply was switched off and on by hand just before. It cannot
        be at work then, so it is neither waited for nor asked."""
        return self._told(self._plan_flow(power_cycled, wishes))

    def apply(self, plan):
        """Do what `plan` says, at most once."""
        return self._told(self._apply_flow(plan))

    # --- of each verb ---

    def _planned(self, options, wishes):
        """The plan for a target with these option bytes (128, None: it refuses to be read)."""
        raise NotImplementedError

    def _applied(self, plan):
        """Generator: what the plan says, on a target that is in its loader and as planned. The
        last event is the result."""
        raise NotImplementedError

    def _supply_needed(self, plan):
        """mV that the target's supply must have, whatever the board says."""
        return 0

    # --- the flow ---

    def _told(self, events):
        for event in self._guarded(events):
            if event["event"] != "progress":
                self._log.write(event)
            yield event

    def _guarded(self, events):
        """Every end is a result event. Nothing is tidied up on the way out: whatever ends a
        procedure in the middle, the target is left alone."""
        try:
            yield from events
        except UpdaterError as error:
            yield self._result(False, "failed", error.as_dict())

    def _plan_flow(self, power_cycled, wishes):
        self._check_layout()
        note = self._note.read()
        if note is not None:
            yield from self._finish_interrupted(note, power_cycled)
        elif not power_cycled:
            self._watch.look_first(self.what)
        options = self._enter()
        yield self._loader_event()
        try:
            plan = self._planned(options, wishes)
        finally:
            self._target.start_application()
        yield self._result(True, plan["status"], plan)

    def _apply_flow(self, plan):
        self._check_layout()
        if self._note.read() is not None:
            raise NotAllowed("an earlier run is not finished", "Make a new plan; it looks first.")
        if plan.get("what") != self.what or plan.get("chip") != self._board.chip.name:
            raise PlanOutdated("this plan is for something else")
        options = self._enter()
        yield self._loader_event()
        try:
            again = self._planned(options, plan["wishes"])
            for key in again:
                if again[key] != plan.get(key):
                    raise PlanOutdated("the target is not what was planned for: %s" % key)
            if again["status"] == "planned" and self._board.supply is not None:
                self._board.supply.check(self._clock, self._supply_needed(again))
        except UpdaterError:
            self._target.start_application()
            raise
        yield from self._applied(again)

    def _check_layout(self):
        chip = self._board.chip
        if not chip.options_address:
            raise LayoutUnknown("the option bytes of the %s are not known here" % chip.name)

    def _finish_interrupted(self, note, power_cycled):
        """An earlier run was cut short: wait as long as it would have, look, clear the note."""
        yield {"event": "interrupted", "what": note["what"], "stage": note["stage"]}
        if not power_cycled:
            yield from self._watch.after_interruption(note)
        self._clear_if_sound(self._look())
        if power_cycled:
            return
        # Cut short, its loader may have had no chance to load what it had programmed.
        if not self._target.power_cycle():
            yield {"event": "power-on-needed"}

    # --- the target ---

    def _enter(self):
        """Into the loader. Returns the 128 option bytes, None if they may not be read (RDP 1).
        Raises OptionsTorn, and leaves such a target where it is.

        No reset if the loader answers already: a blank part that ignores BOOT0 is in its loader
        since power-on, and for V11.3 a reset is the way out of there (AN2606 table 108)."""
        for left in range(_TRIES - 1, -1, -1):
            try:
                return self._identified()
            except (LoaderError, BusError):  # a flipped bit makes it another chip, say
                if not left:
                    raise

    def _look(self):
        """As `_enter`, for what is left after option bytes were programmed."""
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
        except ReadProtected:
            return None  # it is in the loader, and that is what is asked here
        except LoaderSilent as error:
            raise LoaderSilent(error.message, _NO_WAY)
        options = target.options
        if options.torn:
            raise OptionsTorn(
                "an option word and its complement do not match: a reset would lock it"
            )
        if target.quirks.clears_empty_flag and target.blank():
            counts = optr.boot0_counts(optr.read(options.data))
            self._needs_power_on = target.pins.boot0 is None or not counts
        return bytes(options.data)

    def _send(self, shown, send, *arguments):
        """Generator: the one dangerous command, never twice, and then hands off."""
        self._note.write(self.what, SENDING, self._board.chip.name)
        self._target.hold_boot0()
        self._watch.start()
        yield {"event": "sending", "what": shown}
        try:
            send(*arguments)
        except UpdaterError as error:  # it may have arrived all the same: no second try, look
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
        """The note goes when somebody has looked and nothing is left to be afraid of."""
        if not self._is_sound(options):
            return
        try:
            self._note.clear()
        except StoreError as error:  # the target is well, and that is what the result is about
            self._warning = "%s; until it is gone the updater leaves the target alone" % error

    def _is_sound(self, options):
        """Option bytes that can be read, and without protection; torn ones never get here."""
        return options is not None and optr.read(options) & 0xFF == option_bytes.RDP_LEVEL_0

    def _result(self, ok, status, more):
        result = {"event": "result", "ok": ok, "status": status}
        result.update(more)
        if self._watch.stages:
            result["stages"] = self._watch.stages
        if self._warning is not None:
            result["warning"] = self._warning
        return result
