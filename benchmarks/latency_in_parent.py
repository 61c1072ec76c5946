"""Block in → frame out: `python -m benchmarks.latency_in_parent [--json] [--seconds 30]`.

From the callback in the capture process to when the rows that its block completes are handed out
in the processing thread of the parent, in real time: idle and beside one spinning Python thread,
at the switch interval that rtaudio sets and at Python's own. On the fake host, which calls back
from Python, and on JACK (Linux with jackd2). The control is a thread that reads a pipe as often as
JACK calls, and does nothing else: what that waits is Python's and the machine's.

The stages: until the parent has seen the block (the bell, and the wait for the GIL); held back
where the block was late, until it is known whether samples were lost before it; from there on
placing, copying and analyzing. The totals hold all rows; "not held" are those of the others.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.report import from_tests, show, spinning
from rtaudio import Microphone, Settings
from rtaudio.capture.fake import Script
from rtaudio.capture.process import ProcessHost
from rtaudio.capture.wire import uptime_ns
from rtaudio.pipeline import SWITCH_INTERVAL_S, Live

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from rtaudio import Frames
    from rtaudio.capture.ring import Record

    Run = Callable[[float, float], Any]

SETTINGS = Settings(hop_length=512)
SR, PERIOD = 48000, 128
PYTHONS_S = 0.005
DEVICE = "system, JACK Audio Connection Kit"
WARM_ROWS = 100  # a second
CLOCK = f"""
import os, time
from rtaudio.capture.wire import uptime_ns
at = uptime_ns()
while True:
    at += round({PERIOD / SR} * 1e9)
    time.sleep(max(0, at - uptime_ns()) / 1e9)
    try:
        os.write(1, uptime_ns().to_bytes(8, "little"))
    except BrokenPipeError:
        break
"""


class StampedHost(ProcessHost):
    """Notes when the microphone looked at the clock: it does so when it is woken."""

    def __init__(self, fake: Script | None = None) -> None:
        super().__init__(fake=fake)
        self.woken_ns = [0]

    def now_ns(self) -> int:
        self.woken_ns.append(uptime_ns())
        return self.woken_ns[-1]


class StampedMicrophone(Microphone):
    """Notes when the callback was called with the block that is handed on."""

    called_ns = 0

    def _copied(self, stream: Any, record: Record) -> NDArray[np.float32]:
        self.called_ns = record.clock_ns
        return super()._copied(stream, record)


class StampedLive(Live):
    """Notes when rows are handed out, and the stages before."""

    def __init__(self, mic: StampedMicrophone, host: StampedHost) -> None:
        super().__init__(mic, SETTINGS, consumers=[lambda frames: None], tell=lambda text: None)
        self.stamps: list[tuple[int, int, int]] = []
        self._mic, self._host = mic, host

    def _hand_out(self, frames: Frames) -> None:
        woken_ns = self._host.woken_ns[-1]
        self.stamps.append((self._mic.called_ns, woken_ns, uptime_ns()))
        super()._hand_out(frames)


def measured(mic: StampedMicrophone, host: StampedHost, seconds: float, interval_s: float) -> Any:
    """Of each row, in ms: when called, seen, let go, handed out."""
    run = StampedLive(mic, host)
    with run:
        sys.setswitchinterval(interval_s)  # rtaudio gives back what it found, at the end
        rows = WARM_ROWS + int(seconds * SR / SETTINGS.hop_length)
        while len(run.stamps) < rows and not run.wait(0.1):
            pass
    called, let_go, handed_out = np.array(run.stamps[WARM_ROWS:rows]).T
    wakes = np.array(host.woken_ns)
    seen = wakes[np.searchsorted(wakes, called)]
    return np.array([called, seen, let_go, handed_out]) / 1e6


def bare_pipe(seconds: float, interval_s: float) -> Any:
    """As `measured`, of a thread that reads the clock from a pipe and does nothing else."""
    read_fd, write_fd = os.pipe()
    with subprocess.Popen([sys.executable, "-c", CLOCK], stdout=write_fd, stdin=subprocess.PIPE):
        os.close(write_fd)
        before = sys.getswitchinterval()
        sys.setswitchinterval(interval_s)
        stamps = []
        for _ in range(WARM_ROWS + int(seconds * SR / PERIOD)):
            called = int.from_bytes(os.read(read_fd, 8), "little")
            stamps.append((called, uptime_ns()))
        os.close(read_fd)  # ends the process
        sys.setswitchinterval(before)
    called, seen = np.array(stamps[WARM_ROWS:]).T / 1e6
    return np.array([called, seen, seen, seen])


def row_of(stamps: Any, **about: str) -> dict[str, Any]:
    called, seen, let_go, handed_out = stamps
    delay, held = handed_out - called, let_go > seen
    return {
        **about,
        "rows": len(delay),
        "p50 ms": float(np.median(delay)),
        "p99 ms": float(np.percentile(delay, 99)),
        "max ms": float(delay.max()),
        "until seen p50": float(np.median(seen - called)),
        "until seen p99": float(np.percentile(seen - called, 99)),
        "from there p50": float(np.median(handed_out - let_go)),
        "from there p99": float(np.percentile(handed_out - let_go, 99)),
        "held back": int(held.sum()),
        "of them over 100 ms": int((delay > 100).sum()),
        "p99 ms, not held": float(np.percentile(delay[~held], 99)),
    }


@contextmanager
def bare_pipes() -> Iterator[Run]:
    """The control."""
    yield bare_pipe


@contextmanager
def fake_microphones() -> Iterator[Run]:
    """The fake host, in a capture process, as real ones are."""

    def run(seconds: float, interval_s: float) -> Any:
        host = StampedHost(fake=Script(sr=SR, blocksize=SETTINGS.hop_length))
        return measured(StampedMicrophone(host=host), host, seconds, interval_s)

    yield run


@contextmanager
def jack_microphones() -> Iterator[Run]:
    """JACK's dummy driver. It waits for its clients: lost samples are another benchmark's."""

    def run(seconds: float, interval_s: float) -> Any:
        host = StampedHost()
        mic = StampedMicrophone(DEVICE, channels=1, blocksize=PERIOD, host=host)
        return measured(mic, host, seconds, interval_s)

    servers = from_tests("servers")
    with tempfile.TemporaryDirectory() as folder, servers.Jack(folder, PERIOD, SR) as jack:
        before = dict(os.environ)
        os.environ.update(jack.env)
        try:
            yield run
        finally:
            os.environ.clear()
            os.environ.update(before)


RUNS = {
    f"a bare pipe, {PERIOD} (control)": bare_pipes,
    f"fake, {SETTINGS.hop_length}": fake_microphones,
    f"JACK, {PERIOD}": jack_microphones,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each row of the table")
    args = parser.parse_args()
    rows = []
    for name, runs in RUNS.items():
        with runs() as run:
            for busy in (False, True):
                for interval_s in (SWITCH_INTERVAL_S, PYTHONS_S):
                    with spinning(busy):
                        stamps = run(args.seconds, interval_s)
                    about = {
                        "host, block": name,
                        "beside": "a spinning thread" if busy else "nothing",
                        "switch interval": f"{interval_s * 1e3:g} ms",
                    }
                    rows.append(row_of(stamps, **about))
    show("Block in → frame out in the parent, 48 kHz, a hop of 512", rows, args.json)


if __name__ == "__main__":
    main()
