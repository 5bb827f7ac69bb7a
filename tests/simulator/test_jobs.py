"""Tasks in several processes."""

import os
from concurrent.futures.process import BrokenProcessPool

from stm32sim.cuts.jobs import in_processes


def test_each_task_has_a_process_of_its_own():
    """So that no task's forks copy what others left in memory."""
    done = dict(in_processes(lambda task: os.getpid(), range(4), jobs=2))
    assert len({os.getpid(), *done.values()}) == 5


def test_a_task_that_fails_or_dies_does_not_touch_the_others():
    def work(task):
        if task == 1:
            raise ValueError("the second")
        if task == 2:
            os._exit(7)
        return 10 * task

    done = dict(in_processes(work, range(5), jobs=2))
    assert (done[0], done[3], done[4]) == (0, 30, 40)
    assert repr(done[1]) == "ValueError('the second')"
    assert isinstance(done[2], BrokenProcessPool)
