# mypy: ignore-errors
"""MicroPython's `time` of a simulated board: virtual time, and counters about to wrap.

ticks_ms() and ticks_us() have the period of the rp2 and esp32 ports (2**30) and start shortly
before its end, so code that compares ticks without ticks_diff() fails within seconds.
"""

from _host import call

_PERIOD = 1 << 30
_MASK = _PERIOD - 1
_HALF = _PERIOD >> 1
_MS_AT_START = _PERIOD - 2500
_US_AT_START = _PERIOD - 700_000
_EPOCH_AT_START = 1_609_459_200  # rp2 starts its clock at 2021-01-01


def ticks_ms() -> int:
    return (call("ticks_us") // 1000 + _MS_AT_START) & _MASK


def ticks_us() -> int:
    return (call("ticks_us") + _US_AT_START) & _MASK


ticks_cpu = ticks_us


def ticks_add(ticks: int, delta: int) -> int:
    if not -_HALF < delta < _HALF:
        raise OverflowError("ticks interval overflow")
    return (ticks + delta) & _MASK


def ticks_diff(end: int, start: int) -> int:
    return ((end - start + _HALF) & _MASK) - _HALF


def sleep(seconds: float) -> None:
    if seconds > 0:
        call("sleep_us", int(seconds * 1_000_000))


def sleep_ms(ms: int) -> None:
    if ms > 0:
        call("sleep_us", ms * 1000)


def sleep_us(us: int) -> None:
    if us > 0:
        call("sleep_us", us)


_set_by = 0  # seconds by which machine.RTC has changed the clock


def _set(seconds: int) -> None:
    global _set_by
    _set_by += seconds - time()


def time() -> int:
    return _EPOCH_AT_START + _set_by + call("ticks_us") // 1_000_000


def time_ns() -> int:
    return (_EPOCH_AT_START + _set_by) * 1_000_000_000 + call("ticks_us") * 1000


def gmtime(seconds: int | None = None) -> tuple[int, int, int, int, int, int, int, int]:
    """(year, month, day, hour, minute, second, weekday, day of the year)."""
    if seconds is None:
        seconds = time()
    days, seconds = divmod(seconds, 86400)
    weekday = (days + 3) % 7
    year = 1970
    while days >= (length := 366 if _leap(year) else 365):
        days -= length
        year += 1
    yearday = days + 1
    month = 1
    while days >= (length := _month_length(year, month)):
        days -= length
        month += 1
    clock = (seconds // 3600, seconds // 60 % 60, seconds % 60)
    return (year, month, days + 1, clock[0], clock[1], clock[2], weekday, yearday)


localtime = gmtime


def mktime(moment: tuple[int, ...]) -> int:
    """Seconds since 1970 of (year, month, day, hour, minute, second, ...)."""
    year, month, day, hour, minute, second = moment[:6]
    days = day - 1
    for earlier in range(1970, year):
        days += 366 if _leap(earlier) else 365
    for earlier in range(1, month):
        days += _month_length(year, earlier)
    return ((days * 24 + hour) * 60 + minute) * 60 + second


def _leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _month_length(year: int, month: int) -> int:
    if month == 2:
        return 29 if _leap(year) else 28
    return 30 if month in (4, 6, 9, 11) else 31
