"""Work in several processes: all of it is done, whatever comes meanwhile or is killed."""

import os
import signal
from collections import deque
from functools import partial

import pytest

from rtaudio.processes import Killed, in_processes


def double(task, progress):
    progress(task, 10.0)
    return 2 * task


def die_once(folder, task, progress):
    """The task 3 kills its process the first time, 5 each time."""
    mark = folder / str(task)
    if task == 5 or (task == 3 and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def results(todo, work, **more):
    return [ended for ended in in_processes(todo, work, 2, **more) if ended is not None]


def test_all_is_done_and_what_is_put_there_meanwhile():
    todo, seen = deque(range(1, 20)), []
    for ended in in_processes(todo, double, 2):
        if ended is not None:
            seen.append(ended)
            if ended[0] < 20:
                todo.append(100 + ended[0])
    assert sorted(seen) == [(i, 2 * i) for i in [*range(1, 20), *range(101, 120)]]


def test_a_killed_process_costs_nothing_but_what_kills_it_each_time(tmp_path):
    done = dict(results(deque(range(8)), partial(die_once, tmp_path)))
    killed = done.pop(5)
    assert isinstance(killed, Killed)
    assert str(killed) == "three times"
    assert done == {i: i for i in range(8) if i != 5}


def fail(task, progress):
    raise LookupError(task)


def test_an_error_of_the_work_is_raised_here():
    with pytest.raises(LookupError):
        results(deque([1]), fail)
