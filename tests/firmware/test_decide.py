"""What to do next: the tables of decide.py, row by row."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from stm32up import device

decide: Any = device.module("stm32_updater.decide")
record: Any = device.module("stm32_updater.record")
UNDER_WAY = [phase for phase in record.PHASES if phase != record.IDLE]
OLD, NEW = b"\1\0\0\0\0\0\0\0", b"\2\0\0\0\0\0\0\0"


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("phase", record.PHASES)
def test_a_pushed_image_comes_first(phase, refused):
    assert decide.at_start(phase, True, False, refused) == decide.INSTALL
    assert decide.at_start(phase, True, True, refused) == decide.UP_TO_DATE


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("phase", UNDER_WAY)
def test_what_is_under_way_goes_on_whatever_was_refused(phase, refused):
    assert decide.at_start(phase, False, False, refused) == decide.RESUME


def test_an_idle_target_has_nothing_to_do_but_tell_what_was_refused():
    assert decide.at_start(record.IDLE, False, False, True) == decide.REFUSE
    assert decide.at_start(record.IDLE, False, False, False) == decide.NOTHING


@pytest.mark.parametrize(("runs", "in_doubt"), list(itertools.product([False, True], repeat=2)))
def test_a_running_application_is_replaced_only_if_its_first_page_is_in_doubt(runs, in_doubt):
    assert decide.may_replace(runs, in_doubt) == (not runs or in_doubt)


@pytest.mark.parametrize("phase", UNDER_WAY)
@pytest.mark.parametrize(
    ("runs", "known", "in_doubt", "refused"), list(itertools.product([False, True], repeat=4))
)
def test_an_application_is_started_from_the_loader_only_if_nothing_speaks_against_it(
    phase, runs, known, in_doubt, refused
):
    starts = decide.may_be_in_loader(phase, runs, known, in_doubt, refused)
    if runs:
        assert not starts
    elif known:
        assert starts == (phase == record.INSTALLING and not in_doubt)
    else:
        assert starts == (not refused)


@pytest.mark.parametrize(
    ("untouched", "runs", "image_unfit", "permanent"),
    list(itertools.product([False, True], repeat=4)),
)
def test_an_update_is_given_up_only_if_it_can_never_be_and_something_runs(
    untouched, runs, image_unfit, permanent
):
    phase = decide.after_failed_writing(untouched, runs, image_unfit, permanent)
    if image_unfit or (permanent and (untouched or runs)):
        assert phase == (record.IDLE if untouched else record.UNKNOWN)
    else:
        assert phase is None


@pytest.mark.parametrize("answered", [None, OLD, NEW])
@pytest.mark.parametrize("went_down", [False, True])
def test_there_is_no_way_back_from_a_way_back(went_down, answered):
    what = decide.after_silence(record.ROLLING_BACK, went_down, answered, NEW)
    assert what == decide.GIVE_UP


@pytest.mark.parametrize(
    ("went_down", "answered", "what"),
    [
        (True, None, decide.BLAME),
        (True, OLD, decide.BLAME),
        (False, None, decide.ONCE_MORE),
        (False, NEW, decide.ONCE_MORE),
        (False, OLD, decide.ASK_FLASH),
    ],
)
def test_an_image_is_blamed_only_for_what_is_its_own_doing(went_down, answered, what):
    assert decide.after_silence(record.CONFIRMING, went_down, answered, NEW) == what
