"""The capture process: real children, real time, real signals."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faults import check_books, check_places, listen
from servers import wait_for

import rtaudio
from rtaudio import Microphone, SourceError
from rtaudio.capture import wire
from rtaudio.capture.fake import FakeHost, Fault, RealClock, Script, numbers
from rtaudio.capture.process import CaptureProcess, ProcessHost
from rtaudio.capture.wire import Request

ROOT = Path(rtaudio.__file__).parents[1]

# What a child goes through in 7 s of real time, once it has started.
SCRIPTS = {
    "clean": Script(),
    "stereo, odd sizes": Script(channels=2, odd_sizes=True, blocksize=300),
    "small blocks": Script(blocksize=64),
    "large blocks": Script(blocksize=4096, sr=44100),
    "bursts": Script(burst=4, jitter_ms=1),
    "fast": Script(ppm=200),
    "slow": Script(ppm=-200, sr=8000, blocksize=80),
    "no device time": Script(adc=False),
    "a loss": Script(faults=(Fault(2, "loss", samples=4800),)),
    "flagged": Script(faults=(Fault(2, "flagged_loss", samples=2400),)),
    "a flag": Script(faults=(Fault(2, "flag"),)),
    "a stall": Script(faults=(Fault(2, "stall", seconds=0.7),)),
    "a freeze": Script(faults=(Fault(2, "freeze", seconds=0.7),)),
    "frozen": Script(faults=(Fault(1, "freeze"),)),
    "ended": Script(faults=(Fault(2, "end"),)),
    "vanished": Script(faults=(Fault(1, "vanish", seconds=1.5),)),
    "unplugged": Script(faults=(Fault(2, "unplug", seconds=1.5),)),
    "renumbered": Script(faults=(Fault(2, "renumber", seconds=1.5),)),
    "replaced": Script(faults=(Fault(2, "replace", seconds=1.5),)),
    "busy": Script(faults=(Fault(1, "end"), Fault(0.9, "busy", seconds=2))),
    "hangs": Script(faults=(Fault(1, "end"), Fault(0.9, "hang", seconds=2))),
    "an exception": Script(faults=(Fault(1, "end"), Fault(0.9, "exception", seconds=2))),
    "a crash": Script(faults=(Fault(2, "crash"),)),
    "its clock": Script(faults=(Fault(1, "adc_zero", seconds=1), Fault(3, "adc_back", seconds=1))),
    "the clock": Script(faults=(Fault(2, "clock_jump", seconds=-100),)),
}
LOSES = {"a loss": "host", "flagged": "host", "a freeze": "host"} | dict.fromkeys(
    (
        *("frozen", "ended", "vanished", "unplugged", "renumbered", "replaced", "busy", "hangs"),
        *("an exception", "a crash"),
    ),
    "outage",
)


def later(script, seconds):
    faults = tuple(fault._replace(at=fault.at + seconds) for fault in script.faults)
    return replace(script, faults=faults)


@pytest.fixture(scope="module")
def runs():
    """All scripts, each through a child of its own, some at a time."""
    with ThreadPoolExecutor(10) as pool:  # that many children take a while to start
        futures = {
            name: pool.submit(listen, later(script, 4.5), 11.5, host=ProcessHost())
            for name, script in SCRIPTS.items()
        }
        return {name: future.result() for name, future in futures.items()}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_through_the_child(runs, name):
    run = runs[name]
    check_books(run)
    check_places(run)
    assert run.kept > 1.5 * run.script.sr
    causes = {gap.cause for _, gap in run.told}
    if name in LOSES:
        assert LOSES[name] in causes
    told = {"outage": 2}.get(LOSES.get(name), 0)
    assert len(run.said) == told, run.said


# --- whatever happens to parent or child ------------------------------------------------------


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def opened(script, **options):
    capture = CaptureProcess(Request(fake=script.to_dict()), **options)
    while capture.opened is None and capture.failed is None:
        capture.wait()
    return capture


def test_a_child_that_is_killed_or_hangs_is_replaced():
    said = []
    mic = Microphone(host=ProcessHost(fake=Script()), tell=said.append)
    with mic:
        for block in mic:
            capture = mic._stream.capture if mic._stream else None
            if len(block) and len(said) == 0:
                os.kill(capture.pid, signal.SIGKILL)
            elif len(block) and len(said) == 2:
                os.kill(capture.pid, signal.SIGSTOP)
            elif len(block) and len(said) == 4:
                mic.stop()
    assert "the capture process ended" in said[0]
    assert "no samples for 2 s" in said[2]
    stats = mic.stats
    assert stats.delivered == stats.processed + stats.dropped
    assert stats.restarts == 2


def shared_memory():
    """The names in shared memory, but for those of the JACK servers of other tests."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith("jack")}


def test_the_child_ends_with_its_parent_and_leaves_nothing():
    program = textwrap.dedent(
        """
        from rtaudio.capture.fake import Script
        from rtaudio.capture.process import CaptureProcess
        from rtaudio.capture.wire import Request
        capture = CaptureProcess(Request(fake=Script().to_dict()))
        while capture.opened is None:
            capture.wait()
        print(capture.pid, flush=True)
        while True:
            capture.wait()
        """
    )
    before = shared_memory()
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not is_running(child), "the child's end", 5)
    assert shared_memory() <= before


def test_the_child_ends_though_a_fork_keeps_the_pipe_open():
    program = textwrap.dedent(
        """
        import os, time
        from rtaudio.capture.fake import Script
        from rtaudio.capture.process import CaptureProcess
        from rtaudio.capture.wire import Request
        capture = CaptureProcess(Request(fake=Script().to_dict()))
        while capture.opened is None:
            capture.wait()
        other = os.fork()
        if other == 0:
            time.sleep(30)
            os._exit(0)
        print(capture.pid, other, flush=True)
        os.kill(os.getpid(), 9)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child, other = map(int, parent.stdout.readline().split())
    parent.wait()
    try:
        wait_for(lambda: not is_running(child), "the child's end", 5)
    finally:
        os.kill(other, signal.SIGKILL)
        parent.stdout.close()


CHILD = [sys.executable, "-c"]


def request(fault):
    script = Script(switched_on_ns=wire.uptime_ns(), faults=(fault,))
    return Request(fake=script.to_dict()).to_json() + "\n"


def test_a_child_that_can_not_open_the_device_ends_by_itself():
    """Also where nobody is left to end it: it can't see that while it hangs."""
    program = "from rtaudio.capture import __main__ as child; child.OPENING_S = 1; child.main()"
    hangs = request(Fault(0, "hang", seconds=60))
    done = subprocess.run([*CHILD, program, "3", "1"], input=hangs, text=True, cwd=ROOT, timeout=30)
    assert done.returncode == -signal.SIGALRM


def test_no_garbage_is_collected_while_it_captures(tmp_path):
    program = textwrap.dedent(
        """
        import gc, os, sys
        from rtaudio.capture import __main__ as child

        def capturing(*args):
            os.write(2, b"%d %d" % (gc.isenabled(), gc.get_freeze_count() > 1000))
            return [0], [], []

        child.select.select = capturing
        child.main()
        """
    )
    with (tmp_path / "ring").open("w+b") as file:
        done = subprocess.run(
            [*CHILD, program, str(file.fileno()), str(os.getpid())],
            input=request(Fault(0, "flag")),
            pass_fds=[file.fileno()],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.stderr == "0 1"


def test_both_killed_at_once_leave_nothing():
    before = shared_memory()
    program = (
        "import os, signal, rtaudio\n"
        "from rtaudio.capture.fake import Script\n"
        "from rtaudio.capture.process import ProcessHost\n"
        "mic = rtaudio.Microphone(host=ProcessHost(fake=Script())).__enter__()\n"
        "print(mic._stream.capture.pid, flush=True)\n"
        "os.kill(mic._stream.capture.pid, signal.SIGKILL)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL
    wait_for(lambda: not is_running(int(done.stdout)), "the child's end", 5)
    assert shared_memory() <= before


def test_ending_a_child_that_is_stopped_takes_no_time():
    capture = opened(Script())
    os.kill(capture.pid, signal.SIGSTOP)
    began = time.monotonic()
    capture.end()
    assert time.monotonic() - began < 1
    assert not is_running(capture.pid)


def test_the_terminals_ctrl_c_is_the_parents():
    capture = opened(Script())
    assert os.getpgid(capture.pid) != os.getpgrp()
    os.kill(capture.pid, signal.SIGINT)
    before = capture.ring.delivered
    wait_for(lambda: capture.ring.delivered > before + 4800, "samples after SIGINT")
    capture.end()


def test_no_memory_and_no_file_stays():
    def level():
        return len(os.listdir("/proc/self/fd")), rss_mb()

    def rss_mb():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    for _ in range(3):
        opened(Script()).end()
    files, mb = level()
    for _ in range(20):
        opened(Script()).end()
    files_after, mb_after = level()
    assert files_after == files
    assert mb_after < mb + 10  # each ring has 4


# --- whoever starts it ------------------------------------------------------------------------

USE = """
import rtaudio
from rtaudio.capture.fake import Script
from rtaudio.capture.process import ProcessHost
mic = rtaudio.Microphone(host=ProcessHost(fake=Script()))
with rtaudio.live(mic, duration_s=0.3) as run:
    print(sum(len(frames) for frames in run))
"""


def test_a_script_needs_no_guard(tmp_path):
    (tmp_path / "script.py").write_text(USE)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, **CAPTURED)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "29\n"


def test_a_repl_can_use_it(tmp_path):
    done = subprocess.run([sys.executable, "-i"], input=USE + "\n", cwd=tmp_path, **CAPTURED)
    assert "29" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_users_folder_is_not_on_the_path(tmp_path):
    for name in ("numpy", "sounddevice", "json", "random"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
    done = subprocess.run([sys.executable, "-P", "-c", USE], cwd=tmp_path, **CAPTURED)
    assert (done.returncode, done.stdout) == (0, "29\n"), done.stderr


CAPTURED = {"capture_output": True, "text": True, "timeout": 60}


def test_where_the_interpreter_is_none(monkeypatch):
    monkeypatch.delenv("RTAUDIO_PYTHON", raising=False)
    for name in ("/usr/bin/blender", "", None):
        monkeypatch.setattr(sys, "executable", name)
        with pytest.raises(SourceError, match=r"Microphone\(python=…\) or RTAUDIO_PYTHON"):
            Microphone().__enter__()
    monkeypatch.undo()
    python = sys.executable
    monkeypatch.setattr(sys, "executable", "/usr/bin/blender")
    with Microphone(host=ProcessHost(python, fake=Script())) as mic:
        assert mic.sr == 48000
    monkeypatch.setenv("RTAUDIO_PYTHON", python)
    with Microphone(host=ProcessHost(fake=Script())) as mic:
        assert mic.sr == 48000


@pytest.mark.parametrize("python", ["/no/such/python", "/"])
def test_an_interpreter_that_cannot_be_started(python):
    with pytest.raises(SourceError, match=f"{python} can't be started"):
        Microphone(python=python).__enter__()


def test_an_interpreter_that_answers_something_else(monkeypatch):
    monkeypatch.setenv("RTAUDIO_PYTHON", "/bin/echo")
    with pytest.raises(SourceError, match="does not answer as rtaudio does"):
        Microphone().__enter__()
    with pytest.raises(SourceError, match="does not answer as rtaudio does"):
        rtaudio.devices()


def test_an_interpreter_without_rtaudio():
    with pytest.raises(SourceError, match="the capture process ended"):
        Microphone(python="/bin/true").__enter__()


def test_without_portaudio(tmp_path, monkeypatch):
    # the loader finds no library where the module looks for it by a name that does not exist
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes.util\nctypes.util.find_library = lambda name: None\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SourceError, match="PortAudio library is missing: install it"):
        Microphone().__enter__()
    with pytest.raises(SourceError, match="PortAudio library is missing: install it"):
        rtaudio.devices()


@pytest.mark.parametrize("error", ["PortAudioError", "RuntimeError"])
def test_a_sound_system_that_refuses_at_first(tmp_path, monkeypatch, error):
    (tmp_path / "sounddevice.py").write_text(
        f"class PortAudioError(Exception): pass\nraise {error}('Unanticipated host error')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    why = {
        "PortAudioError": r"^the sound system refuses \(Unanticipated host error\): try again",
        "RuntimeError": r"^the capture process ended \(RuntimeError: Unanticipated",
    }[error]
    with pytest.raises(SourceError, match=why):
        Microphone().__enter__()


# --- the fake host by itself ------------------------------------------------------------------


def test_the_fake_host_calls_back_as_sounddevice_does():
    host = FakeHost(Script(channels=2, blocksize=480), RealClock())
    blocks = []

    def callback(indata, frames, time, status):
        blocks.append((indata.copy(), frames, time.currentTime - time.inputBufferAdcTime, status))

    stream = host.InputStream(device=0, samplerate=48000, channels=2, callback=callback)
    stream.start()
    wait_for(lambda: len(blocks) > 20, "20 blocks")
    stream.stop()
    ks = np.concatenate([numbers(indata[:, 1]) for indata, *_ in blocks])
    assert (np.diff(ks) == 1).all()
    for indata, frames, age, status in blocks:
        assert indata.shape == (frames, 2)
        assert indata.dtype == np.float32
        assert age > 0.0099
        assert not status
