"""Does the application work? It is started and asked for its proof."""

from micropython import const

from . import decide
from .errors import ApplicationSilent, StoreError, shortened
from .image import version_text
from .record import CONFIRMING

_POLL_MS = const(50)
# Starts beyond a board's `tries` that a loss of power may have interrupted. If there are more, the
# application is to blame.
_STARTS_CUT = const(5)


class Proof:
    """Starts and stops the application of one board, and asks it.

    `reason`: why it did not prove itself, or "". `is_stopped`: whether this run stopped it."""

    def __init__(self, board, store, clock, record):
        self._board = board
        self._store = store
        self._clock = clock
        self._record = record
        self.reason = ""
        self.is_stopped = False
        self._is_pending = False  # a start is counted, and not yet known to be fine

    def stop(self):
        """Into the loader. Raises as Target.enter_loader."""
        self.is_stopped = True
        self._board.target.enter_loader()

    def start(self):
        """Out of the loader; see Target.start_application."""
        self._board.target.start_application()
        self.is_stopped = False

    def runs_in_time(self):
        """Whether an application answers within `confirm_timeout_ms`: it may have been started
        just now."""
        deadline = self._clock.deadline(self._board.confirm_timeout_ms)
        while not self._board.application_runs():
            if deadline.expired():
                return False
            deadline.sleep(_POLL_MS)
        return True

    def attempts(self, image):
        """Start the application and ask for its proof, up to the board's number of tries. Sets
        `reason`. A generator of events, and of None where other tasks may run.

        Each start is recorded first: an application that takes the host down (by its load on the
        supply, for example) is started a limited number of times, unless this is a rollback."""
        record, tries = self._record, self._board.confirm_tries
        for number in range(1, tries + 1):
            if record.phase == CONFIRMING and record.tries >= tries + _STARTS_CUT:
                self.reason = "the host went down at each of %d starts" % record.tries
                return False
            self.count(record.tries + 1)
            self._is_pending = True
            yield {"event": "starting", "try": number}
            self.start()
            yield None
            deadline = self._clock.deadline(self._board.confirm_timeout_ms)
            while True:
                proven, self.reason = self.given(image)
                if proven:
                    record.tries = 1  # no earlier start took the host down
                    return True
                if deadline.expired():
                    break
                deadline.sleep(_POLL_MS)
                yield None
            self._is_pending = False
            record.tries -= 1  # the host is still up: this start does not count
        self.count(0)  # the host is still up
        return False

    def settle(self):
        """The start that was counted last has led to something durable."""
        self._is_pending = False

    def give_up(self):
        """The run ends early. The host is still up, so a start that is pending does not count."""
        if self._is_pending:
            self._is_pending = False
            try:
                self.count(max(0, self._record.tries - 1))
            except StoreError:
                pass  # it counts then: one of several

    def take_over(self, other):
        """Go on instead of the Proof of a run that was not finished."""
        self.is_stopped = other.is_stopped
        if other._is_pending:  # the host is still up
            self._record.tries = max(0, self._record.tries - 1)

    def count(self, number):
        """Record durably how often it was tried."""
        self._record.tries = number
        self._store.save(self._record)

    def given(self, image):
        """(True, "") if the application proves itself now, else (False, why not). An exception in
        the product's own `confirm` counts as False."""
        try:
            return bool(self._board.confirm(image)), ""
        except Exception as error:
            return False, "confirm() failed: " + shortened(error)

    def is_to_blame(self, image, flasher):
        """Whether the application itself is at fault for the failed proof; see
        decide.after_silence. Adds to `reason`. A generator of progress. Leaves the target in its
        loader; an error there means that the wires are at fault. Raises ApplicationSilent,
        LoaderError, BusError, ImageDamaged, StoreError."""
        record = self._record
        version = self._board.application_version()
        what = decide.after_silence(record.phase, record.tries > 0, version, image.version_bytes)
        if what == decide.GIVE_UP:
            why = self.reason and " (%s)" % self.reason
            raise ApplicationSilent(
                "neither the new application nor the last good one answers" + why
            )
        self.reason = self.reason or _why_not(version, image)
        self.stop()
        if what != decide.ASK_FLASH:
            return what == decide.BLAME
        if (yield from flasher.holds(image)):
            return True
        self.reason += ", and the target does not hold what was written"
        return False


def _why_not(version, image):
    """For people: why an application that answers `version` (8 bytes or None) is not proved."""
    if version is None:
        return "it is silent"
    if version == image.version_bytes:
        return "it answers, but was not confirmed"
    built, runs = image.version, version_text(version)
    return "built as %s, answers %s: was --version right?" % (built, runs)
