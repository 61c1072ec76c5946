"""The real-time priority that a live run asks for, and gives back."""

import os
import subprocess
import sys
import threading
import time

from servers import wait_for

import rtaudio
from rtaudio.capture.fake import Script
from rtaudio.capture.process import ProcessHost
from rtaudio.pipeline import OVERLOADED_MS
from rtaudio.scheduling import PRIORITY, be_urgent

POLICY = "import os; print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK)"
SMALL = rtaudio.Settings(n_fft=256, hop_length=128, n_mels=20)


def policy(thread=0):
    return os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK


def in_a_thread(function):
    """What it returns, called by a thread of its own, whose priority is nobody else's."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def granted():
    """The policy of a thread that asks for real-time priority; in CI it gets it."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    except PermissionError:
        return os.SCHED_OTHER
    return os.SCHED_RR


REALTIME = in_a_thread(granted)


def test_a_thread_is_urgent_and_what_it_starts_is_not():
    def asks():
        got = be_urgent(True), policy(), os.sched_getparam(0).sched_priority
        child = subprocess.run([sys.executable, "-c", POLICY], capture_output=True, text=True)
        return got, int(child.stdout), in_a_thread(policy), be_urgent(False), policy()

    is_granted = REALTIME == os.SCHED_RR
    got = (is_granted, REALTIME, PRIORITY * is_granted)
    assert in_a_thread(asks) == (got, os.SCHED_OTHER, os.SCHED_OTHER, False, os.SCHED_OTHER)


def test_where_its_use_is_limited_it_is_not_taken():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_RTTIME, (10**6, 10**6));"
        f"from rtaudio.scheduling import be_urgent; assert not be_urgent(True); {POLICY}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{os.SCHED_OTHER}\n", "")


def test_the_thread_that_processes_a_microphone_is_urgent_until_it_can_not_keep_up():
    policies = []
    mic = rtaudio.Microphone(host=ProcessHost(fake=Script()))
    with rtaudio.live(mic, SMALL, consumers=[lambda frames: policies.append(policy())]) as run:
        thread = run._thread.native_id
        wait_for(lambda: policies, "rows")
        assert policy(thread) == REALTIME
        with run._turn:  # as if it were at work for so long
            time.sleep(1.3 * OVERLOADED_MS / 1e3)
        wait_for(lambda: policy(thread) == os.SCHED_OTHER, "ordinary priority")
    assert set(policies) == {os.SCHED_OTHER}


def test_the_thread_that_processes_a_recording_is_not_urgent():
    source = rtaudio.SignalSource("noise", realtime=True, duration_s=5)
    with rtaudio.live(source, SMALL) as run:
        next(iter(run))
        assert policy(run._thread.native_id) == os.SCHED_OTHER
