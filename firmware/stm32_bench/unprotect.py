"""Unprotect: sends Readout Unprotect once, which erases the chip and rewrites its option bytes.

Sources disagree on when the loader sends the second ACK: before the work (ST's open bootloader),
after it (AN4221 section 2.11), or never, because the chip resets itself. So neither an ACK nor its
absence is a result; the target is checked afterwards.
"""

from . import loader, optr
from .blank import check_blank
from .errors import NotAllowed, NotDone
from .procedure import Procedure


class Unprotect(Procedure):
    """Plan: {"status": "planned" | "not-protected", "what", "chip", "wishes", "command": hex or
    None, "rdp": 0 or 1, "supply": whether the board can measure the supply, "supply_switch":
    whether a pin of the host switches it, "boot0_counts"}.

    Result: {"blank": True, "boot0_counts": whether the chip reads its BOOT0 pin; None if BOOT0 is
    not wired or the option bytes cannot be read}."""

    what = "unprotect"

    def _planned(self, options, wishes):
        return {
            "status": "planned" if options is None else "not-protected",
            "what": self.what,
            "chip": self._board.chip.name,
            "wishes": wishes,
            "command": "0x%02X" % self._choose() if options is None else None,
            "rdp": 1 if options is None else 0,
            "supply": self._board.supply is not None,
            "supply_switch": self._target.pins.supply is not None,
            "boot0_counts": self._boot0_counts(options),
        }

    def _boot0_counts(self, options):
        if options is None or self._target.pins.boot0 is None:
            return None
        return optr.boot0_counts(optr.read(options))

    def _is_sound(self, options):
        """Still protected is sound, too: no worse than before. (A part with torn option bytes does
        not start its loader.)"""
        return options is None or super()._is_sound(options)

    def _choose(self):
        """The command code: No-Stretch if the loader lists it."""
        listed = self._loader.get_commands(self._target.protocol_version)
        for code in (loader.NS_READOUT_UNPROTECT, loader.READOUT_UNPROTECT):
            if code in listed:
                return code
        raise NotAllowed(
            "this loader has no Readout Unprotect", "Use STM32CubeProgrammer and an ST-LINK."
        )

    def _applied(self, plan):
        if plan["rdp"] == 0:
            self._target.start_application()
            yield self._result(True, "not-protected", {})
            return
        shown, code = "Readout Unprotect (%s)" % plan["command"], int(plan["command"], 16)
        yield from self._send(shown, self._loader.readout_unprotect, code)
        options = self._enter_after_work()
        yield self._loader_event()
        if options is None and self._target.power_cycle():  # may be programmed but not loaded
            options = self._enter_after_work()
        self._clear_if_sound(options)
        if options is None:
            raise NotDone(
                "the target is still protected: nothing was done, or it is not loaded yet",
                "Switch the target off and on once, and run the command again with "
                "--power-cycled.",
            )
        pages = range(self._board.chip.pages)
        yield from check_blank(self._target, pages, "the protection is off")
        self._target.start_application()
        counts = self._boot0_counts(options)
        yield self._result(True, "unprotected", {"blank": True, "boot0_counts": counts})
