"""What callbacks saw on real sound servers, and what was lost there: the files of `traces/`.

Recorded on Debian 12 (PulseAudio 16.1, PipeWire 0.3.65, jackd2 1.9.21, PortAudio 19.6) from bare
sounddevice callbacks, while a player counted in the samples. Each block has its length, clock (ns,
as differences), ADC age (ns), whether the host flagged an overflow, the count of its first sample,
and how many counts are missing before it; on JACK the frames that its graph had run (as
differences).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtaudio.capture.ring import NO_COUNT, Record
from rtaudio.sources.timeline import Placed, Timeline

FOLDER = Path(__file__).with_name("traces")
SR = 48000


@dataclass
class Replay:
    """A trace, and what a timeline says about it."""

    timeline: Timeline
    placed: list[Placed]
    longest_hold_ms: float
    longest_block_ms: float
    missing: list  # (block, samples) of the truth
    counts: np.ndarray  # of each block's first sample; 0 while nothing was played
    stated_ms: list  # how far the time of each block's capture may be off, as it was said then

    @property
    def told(self):
        """The losses on the axis: (block, samples, uncertainty)."""
        return [(p.record.number, p.lost, p.uncertainty) for p in self.placed if p.lost]

    @property
    def remarks(self):
        return [remark for placed in self.placed for remark in placed.remarks]

    def captured_errors_ms(self, after_s=6.0):
        """When each block was captured, by the timeline, against the counter; less the median."""
        captured = np.array([placed.captured_ns for placed in self.placed]) / 1e6
        begun = self.counts != 0
        begun &= captured >= captured[0] + 1e3 * after_s
        errors = captured[begun] - self.counts[begun] / (SR / 1e3)
        return errors - np.median(errors)


SERVERS = {"pulse": "pulseaudio", "pipewire": "pipewire", "jack": "jack"}


def replay(name, server=None, learn=False):
    """Hand a trace to a timeline, as the microphone does.

    ``server``: what it is taken for; ``learn``: from each block before the next one comes.
    """
    graph = name.startswith("jack")
    server = SERVERS[name.split("-")[0]] if server is None else server
    with np.load(FOLDER / f"{name}.npz") as trace:
        lengths = trace["length"].astype(int).tolist()
        clocks = (10**12 + np.cumsum(trace["clock"])).tolist()
        frames = np.cumsum(trace["frames"]).tolist() if graph else [NO_COUNT] * len(lengths)
        ages, counts = trace["age"].tolist(), trace["count"].astype(float)
        overflows = np.cumsum(trace["overflow"]).tolist()
        missing = [(int(i), int(trace["missing"][i])) for i in np.flatnonzero(trace["missing"])]
    timeline = Timeline(SR, server=server)
    placed, stated, first, longest = [], [], 0, 0
    for number, (length, clock, run, age, overflow) in enumerate(
        zip(lengths, clocks, frames, ages, overflows, strict=True)
    ):
        timeline.take(Record(number, first, length, 0, clock, age, overflow, first, run))
        first += length
        while (block := timeline.placed()) is not None:
            placed.append(block)
            stated.append(timeline.model.captured_within_ns / 1e6)
            longest = max(longest, clock - block.record.clock_ns)
            if learn:
                timeline.learn()
    timeline.end()
    while (block := timeline.placed()) is not None:
        placed.append(block)
        stated.append(timeline.model.captured_within_ns / 1e6)
    block_ms = 1e3 * max(lengths) / SR
    return Replay(timeline, placed, longest / 1e6, block_ms, missing, counts, stated)
