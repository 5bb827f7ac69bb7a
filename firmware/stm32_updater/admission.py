"""Which image may be installed: whole, from somebody this board trusts, for this product and this
chip, not older than what ran here. The target is not needed for any of it.
"""

from . import signature
from .errors import ImageError, ImageFailedBefore, ImageTooOld, StoreError
from .image import open_image
from .store import exists, is_folder


class Admission:
    """Checks the images of one board's store. Its generators yield events; see updater.py.

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

        Nothing is yielded after the last check: whoever calls this adopts the image before other
        tasks run, which might put another file in its place, and tells the events then. Refused
        images are removed, and older ones as superseded; not so the confirmed image, a folder, or
        a file that cannot be read. `force` lets an image that failed before try again."""
        refusal = None
        self.times = {}
        lowest = self.lowest_counter(record) if paths else 0
        failed = None if force else record.barred
        left = []  # (rank, path, version)
        for path in paths:
            try:
                image = _opened(path)
                left.append((image.rank(), path, image.version))
            except (ImageError, StoreError) as error:
                refusal = yield from self._refused(path, error, refusal)
        while left:
            newest = max(left, key=_rank)
            left.remove(newest)
            try:
                image, checked = self.check(newest[1], lowest, failed)
            except (ImageError, StoreError) as error:
                refusal = yield from self._refused(newest[1], error, refusal)
                continue
            self.times = {key: checked[key] for key in ("hash_ms", "signature_ms")}
            events = [checked]
            for _, path, version in left:
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
        Returns what counts as the last refusal: a folder is none, or it would be one for ever."""
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

    def find(self, digest):
        """Of the images kept, the one with this digest (hex), admitted anew: (image, None). Or
        (None, why it may not be used), or (None, None) if it is not there."""
        why = None
        for path in self._store.kept() if digest else ():
            try:
                if exists(path) and _is(path, digest):
                    return self.check(path)[0], None
            except (ImageError, StoreError) as error:
                why = error  # the other one may be the one
        return None, why

    def confirmed(self):
        """The confirmed image: as `find`."""
        path = self._store.confirmed
        if not exists(path):
            return None, None
        try:
            return self.check(path)[0], None
        except (ImageError, StoreError) as error:
            return None, error

    def check(self, path, lowest=0, failed=None):
        """The image at `path`, which may be installed, and the event that says so.

        `lowest`: the security counter it must have at least. `failed`: digest (hex) of the image
        that is not tried again. The confirmed image has run here: neither who signed it nor its
        age is asked, because an old application is better than none. Raises ImageError,
        StoreError."""
        board, clock = self._board, self._clock
        image = _opened(path)
        image.check_fit(board.chip, board.preserved)
        image.check_product(board.class_id)
        image.check_vectors(board.chip)
        begun = clock.now()
        image.check_digest(clock)
        hash_ms = clock.since(begun)
        begun = clock.now()
        key = None
        if path != self._store.confirmed:
            key = signature.check(image, self._keys, board.unsigned_allowed)
            self._check_history(image, lowest, failed)
        return image, {
            "event": "checked",
            "image": path,
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


def _opened(path):
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


def _rank(found):
    return found[0]


def about(event, image):
    """An event about an image."""
    return {"event": event, "image": image.path, "version": image.version, "bytes": image.size}


def failure(event, path, error):
    """An event about an image at `path` that came to an error."""
    told = {"event": event, "image": path}
    told.update(error.as_dict())
    return told
