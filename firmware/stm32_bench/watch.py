"""Waiting for a target that programs its option bytes: ask for its status, and touch nothing."""

from micropython import const

from stm32_rom import chips
from stm32_rom.commands import ABSENT, ACK, BUSY, HELD, NACK, UNDRIVEN
from stm32_updater.errors import StoreError

from .errors import NotFinished

# All of it takes 85 ms at the longest: a mass erase and the erase of the option page, 40 ms each,
# and 16 double words (DS12232). So nothing is asked before this is over. Then the loader's last
# status is fetched: some only then load the new option bytes, and they wait for 1 s.
_FIRST_LOOK_MS = const(500)
# Between looks at a target that says BUSY. Each look is a danger: a read that is cut off, by the
# host's end or by a line that fails, makes the loader reset its chip after 1 s. Seldom looks cost
# the last status of a slow chip: it then wants a power-on to load what it has programmed.
_PAUSE_MS = const(10_000)
_UNFINISHED_READS = const(3)  # in a row
# BUSY was seen for 40 s in the field. When this is over, nothing but time is spent on the target.
_WATCH_LIMIT_MS = const(60_000)
_LONGER_MS = const(60_000)
# After it has fallen silent: ST's driver allows each operation 1 s.
_SETTLE_MS = const(5000)
_TELL_EVERY_MS = const(10_000)
_ENDS = (ACK, NACK, ABSENT, UNDRIVEN)  # the last one: reset in the middle

SENDING = "sending"  # stages of the note
_AT_WORK = "still at work: %s"


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

    def look_first(self, what):
        """Before anything else is sent, where no note tells: the target's own BUSY is as good as
        one, and is made one. Raises NotFinished.

        A bus that is held may have another cause, so that leaves no note."""
        seen = self._board.target.at_work()
        if seen == BUSY:
            raise self._not_finished(what, seen)
        if seen is not None:
            raise NotFinished(
                "the bus is held: the target may be programming its option bytes, or a line is "
                "shorted to ground"
            )

    def start(self):
        """The command is about to be sent."""
        self._sent = self._clock.now()

    def after_command(self, what):
        """Until the target has done `what` it was just told."""
        self._clock.sleep(_FIRST_LOOK_MS)
        yield from self._wait_for_the_end(what)

    def after_interruption(self, note):
        """Until it has done what an earlier run told it: wait as long as that would have."""
        yield from self._hands_off(_SETTLE_MS)
        yield from self._wait_for_the_end(note["what"], cut_short=note["stage"] == SENDING)

    def _hands_off(self, ms):
        """Leave the target alone: no frame, no reset, no supply."""
        while ms > 0:
            yield {"event": "hands-off", "ms": ms}
            nap = min(ms, _TELL_EVERY_MS)
            self._clock.sleep(nap)
            ms -= nap

    def _wait_for_the_end(self, what, cut_short=False):
        """Watch until the target falls silent, keep the hands off, be sure. One deadline serves
        all of it; a target that works even then is left alone for longer, and then for good.

        The only thing worse than a chip that says BUSY for ever is one that was reset while it
        wrote its option bytes: the tool never does that. One that shows no sign of anything is
        left alone too, by this run and by any later one. Only where a run was `cut_short` before
        it had seen that is a minute of silence taken for an application that does not talk.
        Raises NotFinished."""
        deadline = self._clock.deadline(_WATCH_LIMIT_MS)
        while True:
            yield from self._watch(deadline)
            yield from self._hands_off(_LONGER_MS if deadline.expired() else _SETTLE_MS)
            seen = self._at_work()
            if seen is None:
                return
            if deadline.expired():
                break
        if seen == ABSENT and cut_short:
            return
        raise self._not_finished(what, seen)

    def _not_finished(self, what, seen):
        """The error to raise, and the note that tells it to the next run."""
        try:
            self._note.write(what, _AT_WORK % seen, self._board.chip.name)
        except StoreError:
            pass  # the old note still stands, and nothing may hide this error's advice
        return NotFinished("the target may still be programming its option bytes: %s" % seen)

    def _watch(self, deadline):
        """Ask for statuses until there is another than BUSY, or the deadline is over.

        A loader that is idle takes such a read for something out of turn: it holds the line,
        and resets itself after its timeout. That does no harm, unlike a command to one that is at
        work."""
        told = -_TELL_EVERY_MS
        while True:
            seen = self._status()
            ms = self._clock.since(self._sent)
            changed = not self.stages or self.stages[-1][1] != seen
            if changed:
                self.stages.append([ms, seen])
            if changed or ms - told >= _TELL_EVERY_MS:
                told = ms
                yield {"event": "seen", "what": seen, "ms": ms}
            if deadline.expired() or seen in _ENDS:
                return
            if seen == HELD and self._loader.releases_lines():
                return
            deadline.sleep(_PAUSE_MS)

    def _at_work(self):
        """Asked after hands-off: BUSY, HELD or ABSENT if the target may still work; None if it
        does not: its loader, reset since, or its application answers."""
        seen = self._status()
        if seen == HELD:
            return None if self._loader.releases_lines() else seen
        if seen == ABSENT and self._board.application_runs():
            return None
        return seen if seen in (BUSY, ABSENT) else None

    def _status(self):
        """One status. A read that was given up is read again while the loader waits for the rest
        of it, which is 1 s; HELD if the line is not let go of meanwhile."""
        for _ in range(_UNFINISHED_READS):
            seen = self._loader.status()
            if seen != HELD or not self._loader.releases_lines(chips.LOADER_TIMEOUT_MS // 2):
                break
        return seen
