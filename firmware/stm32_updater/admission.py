"""Which image may be installed: whole, signed with a key that this board trusts, for this product
and this chip, not older than what ran here. The target is not needed for any of it.
"""

from . import signature
from .errors import ImageError, ImageFailedBefore, ImageTooOld, StoreError
from .image import open_image
from .run_events import failure
from .store import exists, is_folder


class Admission:
    """Checks the images of one board's store. Its generators yield events; see run_events.py.

    `times`: {"hash_ms", "signature_ms"} of the image that `newest` returned last, or empty."""

    def __init__(self, board, store, clock):
        self._board = board
        self._store = store
        self._clock = clock
        self._keys = signature.Keys(store.keys)
        self.times = {}

    def pushed(self, record):
        """Paths of images that want to be installed. A candidate that the record does not mean was
        adopted from the inbox just before a cut. Raises StoreError."""
        paths = self._store.inbox_images()
        candidate = self._store.candidate
        if exists(candidate) and not (record.image and _is(candidate, record.image)):
            paths.append(candidate)
        return paths

    def newest(self, paths, record, force=False):
        """The newest image that passes every check, if there is one: (image, None, events that
        tell so) or (None, the last refusal, no events). A generator of the events of refusals.

        Nothing is yielded after the last check: the caller adopts the image before other tasks
        run, which might put another file in its place, and tells the events then. Refused
        images are removed, and older ones as superseded; not so the confirmed image, a folder, or
        a file that cannot be read. `force` lets an image that failed before try again."""
        refusal = None
        self.times = {}
        lowest = self.lowest_counter(record) if paths else 0
        failed = None if force else record.barred
        left = []  # (rank, minus the place among equals, path, version)
        best = None  # the newest of them, as long as no other task could have changed its file
        for path in paths:
            try:
                image = opened(path)
            except (ImageError, StoreError) as error:
                refusal = yield from self._refused(path, error, refusal)
                best = None
                continue
            left.append((image.rank(), -len(left), path, image.version))
            if max(left)[2] == path:
                best = image
        while left:
            newest = max(left)
            left.remove(newest)
            path = newest[2]
            try:
                image = best if best and best.path == path else opened(path)
                checked = self.check(image, lowest, failed)
            except (ImageError, StoreError) as error:
                refusal = yield from self._refused(path, error, refusal)
                continue
            self.times = {key: checked[key] for key in ("hash_ms", "signature_ms")}
            events = [checked]
            for _, _, path, version in left:
                if path != self._store.confirmed:
                    events.append({"event": "superseded", "image": path, "version": version})
                    try:
                        self._store.discard(path)
                    except StoreError as stuck:
                        events[-1] = failure("refused", path, stuck)
            return image, None, events
        return None, refusal, []

    def _refused(self, path, error, refusal):
        """Generator: tell that the file at `path` is no image for this board, and remove it.
        Returns what counts as the last refusal: a folder is none, because it stays."""
        self._clock.feed()
        yield failure("refused", path, error)
        if is_folder(path):
            return refusal
        if isinstance(error, ImageError) and path != self._store.confirmed:
            try:
                self._store.discard(path)
            except StoreError as stuck:
                return stuck  # the others may be good
        return error

    def find(self, paths, digest=None):
        """The first image of those at `paths` that passes every check: (image, None); or (None,
        why the last of them does not). `digest` (hex): only the image with that one."""
        why = None
        for path in paths:
            try:
                if exists(path):
                    image = opened(path)
                    if digest in (None, image.digest.hex()):
                        self.check(image)
                        return image, None
            except (ImageError, StoreError) as error:
                why = error  # another one may be the one
        return None, why

    def check(self, image, lowest=0, failed=None):
        """Whether `image` may be installed; the event that says so.

        `lowest`: the security counter it must have at least. `failed`: digest (hex) of the image
        that is not tried again. The confirmed image has run here: neither who signed it nor its
        age is asked, because an old application is better than none. Raises ImageError,
        StoreError."""
        board, clock = self._board, self._clock
        image.check_fit(board.chip, board.preserved)
        image.check_product(board.class_id)
        image.check_vectors(board.chip)
        begun = clock.now()
        image.check_digest(clock)
        hash_ms = clock.since(begun)
        begun = clock.now()
        key = None
        if image.path != self._store.confirmed:
            key = signature.check(image, self._keys, board.unsigned_allowed)
            self._check_history(image, lowest, failed)
        return {
            "event": "checked",
            "image": image.path,
            "version": image.version,
            "hash_ms": hash_ms,
            "signature_ms": clock.since(begun),
            "key": key,
        }

    def _check_history(self, image, lowest, failed):
        """Raises ImageTooOld, ImageFailedBefore."""
        if image.security_counter < lowest:
            raise ImageTooOld(
                "%s: %s counts as older than %s: its security counter is %d, and %d is the least"
                % (image.path, image.version, self._newest(), image.security_counter, lowest)
            )
        if image.digest.hex() == failed:
            raise ImageFailedBefore(
                "%s was installed before and did not prove itself" % image.path
            )

    def _newest(self):
        """For people: the version that an image must not be older than."""
        try:
            return "the installed %s" % open_image(self._store.confirmed).version
        except (ImageError, StoreError):
            return "what was installed"

    def lowest_counter(self, record):
        """The security counter that an image must have at least: the highest that was ever
        confirmed, by the record or by the confirmed image, whichever knows more.

        If the host lost both, nothing is known, and any authentic image is accepted, because an
        old application is better than none. So the counter keeps old images out, unless someone
        can erase the host's files."""
        try:
            confirmed = open_image(self._store.confirmed)
            if confirmed.security_counter > record.counter:
                confirmed.check_digest(self._clock)
                return confirmed.security_counter
        except (ImageError, StoreError):
            pass  # missing or damaged: it tells nothing
        return record.counter


def opened(path):
    """The Image at `path`. Raises ImageError, StoreError."""
    if is_folder(path):
        raise ImageError("%s is a folder" % path, "Remove it from the host's filesystem.")
    return open_image(path)


def _is(path, digest):
    """Whether the file at `path` states this digest (hex). One that is damaged or cannot be read
    may still be it."""
    try:
        return open_image(path).digest.hex() == digest
    except (ImageError, StoreError):
        return True
