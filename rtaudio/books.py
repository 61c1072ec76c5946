"""What a live run counts: its samples, what became of them, and every delay on their way."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rtaudio.consumers.delays import Delay, Delays
from rtaudio.sources.block import CAUSES, REMARKS, Block

if TYPE_CHECKING:
    from rtaudio.analysis.frames import Frames
    from rtaudio.sources.microphone import MicrophoneStats

#: The delays on the way of the samples, in its order, and from where to where each is measured.
STAGES = {
    "adc_to_callback": "capture → callback",
    "callback_jitter": "jitter of the callback",
    "callback_to_read": "callback → read here",
    "read_to_frame": "read → frame complete",
    "frame_to_consumer": "frame → consumer called",
    "frame_to_label": "frame → label",
    "frame_to_screen": "frame → on screen",
    "callback_to_frame": "callback → frame",
    "captured_to_frame": "capture → frame",
    "captured_to_screen": "capture → on screen",
}


OF_BLOCKS = ("adc_to_callback", "callback_jitter", "callback_to_read")
OF_ROWS = ("read_to_frame", "callback_to_frame", "captured_to_frame")
UNKNOWN = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class LiveStats:
    """The books of a live run. Samples at the source's rate, of each channel.

    ``delivered = processed + dropped`` once it has ended, and ``lost = dropped + host + outage``:
    ``refuted`` ones are among them, ``unplaced`` ones are not.
    """

    delivered: int
    """Handed over by the sound system, or read."""
    processed: int
    """Analyzed."""
    dropped: int
    """Thrown away by us: the ring was full. Exact."""
    host: int
    """Lost by the sound system before they came to us. An estimate."""
    outage: int
    """Missed while the device was gone. An estimate."""
    unplaced: int
    """Lost besides, at a place that is not known well enough to stand on the axis. An estimate."""
    refuted: int
    """How many of ``lost`` turned out not to be lost; they stay on the axis, as zeros."""
    frames: int
    """Rows computed."""
    skipped: int
    """Rows that a slow consumer did not get, of all consumers; answers that a model was too late
    to give."""
    invalid: int
    """Samples that were NaN, Inf or beyond 1e12, and were taken as 0."""
    age_ms: float
    """How old the newest row's last sample was when it was handed out; NaN where not known."""
    latency_changes: int
    """How often the sound system's latency changed, without a loss; 0 without a microphone."""
    latency_change_ms: float
    """By how much at last; positive: samples come later than before. 0 if it never did."""
    largest_latency_change_ms: float
    """The one that was largest, up or down."""
    microphone: MicrophoneStats | None
    """More about a microphone; None for other sources."""
    stages: dict[str, Delay] = field(repr=False, compare=False)
    """How long each stage took (`books.STAGES`), over the run and over the last ten seconds
    (``.recent``): those that were measured. ``callback_to_frame`` is all that happens here."""

    @property
    def lost(self) -> int:
        """All three causes together."""
        return sum(self.lost_by_cause.values())

    @property
    def lost_by_cause(self) -> dict[str, int]:
        """What ``lost`` is made of, by cause."""
        return {cause: getattr(self, cause) for cause in CAUSES}


class Books:
    """Counters and delays. Written by the processing thread alone, read by any."""

    def __init__(self) -> None:
        self.sr = 1
        """Of the source, once it is known."""
        self.processed = 0
        self.position = 0
        """Absolute number of the sample after the last."""
        self.lost = dict.fromkeys(CAUSES, 0)
        self.remarks = dict.fromkeys(REMARKS, 0)
        self.frames = 0
        self.age_ms = math.nan
        self._read = self._called = math.nan  # the newest block's
        self._block = UNKNOWN  # its delays, until they are counted with those of its rows
        self._over = False
        self._delays = Delays(*OF_BLOCKS, *OF_ROWS)

    def block(self, block: Block, adc: bool) -> None:
        """Count a block, just read; ``adc``: `Block.captured` is by the device's own clock."""
        samples, called, before = len(block), block.called, self._called
        self.position = block.first_sample + samples
        self.processed += samples
        if block.lost:
            for gap in block.gaps:
                self.lost[gap.cause] += gap.length
            self.lost["host"] += block.lost - sum(gap.length for gap in block.gaps)
        for remark in block.remarks:
            self.remarks[remark.cause] += remark.length
        self._count_block()
        self._read = read = time.perf_counter()
        if not samples:
            return
        self._called = called
        length_s = samples / self.sr
        jitter = abs(called - before - length_s - block.lost / self.sr)
        capture = called - block.captured - length_s if adc else math.nan
        self._block = capture, jitter, read - called

    def rows(self, frames: Frames) -> float:
        """Count rows, just completed by the newest block; returns when that was, in s."""
        count = len(frames)
        self.frames += count
        now = time.perf_counter()
        age = now - frames.captured.item(-1)
        if age == age:
            self.age_ms = 1e3 * age
        if not self._over:
            capture, jitter, read = self._block
            called = self._called
            self._delays.add(now, capture, jitter, read, now - self._read, now - called, age)
            self._block = UNKNOWN
            if count > 1:  # the others are older
                way = now - self._read, now - called
                for captured in frames.captured[:-1].tolist():
                    self._delays.add(now, *UNKNOWN, *way, now - captured)
        return now

    def end(self) -> None:
        """What is completed from now on was waiting for the end, and for nothing else."""
        self._count_block()
        self._over = True

    def _count_block(self) -> None:
        """Count the newest block's delays, where it completed no row."""
        if self._block is not UNKNOWN:
            self._delays.add(self._read, *self._block, *UNKNOWN)
            self._block = UNKNOWN

    def stages(self) -> dict[str, Delay]:
        """The delays that were measured here. May be called by any thread."""
        return self._delays.read()
