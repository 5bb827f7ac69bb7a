"""From the factory's option bytes to what the field package needs: the BOOT0 pin counts."""

import binascii

from stm32_updater import option_bytes
from stm32_updater.errors import LoaderRefused, ReadProtected

from . import optr
from .errors import NotAllowed, NotDone
from .procedure import Procedure

_BOR_MARGIN_MV = 100


class Provision(Procedure):
    """`plan(bor=None)`: brown-out level 1 to 4, 0 for off, None to leave it as it is.

    Plan: {"status": "planned" | "nothing-to-do", "what", "chip", "wishes", "before", "after":
    OPTR in hex, "fields": see optr.comparison, "options": the option area in hex, "supply_mv":
    measured, or None where the board cannot}."""

    what = "provision"

    def _planned(self, options, wishes):
        if options is None:
            raise ReadProtected(
                "the target refuses to be read: readout protection level 1",
                "Option bytes are not written under protection; stm32up unprotect erases the "
                "chip and takes it away.",
            )
        before = optr.read(options)
        if before is None:
            raise LoaderRefused("OPTR and its complement do not match as they were read")
        if before & 0xFF != option_bytes.RDP_LEVEL_0:
            raise NotAllowed("the RDP byte is 0x%02X, not 0xAA" % (before & 0xFF))
        bor = wishes.get("bor")
        self._check_bor(bor)
        after = optr.wanted(before, bor)
        return {
            "status": "nothing-to-do" if before == after else "planned",
            "what": self.what,
            "chip": self._board.chip.name,
            "wishes": wishes,
            "before": "0x%08X" % before,
            "after": "0x%08X" % after,
            "fields": optr.comparison(before, after),
            "options": binascii.hexlify(options).decode(),
            "supply": self._board.supply is not None,
        }

    def _check_bor(self, bor):
        name = self._board.chip.name
        if bor is None:
            return
        if bor not in (0, 1, 2, 3, 4):
            raise NotAllowed("there is no brown-out level %s" % bor, "Say 1 to 4, or off.")
        if not (name.startswith("STM32G0") and name[8:9] == "1"):
            raise NotAllowed(
                "brown-out levels of the %s are not known here" % name, "Leave --bor out."
            )

    def _supply_needed(self, plan):
        bor = plan["wishes"].get("bor")
        return optr.BOR_RISING_MV[bor - 1] + _BOR_MARGIN_MV if bor else 0

    def _applied(self, plan):
        before, after = int(plan["before"], 16), int(plan["after"], 16)
        if before == after:
            self._target.start_application()
            yield self._result(True, "nothing-to-do", {"before": plan["before"]})
            return
        address = self._board.chip.options_address
        shown = "OPTR %s" % plan["after"]
        yield from self._send(shown, self._loader.write_optr, address, before, after)
        found = self._look()
        yield self._loader_event()
        self._clear_if_sound(found)
        self._compare(found, before, after)
        self._target.start_application()
        yield self._result(True, "provisioned", {"before": plan["before"], "after": plan["after"]})

    def _compare(self, found, before, after):
        """Raises NotDone unless the option bytes are as they should be."""
        if found is None:
            raise NotDone(
                "the target refuses to be read since OPTR was written: protection level 1",
                "If its supply failed meanwhile, its option bytes are torn. Try stm32up "
                "unprotect; it erases the chip.",
            )
        word = optr.read(found)
        if word == before:
            raise NotDone("OPTR is as it was: nothing was written", "Run the command again.")
        if word != after:
            shown = "not its complement's opposite" if word is None else "0x%08X" % word
            raise NotDone(
                "OPTR is %s, and should be 0x%08X" % (shown, after),
                "Leave the supply on and run the command again.",
            )
