"""The power-cut rig: count the events of a run, and cut the power at each of them.

`product` makes a scenario from a user's main.py, `explore` judges every cut of it, `replay`
repeats one, `command.main` is a program for both. `judge` defines violations, `outcome` makes
tables of many cases. `in_micropython` does the same in real MicroPython, `first_granule` finds the
events that a target without BOOT0 does not survive.
"""

from stm32sim.cuts.campaign import Campaign, explore
from stm32sim.cuts.judge import Judge, Kind, Verdict, Violation
from stm32sim.cuts.product_bench import product
from stm32sim.cuts.rig import CannotBegin, Case, Cut, Rig, Scenario, replay

__all__ = [
    "Campaign",
    "CannotBegin",
    "Case",
    "Cut",
    "Judge",
    "Kind",
    "Rig",
    "Scenario",
    "Verdict",
    "Violation",
    "explore",
    "product",
    "replay",
]
