"""The public class: an Updater keeps one target up to date. Its events: run_events.py.

Modules are loaded when they are needed, so that a start with nothing to do is fast and leaves more
heap to the product.
"""

from stm32_rom.clock import Clock
from stm32_rom.errors import UpdaterError

# Each module before those that import it: a nested import takes 0.9 KB of an rp2's 8 KB of C
# stack.
_MODULES_OF_A_START = (
    "stm32_rom.chips",
    "stm32_rom.i2c",
    "stm32_rom.pins",
    "stm32_updater.settings",
    "stm32_updater.board",
    "stm32_updater.record",
    "stm32_updater.store",
)
_MODULES_OF_A_RUN = (
    "stm32_updater.errors",
    "stm32_updater.run_events",
    "stm32_updater.event_log",
    "stm32_rom.application",
    "stm32_rom.option_bytes",
    "stm32_rom.commands",
    "stm32_rom.target",
    "stm32_updater.image",
    "stm32_updater.signature",
    "stm32_updater.admission",
    "stm32_updater.flasher",
    "stm32_updater.decide",
    "stm32_updater.proof",
    "stm32_updater.flow",
)
# Events that another one follows at once. Both are written to the log together, then reported.
_FOLLOWED = ("checked", "superseded", "written")
# Events of what is durable already: their line follows at once, without a step of other tasks.
_COMMITTED = ("installing", "rolling-back", "result")
_runs = {}  # folder -> its last started _Run, the only one that may access the target


class _Run:
    """A run of an Updater: its `flow`, or None; `began`, ticks of the clock; `held`, events to
    report with the next one; `answers`, or None. `before`: the flow of an unfinished run that this
    one overtook, until this one has its own."""

    def __init__(self, began, overtaken):
        self.flow = None
        self.began = began
        self.held = []
        self.answers = None
        self.before = None
        if overtaken:
            overtaken.be_silent()
            self.before = overtaken.flow or overtaken.before
            overtaken.flow = overtaken.before = None

    def be_silent(self):
        """Answer no more."""
        answers, self.answers = self.answers, None
        if answers:
            answers.close()


class Updater:
    """Keeps one target up to date from the images on this host's filesystem."""

    def __init__(self, board, clock, folder="/updater", answers=False):
        from .store import Store

        self._board = board
        self._clock = clock
        self._store = Store(folder)
        self._opened_log = None
        self._may_answer = answers

    @classmethod
    def from_board(cls, path="board.json", confirm=None, feed=None, answers=False):
        """An Updater for the board that the file at `path` describes.

        `confirm(image)`: returns True when the application has proved that it works, and is called
        until then; the default is what board.json says. `feed()` feeds the product's watchdog.
        `answers`: during a run, answer a desktop that asks on the REPL's serial port, and drop all
        other input; see answers.py. Raises BoardError, StoreError."""
        clock = Clock(feed)
        for _ in _load(_MODULES_OF_A_START, clock):
            pass
        from .board import Board

        board = Board.load(path, clock, confirm)
        clock.feed()
        return cls(board, clock, answers=answers)

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

    @property
    def _log(self):
        if self._opened_log is None:
            from .event_log import EventLog

            self._opened_log = EventLog(self._store.folder, self._clock)
        return self._opened_log

    def _logged(self, force):
        """The events of a run, and None where other tasks may run. The last event is always a
        result, also for an exception that is not an UpdaterError, which is raised afterwards. If
        another run has started meanwhile, this one ends at once and touches neither the target nor
        the log. A run with nothing to do is not logged: a line costs an erase of the host's
        flash."""
        folder = self._store.folder
        run = _runs[folder] = _Run(self._clock.now(), _runs.get(folder))
        events = None
        try:
            events = self._begin(force, run)
            if events is None:
                yield {"event": "result", "ok": True, "status": "idle"}
                return
            for event in events:
                self._clock.feed()
                if event is None:
                    yield None
                elif event["event"] == "progress":
                    yield _told(event, run)
                else:
                    yield from self._report(event, run)
                if run is not _runs[folder]:
                    break
            else:
                return
            events.close()
            from .errors import AnotherRun

            error = AnotherRun("another run of the updater started before this one finished")
            yield _failed(error)
        except GeneratorExit:
            if events is not None:
                events.close()
            if run is _runs[folder]:
                self._abandon(run)
                self._write(run)
            raise
        except Exception as error:
            if run is not _runs[folder]:
                yield _failed(error)
                return
            self._abandon(run)
            yield from self._report(_failed(error), run)
            if not isinstance(error, UpdaterError):
                raise error
        finally:
            run.flow = run.before = None  # their buffers are large
            run.be_silent()

    def _abandon(self, run):
        """Start the application again if `run`, or one before it, stopped it; but not during a
        bench operation, when the target must not be reset."""
        from .store import hands_off

        flow = run.flow or run.before
        if flow and hands_off(self._store.folder) is None:
            flow.abandon()

    def _report(self, event, run):
        """Write an event to the log, then yield it and those that are held, until another run
        starts. Yields None before that if the event is not committed yet, because what led to it
        took long, and so does the log."""
        run.held.append(event)
        name = event["event"]
        if name in _FOLLOWED:
            return
        if name not in _COMMITTED:
            yield None
            if run is not _runs[self._store.folder]:
                return
        self._write(run)
        told, run.held = run.held, []
        for event in told:
            yield _told(event, run)
            if run is not _runs[self._store.folder]:
                return

    def _write(self, run):
        """Write what `run` holds to the log. The first line of a run is about the run itself."""
        if not run.held:
            return
        log, lines = self._log, run.held
        if log.run is not run:
            from . import run_events

            log.run, log.began = run, run.began
            lines = [run_events.run()] + lines
        log.write(*lines)

    def _begin(self, force, run):
        """The generator of this run's events, or None if there is nothing to do."""
        from .record import IDLE, Record

        store = self._store
        store.respect_hands_off()
        store.keep_spare()
        record = store.load() or Record()
        if record.phase == IDLE and not store.image_waits():
            return None
        return self._loading(force, run, record)

    def _loading(self, force, run, record):
        """Load the code of a run, then yield the events of its flow."""
        if self._may_answer:
            yield from _load(("stm32_updater.answers",), self._clock)
            from .answers import Answers

            run.answers = Answers(self._clock)
        yield from _load(_MODULES_OF_A_RUN, self._clock)
        from .flow import Flow

        record.doubt &= (1 << self._board.chip.pages) - 1
        run.flow = Flow(self._board, self._store, self._clock, record)
        if run.before:
            run.flow.take_over(run.before)
            run.before = None
        yield from run.flow.events(force)


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
        import asyncio

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


def _told(event, run):
    """`event`, of which a desktop that follows the run is told."""
    if run.answers:
        run.answers.tell(event)
    return event


def _failed(error):
    """The result of a run that this exception ended."""
    from .errors import HandsOff, unexpected
    from .run_events import result

    if not isinstance(error, UpdaterError):
        error = unexpected(error)
    return result(False, "waiting" if isinstance(error, HandsOff) else "failed", error)


def _load(modules, clock):
    """Import modules: the host may have to compile them. Before each, feed the watchdog and yield
    None."""
    for name in modules:
        clock.feed()
        yield None
        __import__(name)
    clock.feed()
