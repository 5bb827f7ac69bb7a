"""Decides which image may be installed: intact, signed with a key that this board trusts, for this
product and chip, and not older than the installed one. Does not access the target.
"""

from . import signature
from .errors import ImageError, ImageFailedBefore, ImageTooOld, StoreError
from .image import open_image
from .run_events import failure
from .store import exists, is_folder


class Admission:
    """Checks the images in one board's store. Its generators yield events; see run_events.py.

    `times`: {"hash_ms", "signature_ms"} of the image that `newest` returned last, or empty."""

    def __init__(self, board, store, clock):
        self._board = board
        self._store = store
        self._clock = clock
        self._keys = signature.Keys(store.keys)
        self.times = {}

    def pushed(self, record):
        """Paths of the images to install: those in the inbox, and a candidate that the record does
        not name, which was adopted from the inbox just before a cut. Raises StoreError."""
        candidate = self._store.candidate
        is_left = exists(candidate) and not (record.image and _is(candidate, record.image))
        if is_left:
            self._store.finish_move()
        paths = self._store.inbox_images()
        if is_left:
            paths.append(candidate)
        return paths

    def newest(self, paths, record, force=False):
        """Find the newest image that passes every check. A generator of "refused" events, and of
        None where other tasks may run; returns (image, None, events to yield) or (None, the last
        refusal, []).

        While a pushed image is checked it is the candidate already, if there is no other: so no
        task that pushes can replace its file between the check and the record. If there is
        another, no task runs meanwhile. Refused and superseded images are removed, except the
        confirmed image, folders, and files that cannot be read. `force`: allow an image that
        failed before."""
        refusal = None
        self.times = {}
        lowest = self.lowest_counter(record) if paths else 0
        failed = None if force else record.barred
        left = []  # (rank, minus the position in `paths`, path, version)
        best = None  # the newest image, while no other task could have changed its file
        for path in paths:
            try:
                image = opened(path)
            except (ImageError, StoreError) as error:
                refusal = yield from self._refused(path, path, None, error, refusal)
                best = None
                continue
            left.append((image.rank(), -len(left), path, image.version))
            if max(left)[2] == path:
                best = image
        while left:
            newest = max(left)
            left.remove(newest)
            path = now_at = newest[2]
            rank = None
            try:
                image = best if best and best.path == path else opened(path)
                self._check_form(image)
                rank = image.rank()
                if not exists(self._store.candidate) and path != self._store.confirmed:
                    self._store.adopt(image)
                    now_at = image.path
                checked = yield from self._checking(image, lowest, failed)
                if self._store.owns(image):
                    yield None
            except (ImageError, StoreError) as error:
                if now_at != path and isinstance(error, StoreError) and not exists(path):
                    self._store.give_back(image, path)  # an older one may become the candidate
                refusal = yield from self._refused(path, now_at, rank, error, refusal)
                best = None
                continue
            self.times = {key: checked[key] for key in ("hash_ms", "signature_ms")}
            events = [checked]
            for rank, _, path, version in left:
                if path != self._store.confirmed and _has_rank(path, rank):
                    events.append({"event": "superseded", "image": path, "version": version})
                    try:
                        self._store.discard(path)
                    except StoreError as not_removed:
                        events[-1] = failure("refused", path, not_removed)
            return image, None, events
        return None, refusal, []

    def _refused(self, name, path, rank, error, refusal):
        """Report that the image pushed as `name` is refused, then remove it from `path`, unless
        another task has pushed meanwhile: `rank` is what an image that passed `_check_form` has. A
        generator. Returns the last refusal, which a folder does not change, because it stays
        there."""
        self._clock.feed()
        yield failure("refused", name, error)
        if is_folder(path):
            return refusal
        if isinstance(error, ImageError) and path != self._store.confirmed:
            try:
                if self._rank_of(path) == rank:
                    self._store.discard(path)
            except StoreError as not_removed:
                return not_removed
        return error

    def _rank_of(self, path):
        """The rank of the image at `path` if it passes `_check_form`, else None. Raises
        StoreError."""
        try:
            image = opened(path)
            self._check_form(image)
        except ImageError:
            return None
        return image.rank()

    def find(self, paths, digest=None):
        """A generator of None where other tasks may run. Returns (image, None) for the first of
        `paths` that passes every check, else (None, the last error or None). `digest`: only an
        image with this digest."""
        why = None
        for path in paths:
            try:
                if exists(path):
                    image = opened(path)
                    if digest in (None, image.digest):
                        self._check_form(image)
                        yield from self._checking(image)
                        return image, None
            except (ImageError, StoreError) as error:
                why = error  # go on: another file may fit
        return None, why

    def check(self, image, lowest=0, failed=None):
        """Check that `image` may be installed.

        `lowest`: the lowest allowed security counter. `failed`: digest of the image that may
        not be tried again. Signature and age of the confirmed image are not checked: it has run
        here before, and an old application is better than none. Raises ImageError, StoreError."""
        self._check_form(image)
        for _ in self._checking(image, lowest, failed):
            pass

    def _check_form(self, image):
        """The checks that need no hash."""
        board = self._board
        image.check_fit(board.chip, board.preserved)
        image.check_product(board.class_id)
        image.check_vectors(board.chip)

    def _checking(self, image, lowest=0, failed=None):
        """The other checks. A generator of None where other tasks may run. Returns the "checked"
        event."""
        clock = self._clock
        begun = clock.now()
        yield from image.checking_digest(clock, self._store.owns(image))
        hash_ms = clock.since(begun)
        begun = clock.now()
        key = None
        if image.path != self._store.confirmed:
            key = signature.check(image, self._keys, self._board.unsigned_allowed)
            self._check_history(image, lowest, failed)
        return {
            "event": "checked",
            "image": image.name,
            "version": image.version,
            "hash_ms": hash_ms,
            "signature_ms": clock.since(begun),
            "key": key,
        }

    def _check_history(self, image, lowest, failed):
        """Raises ImageTooOld, ImageFailedBefore."""
        if image.security_counter < lowest:
            raise ImageTooOld(
                "%s: %s counts as older than %s: its security counter is %d, the minimum %d"
                % (image.name, image.version, self._newest(), image.security_counter, lowest)
            )
        if image.digest == failed:
            raise ImageFailedBefore(
                "%s failed before: it did not prove itself, or could not be written" % image.name
            )

    def _newest(self):
        """For messages: the version that an image must not be older than."""
        try:
            return "the installed %s" % open_image(self._store.confirmed).version
        except (ImageError, StoreError):
            return "what was installed"

    def lowest_counter(self, record):
        """The lowest allowed security counter: the highest ever confirmed, as stated by the record
        or the confirmed image, whichever is higher.

        If the host lost both, any authentic image is accepted, because an old application is
        better than none. So an attacker who can erase the host's files can install old images."""
        try:
            confirmed = open_image(self._store.confirmed)
            if confirmed.security_counter > record.counter:
                confirmed.check_digest(self._clock)
                return confirmed.security_counter
        except (ImageError, StoreError):
            pass  # missing or damaged
        return record.counter


def opened(path):
    """The Image at `path`. Raises ImageError, StoreError."""
    if is_folder(path):
        raise ImageError("%s is a folder" % path, "Remove it from the host's filesystem.")
    return open_image(path)


def _has_rank(path, rank):
    """Whether the file at `path` is still an image of this rank: another task may have pushed."""
    try:
        return opened(path).rank() == rank
    except (ImageError, StoreError):
        return False


def _is(path, digest):
    """Whether the file at `path` states this digest. True if the file is damaged or cannot
    be read, because it may be that image."""
    try:
        return open_image(path).digest == digest
    except (ImageError, StoreError):
        return True
