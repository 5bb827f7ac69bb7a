"""One run: intend, write, prove, commit or turn back. What comes next is decided in decide.py."""

from micropython import const

from stm32_rom.errors import ReadProtected, WrongChip

from . import decide
from .admission import Admission
from .errors import (
    ApplicationSilent,
    ImageDamaged,
    ImageError,
    OutOfMemory,
    PageProtected,
    StoreError,
    shortened,
)
from .flasher import Doubt, Flasher
from .image import version_text
from .record import CONFIRMING, IDLE, INSTALLING, ROLLING_BACK, UNKNOWN
from .run_events import about, failure, result
from .store import exists

_POLL_MS = const(50)
# Starts beyond a board's `tries` that a loss of power may have cut short. More are taken for the
# application's own doing.
_STARTS_CUT = const(5)
# What makes an update impossible, before anything is erased: this part is protected, or another.
_NEVER = (PageProtected, ReadProtected, WrongChip)


class Flow:
    """A run that has something to do, for one record. `events` may be called once."""

    def __init__(self, board, store, clock, record):
        self._board = board
        self._store = store
        self._clock = clock
        self._record = record
        self._target = board.target
        self._admission = Admission(board, store, clock)
        self._flasher = Flasher(board.target)
        self._started = clock.now()
        self._reason = ""
        self._blamed = ""  # the reason of the rollback that this run has begun
        self._was_written = False
        self._is_stopped = False  # the application, by this run

    def let_go(self):
        """Whatever ends a run: an application that was stopped for it is started again."""
        if self._is_stopped:
            self._start_application()

    def events(self, force):
        """A generator of run_events, the result last. Raises UpdaterError."""
        record = self._record
        image, refusal, told = yield from self._pushed(force)
        runs_already = image is not None and not force and self._is_installed(image)
        what = decide.at_start(record.phase, image is not None, runs_already, refusal is not None)
        if what == decide.REFUSE:
            raise refusal
        if what == decide.NOTHING:
            yield result(True, "idle")
            return
        if what == decide.UP_TO_DATE:
            self._store.discard(image.path)
            yield from told
            yield result(True, "up-to-date", version=image.version)
            return
        if what == decide.INSTALL:
            if force:
                record.doubt = (1 << self._board.chip.pages) - 1
            told.append(self._intend("installing", image))
        else:
            image, told = yield from self._resumed(refusal)
        yield from told
        if image is not None:
            self._started = self._clock.now()
            yield from self._carry_on(image)

    def _pushed(self, force):
        """What the inbox holds; see Admission.newest. If it cannot be looked into or cleared, what
        is under way goes on."""
        try:
            paths = self._admission.pushed(self._record)
            return (yield from self._admission.newest(paths, self._record, force))
        except StoreError as error:
            return None, error, []
        except MemoryError as error:
            return None, OutOfMemory("no memory to check what was pushed: %s" % error), []

    def _is_installed(self, image):
        """Whether `image` is what runs: nothing else is under way, and it says so itself."""
        record = self._record
        same = record.phase == IDLE and image.digest.hex() == record.installed
        return same and self._confirms(image)[0]

    def _resumed(self, refusal):
        """The image that the interrupted update is about, or the best of those kept where that is
        gone, or None: nothing to do, or nothing to do it with. And the events that say so. A
        generator of refusals. Raises the last of them."""
        record = self._record
        image, why = None, None
        if record.image is not None:
            image, why = self._admission.find(self._store.kept(), record.image)
        if image is not None:
            return image, [about("resuming", image)]
        refusal = refusal or why
        runs = self._board.application_runs()
        kept = []
        if decide.looks_at_kept(record.phase, record.doubt, runs):
            kept = [path for path in self._store.kept() if exists(path)]
        image, why, told = yield from self._admission.newest(kept, record)
        refusal = refusal or why
        if image is None and decide.wakes(runs, refusal, self._store.has_record):
            runs = self._wakes()
        what = decide.without_image(image, runs, refusal)
        if what == decide.INSTALL:
            if image.digest.hex() == record.image:  # it could not be read a moment ago
                return image, told + [about("resuming", image)]
            return image, told + [self._intend("installing", image)]
        if what == decide.LEAVE:
            record.phase = IDLE
            record.image = None
            record.installed = None  # which one it is was not seen
            self._store.save(record)
        if refusal is not None:
            raise refusal
        if what == decide.LEAVE:
            return None, [result(True, "idle")]
        need = ApplicationSilent(
            "no application answers, and there is no image to install",
            "Push an image: stm32up push IMAGE",
        )
        return None, [result(False, "waiting", need)]

    def _wakes(self):
        """Start an application that an earlier run, of which nothing is known, may have left in
        the loader; whether it runs. Not if a running one could not be told from that; not without
        BOOT0, because a blank loader 11.3 would not come back; and not while the target may be
        programming its option bytes."""
        if not self._board.application_shows or self._target.pins.boot0 is None:
            return False
        if self._target.at_work() is not None:
            return False
        self._start_application()
        return self._runs_again()

    def _intend(self, event, image):
        """Durable: from here on the target is on its way to `image`. Returns the event."""
        if image.path != self._store.confirmed:
            self._store.adopt(image)
        self._aim(INSTALLING, image)
        return about(event, image)

    def _aim(self, phase, image):
        """Note that `image` is under way."""
        record = self._record
        record.phase = phase
        record.image = image.digest.hex()
        record.starts = 0
        self._store.save(record)

    # --- what is under way ---

    def _carry_on(self, image):
        """From any phase to the end, which is a result event. A rollback is the loop's second
        pass, which saves frames on the small stack of an rp2; there is never a third. Each wait
        in it has a deadline of its own."""
        record = self._record
        while True:
            self._was_written = record.phase != CONFIRMING
            if self._was_written:
                yield from self._written(image)
            if record.phase == INSTALLING:
                record.phase = CONFIRMING
            if (yield from self._proves_itself(image)):
                try:
                    error = self._keep(image)
                except StoreError:
                    self._count_starts(0)  # none of them has taken the host down
                    raise
                if error is not None:
                    yield failure("not-kept", image.path, error)
                yield self._commit(image)
                return
            lasting = yield from self._is_to_blame(image)
            image, event = self._turn_back(image, lasting)
            yield event

    def _written(self, image):
        """The target holds `image` after this; a generator of events."""
        record = self._record

        def save():
            record.doubt = doubt.bits
            self._store.save(record)

        target, flasher = self._target, self._flasher
        doubt = Doubt(record.doubt, save)
        try:
            self._is_stopped = True
            target.enter_loader()
            yield {
                "event": "loader",
                "chip": self._board.chip.name,
                "version": target.quirks.version,
                "protocol": target.protocol,
            }
            yield from flasher.converge(image, doubt)
        except Exception as error:
            self._start_application()  # the old one, if nothing was erased yet
            whole = self._board.chip.page_of(image.address) not in doubt
            untouched = whole and record.phase == INSTALLING
            lasting = isinstance(error, _NEVER)
            runs = lasting and not untouched and self._runs_again()
            phase = decide.after_failed_writing(
                untouched, runs, isinstance(error, ImageError), lasting
            )
            if phase is not None:
                self._forget(phase)
            raise error
        yield {
            "event": "written",
            "bytes": image.own_size,
            "verified": flasher.verified,
            "erased_pages": flasher.erased_pages,
            "repeats": flasher.repeats,
        }

    def _runs_again(self):
        """Whether an application answers, after a start, within its time."""
        deadline = self._clock.deadline(self._board.confirm_timeout_ms)
        while not self._board.application_runs():
            if deadline.expired():
                return False
            deadline.sleep(_POLL_MS)
        return True

    def _proves_itself(self, image):
        """Start the application and ask it, up to the board's number of tries; sets `_reason`.

        Each start is recorded before: there is an end to starting an application that takes the
        host down with it, unless there is no other to start."""
        record, tries = self._record, self._board.confirm_tries
        for number in range(1, tries + 1):
            if record.phase == CONFIRMING and record.starts >= tries + _STARTS_CUT:
                self._reason = "the host went down at each of %d starts" % record.starts
                return False
            self._count_starts(record.starts + 1)
            yield {"event": "starting", "try": number}
            self._start_application()
            deadline = self._clock.deadline(self._board.confirm_timeout_ms)
            while True:
                proven, self._reason = self._confirms(image)
                if proven:
                    return True
                if deadline.expired():
                    break
                deadline.sleep(_POLL_MS)
        self._count_starts(0)  # the host is still up: none of them has taken it down
        return False

    def _count_starts(self, number):
        self._record.starts = number
        self._store.save(self._record)

    def _confirms(self, image):
        """(True, "") if the application proves itself now, else (False, why not). A proof that
        ends in an error of the product's own code is none."""
        try:
            return bool(self._board.confirm(image)), ""
        except Exception as error:
            return False, "confirm() failed: " + shortened(error)

    def _start_application(self):
        self._target.start_application()
        self._is_stopped = False

    def _keep(self, image):
        """Make the image that runs the confirmed one, if its file still is that image. Else the
        one that was confirmed before stays; returns the error."""
        if image.path == self._store.confirmed:
            return None
        if not exists(image.path):
            return ImageDamaged("%s is gone" % image.path)
        try:
            image.check_digest(self._clock)
        except ImageDamaged as error:
            self._store.discard(image.path)
            return error
        self._store.confirm(image)
        return None

    def _commit(self, image):
        """The application has answered: this image is the confirmed one now. The result."""
        record = self._record
        rolled_back = record.phase == ROLLING_BACK
        record.phase = IDLE
        record.image = None
        record.installed = image.digest.hex()
        if record.failed == record.installed:
            record.failed = None
        record.counter = max(record.counter, image.security_counter)
        self._store.save(record)
        if rolled_back:
            error = ApplicationSilent(
                "the new application did not prove itself%s; %s is back"
                % (self._blamed and " (%s)" % self._blamed, image.version),
                "It has to answer as [confirm] in board.toml says. Push a newer image"
                + (
                    ", or this one once more if something else may be at fault: stm32up doctor."
                    if record.again
                    else "; this one is not tried again without --force."
                ),
            )
            return result(False, "rolled-back", error, version=image.version)
        told = result(True, "installed", version=image.version, bytes=image.own_size)
        told["target_ms"] = self._clock.since(self._started)
        told.update(self._admission.times)
        if self._was_written:
            told["verified"] = self._flasher.verified
        return told

    def _is_to_blame(self, image):
        """Whether it is the application's own doing that it did not prove itself; see
        decide.after_silence. Adds to `_reason`. A generator of progress; leaves the target in its
        loader, and if that fails the wires are at fault. Raises ApplicationSilent, LoaderError,
        BusError, ImageDamaged, StoreError."""
        record = self._record
        version = self._board.application_version()
        what = decide.after_silence(record.phase, record.starts > 0, version, image.version_bytes)
        if what == decide.GIVE_UP:
            raise ApplicationSilent("neither the new application nor the last good one answers")
        self._reason = self._reason or _why_not(version, image)
        self._is_stopped = True
        self._target.enter_loader()
        if what != decide.ASK_FLASH:
            return what == decide.BLAME
        if (yield from self._flasher.holds(image)):
            return True
        self._reason += ", and the target does not hold what was written"
        return False

    def _turn_back(self, image, lasting):
        """The application did not prove itself: back to the confirmed image, if there is one. The
        image, and the event that says so. Unless the fault is `lasting`, the image may be tried
        once more."""
        record, digest = self._record, image.digest.hex()
        self._blamed = self._reason
        record.again = int(not lasting and record.failed != digest)
        record.failed = digest
        previous, why = self._admission.find((self._store.confirmed,))
        if previous is None or previous.digest.hex() == digest:
            self._forget(UNKNOWN)
            none = "there is no earlier one to go back to"
            if why is not None:
                none = "the one before must not come back: %s" % why.message
            raise ApplicationSilent(
                "application %s was written and verified but does not prove itself (%s), and %s"
                % (image.version, self._blamed, none)
            )
        self._aim(ROLLING_BACK, previous)
        self._store.discard(self._store.candidate)
        event = about("rolling-back", previous)
        event["reason"] = self._blamed
        return previous, event

    def _forget(self, phase):
        """Nothing is under way any more, and the candidate is gone. UNKNOWN: each start asks
        whether an application runs, until one does or an image comes."""
        record = self._record
        record.phase = phase
        record.image = None
        self._store.save(record)
        self._store.discard(self._store.candidate)


def _why_not(version, image):
    """For people: how an application that answers `version` (8 bytes, or None) failed to prove
    itself."""
    if version is None:
        return "it is silent"
    if version == image.version_bytes:
        return "it answers, but was not confirmed"
    built, runs = image.version, version_text(version)
    return "built as %s, answers %s: was --version right?" % (built, runs)
