"""Waiting for a target that programs its option bytes: ask for its status, and touch nothing."""

from micropython import const

from stm32_updater import chips
from stm32_updater.errors import BusStuck

from . import loader
from .errors import NotFinished

# All of it takes 85 ms at the longest: a mass erase and the erase of the option page, 40 ms each,
# and 16 double words (DS12232). So nothing is asked before this is over. Then the loader's last
# status is fetched: some only then load the new option bytes, and they wait for 1 s.
_FIRST_LOOK_MS = const(500)
_PAUSE_MS = const(500)  # between looks at a target that says BUSY
# BUSY was seen for 40 s in the field. When this is over, nothing but time is spent on the target.
_WATCH_LIMIT_MS = const(60_000)
_LONGER_MS = const(60_000)
# After it has fallen silent: ST's driver allows each operation 1 s.
_SETTLE_MS = const(5000)
_TELL_EVERY_MS = const(10_000)
_ENDS = (loader.ACK, loader.NACK, loader.ABSENT, "0xFF")  # nobody drives SDA: reset in the middle


class Watch:
    """One wait, from `start()` on. Its generators yield the events "seen" and "hands-off", and
    raise NotFinished, which `note` then tells too."""

    def __init__(self, board, clock, note):
        self.stages = []  # [ms since the command was sent, what was seen]
        self._board = board
        self._clock = clock
        self._note = note
        self._loader = board.target.loader
        self._sent = clock.now()

    def start(self):
        """The command is about to be sent."""
        self._sent = self._clock.now()

    def after_command(self, what):
        """Until the target has done `what` it was just told."""
        self._clock.sleep(_FIRST_LOOK_MS)
        yield from self._wait_for_the_end(what)

    def after_interruption(self, what):
        """Until it has done what an earlier run told it: wait as long as that would have."""
        yield from self._hands_off(_SETTLE_MS)
        yield from self._wait_for_the_end(what, interrupted=True)

    def _hands_off(self, ms):
        """Leave the target alone: no frame, no reset, no supply."""
        while ms > 0:
            yield {"event": "hands-off", "ms": ms}
            nap = min(ms, _TELL_EVERY_MS)
            self._clock.sleep(nap)
            ms -= nap

    def _wait_for_the_end(self, what, interrupted=False):
        """Watch until the target falls silent, keep the hands off, be sure. One deadline serves
        all of it; a target that works even then is left alone for longer, and then for good.

        The only thing worse than a chip that says BUSY for ever is one that was reset while it
        wrote its option bytes: the tool never does that. One that shows no sign of anything is
        left alone too, by the run that sent the command; a later one takes a minute of silence
        for an application that does not talk. Raises NotFinished."""
        deadline = self._clock.deadline(_WATCH_LIMIT_MS)
        while True:
            yield from self._watch(deadline)
            yield from self._hands_off(_LONGER_MS if deadline.expired() else _SETTLE_MS)
            seen = self._at_work()
            if seen is None:
                return
            if deadline.expired():
                break
        if seen == loader.ABSENT and interrupted:
            return
        self._note.write(what, "still at work: " + seen, self._board.chip.name)
        raise NotFinished("the target may still be programming its option bytes: %s" % seen)

    def _watch(self, deadline):
        """Ask for statuses until there is another than BUSY, or the deadline is over.

        A loader that is idle takes such a read for something out of turn: it holds SCL, and resets
        itself after its timeout. That does no harm, unlike a command to one that is at work."""
        told = -_TELL_EVERY_MS
        while True:
            seen = self._loader.status()
            ms = self._clock.since(self._sent)
            changed = not self.stages or self.stages[-1][1] != seen
            if changed:
                self.stages.append([ms, seen])
            if changed or ms - told >= _TELL_EVERY_MS:
                told = ms
                yield {"event": "seen", "what": seen, "ms": ms}
            if deadline.expired() or seen in _ENDS:
                return
            deadline.sleep(_PAUSE_MS)
            if seen == loader.HELD and not self._clock_is_held():
                return

    def _at_work(self):
        """Asked after hands-off: BUSY, HELD or ABSENT if the target may still work; None if it
        does not: its loader, reset since, or its application answers."""
        seen = self._loader.status()
        if seen == loader.HELD:
            self._clock.sleep(chips.LOADER_TIMEOUT_MS + _PAUSE_MS)
            return seen if self._clock_is_held() else None
        if seen == loader.ABSENT and self._board.application_runs():
            return None
        return seen if seen in (loader.BUSY, loader.ABSENT) else None

    def _clock_is_held(self):
        try:
            self._loader.free()
        except BusStuck:
            return True
        return False
