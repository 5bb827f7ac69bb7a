"""Which host MCU this is."""

from __future__ import annotations

import re
from typing import NamedTuple

from stm32up.host.transport import Connection, understood
from stm32up.text import clean

_WHO = """
def _who():
 i = sys.implementation
 unique_id = getattr(_built_in('machine'), 'unique_id', None)
 return {
  'platform': sys.platform,
  'machine': getattr(i, '_machine', ''),
  'micropython': '.'.join([str(n) for n in i.version[:3]]),
  'unique_id': hexlify(unique_id()).decode() if unique_id else ''}
"""


class Identity(NamedTuple):
    platform: str
    machine: str  # its name for people; may be empty
    micropython: str
    unique_id: str  # hex digits; empty if its firmware does not tell


def of(connection: Connection) -> Identity:
    """Ask the host. Raises DeviceError."""
    connection.define(_WHO)
    said = connection.ask("_who()")
    with understood(said):
        found = Identity(*(clean(str(said[key])) for key in Identity._fields))
    is_hex = re.fullmatch("[0-9a-f]{2,64}", found.unique_id)
    return found if is_hex else found._replace(unique_id="")
