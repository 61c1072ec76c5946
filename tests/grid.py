"""One cell of the grid of losses: a real server, one trouble, one capture, and what it got wrong.

A player counts in the samples, so that every sample that is missing is seen. `run_cell` plays,
captures with rtaudio in a process of its own (grid_capture.py), makes the trouble, and compares
what rtaudio said with what is true (grid_compare.py). The tests and ``benchmarks.losses`` share it.
"""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import servers
from grid_compare import SR, compare

PATIENCE_S = 60  # for a cell's start and end
JACK_TRIES = 3
LEAD_S = 3  # before the first trouble
STOP_S = 13.0
STOPS_NEED_S = 45.0


@dataclass(frozen=True)
class Cell:
    """What is run."""

    server: str = "pulse"
    """pulse, pipewire, jack, or "jack -S", which waits for its clients."""
    trouble: str = "quiet"
    """One of `TROUBLES`."""
    blocksize: int = 1024
    latency: str = "high"
    seconds: float = 20.0
    device: str = ""
    """What is captured, where that is not PortAudio's device of the server."""
    discards: tuple = ()
    """((after how many frames, how many are thrown away), …), for the trouble "discards"."""

    def __post_init__(self):
        assert self.server in SERVERS, self.server
        assert self.trouble in TROUBLES, self.trouble

    @property
    def captured_s(self):
        """How long it is captured."""
        return max(self.seconds, STOPS_NEED_S) if self.trouble == "stops" else self.seconds

    @property
    def jack(self):
        """Whether its server is a JACK."""
        return self.server.startswith("jack")


def run_cells(cells, folder, at_once=1):
    """Run cells, several at once, each with a server of its own; yields their results in order."""
    with ThreadPoolExecutor(at_once) as pool:
        folders = [Path(folder) / f"cell-{os.getpid()}-{next(_numbers)}" for _ in cells]
        for path in folders:
            path.mkdir()
        yield from pool.map(run_cell, cells, folders)


def run_cell(cell, folder):
    """Run one and compare; see `compare` for what comes back. ``folder`` must be empty."""
    folder = Path(folder)
    with ExitStack() as stack:
        with _beginning if cell.jack else nullcontext():
            counter, run = _begin(cell, folder, stack)
        TROUBLES[cell.trouble](run)
        run.wait()
        if not cell.jack:
            servers.wait_for(lambda: _reference_is_longer(folder), "end of the second recording")
        due = counter.due()
    (folder / "due.json").write_text(json.dumps({"due": due, "pauses": run.pauses}))
    return compare(cell, folder, due, run.pauses)


_numbers = itertools.count()
_beginning = threading.Lock()  # JACK's clients of several servers disturb each other when they open


def _begin(cell, folder, stack):
    """Start the server, the player, the second recorder and the capture, in this order."""
    server = stack.enter_context(_server(cell, folder))
    if cell.trouble == "default source":
        _load_null_sink(server, "first")
        _make_default(server, "first")
    if cell.jack:
        counter = stack.enter_context(servers.jack_due_counter(server))
    else:
        counter = stack.enter_context(servers.pulse_counter(server))
        stack.enter_context(server.record(folder / "reference.f32"))
    for _ in range(JACK_TRIES if cell.jack else 1):
        run = stack.enter_context(_capturing(cell, server, folder))
        if cell.jack and run.is_connected():
            server.play_into(counter.port, server.input_port())
        if run.begins():
            return counter, run
    raise RuntimeError("grid_capture.py does not begin: its message is above")


def _reference_is_longer(folder):
    """Whether the second recorder has heard the last sample that rtaudio has."""
    last = []
    for name, channels in (("heard.f32", 1), ("reference.f32", 2)):
        samples = np.memmap(folder / name, np.float32, "r")
        samples = samples[: len(samples) // channels * channels : channels]
        last.append(int(servers.pulse_counts(samples[-1:])[0]))
    ahead = (last[1] - last[0]) % servers.PULSE_COUNTS
    return min(last) < 0 or ahead < servers.PULSE_COUNTS // 2


# --- servers and troubles ---------------------------------------------------------------------


def _server(cell, folder):
    if cell.jack:
        period = min(max(cell.blocksize or 128, 64), 4096)
        return servers.Jack(folder, period, SR, sync=cell.server == "jack -S")
    return {"pulse": servers.Pulse, "pipewire": servers.PipeWire}[cell.server](folder, SR)


SERVERS = ("pulse", "pipewire", "jack", "jack -S")


class _Run:
    """The capture while it runs, for the troubles."""

    def __init__(self, cell, server, process):
        self.cell, self.server, self.process = cell, server, process
        self.chance = random.Random(cell.blocksize)
        self.pauses = []
        """[(when the sink was suspended, when it was resumed), …] in ns of CLOCK_MONOTONIC."""

    def is_connected(self):
        """Wait until it is a client of JACK; whether it is."""
        ended = lambda: self.process.poll() is not None  # noqa: E731
        servers.wait_for(lambda: self.server.listeners() or ended(), "capture", PATIENCE_S)
        return not ended()

    def begins(self):
        """Wait until rtaudio's first block has come; whether it has."""
        return bool(self.process.stdout.readline())

    def lasts(self, seconds):
        """Let so much time pass; whether the capture still runs."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def wait(self):
        """Wait for the end."""
        assert self.process.wait(self.cell.captured_s + PATIENCE_S) == 0, "see its message above"

    def captures(self):
        """The process ids of rtaudio's capture processes."""
        found = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            found += (task / "children").read_text().split()
        return [int(pid) for pid in found]


@contextmanager
def _capturing(cell, server, folder):
    env = server.env
    if cell.trouble == "discards":
        env, _ = servers.discarding(env, folder, cell.discards)
    about = {
        "device": cell.device or ("system, JACK" if cell.jack else "rtmon"),
        "channels": 1 if cell.jack else 2,
        "blocksize": cell.blocksize,
        "latency": cell.latency,
        "seconds": cell.captured_s,
        "folder": str(folder),
    }
    command = [sys.executable, Path(__file__).with_name("grid_capture.py"), json.dumps(about)]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
    try:
        yield _Run(cell, server, process)
    finally:
        servers.end(process)


def _quiet(run):
    """Nothing."""


def _clients(run):
    """Others join, with less latency or more, and leave."""
    for latency_ms in itertools.cycle((5, 200, 2000)):
        if not run.lasts(1):
            return
        with run.server.listen(latency_ms):
            run.lasts(2)


def _default_source(run):
    """Another device comes, becomes the default, and goes.

    Ours never is the default, not even for a moment: PulseAudio moves the streams of one that is
    no longer, and then nothing can be compared.
    """
    while run.lasts(2):
        module = _load_null_sink(run.server, "other")
        _make_default(run.server, "other")
        run.lasts(2)
        _make_default(run.server, "first")
        run.server.pactl("unload-module", module)


def _load_null_sink(server, name):
    return server.pactl("load-module", "module-null-sink", f"sink_name={name}").strip()


def _make_default(server, name):
    server.pactl("set-default-sink", name)
    server.pactl("set-default-source", f"{name}.monitor")


def _rate_adjustment(run):
    """A loopback into another device, whose rate is adjusted to that of ours."""
    pactl = run.server.pactl
    run.lasts(LEAD_S)
    sink = _load_null_sink(run.server, "other")
    words = ("source=rt.monitor", "sink=other", "latency_msec=50", "adjust_time=1")
    loop = pactl("load-module", "module-loopback", *words).strip()
    run.lasts(max(1, run.cell.seconds - 2 * LEAD_S))
    pactl("unload-module", loop)
    pactl("unload-module", sink)


def _suspend(run):
    """The sink is suspended, as for idleness."""
    for seconds in (0.3, 1):
        run.lasts(LEAD_S + 1)
        run.server.suspend()
        suspended = time.monotonic_ns()
        run.lasts(seconds)
        run.server.resume()
        run.pauses.append((suspended, time.monotonic_ns()))


def _load(run):
    """Two busy processes."""
    run.lasts(LEAD_S)
    busy = [subprocess.Popen([sys.executable, "-c", "while 1: pass"]) for _ in range(2)]
    try:
        run.lasts(max(1, run.cell.seconds - 2 * LEAD_S))
    finally:
        for process in busy:
            servers.end(process)


def _stops(run):
    """rtaudio and its capture process stand still, as in a debugger, for so long twice."""
    for _ in range(2):
        run.lasts(LEAD_S)
        _stop([run.process.pid, *run.captures()], STOP_S)


def _stop(pids, seconds):
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in pids:
        with suppress(ProcessLookupError):  # the run ended meanwhile
            os.kill(pid, signal.SIGCONT)


def _stalls(run):
    """The server stands still for 2 … 100 ms, now and then."""
    while run.lasts(run.chance.uniform(0.5, 1.5)):
        _stop([run.server.process.pid], run.chance.uniform(0.002, 0.1))


def _client_stalls(run):
    """The capture process stands still for 2 … 100 ms, now and then."""
    while run.lasts(run.chance.uniform(0.5, 1.5)):
        _stop(run.captures(), run.chance.uniform(0.002, 0.1))


TROUBLES = {
    "quiet": _quiet,
    "clients": _clients,
    "default source": _default_source,
    "rate adjustment": _rate_adjustment,
    "suspend": _suspend,
    "load": _load,
    "stops": _stops,
    "discards": _quiet,  # by the preloaded library
    "stalls": _stalls,
    "client stalls": _client_stalls,
}
