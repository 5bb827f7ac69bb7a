"""What to do next, from what was seen. Pure: no file, no bus, no wait. One function for each
crossroads of flow.py; the tables say all of it, first row that fits.
"""

from .record import IDLE, ROLLING_BACK, UNKNOWN

UP_TO_DATE = "up-to-date"
INSTALL = "install"
RESUME = "resume"
REFUSE = "refuse"
NOTHING = "nothing"
LEAVE = "leave"
WAIT = "wait"
BLAME = "blame"
ONCE_MORE = "once more"
ASK_FLASH = "ask flash"
GIVE_UP = "give up"


def at_start(phase, pushed, runs_already, refused):
    """What a run begins with.

    pushed: an image that may be installed     it runs already       UP_TO_DATE
    pushed                                                           INSTALL
    phase is not idle: something is under way, or nothing is known   RESUME
    an image was refused                                             REFUSE
                                                                     NOTHING"""
    if pushed:
        return UP_TO_DATE if runs_already else INSTALL
    if phase != IDLE:
        return RESUME
    return REFUSE if refused else NOTHING


def looks_at_kept(phase, in_doubt, runs):
    """Whether another image may take the place of the one under way, which is not there: if no
    application runs, or if one does in pages whose cells were interrupted and may read right just
    now. What was interrupted is known only as long as there is a record."""
    return not runs or in_doubt and phase != UNKNOWN


def wakes(runs, refused, has_record):
    """Whether to start an application that an earlier run may have left in the loader: none runs,
    nothing was refused, and the host remembers nothing."""
    return not (runs or refused or has_record)


def without_image(kept, runs, refused):
    """What to do when the image under way is not there.

    kept: another one that may be installed    INSTALL
    an application runs                        LEAVE it; what was refused is told
    an image was refused                       REFUSE
                                               WAIT for an image"""
    if kept:
        return INSTALL
    if runs:
        return LEAVE
    return REFUSE if refused else WAIT


def after_failed_writing(untouched, runs, image_unfit, lasting):
    """The phase that is left when writing failed for good, or None: the next run tries again.

    untouched: nothing was erased. image_unfit: too large for the part, or its file changed.
    lasting: it will be the same next time, so what runs is not reset again and again for it."""
    if image_unfit or lasting and (untouched or runs):
        return IDLE if untouched else UNKNOWN
    return None


def after_silence(phase, host_went_down, answered, expected):
    """Why an application that was started did not prove itself. `answered`, `expected`: versions.

    phase is rolling back          GIVE_UP: neither the new one nor the last good one answers
    it took the host down          BLAME it
    no answer, or the right one    ONCE_MORE it may be tried: the bus or the supply may be at fault
    another version                ASK_FLASH: to blame if the target holds what was written"""
    if phase == ROLLING_BACK:
        return GIVE_UP
    if host_went_down:
        return BLAME
    return ONCE_MORE if answered in (None, expected) else ASK_FLASH
