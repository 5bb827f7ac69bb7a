"""`status`: what the host knows. `probe`: what is on the bus."""

from .errors import HandsOff, ImageError, StoreError
from .image import open_image, version_text
from .record import IDLE, UNKNOWN, as_text
from .store import exists


def status(board, store, log):
    """What the host knows, as a dict. Does not access the target."""
    record = store.load()
    facts = {
        "phase": "unknown" if record is None else record.phase,
        "inbox": store.inbox_images(),
        "installed": None,
        "log_lines_lost": log.lost,
    }
    if record is not None:
        facts["installed"] = as_text(record.installed)
        facts["failed"] = as_text(record.failed)
    for name, path in (("candidate", store.candidate), ("confirmed", store.confirmed)):
        facts[name] = None
        if exists(path):
            try:
                image = open_image(path)
            except (ImageError, StoreError) as error:
                facts[name] = error.message
                continue
            facts[name] = image.version
            if record is not None and record.image == image.digest:  # it is under way
                pages = -(-image.size // board.chip.page_size)
                doubt = record.doubt & ((1 << pages) - 1)
                facts["pages_in_doubt"] = bin(doubt).count("1")
    return facts


class Visit:
    """`with Visit(board, store) as target:` the target is in its loader; afterwards its
    application is started. Writes nothing to the target.

    A target that may be programming its flash or option bytes is not reset: HandsOff, when the
    object is made. `with` raises LoaderSilent, WrongChip, ReadProtected, BusError."""

    def __init__(self, board, store):
        store.respect_hands_off()
        self._target = board.target
        seen = self._target.at_work()
        if seen is not None:
            raise HandsOff(
                "the target may be programming its option bytes: %s" % seen,
                "Leave its supply on and wait a few minutes. " + HandsOff.next_step,
            )
        self._store = store
        self._record = None

    def __enter__(self):
        record = self._store.load()
        if record is not None and record.phase == IDLE:
            # If the power fails now, the next run looks whether the application runs.
            record.phase = UNKNOWN
            self._store.save(record)
            self._record = record
        try:
            self._target.enter_loader()
        except BaseException as error:  # also a Ctrl-C
            self.__exit__()
            raise error
        return self._target

    def __exit__(self, *_):
        self._target.start_application()
        if self._record is not None:
            self._record.phase = IDLE
            self._store.save(self._record)


def probe(board, store):
    """What is on the bus, as a dict. Raises what Visit raises."""
    visit = Visit(board, store)
    runs = board.application_runs()
    version = board.application_version()
    with visit as target:
        options = target.options
        state = "running" if runs else "blank" if target.blank() else "silent"
        return {
            "chip": board.chip.name,
            "product_id": "0x%03X" % board.chip.product_id,
            "loader": target.quirks.version,
            "protocol": target.protocol,
            "option_bytes": None if options is None else options.as_dict(),
            "application": state,
            "application_version": version_text(version) if version else None,
        }
