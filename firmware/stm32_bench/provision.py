"""Provision: sets the option bits that the updater needs, so that the chip reads its BOOT0 pin."""

from stm32_rom import option_bytes
from stm32_rom.errors import ReadProtected

from . import optr
from .errors import NotAllowed, NotDone
from .procedure import Procedure

_BOR_MARGIN_MV = 100


class Provision(Procedure):
    """`plan(bor=None)`: brown-out level 1 to 4, 0 for off, None for no change.

    Plan: {"status": "planned" | "nothing-to-do", "what", "chip", "wishes", "before", "after": OPTR
    in hex, "fields": see optr.comparison, "options": the option area in hex, "supply": whether the
    board can measure the supply, "supply_switch": whether a pin of the host switches it, "bor_mv":
    the supply at which the part starts with the chosen brown-out level, None if none was chosen,
    "needs_mv": the minimum of the supply for that level}."""

    what = "provision"

    def _planned(self, options, wishes):
        if options is None:
            raise ReadProtected(
                "the target refuses to be read: readout protection level 1",
                "Option bytes are not written under protection. stm32up unprotect removes it and "
                "erases the chip.",
            )
        before = optr.read(options)
        if before & 0xFF != option_bytes.RDP_LEVEL_0:
            raise NotAllowed("the RDP byte is 0x%02X, not 0xAA" % (before & 0xFF))
        bor = wishes.get("bor")
        self._check_bor(bor)
        after = optr.wanted(before, bor)
        self._check_state(option_bytes.OptionBytes(options).as_dict(), before != after)
        return {
            "status": "nothing-to-do" if before == after else "planned",
            "what": self.what,
            "chip": self._board.chip.name,
            "wishes": wishes,
            "before": "0x%08X" % before,
            "after": "0x%08X" % after,
            "fields": optr.comparison(before, after, self._board.chip.name),
            "options": options.hex(),
            "supply": self._board.supply is not None,
            "supply_switch": self._target.pins.supply is not None,
            "bor_mv": optr.BOR_RISING_MV[bor - 1] if bor else None,
            "needs_mv": _needs_mv(bor),
        }

    def _check_state(self, options, writes):
        """Raises NotAllowed if the write would have no effect or could be interrupted."""
        if options["BOOT_LOCK"]:
            raise NotAllowed(
                "BOOT_LOCK is set: the part boots from main flash, whatever BOOT0 says",
                "Clear it over SWD (STM32CubeProgrammer) if the part allows that; otherwise only "
                "the application itself can update the part.",
            )
        if writes and not options["IWDG_SW"]:
            raise NotAllowed(
                "IWDG_SW is 0: the watchdog runs from power-on, and may reset the part while it "
                "programs its option bytes (RM0444 p. 90)",
                "Set IWDG_SW to 1 over SWD (STM32CubeProgrammer), then run the command again.",
            )
        if options["NRST_MODE"] != optr.NRST_BIDIRECTIONAL:
            raise NotAllowed(
                "NRST_MODE is %d, not 3 (bidirectional)" % options["NRST_MODE"],
                "Set NRST_MODE to 3 over SWD (STM32CubeProgrammer): the host uses NRST to reset "
                "the part.",
            )

    def _check_bor(self, bor):
        name = self._board.chip.name
        if bor is None:
            return
        if bor not in (0, 1, 2, 3, 4):
            raise NotAllowed("there is no brown-out level %s" % bor, "Use 1 to 4, or off.")
        if not (name.startswith("STM32G0") and name[8:9] == "1"):
            raise NotAllowed(
                "the brown-out levels of the %s are not known" % name, "Leave --bor out."
            )

    def _supply_needed(self, plan):
        return plan["needs_mv"]

    def _applied(self, plan):
        before, after = int(plan["before"], 16), int(plan["after"], 16)
        if before == after:
            self._target.start_application()
            yield self._result(True, "nothing-to-do", {"before": plan["before"]})
            return
        address = self._board.chip.options_address
        shown = "OPTR %s" % plan["after"]
        yield from self._send(shown, self._loader.write_optr, address, before, after)
        options = self._enter_after_work()
        yield self._loader_event()
        self._clear_if_sound(options)
        self._compare(options, before, after)
        self._target.start_application()
        yield self._result(True, "provisioned", {"before": plan["before"], "after": plan["after"]})

    def _compare(self, options, before, after):
        """Raises NotDone unless OPTR is `after`."""
        if options is None:
            raise NotDone(
                "the target refuses to be read since OPTR was written: protection level 1",
                "If its supply failed meanwhile, its option bytes are torn. Try stm32up "
                "unprotect; it erases the chip.",
            )
        word = optr.read(options)
        if word == before:
            raise NotDone("OPTR is unchanged: nothing was written", "Run the command again.")
        if word != after:
            raise NotDone(
                "OPTR is 0x%08X but should be 0x%08X" % (word, after),
                "Leave the supply on and run the command again.",
            )


def _needs_mv(bor):
    return optr.BOR_RISING_MV[bor - 1] + _BOR_MARGIN_MV if bor else 0
