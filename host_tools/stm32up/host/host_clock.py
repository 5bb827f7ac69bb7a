"""The clock of the host MCU. Without a battery it is lost with the supply, and a log has no dates.
So a verb that lets the host write its log first sets a clock that was never set, to UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from stm32up.host.log_runs import SET_SINCE
from stm32up.host.transport import Connection

_SET = """
def _set_clock(now):
 gmtime = getattr(_built_in('time'), 'gmtime', None)
 RTC = getattr(_built_in('machine'), 'RTC', None)
 if gmtime and RTC and gmtime()[0] < {since}: RTC().datetime(now)
_set_clock({now!r})
"""


def set_if_unset(connection: Connection, now: datetime | None = None) -> None:
    """Set the clock, unless it was set before, or the firmware has none. Costs no call of its own
    if it is the first of a connection to define something. Raises DeviceError."""
    now = (now or datetime.now(UTC)).astimezone(UTC)
    day = (now.year, now.month, now.day, now.weekday())
    moment = (*day, now.hour, now.minute, now.second, 0)
    connection.define(_SET.format(since=SET_SINCE, now=moment))
