"""The whole flow: validate, note the intent, converge, start, confirm, commit or roll back.

`Updater.events()` is a generator of dicts; each has "event" first:

    {"event": "refused", "image": path, "error": code, "message", "next_step"}
    {"event": "checked", "image": path, "version": ..., "hash_ms", "signature_ms",
     "key": id of the key that signed it, or None if that was not asked (see signature.py)}
    {"event": "superseded", "image": path, "version": ...}      an older one, removed
    {"event": "installing" | "resuming" | "rolling-back", "image": path, "version": ...,
     "bytes": ...}                                     rolling back also has "reason", a text
    {"event": "loader", "version": "11.4", "protocol": "1.2", "chip": ...}
    {"event": "progress", "phase": "compare" | "write" | "verify", "done": pages, "total": pages}
    {"event": "retry", "page": number, "error": code, "message"}
    {"event": "written", "bytes": ..., "verified": ..., "erased_pages": ..., "repeats": ...}
    {"event": "starting", "try": n}
    {"event": "not-kept", "image": path, "error": code, "message", "next_step"}   its file changed
    {"event": "result", "ok": bool, "status": ..., ...}       always the last one

Status is "idle", "up-to-date", "installed", "rolled-back", "waiting" or "failed". After an
installation it has "bytes" and "target_ms"; "verified" unless an earlier boot wrote and verified
it; "hash_ms" and "signature_ms" unless an earlier boot checked the image.
"""

import asyncio

from micropython import const

from stm32_rom.errors import ReadProtected, UpdaterError, WrongChip

from . import store as phases
from .admission import Admission, about, failure
from .errors import (
    AnotherRun,
    ApplicationSilent,
    HandsOff,
    ImageDamaged,
    ImageError,
    OutOfMemory,
    PageProtected,
    StoreError,
)
from .event_log import EventLog
from .flasher import Doubt, Flasher
from .image import open_image, version_text
from .store import Record, Store, exists, hands_off

_POLL_MS = const(50)
# Starts beyond a board's `tries` that a loss of power may have cut short. More are taken for the
# application's own doing.
_STARTS_CUT = const(5)
# What makes an update impossible, before anything is erased: this part is protected, or another.
_NEVER = (PageProtected, ReadProtected, WrongChip)
_LONGEST_TEXT = const(200)  # of an error that is none of this package

_runs = {}  # folder -> the number of the run that may touch its target: the last one started


class Updater:
    """Keeps one target up to date from the images on this host's filesystem."""

    def __init__(self, board, clock, folder="/updater"):
        self._board = board
        self._clock = clock
        self._target = board.target
        self._store = Store(folder)
        self._admission = Admission(board, self._store, clock)
        self._log = EventLog(folder, clock)
        self._flasher = Flasher(board.target)
        self._started = clock.now()
        self._reason = ""
        self._blamed = ""  # the reason of the rollback that this run has begun
        self._was_written = False
        self._is_stopped = False  # the application, by this updater

    @classmethod
    def from_board(cls, path="board.json", confirm=None, feed=None):
        """An Updater for the board described in the file at `path`.

        `confirm(image)`: called until it returns True, the proof that the application works; by
        default what board.json says. `feed()` feeds the product's watchdog.
        Raises BoardError, StoreError."""
        from stm32_rom.clock import Clock

        from .board import Board

        clock = Clock(feed)
        return cls(Board.load(path, clock, confirm), clock)

    def run(self, force=False):
        """Do whatever is to be done and return the result event. For the start of a product.

        `force`: a pushed image is written although it is installed already, all of it, whatever
        the target seems to hold, or although it failed before. No other check is left out."""
        result = None
        for result in self._logged(force):  # noqa: B007, the last one counts
            pass
        return result

    def events(self, force=False):
        """The same step by step: `for` waits in between, `async for` lets other tasks run.

        Who stops before the result closes it, by `close()` or `with`: the application, if it was
        stopped and is still there, is started again. The next run goes on with the update."""
        return _Events(self._logged(force))

    def _logged(self, force):
        """Every end is a result event, and in the log: of an error that is none of this package
        as well, before it passes through. A run that another one has overtaken ends at once: it
        touches nothing, the log included."""
        folder = self._store.folder
        turn = _runs[folder] = _runs.get(folder, 0) + 1
        flow = self._flow(force)
        self._log.restart()
        try:
            self._respect_hands_off()
            for event in flow:
                yield self._told(event)
                if turn != _runs[folder]:
                    break
            else:
                return
            flow.close()
            error = AnotherRun("another run of the updater began before this one had ended")
            yield _result(False, "failed", error)
        except HandsOff as error:
            yield self._told(_result(False, "waiting", error))
        except UpdaterError as error:
            self._let_go()
            yield self._told(_result(False, "failed", error))
        except GeneratorExit:
            flow.close()
            if turn == _runs[folder]:
                self._let_go()
            raise
        except Exception as error:
            self._let_go()
            yield self._told(_result(False, "failed", _unforeseen(error)))
            raise error

    def _told(self, event):
        if event["event"] != "progress":
            self._log.write(event)
        return event

    def _respect_hands_off(self):
        """A target whose option bytes are being changed must not even be reset."""
        note = hands_off(self._store.folder)
        if note is not None:
            raise HandsOff("a bench operation was begun and not ended: %s" % note["what"])

    def _flow(self, force):
        self._store.keep_spare()
        every_page = (1 << self._board.chip.pages) - 1
        record = self._store.load()
        if record is None:  # the host forgot everything, or never knew
            record = Record(phases.UNKNOWN, None, None, None, phases.EVERY_PAGE, 0)
        record.doubt &= every_page
        image, refusal, told = yield from self._pushed(record, force)
        if image is not None:
            if not force and self._is_installed(image, record):
                self._store.discard(image.path)
                yield from told
                yield _result(True, "up-to-date", version=image.version)
                return
            if force:
                record.doubt = every_page
            told.append(self._intend("installing", record, image))
            yield from told
        elif record.phase != phases.IDLE:
            image = yield from self._resumed(record, refusal)
            if image is None:
                return
        elif refusal is not None:
            raise refusal
        else:
            yield _result(True, "idle")
            return
        self._started = self._clock.now()
        yield from self._carry_on(record, image)

    def _pushed(self, record, force):
        """What the inbox holds; see Admission.newest. If it cannot be looked into or cleared, what
        is under way goes on."""
        try:
            paths = self._admission.pushed(record)
            return (yield from self._admission.newest(paths, record, force))
        except StoreError as error:
            return None, error, []
        except MemoryError as error:
            return None, OutOfMemory("no memory to check what was pushed: %s" % error), []

    def _is_installed(self, image, record):
        """Whether `image` is what runs: nothing else is under way, and it says so itself."""
        same = record.phase == phases.IDLE and image.digest.hex() == record.installed
        return same and self._confirms(image)[0]

    def _resumed(self, record, refusal):
        """The image an interrupted update is about. If that is gone, or nothing is known: a
        running application is left alone, a silent one replaced by the best image there is.

        None, after a result event, if there is nothing to do or nothing to do it with."""
        image, why = self._admission.find(record.image)
        if image is not None:
            yield about("resuming", image)
            return image
        refusal = refusal or why
        runs = self._board.application_runs()
        # What answers may still be interrupted cells that read right just now. That is known only
        # as long as there is a record.
        doubtful = record.doubt and record.phase != phases.UNKNOWN
        kept = () if runs and not doubtful else self._store.kept()
        kept = [path for path in kept if exists(path)]
        image, why, told = yield from self._admission.newest(kept, record)
        refusal = refusal or why
        if image is None and refusal is None and not runs and not self._store.has_record:
            runs = self._wakes()
        if image is None and runs:
            record.phase = phases.IDLE
            record.image = None
            record.installed = None  # which one it is was not seen
            self._store.save(record)
        if image is None and refusal is not None:
            raise refusal
        if image is None and runs:
            yield _result(True, "idle")
            return None
        if image is None:
            need = ApplicationSilent(
                "no application answers, and there is no image to install",
                "Push an image: stm32up push IMAGE",
            )
            yield _result(False, "waiting", need)
            return None
        told.append(self._intend("installing", record, image))
        yield from told
        return image

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

    def _intend(self, event, record, image):
        """Durable: from here on the target is on its way to `image`. Returns the event."""
        if image.path != self._store.confirmed:
            self._store.adopt(image)
        record.phase = phases.INSTALLING
        record.image = image.digest.hex()
        record.starts = 0
        self._store.save(record)
        return about(event, image)

    # --- what is under way ---

    def _carry_on(self, record, image):
        """From any phase to the end, which is a result event. A rollback is the loop's second
        pass, which saves frames on the small stack of an rp2; there is never a third. Each wait
        in it has a deadline of its own."""
        while True:
            self._was_written = record.phase != phases.CONFIRMING
            if self._was_written:
                yield from self._written(record, image)
            if record.phase == phases.INSTALLING:
                record.phase = phases.CONFIRMING
            if (yield from self._proves_itself(record, image)):
                try:
                    error = self._keep(image)
                except StoreError:
                    record.starts = 0  # none of them has taken the host down
                    self._store.save(record)
                    raise
                if error is not None:
                    yield failure("not-kept", image.path, error)
                yield self._commit(record, image)
                return
            lasting = yield from self._is_to_blame(record, image)
            image, event = self._turn_back(record, image, lasting)
            yield event

    def _written(self, record, image):
        """The target holds `image` after this; a generator of events."""

        def save():
            record.doubt = doubt.bits
            self._store.save(record)

        target = self._target
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
            yield from self._flasher.converge(image, doubt)
        except Exception as error:
            self._start_application()  # the old one, if nothing was erased yet
            whole = self._board.chip.page_of(image.address) not in doubt
            untouched = whole and record.phase == phases.INSTALLING
            # It will be the same next time. What runs is not reset again and again for that.
            if isinstance(error, ImageError) or (  # too large for the part, or changed meanwhile
                isinstance(error, _NEVER) and (untouched or self._runs_again())
            ):
                self._forget(record, phases.IDLE if untouched else phases.UNKNOWN)
            raise error
        yield {
            "event": "written",
            "bytes": image.own_size,
            "verified": self._flasher.verified,
            "erased_pages": self._flasher.erased_pages,
            "repeats": self._flasher.repeats,
        }

    def _runs_again(self):
        """Whether an application answers, after a start, within its time."""
        deadline = self._clock.deadline(self._board.confirm_timeout_ms)
        while not self._board.application_runs():
            if deadline.expired():
                return False
            deadline.sleep(_POLL_MS)
        return True

    def _proves_itself(self, record, image):
        """Start the application and ask it, up to the board's number of tries; sets `_reason`.

        Each start is recorded before: there is an end to starting an application that takes the
        host down with it, unless there is no other to start."""
        tries = self._board.confirm_tries
        for number in range(1, tries + 1):
            if record.phase == phases.CONFIRMING and record.starts >= tries + _STARTS_CUT:
                self._reason = "the host went down at each of %d starts" % record.starts
                return False
            record.starts += 1
            self._store.save(record)
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
        record.starts = 0  # the host is still up: none of them has taken it down
        self._store.save(record)
        return False

    def _confirms(self, image):
        """(True, "") if the application proves itself now, else (False, why not). A proof that
        ends in an error of the product's own code is none."""
        try:
            if self._board.confirm(image):
                return True, ""
        except Exception as error:
            return False, "confirm() failed: " + _shortened(error)
        return False, ""

    def _let_go(self):
        """Whatever ends a run, an application that was stopped for it is not held for that."""
        if self._is_stopped:
            self._start_application()

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

    def _commit(self, record, image):
        """The application has answered: this image is the confirmed one now."""
        rolled_back = record.phase == phases.ROLLING_BACK
        record.phase = phases.IDLE
        record.image = None
        record.installed = image.digest.hex()
        if record.failed == record.installed:
            record.failed = None
        record.counter = max(record.counter, image.security_counter)
        self._store.save(record)
        if rolled_back:
            return _result(
                False,
                "rolled-back",
                ApplicationSilent(
                    "the new application did not prove itself%s; %s is back"
                    % (self._blamed and " (%s)" % self._blamed, image.version),
                    "It has to answer as [confirm] in board.toml says. Push a newer image, or "
                    "this one once more if something else may be at fault: stm32up doctor."
                    if record.again
                    else "It has to answer as [confirm] in board.toml says. Push a newer image; "
                    "this one is not tried again without --force.",
                ),
                version=image.version,
            )
        times = dict(self._admission.times)
        if self._was_written:
            times["verified"] = self._flasher.verified
        return _result(
            True,
            "installed",
            version=image.version,
            bytes=image.own_size,
            target_ms=self._clock.since(self._started),
            **times,
        )

    def _is_to_blame(self, record, image):
        """Whether it is the application's own doing that it did not prove itself: it took the host
        down at each start, or it answers something else and is what was written. Without an answer
        the bus, the supply or another chip in its place may be at fault as well. Sets `_reason`.
        A generator of progress; leaves the target in its loader, and if that fails the wires are
        at fault. Raises ApplicationSilent, LoaderError, BusError, ImageDamaged, StoreError."""
        if record.phase == phases.ROLLING_BACK:
            raise ApplicationSilent("neither the new application nor the last good one answers")
        version = self._board.application_version()
        self._reason = self._reason or _why_not(version, image)
        self._is_stopped = True
        self._target.enter_loader()
        if record.starts or version in (None, image.version_bytes):
            return record.starts > 0
        if (yield from self._flasher.holds(image)):
            return True
        self._reason += ", and the target does not hold what was written"
        return False

    def _turn_back(self, record, image, lasting):
        """The application did not prove itself: back to the confirmed image, if there is one. The
        image, and the event that says so. Unless the fault is `lasting`, the image may be tried
        once more."""
        self._blamed = reason = self._reason
        digest = image.digest.hex()
        record.again = int(not lasting and record.failed != digest)
        record.failed = digest
        previous, why = self._admission.confirmed()
        if previous is None or previous.digest.hex() == record.failed:
            self._forget(record)
            none = "there is no earlier one to go back to"
            if why is not None:
                none = "the one before must not come back: %s" % why.message
            raise ApplicationSilent(
                "application %s was written and verified but does not prove itself (%s), and %s"
                % (image.version, reason, none)
            )
        record.phase = phases.ROLLING_BACK
        record.image = previous.digest.hex()
        record.starts = 0
        self._store.save(record)
        self._store.discard(self._store.candidate)
        event = about("rolling-back", previous)
        event["reason"] = reason
        return previous, event

    def _forget(self, record, phase=phases.UNKNOWN):
        """Nothing is under way any more, and the candidate is gone. Whether an application runs is
        unknown: each start asks, until one does or an image comes. Not so if it is IDLE."""
        record.phase = phase
        record.image = None
        self._store.save(record)
        self._store.discard(self._store.candidate)

    # --- looking ---

    def status(self):
        """What the host knows, without touching the target: a dict."""
        record = self._store.load()
        status = {
            "phase": "unknown" if record is None else record.phase,
            "inbox": self._store.inbox_images(),
            "installed": None,
            "log_lines_lost": self._log.lost,
        }
        if record is not None:
            status["installed"] = record.installed
            status["failed"] = record.failed
        for name, path in (
            ("candidate", self._store.candidate),
            ("confirmed", self._store.confirmed),
        ):
            status[name] = None
            if exists(path):
                try:
                    image = open_image(path)
                except (ImageError, StoreError) as error:
                    status[name] = error.message
                    continue
                status[name] = image.version
                if record is not None and record.image == image.digest.hex():  # it is under way
                    pages = -(-image.size // self._board.chip.page_size)
                    doubt = record.doubt & ((1 << pages) - 1)
                    status["pages_in_doubt"] = bin(doubt).count("1")
        return status

    def probe(self):
        """What is on the bus: a dict. The target is reset into its loader and back; nothing is
        written. A target that is at work, whoever made it so, is left alone.
        Raises LoaderSilent, WrongChip, BusError, HandsOff."""
        self._respect_hands_off()
        seen = self._target.at_work()
        if seen is not None:
            raise HandsOff(
                "the target may be programming its option bytes: %s" % seen,
                "Leave its supply on and wait some minutes. " + HandsOff.next_step,
            )
        runs = self._board.application_runs()
        version = self._board.application_version()
        target = self._target
        try:
            target.enter_loader()
            options = target.options
            state = "running" if runs else "blank" if target.blank() else "silent"
            return {
                "chip": self._board.chip.name,
                "product_id": "0x%03X" % self._board.chip.product_id,
                "loader": target.quirks.version,
                "protocol": target.protocol,
                "option_bytes": None if options is None else options.as_dict(),
                "application": state,
                "application_version": version_text(version) if version else None,
            }
        finally:
            target.start_application()


class _Events:
    """Iterates over a generator for `for` and for `async for`; closes it by `with`."""

    def __init__(self, generator):
        self._generator = generator

    def close(self):
        """Stop here. A task that is cancelled while it waits for the next event does so."""
        self._generator.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._generator)

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.close()
            raise
        try:
            return next(self._generator)
        except StopIteration:
            raise StopAsyncIteration


def _result(ok, status, error=None, **more):
    result = {"event": "result", "ok": ok, "status": status}
    if error is not None:
        result.update(error.as_dict())
    result.update(more)
    return result


def _shortened(error):
    """For people: an error that is none of this package, whose text may be of any length."""
    return ("%r" % error)[:_LONGEST_TEXT]


def _unforeseen(error):
    """For people: what one that is none of this package comes to."""
    if isinstance(error, MemoryError):
        return OutOfMemory("no memory to go on: %s" % error)
    return UpdaterError(
        "not foreseen: " + _shortened(error),
        "Run the update again. If it ends like this again, report it: stm32up logs pull.",
    )


def _why_not(version, image):
    """For people: how an application that answers `version` (8 bytes, or None) failed to prove
    itself."""
    if version is None:
        return "it is silent"
    if version == image.version_bytes:
        return "it answers, but was not confirmed"
    built, runs = image.version, version_text(version)
    return "built as %s, answers %s: was --version right?" % (built, runs)
