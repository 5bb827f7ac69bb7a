"""The face: an Updater keeps one target up to date. Its runs are told by run_events.py."""

import asyncio

from stm32_rom.clock import Clock
from stm32_rom.errors import UpdaterError

from .errors import AnotherRun, HandsOff, StoreError, unforeseen
from .event_log import EventLog
from .record import IDLE, Record
from .run_events import result
from .store import Store, exists

_runs = {}  # folder -> the number of the run that may touch its target: the last one started


class Updater:
    """Keeps one target up to date from the images on this host's filesystem."""

    def __init__(self, board, clock, folder="/updater"):
        self._board = board
        self._clock = clock
        self._store = Store(folder)
        self._log = EventLog(folder, clock)
        self._flow = None  # of the present run, if there is something to do

    @classmethod
    def from_board(cls, path="board.json", confirm=None, feed=None):
        """An Updater for the board described in the file at `path`.

        `confirm(image)`: called until it returns True, the proof that the application works; by
        default what board.json says. `feed()` feeds the product's watchdog.
        Raises BoardError, StoreError."""
        from stm32_rom import pins  # noqa: F401, each before those that import it

        from . import settings  # noqa: F401
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

    def status(self):
        """See report.status."""
        from . import report

        return report.status(self._board, self._store, self._log)

    def probe(self):
        """See report.probe."""
        from . import report

        return report.probe(self._board, self._store)

    def _logged(self, force):
        """Every end is a result event, and in the log: of an error that is none of this package
        as well, before it passes through. A run that another one has overtaken ends at once: it
        touches nothing, the log included."""
        folder = self._store.folder
        turn = _runs[folder] = _runs.get(folder, 0) + 1
        self._flow = None
        self._log.restart()
        events = None
        try:
            events = self._begin(force)
            for event in events:
                yield self._told(event)
                if turn != _runs[folder]:
                    break
            else:
                return
            events.close()
            error = AnotherRun("another run of the updater began before this one had ended")
            yield result(False, "failed", error)
        except HandsOff as error:
            yield self._told(result(False, "waiting", error))
        except UpdaterError as error:
            self._let_go()
            yield self._told(result(False, "failed", error))
        except GeneratorExit:
            events.close()
            if turn == _runs[folder]:
                self._let_go()
            raise
        except Exception as error:
            self._let_go()
            yield self._told(result(False, "failed", unforeseen(error)))
            raise error

    def _told(self, event):
        if event["event"] != "progress":
            self._log.write(event)
        return event

    def _let_go(self):
        if self._flow is not None:
            self._flow.let_go()

    def _begin(self, force):
        """The generator of this run's events. Its code is loaded when there is something to do: a
        boot with nothing to do is fast, and leaves more of the heap to the product."""
        store = self._store
        store.respect_hands_off()
        store.keep_spare()
        record = store.load() or Record()
        record.doubt &= (1 << self._board.chip.pages) - 1
        if record.phase == IDLE and not _waits(store):
            return _only(result(True, "idle"))
        self._flow = _load_flow()(self._board, store, self._clock, record)
        return self._flow.events(force)


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


def _waits(store):
    """Whether there is an image that may have to be installed, or the files cannot tell."""
    try:
        return store.inbox_images() or exists(store.candidate)
    except StoreError:
        return True


def _only(event):
    yield event


def _load_flow():
    """The class Flow. Each module before those that import it: an import within an import takes
    0.9 KB of an rp2's 8 KB of C stack."""
    from stm32_rom import commands, option_bytes, target  # noqa: F401

    from . import admission, decide, flasher, image, signature  # noqa: F401
    from .flow import Flow

    return Flow
