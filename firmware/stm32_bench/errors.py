"""Errors of the bench, below stm32_rom's UpdaterError.

BenchError
    LayoutUnknown   the layout of this part's option bytes is not known
    NotAllowed      the operation is not allowed in the target's present state
    OptionsTorn     an option word does not match its complement: a reset would lock the target
    PlanOutdated    the target is not in the state that the plan was made for
    SupplyPoor      the target's supply is too low or not steady
    NotFinished     the target may still be programming its option bytes
    NotDone         the target was checked afterwards and is not as planned
"""

from stm32_rom.errors import UpdaterError


class BenchError(UpdaterError):
    code = "bench"


class LayoutUnknown(BenchError):
    code = "layout-unknown"
    next_step = "Use ST's STM32CubeProgrammer for this part."


class NotAllowed(BenchError):
    code = "not-allowed"


class OptionsTorn(BenchError):
    code = "option-bytes-torn"
    next_step = (
        "Nothing was written and nothing was reset. Keep its supply on and do not reset it. Only "
        "a debugger that attaches without a reset and rewrites all option bytes can help."
    )


class PlanOutdated(BenchError):
    code = "plan-outdated"
    next_step = "Nothing was changed; run the command again and look at the new plan."


class SupplyPoor(BenchError):
    code = "supply-poor"
    next_step = "Nothing was changed; give the target a steady supply first."


class NotFinished(BenchError):
    code = "not-finished"
    next_step = (
        "Leave its supply on, do not reset it, unplug nothing. Wait a few minutes, then run this "
        "command again: it does not reset a target that may be at work. To give up waiting: "
        "switch the target off and on, and add --power-cycled. If it was still at work, this "
        "locks it permanently."
    )


class NotDone(BenchError):
    code = "not-done"
