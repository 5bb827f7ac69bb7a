"""The decisions of flow.py, one pure function each: no file, no bus, no wait. In the tables of the
docstrings the first row that fits counts.
"""

from .record import IDLE, INSTALLING, ROLLING_BACK, UNKNOWN

UP_TO_DATE = "up-to-date"
INSTALL = "install"
RESUME = "resume"
REFUSE = "refuse"
NOTHING = "nothing"
BLAME = "blame"
ONCE_MORE = "once more"
ASK_FLASH = "ask flash"
GIVE_UP = "give up"


def at_start(phase, pushed, runs_already, refused):
    """How a run begins.

    pushed: an image that may be installed; it runs already        UP_TO_DATE
    pushed                                                         INSTALL
    phase is not idle: an update is under way, or state unknown    RESUME
    an image was refused                                           REFUSE
    otherwise                                                      NOTHING"""
    if pushed:
        return UP_TO_DATE if runs_already else INSTALL
    if phase != IDLE:
        return RESUME
    return REFUSE if refused else NOTHING


def may_replace(runs, in_doubt):
    """Whether a kept image may replace the missing image under way: if no application runs, or if
    one runs although its first page is known to be in doubt: that page was changed and not
    finished, and its interrupted cells may read right only for now."""
    return not runs or in_doubt


def may_be_in_loader(phase, runs, known, in_doubt, refused):
    """Whether an earlier run may have left the target in its loader, so that the application
    should be started: none runs, and the record says that an installation had begun and had not
    touched the first page. Or there is no record and no image was refused, which alone is no
    reason to touch a target."""
    if runs:
        return False
    return phase == INSTALLING and not in_doubt if known else not refused


def after_failed_writing(untouched, runs, image_unfit, permanent, too_often):
    """The next phase if a failed update is given up, or None if the next run tries again.

    untouched: nothing was erased. image_unfit: too large for the part, or its file changed.
    permanent: the error will repeat, so a running application is not reset again for it.
    too_often: so many runs could not write this image that a page may not take it; the next run
    installs the last good image, which may not need that page."""
    if image_unfit or permanent and (untouched or runs):
        return IDLE if untouched else UNKNOWN
    return UNKNOWN if too_often else None


def after_silence(phase, host_went_down, answered, expected):
    """What to do after a started application did not prove itself. `answered`, `expected`:
    versions (8 bytes); `answered` None if silent.

    phase is rolling back             GIVE_UP: neither the new nor the last good one answers
    it took the host down             BLAME the application
    no answer, or expected version    ONCE_MORE may it be tried: bus or supply may be at fault
    another version                   ASK_FLASH: to blame if the target holds what was written"""
    if phase == ROLLING_BACK:
        return GIVE_UP
    if host_went_down:
        return BLAME
    return ONCE_MORE if answered in (None, expected) else ASK_FLASH
