"""For the bench only: sets option bits, takes readout protection away. Never part of a product.

from stm32_bench import Provision
procedure = Provision.from_board("/board.json")
for event in procedure.plan(): ...       # looks, and changes nothing
for event in procedure.apply(plan): ...  # does what the plan says, once
"""

from .provision import Provision
from .unprotect import Unprotect

__all__ = ["Provision", "Unprotect"]
