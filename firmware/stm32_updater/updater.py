"""The public class: an Updater keeps one target up to date. Its events: run_events.py."""

import asyncio

from stm32_rom.clock import Clock
from stm32_rom.errors import UpdaterError

from .errors import AnotherRun, HandsOff, StoreError, unexpected
from .event_log import EventLog
from .record import IDLE, Record
from .run_events import result
from .store import Store, exists

_MODULES_OF_A_RUN = (
    "stm32_rom.option_bytes",
    "stm32_rom.commands",
    "stm32_rom.target",
    "stm32_updater.image",
    "stm32_updater.signature",
    "stm32_updater.admission",
    "stm32_updater.flasher",
    "stm32_updater.decide",
    "stm32_updater.proof",
)
_runs = {}  # folder -> its last started run, the only one that may access the target: [its Flow]


class Updater:
    """Keeps one target up to date from the images on this host's filesystem."""

    def __init__(self, board, clock, folder="/updater"):
        self._board = board
        self._clock = clock
        self._store = Store(folder)
        self._log = EventLog(folder, clock)

    @classmethod
    def from_board(cls, path="board.json", confirm=None, feed=None):
        """An Updater for the board that the file at `path` describes.

        `confirm(image)`: returns True when the application has proved that it works, and is called
        until then; the default is what board.json says. `feed()` feeds the product's watchdog.
        Raises BoardError, StoreError."""
        from stm32_rom import pins  # noqa: F401, each module before those that import it

        from . import settings  # noqa: F401
        from .board import Board

        clock = Clock(feed)
        return cls(Board.load(path, clock, confirm), clock)

    def run(self, force=False):
        """Bring the target up to date; returns the result event. Call it when the product starts.

        `force`: write all pages of a pushed image, even if it is already installed or failed
        before. All other checks are still made."""
        last = None
        for event in self._logged(force):
            last = event or last
        return last

    def events(self, force=False):
        """As `run`, but yields each event. `async for` lets other tasks run between events.

        To stop before the result, call `close()` or use `with`: this starts the application again
        if this run stopped it and did not erase it. The next run continues the update."""
        return _Events(self._logged(force))

    def status(self):
        """See report.status."""
        from . import report

        return report.status(self._board, self._store, self._log)

    def probe(self):
        """See report.probe."""
        from . import report

        return report.probe(self._board, self._store)

    def _logged(self, force):
        """The events of a run. The last is always a result, also for an exception that
        is not an UpdaterError, which is raised afterwards. If another run has started meanwhile,
        this one ends at once and touches neither the target nor the log."""
        folder = self._store.folder
        before = _runs.get(folder)
        run = _runs[folder] = [None]
        events = None
        try:
            self._log.restart()
            events = self._begin(force, run)
            if before and before[0] and run[0]:
                run[0].take_over(before[0])
            for event in events:
                self._clock.feed()
                yield event and self._log_event(event)
                if run is not _runs[folder]:
                    break
            else:
                return
            events.close()
            error = AnotherRun("another run of the updater started before this one finished")
            yield result(False, "failed", error)
        except HandsOff as error:
            yield self._log_event(result(False, "waiting", error))
        except UpdaterError as error:
            _abandon(run)
            yield self._log_event(result(False, "failed", error))
        except GeneratorExit:
            if events is not None:
                events.close()
            if run is _runs[folder]:
                _abandon(run)
            raise
        except Exception as error:
            _abandon(run)
            yield self._log_event(result(False, "failed", unexpected(error)))
            raise error
        finally:
            run[0] = None  # its buffers are large

    def _log_event(self, event):
        if event["event"] != "progress":
            self._log.write(event)
        return event

    def _begin(self, force, run):
        """The generator of this run's events. The code of a run is loaded only if there is
        something to do: otherwise the boot is fast and more heap is left to the product."""
        store = self._store
        store.respect_hands_off()
        store.keep_spare()
        record = store.load() or Record()
        record.doubt &= (1 << self._board.chip.pages) - 1
        if record.phase == IDLE and not _image_waits(store):
            return _single(result(True, "idle"))
        run[0] = _load_flow(self._clock)(self._board, store, self._clock, record)
        return run[0].events(force)


class _Events:
    """A generator that works with `for`, `async for` and `with`. Where it yields None, other tasks
    run, and nothing is reported."""

    def __init__(self, generator):
        self._generator = generator

    def close(self):
        """End the run now. Also called if the task is cancelled while it waits for an event."""
        self._generator.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __iter__(self):
        return self

    def __next__(self):
        event = None
        while event is None:
            event = next(self._generator)
        return event

    def __aiter__(self):
        return self

    async def __anext__(self):
        event = None
        while event is None:
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                self.close()
                raise
            try:
                event = next(self._generator)
            except StopIteration:
                raise StopAsyncIteration
        return event


def _image_waits(store):
    """Whether an image may have to be installed; also True if the inbox cannot be read."""
    try:
        return store.inbox_images() or exists(store.candidate)
    except StoreError:
        return True


def _single(event):
    yield event


def _abandon(run):
    if run[0] is not None:
        run[0].abandon()


def _load_flow(clock):
    """The class Flow. Imports each module before those that import it, as in __init__.py, and
    feeds the watchdog in between: the host may have to compile them."""
    for name in _MODULES_OF_A_RUN:
        clock.feed()
        __import__(name)
    clock.feed()
    from .flow import Flow

    return Flow
