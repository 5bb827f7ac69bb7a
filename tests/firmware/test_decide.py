"""What to do next: the tables of decide.py, row by row."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from stm32up import device

PHASES = ("unknown", "idle", "installing", "confirming", "rolling back")
UNDER_WAY = [phase for phase in PHASES if phase != "idle"]
OLD, NEW = b"\1\0\0\0\0\0\0\0", b"\2\0\0\0\0\0\0\0"


@pytest.fixture
def decide() -> Any:
    return device.module("stm32_updater.decide")


@pytest.fixture
def record() -> Any:
    return device.module("stm32_updater.record")


def test_the_phases_are_those_of_the_record(record):
    assert {*PHASES} == {*record.PHASES}


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("phase", PHASES)
def test_a_pushed_image_comes_first(decide, phase, refused):
    assert decide.at_start(phase, True, False, refused) == decide.INSTALL
    assert decide.at_start(phase, True, True, refused) == decide.UP_TO_DATE


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("phase", UNDER_WAY)
def test_what_is_under_way_goes_on_whatever_was_refused(decide, phase, refused):
    assert decide.at_start(phase, False, False, refused) == decide.RESUME


def test_an_idle_target_has_nothing_to_do_but_tell_what_was_refused(decide, record):
    assert decide.at_start(record.IDLE, False, False, True) == decide.REFUSE
    assert decide.at_start(record.IDLE, False, False, False) == decide.NOTHING


@pytest.mark.parametrize(("runs", "in_doubt"), list(itertools.product([False, True], repeat=2)))
def test_a_running_application_is_replaced_only_if_its_first_page_is_in_doubt(
    decide, runs, in_doubt
):
    assert decide.may_replace(runs, in_doubt) == (not runs or in_doubt)


@pytest.mark.parametrize("phase", UNDER_WAY)
@pytest.mark.parametrize(
    ("runs", "known", "in_doubt", "refused"), list(itertools.product([False, True], repeat=4))
)
def test_an_application_is_started_from_the_loader_only_if_nothing_speaks_against_it(
    decide, record, phase, runs, known, in_doubt, refused
):
    starts = decide.may_be_in_loader(phase, runs, known, in_doubt, refused)
    if runs:
        assert not starts
    elif known:
        assert starts == (phase == record.INSTALLING and not in_doubt)
    else:
        assert starts == (not refused)


@pytest.mark.parametrize(
    ("untouched", "runs", "image_unfit", "permanent", "too_often"),
    list(itertools.product([False, True], repeat=5)),
)
def test_an_update_is_given_up_only_if_it_can_never_be_and_something_runs_or_waits(
    decide, record, untouched, runs, image_unfit, permanent, too_often
):
    phase = decide.after_failed_writing(untouched, runs, image_unfit, permanent, too_often)
    if image_unfit or (permanent and (untouched or runs)):
        assert phase == (record.IDLE if untouched else record.UNKNOWN)
    elif too_often:
        assert phase == record.UNKNOWN
    else:
        assert phase is None


@pytest.mark.parametrize("answered", [None, OLD, NEW])
@pytest.mark.parametrize("went_down", [False, True])
def test_there_is_no_way_back_from_a_way_back(decide, record, went_down, answered):
    what = decide.after_silence(record.ROLLING_BACK, went_down, answered, NEW)
    assert what == decide.GIVE_UP


@pytest.mark.parametrize(
    ("went_down", "answered", "what"),
    [
        (True, None, "BLAME"),
        (True, OLD, "BLAME"),
        (False, None, "ONCE_MORE"),
        (False, NEW, "ONCE_MORE"),
        (False, OLD, "ASK_FLASH"),
    ],
)
def test_an_image_is_blamed_only_for_what_is_its_own_doing(
    decide, record, went_down, answered, what
):
    assert decide.after_silence(record.CONFIRMING, went_down, answered, NEW) == getattr(
        decide, what
    )
