"""For the bench only, never part of a product: changes the target's option bytes, or erases it.

Provision sets the boot bits that the updater needs. Unprotect removes the readout protection.
Erase erases the flash. All are used in two steps:

from stm32_bench import Provision
procedure = Provision.from_board("/board.json")
for event in procedure.plan(): ...       # read-only; the last event, a result, is the plan
for event in procedure.apply(plan): ...  # checks the plan again and carries it out once
"""

from .erase import Erase
from .provision import Provision
from .unprotect import Unprotect

__all__ = ["Erase", "Provision", "Unprotect"]
