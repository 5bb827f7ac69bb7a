"""The bench's verbs, `provision` and `unprotect`: plan, ask, and only then do it.

The work is done by stm32_bench on the host MCU. Here it is shown what is to be done, and somebody
has to say yes; what was confirmed goes back as it came, and the device refuses anything else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from stm32up.deploy import BOARD_JSON
from stm32up.errors import UsageError
from stm32up.events import Report
from stm32up.transport import Connection
from stm32up.updater import collect

Plan = dict[str, Any]
Confirm = Callable[[Plan], None]  # raises UsageError if nobody says yes

BOR = {"off": 0, "1": 1, "2": 2, "3": 3, "4": 4}
_DEVICE_CLASSES = {"provision": "Provision", "unprotect": "Unprotect"}
# What has to be typed: nobody types it by mistake.
WORDS = {"provision": "provision", "unprotect": "erase"}

_CALL = """
import json
from stm32_bench import {name}
from stm32_updater.errors import UpdaterError
try:
 for e in {name}.from_board({board!r}).{call}: print(json.dumps(e))
except UpdaterError as e:
 d = {{"event": "result", "ok": False}}
 d.update(e.as_dict())
 print(json.dumps(d))
"""


def provision(
    connection: Connection, report: Report, confirm: Confirm, bor: str | None = None
) -> dict[str, Any]:
    """Sets the option bits that the updater needs, at most once; returns the result's values.

    `bor`: a key of BOR. Raises UsageError if it is not confirmed, UpdateFailed."""
    return _run(connection, "provision", report, confirm, bor=None if bor is None else BOR[bor])


def unprotect(connection: Connection, report: Report, confirm: Confirm) -> dict[str, Any]:
    """Takes readout protection away, which erases the chip; returns the result's values.

    Raises UsageError if it is not confirmed, UpdateFailed."""
    return _run(connection, "unprotect", report, confirm)


def _run(
    connection: Connection, verb: str, report: Report, confirm: Confirm, **wishes: int | None
) -> dict[str, Any]:
    arguments = ", ".join(f"{name}={value!r}" for name, value in wishes.items())
    plan = _call(connection, verb, f"plan({arguments})", report)
    if plan["status"] != "planned":
        return plan
    report({"event": "plan", "verb": verb, **plan})
    confirm(plan)
    return _call(connection, verb, f"apply(json.loads({json.dumps(plan)!r}))", report)


def _call(connection: Connection, verb: str, call: str, report: Report) -> dict[str, Any]:
    code = _CALL.format(name=_DEVICE_CLASSES[verb], board=BOARD_JSON, call=call)
    return collect(connection, code, report)


def warning(verb: str, plan: Plan) -> list[str]:
    """What has to be known before saying yes."""
    lines = [
        "Until this is over the target's supply must stay on and steady, and nobody may reset it:",
        "a chip that is cut off while it programs its option bytes can lock itself for good.",
    ]
    if verb == "unprotect":
        lines.insert(0, "This erases all of the target's flash and rewrites its option bytes.")
    if not plan.get("supply"):
        lines.append("The host cannot measure the supply ([bench] in board.toml): look yourself.")
    return lines


def refused() -> UsageError:
    return UsageError("not confirmed; nothing was changed")


def nobody_to_ask(verb: str) -> UsageError:
    """There is no terminal, or --json, and no --yes."""
    return UsageError(
        f"{verb} has to be confirmed, and there is nobody to ask; nothing was sent",
        "Run it in a terminal, or give --yes if the target's supply is sure to stay on.",
    )
