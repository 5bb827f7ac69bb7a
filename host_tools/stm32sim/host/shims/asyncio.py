# mypy: ignore-errors
"""The part of MicroPython's `asyncio` without streams, on virtual time.

Neither CPython's loop nor that of MicroPython's WebAssembly port (JavaScript's) uses the simulated
clock. Here tasks run in the order in which they became ready; if none is ready, one `sleep_us`
advances time to the next one.
"""

import sys

from _host import call

_queue = []  # (due in us, order, task), earliest first
_order = 0
_current = None


class CancelledError(BaseException):
    pass


class TimeoutError(Exception):
    pass


class Task:
    def __init__(self, coro):
        self.coro = coro
        self.state = None  # None: running; True: done
        self.data = None  # the result
        self.error = None
        self._waiters = []
        self._throw = None

    def done(self):
        return bool(self.state)

    def cancel(self):
        if self.state:
            return False
        self._throw = CancelledError()
        _wake(self)
        return True

    def __await__(self):
        while not self.state:
            self._waiters.append(_current)
            yield
        if self.error is not None:
            raise self.error
        return self.data

    __iter__ = __await__

    def _step(self):
        throw, self._throw = self._throw, None
        try:
            if throw is None:
                self.coro.send(None)
            else:
                self.coro.throw(throw)
            return
        except StopIteration as finished:
            self.data = finished.value
        except (CancelledError, Exception) as error:
            self.error = error
            if not self._waiters and not isinstance(error, CancelledError):
                print("Task exception wasn't retrieved")
                sys.print_exception(error)
        self.state = True
        for waiter in self._waiters:
            _wake(waiter)


class _Pause:
    """One pass through the queue; the awaiting code has arranged to be woken."""

    def __await__(self):
        yield

    __iter__ = __await__


def _schedule(task, due):
    global _order
    _order += 1
    at = len(_queue)
    while at and _queue[at - 1][0] > due:
        at -= 1
    _queue.insert(at, (due, _order, task))


def _unschedule(task):
    for entry in _queue:
        if entry[2] is task:
            _queue.remove(entry)
            return


def _wake(task):
    _unschedule(task)
    _schedule(task, call("ticks_us"))


def create_task(coro):
    task = Task(coro)
    _wake(task)
    return task


def current_task():
    return _current


def _run_until(main):
    global _current
    while not main.done():
        if not _queue:
            raise RuntimeError("every task waits for another one")
        due, _, task = _queue.pop(0)
        early = due - call("ticks_us")
        if early > 0:
            call("sleep_us", early)
        before, _current = _current, task
        try:
            task._step()
        finally:
            _current = before


def run(coro):
    main = Task(coro)
    main._waiters.append(main)  # its exception is retrieved at the end of this function
    _wake(main)
    _run_until(main)
    _unschedule(main)
    if main.error is not None:
        raise main.error
    return main.data


async def sleep_ms(ms):
    _schedule(_current, call("ticks_us") + max(0, ms) * 1000)
    await _Pause()


async def sleep(seconds):
    await sleep_ms(int(seconds * 1000))


async def wait_for_ms(aw, ms):
    if ms is None:
        return await aw
    task = aw if isinstance(aw, Task) else create_task(aw)
    if not task.done():
        task._waiters.append(_current)
        _schedule(_current, call("ticks_us") + ms * 1000)
        try:
            await _Pause()
        except CancelledError:
            task.cancel()
            raise
        _unschedule(_current)
    if task.done():
        return await task
    task.cancel()
    while not task.done():
        task._waiters.append(_current)
        await _Pause()
    raise TimeoutError  # noqa: UP041, the one above; MicroPython has no built-in one


async def wait_for(aw, seconds):
    return await wait_for_ms(aw, None if seconds is None else int(seconds * 1000))


async def gather(*aws, return_exceptions=False):
    tasks = [aw if isinstance(aw, Task) else create_task(aw) for aw in aws]
    results = []
    for task in tasks:
        try:
            results.append(await task)
        except Exception as error:
            if not return_exceptions:
                raise
            results.append(error)
    return results


class Event:
    def __init__(self):
        self._set = False
        self._waiters = []

    def is_set(self):
        return self._set

    def set(self):
        self._set = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            _wake(waiter)

    def clear(self):
        self._set = False

    async def wait(self):
        while not self._set:
            self._waiters.append(_current)
            await _Pause()
        return True


class ThreadSafeFlag(Event):
    async def wait(self):
        await Event.wait(self)
        self.clear()


class Lock:
    def __init__(self):
        self._locked = False
        self._free = Event()

    def locked(self):
        return self._locked

    async def acquire(self):
        while self._locked:
            self._free.clear()
            await self._free.wait()
        self._locked = True
        return True

    def release(self):
        if not self._locked:
            raise RuntimeError("Lock not acquired")
        self._locked = False
        self._free.set()

    async def __aenter__(self):
        return await self.acquire()

    async def __aexit__(self, *args):
        self.release()


class Loop:
    @staticmethod
    def create_task(coro):
        return create_task(coro)

    @staticmethod
    def run_until_complete(aw):
        return run(aw)

    @staticmethod
    def run_forever():
        run(Event().wait())


def get_event_loop():
    return Loop


def new_event_loop():
    _queue.clear()
    return Loop
