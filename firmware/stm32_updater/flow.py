"""One run: record the intent, write, prove, then commit or roll back. Decisions: decide.py."""

from micropython import const

from stm32_rom.errors import (
    BusError,
    LoaderError,
    LoaderSilent,
    ReadProtected,
    UpdaterError,
    WrongChip,
)

from . import decide
from .admission import Admission
from .errors import (
    ApplicationSilent,
    FlashError,
    ImageDamaged,
    ImageError,
    OutOfMemory,
    PageProtected,
    StoreError,
)
from .flasher import Doubt, Flasher, pages_of
from .image import open_image
from .proof import Proof
from .record import CONFIRMING, IDLE, INSTALLING, ROLLING_BACK, UNKNOWN
from .run_events import about, failure, result
from .store import exists

# Errors before any erase that will be the same in every run.
_PERMANENT = (PageProtected, ReadProtected, WrongChip)
# Runs that wrote nothing more of an image before the last good one is installed again. Enough for
# noise that lasts minutes; a page that does not take its content needs one run to be sure.
_RUNS = const(8)


class Flow:
    """A run that has something to do, for one Record. Call `events` once."""

    def __init__(self, board, store, clock, record):
        self._board = board
        self._store = store
        self._clock = clock
        self._record = record
        self._target = board.target
        self._admission = Admission(board, store, clock)
        self._flasher = Flasher(board.target, board.checksums)
        self._started = clock.now()
        self._target_ms = 0
        self._proof = Proof(board, store, clock, record)
        self._blamed = ""  # the reason of the rollback that this run began
        self._was_written = False

    def abandon(self):
        """End the run early: start the application again if this run stopped it."""
        self._proof.give_up()
        if self._proof.is_stopped:
            self._proof.start()

    def take_over(self, other):
        """Run instead of `other`, which was not finished."""
        self._proof.take_over(other._proof)

    def events(self, force):
        """A generator of run_events, the result last, and of None where other tasks may run.
        Raises UpdaterError."""
        yield None  # loading this module took long
        record = self._record
        image, refusal, events = yield from self._pushed(force)
        runs_already = image is not None and not force and self._is_installed(image)
        what = decide.at_start(record.phase, image is not None, runs_already, refusal is not None)
        if what == decide.REFUSE:
            raise refusal
        if what == decide.NOTHING:
            yield result(True, "idle")
            return
        if what == decide.UP_TO_DATE:
            for _ in self._keep_if_lost(image):
                pass  # no pause: superseded images are removed already, and not yet in the log
            yield from events
            yield result(True, "up-to-date", version=image.version)
            return
        if what == decide.INSTALL:
            if force:
                record.doubt = (1 << self._board.chip.pages) - 1
            events.append(self._intend("installing", image))
        else:
            image, events = yield from self._resumed(refusal)
        yield from events
        if image is not None:
            self._started = self._clock.now()
            yield from self._carry_on(image)

    def _pushed(self, force):
        """Generator, see Admission.newest: the newest image of the inbox. If the inbox cannot be
        read or cleared, an update under way still continues."""
        try:
            paths = self._admission.pushed(self._record)
            return (yield from self._admission.newest(paths, self._record, force))
        except StoreError as error:
            return None, error, []
        except MemoryError as error:
            return None, OutOfMemory("no memory to check what was pushed: %s" % error), []

    def _is_installed(self, image):
        """Whether `image` is recorded as installed, no update is under way, and the application
        proves itself. Where it need not, only flash can tell: False."""
        record = self._record
        same = record.phase == IDLE and image.digest == record.installed
        return same and self._board.asks and self._proof.given(image)[0]

    def _keep_if_lost(self, image):
        """Remove a pushed image that runs already, unless the file of the confirmed image does not
        hold it: then it becomes that file. A generator of None."""
        confirmed, _ = yield from self._admission.find((self._store.confirmed,), image.digest)
        if confirmed is None:
            yield from self._make_confirmed(image)
        else:
            self._store.discard(image.path)

    def _resumed(self, refusal):
        """Generator of refusals and None: (image of the interrupted update, events). If that image
        is gone: the newest of the kept images, or None if there is nothing to do or no image to do
        it with. Raises the last refusal."""
        record = self._record
        image, why = None, None
        if record.image is not None:
            image, why = yield from self._admission.find(self._store.kept(), record.image)
        if image is not None:
            return image, [self._told("resuming", image)]
        refusal = refusal or why
        kept = [path for path in self._store.kept() if exists(path)]
        runs = self._proof.runs_in_time() if kept else self._board.application_runs()
        known = self._store.knows_doubt
        in_doubt = known and record.doubt & 1  # the first page is changed first and finished last
        if not decide.may_replace(runs, in_doubt):
            kept = []
        image, why, events = yield from self._admission.newest(kept, record)
        refusal = refusal or why
        if image is not None:
            if image.digest == record.image:  # `find` could not read it
                return image, events + [self._told("resuming", image)]
            return image, events + [self._intend("installing", image)]
        if decide.may_be_in_loader(record.phase, runs, known, in_doubt, refusal):
            runs = self._starts_from_loader(known)
            if known and not runs:  # it is not started a second time
                self._forget(UNKNOWN)
        if runs:
            record.phase = IDLE
            record.image = None
            record.installed = None  # unknown
            self._store.save(record)
        if refusal is not None:
            raise refusal
        if runs:
            return None, [result(True, "idle")]
        need = ApplicationSilent(
            "no application answers, and there is no image to install",
            "Push an image: stm32up push IMAGE",
        )
        return None, [result(False, "waiting", need)]

    def _starts_from_loader(self, is_sound):
        """Start the application, which an earlier run may have left stopped. Returns whether it
        runs.

        Does nothing if this board cannot tell whether an application runs; if it is not known to
        be sound and BOOT0 is not wired, because a blank chip with loader 11.3 would not return to
        its loader; and while the target may be programming its option bytes."""
        if not self._board.application_shows:
            return False
        if self._target.pins.boot0 is None and not is_sound:
            return False
        if self._target.at_work() is not None:
            return False
        self._proof.start()
        return self._proof.runs_in_time()

    def _intend(self, event, image):
        """Record durably that `image` is to be installed. Returns the event."""
        if image.path != self._store.confirmed:
            self._store.adopt(image)
        self._record_intent(INSTALLING, image)
        return self._told(event, image)

    def _told(self, event, image):
        """The event about an image that replaces the installed one."""
        installed = self._installed()
        return about(event, image, installed and installed.version)

    def _record_intent(self, phase, image):
        record = self._record
        record.phase = phase
        record.image = image.digest
        record.tries = 0
        self._store.save(record)

    # --- an update under way ---

    def _carry_on(self, image):
        """Continue from the recorded phase to the result event. A rollback is the loop's second
        pass (a recursion would need more of an rp2's small stack); there is never a third. Each
        wait has its own deadline."""
        record = self._record
        while True:
            self._was_written = record.phase != CONFIRMING
            if self._was_written:
                yield from self._write(image)
            if record.phase == INSTALLING:
                record.phase = CONFIRMING
                record.tries = 0
            if (yield from self._proof.attempts(image)):
                self._target_ms = self._clock.since(self._started)
                yield None
                error = yield from self._make_confirmed(image)
                if error is not None:
                    yield failure("not-kept", image.path, error)
                yield None
                yield self._commit(image)
                return
            to_blame = yield from self._proof.is_to_blame(image, self._flasher)
            image, event = yield from self._begin_rollback(image, to_blame)
            yield event

    def _write(self, image):
        """Make the target hold `image`. A generator of events."""
        record = self._record

        def save():
            record.doubt = doubt.bits
            self._store.save(record)

        target, flasher = self._target, self._flasher
        doubt = Doubt(record.doubt, save)
        before = None
        try:
            self._proof.stop()
            before = record.doubt
            yield {
                "event": "loader",
                "chip": self._board.chip.name,
                "version": target.quirks.version,
                "protocol": target.protocol,
            }
            yield from flasher.converge(image, doubt, self._comparable(image))
        except Exception as error:
            self._proof.start()  # the old application, if nothing was erased yet
            whole = self._board.chip.page_of(image.address) not in doubt
            untouched = whole and record.phase == INSTALLING
            permanent = isinstance(error, _PERMANENT)
            runs = permanent and not untouched and self._proof.runs_in_time()
            too_often = not untouched and self._fails_too_often(image, error, before)
            phase = decide.after_failed_writing(
                untouched, runs, isinstance(error, ImageError), permanent, too_often
            )
            if phase is not None:
                self._forget(phase)
            raise error
        event = {
            "event": "written",
            "bytes": image.own_size,
            "verified": flasher.verified,
            "erased_pages": flasher.erased_pages,
            "repeats": flasher.repeats,
        }
        event.update(flasher.took)
        yield event

    def _fails_too_often(self, image, error, before):
        """Count a run that got no further with writing `image`. Returns whether there were too
        many, and the last good image is another one, which may be installed: then the next run
        does that. `image` may be tried once more. `before`: the pages in doubt when the loader was
        reached, or None. A target that was lost, or of which fewer pages are in doubt now, does
        not count."""
        record = self._record
        if (
            before is None
            or record.phase != INSTALLING
            or not isinstance(error, (FlashError, LoaderError, BusError))
            or isinstance(error, LoaderSilent)
            or _ones(record.doubt) < _ones(before)
        ):
            return False
        if record.tries + 1 < _RUNS:
            try:
                self._proof.count(record.tries + 1)
            except StoreError:
                pass  # it does not count; the error of the run says more
            return False
        try:
            confirmed = open_image(self._store.confirmed)
            if confirmed.digest == image.digest:
                return False
            self._admission.check(confirmed)
        except UpdaterError:
            return False
        self._bar(image, False)
        error.message += "; the next run installs %s again, after %d that failed" % (
            confirmed.version,
            _RUNS,
        )
        error.next_step = "Run the updater again: stm32up run."
        return True

    def _bar(self, image, to_blame):
        """Note that `image` failed. It may be tried once more unless it is `to_blame`."""
        record = self._record
        record.again = int(not to_blame and record.failed != image.digest)
        record.failed = image.digest

    def _installed(self):
        """The image that is installed, as the record says; None if its file is lost."""
        try:
            installed = open_image(self._store.confirmed)
        except UpdaterError:
            return None
        return installed if installed.digest == self._record.installed else None

    def _comparable(self, image):
        """The image that the target holds, as the record says, if its pages can be compared with
        those of `image`; else None."""
        if self._record.phase != INSTALLING or image.checksum(0) is None:
            return None
        installed = self._installed()
        return installed if installed and installed.checksum(0) else None

    def _make_confirmed(self, image):
        """Make the running `image` the confirmed one, if its file still holds it. Otherwise keep
        the confirmed image as it is, and return the error. A generator of None."""
        if image.path == self._store.confirmed:
            return None
        if not exists(image.path):
            return ImageDamaged("%s is gone" % image.path)
        try:
            yield from image.checking_digest(self._clock, self._store.owns(image))
        except ImageDamaged as error:
            self._store.discard(image.path)
            return error
        self._store.confirm(image)
        return None

    def _commit(self, image):
        """Record that the application of `image` has proved itself. Returns the result event."""
        record = self._record
        rolled_back = record.phase == ROLLING_BACK
        record.phase = IDLE
        record.image = None
        record.installed = image.digest
        # Nothing vouches any more for a page that an earlier image wrote and this one does not.
        outside = (1 << self._board.chip.pages) - 1
        for page in pages_of(image, self._board.chip):
            outside &= ~(1 << page)
        record.doubt |= outside
        if record.failed == record.installed:
            record.failed = None
        record.counter = max(record.counter, image.security_counter)
        self._store.save(record)
        self._proof.settle()
        if rolled_back:
            error = ApplicationSilent(
                "the new application did not prove itself%s; %s is back"
                % (self._blamed and " (%s)" % self._blamed, image.version),
                "The application must do what [confirm] in board.toml says. Push a newer image"
                + (
                    ", or this one once more if the cause may be elsewhere: stm32up doctor."
                    if record.again
                    else "; this one is not tried again without --force."
                ),
            )
            return result(False, "rolled-back", error, version=image.version)
        event = result(True, "installed", version=image.version, bytes=image.own_size)
        event["target_ms"] = self._target_ms
        event.update(self._admission.times)
        if self._was_written:
            event["verified"] = self._flasher.verified
        return event

    def _begin_rollback(self, image, to_blame):
        """Roll back to the confirmed image after the application of `image` did not prove itself.
        A generator of None. Returns the confirmed image and the event. `image` may be tried once
        more unless it is `to_blame`. Raises ApplicationSilent if there is no other image."""
        self._blamed = self._proof.reason
        self._bar(image, to_blame)
        previous, why = yield from self._admission.find((self._store.confirmed,))
        if previous is None or previous.digest == image.digest:
            self._forget(UNKNOWN)
            none = "there is no earlier one to roll back to"
            if why is not None:
                none = "the earlier one cannot be installed: %s" % why.message
            raise ApplicationSilent(
                "application %s was written and verified but does not prove itself (%s), and %s"
                % (image.version, self._blamed, none)
            )
        self._record_intent(ROLLING_BACK, previous)
        self._store.discard(self._store.candidate)
        event = about("rolling-back", previous, image.version)
        event["reason"] = self._blamed
        return previous, event

    def _forget(self, phase):
        """Give up the update under way and remove the candidate. With phase UNKNOWN each later run
        checks whether an application runs, until one does or an image is pushed."""
        record = self._record
        record.phase = phase
        record.image = None
        self._store.save(record)
        self._store.discard(self._store.candidate)


def _ones(bits):
    return bin(bits).count("1")
