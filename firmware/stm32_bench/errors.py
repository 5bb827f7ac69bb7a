"""What can go wrong on the bench, below the updater's UpdaterError.

BenchError
    LayoutUnknown   nobody here knows what this part's option bytes mean
    NotAllowed      the target is in a state in which this must not be done
    OptionsTorn     its option bytes are torn: a reset would lock it
    PlanOutdated    the target is not what the plan was made for
    SupplyPoor      the target's supply is too low or not steady
    NotFinished     the target still works on its option bytes
    NotDone         it was looked at afterwards, and is not as it should be
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
        "Nothing was written and nothing was reset. Keep its supply on and do not reset it: only "
        "rewriting all option bytes now, by a debugger that does not reset, could help."
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
        "Leave its supply on, do not reset it, unplug nothing; wait some minutes, then run this "
        "command again: it looks first, and resets no target that may be at work. To give the "
        "target up: switch its supply off and on, and add --power-cycled. If it was at work it is "
        "locked for good by that."
    )


class NotDone(BenchError):
    code = "not-done"
