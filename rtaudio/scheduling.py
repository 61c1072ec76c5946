"""What a live run asks of Python and of the system, so that it does not wait for others."""

from __future__ import annotations

import os
import sys
import threading

if sys.platform == "linux":
    import resource

SWITCH_INTERVAL_S = 0.0005  # how long a busy thread may keep the others waiting for the GIL
PRIORITY = 5  # below all that captures

_lock = threading.Lock()
_fast: list[float] = []  # the switch interval that each live run found


def fast_switching(on: bool) -> None:
    """Let threads wait less for the GIL while a live run lasts, and as before after the last."""
    with _lock:
        if on:
            _fast.append(sys.getswitchinterval())
            sys.setswitchinterval(min(_fast[0], SWITCH_INTERVAL_S))
        elif _fast:
            found = _fast.pop()
            if not _fast:
                sys.setswitchinterval(found)


def be_urgent(on: bool) -> bool:
    """Give this thread real-time priority, or take it away; returns whether it has it.

    Else it waits for a processor beside a window that processors draw. Threads and processes that
    it starts do not get it. Nothing where the system does not grant it, or limits its use.
    """
    if sys.platform != "linux":
        return False
    limit, _ = resource.getrlimit(resource.RLIMIT_RTTIME)
    if on and limit != resource.RLIM_INFINITY:
        return False  # the system would end a program that computes for too long
    policy = os.SCHED_RR if on else os.SCHED_OTHER
    try:
        parameters = os.sched_param(PRIORITY if on else 0)
        os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, parameters)
    except OSError:
        return False
    return on
