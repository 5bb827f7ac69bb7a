"""Which image may be installed: whole, from somebody this board trusts, for this product and this
chip, not older than what ran here. The target is not needed for any of it.
"""

import binascii

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
        """Paths of images that want to be installed. A candidate that nobody knows of was adopted
        from the inbox just before a cut."""
        paths = self._store.inbox_images()
        if record.image is None and exists(self._store.candidate):
            paths.append(self._store.candidate)
        return paths

    def newest(self, paths, record, force=False):
        """The newest image that passes every check, and the last refusal; either may be None.

        The others are removed: refused ones for good, older ones as superseded. A folder is
        reported, but stays and is no refusal: it would be one for ever. `force` lets an image that
        failed before try again."""
        best = refusal = None
        self.times = {}
        lowest = self.lowest_counter(record) if paths else 0
        for path in paths:
            try:
                image, checked = self.check(path, lowest, None if force else record.failed)
            except ImageError as error:
                event = {"event": "refused", "image": path}
                event.update(error.as_dict())
                yield event
                if not is_folder(path):
                    refusal = error
                    self._store.discard(path)
                continue
            yield checked
            if best is None or image.rank() > best.rank():
                best, image = image, best
                self.times = {key: checked[key] for key in ("hash_ms", "signature_ms")}
            if image is not None:
                yield about("superseded", image)
                self._store.discard(image.path)
        return best, refusal

    def find(self, digest):
        """The sound image with this digest (hex) among those kept, or None. It was admitted when
        it came, so neither its signature nor its counter is asked again."""
        for path in self._store.kept() if digest else ():
            try:
                image = open_image(path)
                image.check_digest(self._clock)
            except (ImageError, StoreError):
                continue  # missing or damaged: the other one may be the one
            if _hex(image.digest) == digest:
                return image
        return None

    def check(self, path, lowest=0, failed=None):
        """The image at `path`, which may be installed, and the event that says so.

        `lowest`: the security counter it must have at least. `failed`: digest (hex) of the image
        that is not tried again. Raises ImageError, StoreError."""
        board, clock = self._board, self._clock
        if is_folder(path):
            raise ImageError("%s is a folder" % path, "Remove it from the host's filesystem.")
        image = open_image(path)
        image.check_fit(board.chip, board.preserved)
        image.check_product(board.class_id)
        image.check_vectors(board.chip)
        begun = clock.now()
        image.check_digest(clock)
        hash_ms = clock.since(begun)
        begun = clock.now()
        key = signature.check(image, self._keys, board.unsigned_allowed)
        signature_ms = clock.since(begun)
        if image.security_counter < lowest:
            raise ImageTooOld(
                "%s has the security counter %d; here %d was installed"
                % (path, image.security_counter, lowest)
            )
        if _hex(image.digest) == failed:
            raise ImageFailedBefore("%s was installed before and did not prove itself" % path)
        return image, {
            "event": "checked",
            "image": path,
            "version": image.version,
            "hash_ms": hash_ms,
            "signature_ms": signature_ms,
            "key": key,
        }

    def lowest_counter(self, record):
        """The security counter that an image must have at least: the highest that was ever
        confirmed, by the record or by the confirmed image, whichever knows more.

        If the host lost both, nothing is known, and any authentic image is accepted: rather an old
        application than none. So the counter keeps old images out, but not from somebody who can
        erase the host's files."""
        try:
            confirmed = open_image(self._store.confirmed)
            if confirmed.security_counter > record.counter:
                confirmed.check_digest(self._clock)
                return confirmed.security_counter
        except (ImageError, StoreError):
            pass  # missing or damaged: it tells nothing
        return record.counter


def about(event, image):
    """An event about an image."""
    return {"event": event, "image": image.path, "version": image.version, "bytes": image.size}


def _hex(digest):
    return binascii.hexlify(digest).decode()
