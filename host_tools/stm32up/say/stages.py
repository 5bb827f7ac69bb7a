"""What a command has done so far, from its events: for a Ctrl-C, which leaves it like that."""

from __future__ import annotations

from stm32up.events import Event, is_progress

NOTHING = ""
_INSTALLING, _ROLLING_BACK = "installing", "rolling-back"
# A stage, and what it means for the board if the command ends there.
LEFT = {
    "looking": "nothing was changed",
    "deploying": "the updater on the host may be incomplete: run stm32up deploy again",
    "pushing": "the image is not complete on the host; the next push goes on where it stopped",
    "pushed": "the image is in the host's inbox, and not installed yet; the next run installs it",
    _INSTALLING: "the target may be half written, and runs nothing then; the host has recorded "
    "that it installs, so the next run continues: stm32up run, or the host's own start",
    "written": "the target is written and verified, but its application has not proved itself "
    "yet; the next run starts it and asks",
    _ROLLING_BACK: "the last good image is being put back; the next run continues",
    "erasing": "a part of the flash is erased; the host has recorded it. Erase it again, or run "
    "stm32up run to get the last good image back",
    "option-bytes": "the target may be programming its option bytes: leave its supply on, do not "
    "reset it, and run the verb again, which looks first",
}
_PHASES = {
    "read": "looking",
    "blank check": "looking",
    "deploy": "deploying",
    "push": "pushing",
    "erase": "erasing",
}
_EVENTS = {
    "deployed": NOTHING,
    "bench": NOTHING,
    "pushed": "pushed",
    "installing": _INSTALLING,
    "resuming": _INSTALLING,
    "written": "written",
    "starting": "written",
    "rolling-back": _ROLLING_BACK,
    "not-kept": NOTHING,
    "result": NOTHING,
    "sending": "option-bytes",
    "doubt": "option-bytes",
    "hands-off": "option-bytes",
    "seen": "option-bytes",
    "interrupted": "option-bytes",
    "unprotected": NOTHING,
}


def after(stage: str, event: Event) -> str:
    """The stage after this event. A rollback writes and starts too, and stays one."""
    if is_progress(event):
        new = _PHASES.get(event["phase"], stage)
        return stage if new == "looking" and stage else new
    new = _EVENTS.get(str(event["event"]), stage)
    return stage if stage == _ROLLING_BACK and new == "written" else new
