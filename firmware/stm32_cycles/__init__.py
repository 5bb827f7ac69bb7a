"""For the bench only, and never installed: `stm32up bench` sends it into the RAM of the host.

`run` runs the updater while lines and host are disturbed. `check` reads flash back; `identity` the
unique IDs, for `stm32up produce`.
"""

from .disturbed import run
from .readback import check, identity

__all__ = ["check", "identity", "run"]
