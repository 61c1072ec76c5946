"""What an output plays, as its monitor is heard: an exact counter in each channel, and the check.

Sample i of channel c is ``(i % 2**20 + 1 + c * 2**20) / 2**23``: exact in float32, never 0, and
another one in each channel, so that mixed or exchanged channels are seen. The tests and
``benchmarks.monitors`` share it.
"""

import subprocess
import threading
from contextlib import contextmanager, suppress

import numpy as np
import servers

COUNTS = 1 << 20
SCALE = 1 << 23
BUFFER_MS = 500  # of the player: a machine that stands still for less leaves no hole


def counter(first, length, channels):
    """Samples first … first + length - 1, (length, channels) float32."""
    count = np.arange(first, first + length)[:, None] % COUNTS + 1
    return ((count + COUNTS * np.arange(channels)) / SCALE).astype(np.float32)


class Heard:
    """What came, block by block: how much, and where the counter does not go on by one."""

    def __init__(self):
        self.begun = threading.Event()
        """Whether the counter was heard."""
        self.samples = 0
        """How many samples of it were heard."""
        self.breaks = []
        """[(before which count, of all that were played, how many are missing), …]; negative where
        some come again."""
        self.silent = 0
        """How many samples of silence stand in it."""
        self.inexact = 0
        """How many samples are no count, or not the one of their channel."""
        self.over = False
        """Whether what still comes is not looked at: the player ends."""
        self._next = None  # count, modulo COUNTS
        self.played = 0
        """Up to which count, of all that were played."""

    def take(self, samples):
        """Check samples (n, channels)."""
        if self.over:
            return
        sounds = samples.any(1)
        if self.begun.is_set():
            self.silent += int((~sounds).sum())
        samples = samples[sounds]
        if not len(samples):
            return
        self.begun.set()
        values = samples.astype(np.float64) * SCALE
        count = values[:, 0].astype(np.int64) - 1
        exact = (values == (count[:, None] + 1 + COUNTS * np.arange(samples.shape[1]))).all(1)
        exact &= (count >= 0) & (count < COUNTS)  # else it is another channel's
        self.inexact += int((~exact).sum())
        if self._next is None:
            self._next = self.played = int(count[0])
        half = COUNTS // 2
        steps = (np.diff(count, prepend=self._next - 1) + half) % COUNTS - half
        played = self.played + np.cumsum(steps)
        for i in np.flatnonzero(steps != 1):
            self.breaks.append((int(played[i]) - 1, int(steps[i]) - 1))
        self._next, self.played = int(count[-1]) + 1, int(played[-1])
        self.samples += len(samples)

    def enough(self, samples):
        """Wait until so many samples of the counter were heard, and look at no more."""
        servers.wait_for(lambda: self.samples >= samples, "counter")
        self.over = True

    @property
    def whole(self):
        """Whether the counter was heard, each sample once and exactly."""
        return self.begun.is_set() and not (self.breaks or self.silent or self.inexact)


@contextmanager
def playing(server, sink, sr, channels, positions):
    """Play the counter into a sink, whose `channel_map` is ``positions``."""
    command = ["pacat", "-d", sink, "--raw", "--format=float32le", f"--latency-msec={BUFFER_MS}"]
    command += [f"--rate={sr}", f"--channels={channels}", f"--channel-map={positions}"]
    process = subprocess.Popen(command, env=server.env, stdin=subprocess.PIPE)
    ended = threading.Event()

    def feed():
        first = 0
        with suppress(BrokenPipeError):  # the player ended
            while not ended.is_set():
                process.stdin.write(counter(first, sr // 10, channels).tobytes())
                first += sr // 10

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield process
    finally:
        ended.set()
        process.kill()
        feeder.join()
        with suppress(BrokenPipeError):  # what it did not take
            process.stdin.close()
        servers.end(process)


def channel_map(server, sink):
    """The channels of a sink, as ``pacat --channel-map`` has them."""
    lines = server.pactl("list", "sinks").split("Name: ")
    about = next(text for text in lines if text.startswith(f"{sink}\n"))
    return about.split("Channel Map: ")[1].split("\n")[0]


def load_sink(server, name, sr=48000, channels=2, description=None):
    """Load a null sink; returns the number of its module."""
    words = [f"sink_name={name}", f"rate={sr}", f"channels={channels}", "format=float32le"]
    if isinstance(server, servers.Pulse):
        words += ["norewinds=1"]
    if description:
        words += [f"sink_properties='device.description=\"{description}\"'"]
    return server.pactl("load-module", "module-null-sink", *words).strip()


def unload_sink(server, name):
    """Unload a sink, and its monitor with it."""
    for line in server.pactl("list", "short", "modules").splitlines():
        if f"sink_name={name} " in line:
            server.pactl("unload-module", line.split()[0])
    listed = lambda: server.pactl("list", "short", "sources")  # noqa: E731
    servers.wait_for(lambda: f"\t{name}.monitor\t" not in listed(), "end of the monitor")


def set_rate(server, sr):
    """Let the graph run at that rate, of PipeWire, which has one for all sinks."""
    if isinstance(server, servers.PipeWire):
        server.ask("pw-metadata", "-n", "settings", "0", "clock.force-rate", str(sr))
