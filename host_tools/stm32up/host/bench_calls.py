"""The bench verbs `provision`, `unprotect` and `erase`: plan, ask, then execute.

stm32_bench on the host MCU does the work. This module shows its plan, and the user must confirm
it. The confirmed plan is sent back unchanged, and the device refuses any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import cast

from stm32up.errors import UpdateFailed, UsageError
from stm32up.events import Plan, Report
from stm32up.host.calls import SILENCE_S, collect
from stm32up.host.paths import BOARD_JSON
from stm32up.host.transport import Connection

Confirm = Callable[[Plan], None]  # raises UsageError if the user does not confirm

_DEVICE_CLASSES = {"provision": "Provision", "unprotect": "Unprotect", "erase": "Erase"}
# The word to type for each verb, so that nothing is confirmed by mistake.
WORDS = {"provision": "provision", "unprotect": "erase", "erase": "erase"}

# A board without a sign of life for this long is interrupted. For the verbs that write option
# bytes it is far longer than any wait: the host must not leave a chip that programs them.
_SILENCE_S = {"provision": 90.0, "unprotect": 90.0, "erase": SILENCE_S}

_CALL = """
import json
from stm32_bench import {name}
from stm32_updater import UpdaterError
try:
 for e in {name}.from_board({board!r}, feed=feed).{call}: print(json.dumps(e))
except UpdaterError as e:
 d = {{"event": "result", "ok": False}}
 d.update(e.as_dict())
 print(json.dumps(d))
"""


def provision(
    connection: Connection,
    report: Report,
    confirm: Confirm,
    bor: int | None = None,
    *,
    power_cycled: bool = False,
) -> dict[str, object]:
    """Set the option bits that the updater needs, at most once; return the values of the result.

    `bor`: the brown-out level, 0 for off; None: unchanged. `power_cycled`: the target was switched
    off and on by hand just before. Raises UsageError if it is not confirmed, UpdateFailed."""
    return _run(connection, "provision", report, confirm, power_cycled, bor=bor)


def unprotect(
    connection: Connection, report: Report, confirm: Confirm, *, power_cycled: bool = False
) -> dict[str, object]:
    """Remove readout protection, which erases the chip; return the values of the result.

    `power_cycled`: as for `provision`. Raises UsageError if it is not confirmed, UpdateFailed."""
    return _run(connection, "unprotect", report, confirm, power_cycled)


def erase(
    connection: Connection, report: Report, confirm: Confirm, *, everything: bool = False
) -> dict[str, object]:
    """Erase the flash, without what the board preserves unless `everything`; return the values of
    the result. Raises UsageError if it is not confirmed, UpdateFailed."""
    return _run(connection, "erase", report, confirm, False, everything=everything)


def _run(
    connection: Connection,
    verb: str,
    report: Report,
    confirm: Confirm,
    power_cycled: bool,
    **wishes: int | bool | None,
) -> dict[str, object]:
    given = wishes | ({"power_cycled": True} if power_cycled else {})
    arguments = ", ".join(f"{name}={value!r}" for name, value in given.items())
    planned = connection.persistently(
        lambda: _call(connection, verb, f"plan({arguments})", report), report
    )
    if planned.get("status") != "planned":
        return planned
    plan = cast(Plan, planned)
    report({"event": "plan", "verb": verb, **plan})
    confirm(plan)

    def apply() -> dict[str, object]:
        return _call(connection, verb, f"apply(json.loads({json.dumps(plan)!r}))", report)

    # An interrupted erase does no harm; while option bytes are written, a person decides.
    return connection.persistently(apply, report) if verb == "erase" else apply()


def _call(connection: Connection, verb: str, call: str, report: Report) -> dict[str, object]:
    code = _CALL.format(name=_DEVICE_CLASSES[verb], board=BOARD_JSON, call=call)
    return collect(connection, code, report, _SILENCE_S[verb])


def warning(verb: str, plan: Plan) -> list[str]:
    """What the user must know before confirming, as paragraphs."""
    if verb == "erase":
        return ["The target runs nothing until an image is installed again."]
    lines = [
        "Until this has ended, the target's supply must stay on and steady, and nothing may reset "
        "it: a chip that loses its supply while it programs its option bytes can lock itself "
        "permanently.",
    ]
    if verb == "unprotect":
        lines.insert(0, "This erases all of the target's flash and rewrites its option bytes.")
    if not plan.get("supply"):
        lines.append(
            "The host cannot measure the supply ([bench] in board.toml): measure it yourself."
        )
    if plan.get("bor_mv"):
        lines.append(f"{_threshold(plan)}: with less the chip never starts again.")
    if plan.get("supply_switch"):
        lines.append(
            "The host switches the target's supply: without a pull-up at the switch's enable, a "
            "reset of the host switches the target off."
        )
    return lines


GIVE_UP = (
    "--power-cycled: the verb does not check whether the target is busy, and may reset it at "
    "once.",
    "If its supply was not just off and it is busy, that locks it permanently.",
)
GIVE_UP_WORD = "power-cycled"


def check_stated_supply(plan: Plan, supply_mv: int | None) -> None:
    """With --yes no warning is read. So a brown-out level needs --supply-mv if the board cannot
    measure the supply. Raises UsageError."""
    needed = plan.get("needs_mv")
    if not needed or plan.get("supply"):
        return
    if supply_mv is None:
        raise UsageError(
            f"{_threshold(plan)}, and this host cannot measure the supply; nothing was changed",
            "Measure it and give the result: --supply-mv N.",
        )
    if supply_mv < needed:
        raise UsageError(
            f"{_threshold(plan)}; {supply_mv} mV is less than the {needed} mV needed with its "
            "margin; nothing was changed",
            "Choose a lower level.",
        )


def _threshold(plan: Plan) -> str:
    level = plan["wishes"]["bor"]
    return f"Brown-out level {level} needs {plan['bor_mv']} mV, rising"


def check_boot0(done: dict[str, object]) -> None:
    """Check before an application is installed. Raises UpdateFailed if the application would close
    the only way into the loader."""
    if done.get("boot0_counts") is False:
        raise UpdateFailed(
            "the target is unprotected, but ignores BOOT0; nothing was installed",
            PROVISION_NOW,
            {**done, "ok": False, "error": "boot0-ignored"},
        )


PROVISION_NOW = "Run stm32up provision now, while the flash is blank; then stm32up update IMAGE."


def refused() -> UsageError:
    return UsageError("not confirmed; nothing was changed")


def no_terminal(verb: str) -> UsageError:
    """There is no terminal, or --json, and no --yes."""
    return UsageError(
        f"{verb} must be confirmed, and there is no terminal to ask on; nothing was sent",
        "Run it in a terminal, or give --yes if it is certain that this is the right target, and "
        "that its supply stays on.",
    )
