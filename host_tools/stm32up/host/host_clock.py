"""The clock of the host MCU. Without a battery it is lost with the supply, and a log has no dates.
So a verb that lets the host write its log first sets a clock that was never set, to UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from stm32up.host.log_runs import SET_SINCE
from stm32up.host.transport import Connection

_SET = f"""
def _set_clock(now):
 gmtime = getattr(_built_in('time'), 'gmtime', None)
 RTC = getattr(_built_in('machine'), 'RTC', None)
 if not gmtime or not RTC or gmtime()[0] >= {SET_SINCE}: return False
 RTC().datetime(now)
 return True
"""


def set_if_unset(connection: Connection, now: datetime | None = None) -> bool:
    """Set the clock, unless it was set before, or the firmware has none; return whether it was set
    now. Raises DeviceError."""
    now = (now or datetime.now(UTC)).astimezone(UTC)
    day = (now.year, now.month, now.day, now.weekday())
    moment = (*day, now.hour, now.minute, now.second, 0)
    connection.define(_SET)
    return connection.ask(f"_set_clock({moment!r})") is True
