"""Causes that stop the doctor from examining anything else, or that must be known first."""

from __future__ import annotations

from stm32up.doctor.diagnosis import Evidence, Facts, Rules, Severity
from stm32up.host.host_facts import PRODUCT
from stm32up.host.paths import FROZEN, LIB

RULES = Rules()


@RULES.add(
    "The option bytes are torn: the chip locks itself at its next reset.",
    "A reset or a loss of supply interrupted writing them. The chip uses the old ones until they "
    "are loaded again.",
    "Keep its supply on and do not reset it. Only rewriting all option bytes now, with a debugger "
    "that does not reset the chip, could help. Otherwise replace the STM32.",
    severity=Severity.BEYOND_HELP,
)
def option_bytes_torn(facts: Facts) -> Evidence:
    if facts.seen("spared") != "torn":
        return []
    return ["an option word and its complement, read from the loader, do not match"]


@RULES.add(
    "The host's MicroPython cannot run the updater.",
    "It is older than 1.24, or loads another version of .mpy files, or is not MicroPython.",
    "Install MicroPython 1.24 or newer on the host, then: stm32up deploy.",
)
def micropython_unfit(facts: Facts) -> Evidence:
    trouble = facts.host.interpreter_trouble
    return [trouble, "so nothing else was examined"] if trouble else []


@RULES.add(
    "The host has no filesystem: nothing is mounted at /.",
    "Most likely its MicroPython is built for another flash size. Or boot.py unmounts the "
    "filesystem.",
    "Erase the host's flash, install the MicroPython for its flash size, then: stm32up deploy.",
)
def no_filesystem(facts: Facts) -> Evidence:
    return [] if facts.host.block else ["statvfs of / has a block size of 0"]


@RULES.add(
    "The host imports another stm32_updater than the deployed one.",
    "A file or folder with that name is in a place that import searches first, or the firmware "
    "contains one.",
    "Rename or remove it (mpremote fs rm -r :PATH), then: stm32up deploy.",
)
def updater_hidden(facts: Facts) -> Evidence:
    evidence = []
    for name in PRODUCT:
        found = [path for _, path in facts.host.found.get(name, [])]
        if found != [f"{FROZEN}/{name}"]:  # unlike a product with a frozen updater
            before = facts.host.in_the_way(name)
            evidence += [f"{path} is found before {LIB}/{name}" for path in before]
    return evidence


@RULES.add(
    "A file on the host hides a built-in module that the updater needs.",
    "MicroPython imports a file such as json.py or time.py instead of its own module.",
    "Rename or remove the file: mpremote fs rm :PATH.",
)
def built_in_hidden(facts: Facts) -> Evidence:
    return [hidden.text for hidden in facts.host.hidden if hidden.lacks]


@RULES.add(
    "The updater on the host cannot be imported.",
    "Its files are compiled for another MicroPython, damaged, or not all of one version.",
    "Run stm32up deploy; if that does not help, install MicroPython 1.24 or newer.",
    unless=("micropython-unfit", "updater-hidden", "built-in-hidden"),
)
def updater_broken(facts: Facts) -> Evidence:
    return [facts.import_trouble] if facts.import_trouble else []
