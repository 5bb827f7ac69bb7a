"""Waits until a target has programmed its option bytes: reads its status and does nothing else."""

from micropython import const

from stm32_rom.commands import ABSENT, ACK, BUSY, HELD, NACK, UNDRIVEN
from stm32_updater.errors import StoreError

from .errors import NotFinished

# The work takes at most 85 ms: a mass erase and the erase of the option page, 40 ms each, and 16
# double words (DS12232). The first status is read after that. It must be read: some loaders load
# the new option bytes only after their last status was read, for which they wait 1 s.
_FIRST_READ_MS = const(500)
# Between status reads of a target that answers BUSY. Each read is a risk: if the host fails or a
# line breaks in it, the loader resets its chip after 1 s. The price of few reads: the last status
# of a slow chip is missed, and it then needs a power-on to load its option bytes.
_PAUSE_MS = const(10_000)
_UNFINISHED_READS = const(3)  # in a row
# BUSY was seen for 40 s in the field. After this limit the target only gets more time.
_WATCH_LIMIT_MS = const(60_000)
_LONGER_MS = const(60_000)
# Time for a target that has become silent: ST's driver allows 1 s for each operation.
_SETTLE_MS = const(5000)
_EVENT_EVERY_MS = const(10_000)
_ENDS = (ACK, NACK, ABSENT, UNDRIVEN)  # UNDRIVEN: it was reset during the read

SENDING = "sending"  # stages in the hands-off file
_AT_WORK = "still at work: %s"


class Watch:
    """One wait, which begins at `start()`. Its generators yield the events "seen" and "hands-off",
    and raise NotFinished; `file`, a HandsOffFile, then says so too."""

    def __init__(self, board, clock, file):
        self.stages = []  # [ms since the command was sent, status]
        self._board = board
        self._clock = clock
        self._file = file
        self._loader = board.target.loader
        self._sent = clock.now()

    def check_not_at_work(self, what):
        """Raises NotFinished if the target is at work although there is no hands-off file. If it
        answers BUSY, the file is written. If the bus is held it is not, because that may have
        another cause."""
        seen = self._board.target.at_work()
        if seen == BUSY:
            raise self._not_finished(what, seen)
        if seen is not None:
            raise NotFinished(
                "the bus is held: the target may be programming its option bytes, or a line is "
                "shorted to ground"
            )

    def start(self):
        """Call this just before the command is sent."""
        self._sent = self._clock.now()

    def after_command(self, what):
        """Wait until the target has finished the operation `what`, which was just sent."""
        self._clock.sleep(_FIRST_READ_MS)
        yield from self._wait_for_the_end(what)

    def after_interruption(self, unfinished):
        """Wait until the target has finished an operation of an earlier run; `unfinished`: the
        content of the hands-off file."""
        yield from self._leave_alone(_SETTLE_MS)
        cut_short = unfinished["stage"] == SENDING
        yield from self._wait_for_the_end(unfinished["what"], cut_short)

    def _leave_alone(self, ms):
        """Wait without any frame, reset or switching of the supply."""
        while ms > 0:
            yield {"event": "hands-off", "ms": ms}
            nap = min(ms, _EVENT_EVERY_MS)
            self._clock.sleep(nap)
            ms -= nap

    def _wait_for_the_end(self, what, cut_short=False):
        """Watch until the target stops answering BUSY, leave it alone for a while, then read its
        status once more. One deadline limits the repetitions; after it, a target that is still at
        work is left alone for longer, read once more, and then given up: NotFinished.

        A target that may be at work is never reset: a chip that answers BUSY forever is bad, but a
        chip that was reset while it wrote its option bytes is worse. A silent target may be at
        work too, so it is not reset either, by this run or a later one. Exception: if an earlier
        run was `cut_short` before it could see such a silence, a minute of silence is taken for an
        application that does not answer."""
        deadline = self._clock.deadline(_WATCH_LIMIT_MS)
        while True:
            yield from self._watch(deadline)
            yield from self._leave_alone(_LONGER_MS if deadline.expired() else _SETTLE_MS)
            seen = self._at_work()
            if seen is None:
                return
            if deadline.expired():
                break
        if seen == ABSENT and cut_short:
            return
        raise self._not_finished(what, seen)

    def _not_finished(self, what, seen):
        """Write the hands-off file for the next run; returns the error to raise."""
        try:
            self._file.write(what, _AT_WORK % seen, self._board.chip.name)
        except StoreError:
            pass  # an earlier file still counts, and the error below is more important
        return NotFinished("the target may still be programming its option bytes: %s" % seen)

    def _watch(self, deadline):
        """Read the status until it is not BUSY or the deadline has passed.

        For an idle loader such a read is out of turn: it holds the line, and resets itself after
        its timeout. This does no harm, but a command to a loader at work would."""
        last_event_ms = -_EVENT_EVERY_MS
        while True:
            seen = self._status()
            ms = self._clock.since(self._sent)
            changed = not self.stages or self.stages[-1][1] != seen
            if changed:
                self.stages.append([ms, seen])
            if changed or ms - last_event_ms >= _EVENT_EVERY_MS:
                last_event_ms = ms
                yield {"event": "seen", "what": seen, "ms": ms}
            if deadline.expired() or seen in _ENDS:
                return
            if seen == HELD and self._loader.releases_lines(self._board.chip.release_ms):
                return
            deadline.sleep(_PAUSE_MS)

    def _at_work(self):
        """BUSY, HELD or ABSENT if the target may still be at work; None if its restarted loader or
        its application answers."""
        seen = self._status()
        if seen == HELD:
            return None if self._loader.releases_lines(self._board.chip.release_ms) else seen
        if seen == ABSENT and self._board.application_runs():
            return None
        return seen if seen in (BUSY, ABSENT) else None

    def _status(self):
        """Read one status. A read that timed out is repeated as soon as the lines are free, while
        the loader waits for the rest of it. HELD if the lines do not become free."""
        for _ in range(_UNFINISHED_READS):
            seen = self._loader.status()
            if seen != HELD or not self._loader.releases_lines(
                self._board.chip.loader_timeout_ms // 2
            ):
                break
        return seen
