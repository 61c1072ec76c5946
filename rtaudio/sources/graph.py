"""What JACK's own time says: whether its graph stood still, and how many frames it ran.

PortAudio's ``currentTime`` on JACK counts the frames of the graph, by a loop that follows the
wake-ups of the server with a bandwidth of 0.125 Hz (as jackd 2 filters them):

- If a client was too late for a cycle, the graph ran without it: the time runs on as before, its
  samples are lost, and it shows so many frames more than samples came.
- If the server itself was late, the graph stood still and no sample was lost. The time ran on at
  first, and then falls back to the frames that were run: from the first block on it loses, each
  second, about as much as the graph stood still; after some ten seconds it is exact again.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtaudio.capture.ring import Record

LOOP_S = 1.05  # of which the time loses in each second what the graph stood still
BEFORE_NS = 300_000_000  # of so long before, the time tells how it would have gone on
LEAST_BLOCKS = 8
SETTLED_SAMPLES = 2  # by so much at most two windows differ once the loop has settled
SETTLED_WINDOWS = 4  # so many: at its turning points, it seems to be settled for shorter


class Graph:
    """Follows the host's own time, of the blocks in order."""

    def __init__(self, sr: int) -> None:
        self._frame_ns = 1e9 / sr
        self._ahead: deque[tuple[int, int]] = deque(maxlen=256)  # clock, host's time less it
        self._window: list[float] = []  # frames run, less samples delivered or known as lost
        self._medians: deque[float] = deque(maxlen=SETTLED_WINDOWS)
        self._known: float | None = None  # the same, when it had settled last

    @property
    def settled(self) -> bool:
        """Whether its time is exact: it has followed no stall lately."""
        medians = self._medians
        full = len(medians) == SETTLED_WINDOWS
        return full and max(medians) - min(medians) <= SETTLED_SAMPLES

    def add(self, record: Record, lost: int) -> None:
        """Take a block that was placed, before which ``lost`` samples were lost in all."""
        self._ahead.append((record.clock_ns, record.host_ns - record.clock_ns))
        self._window.append(record.host_ns / self._frame_ns - record.first - lost)

    def stood_still(self, records: Sequence[Record]) -> float:
        """For how long the graph stood still before ``records``, in ns; about."""
        held = [(record.clock_ns, record.host_ns - record.clock_ns) for record in records]
        begin = held[0][0]
        before = [point for point in self._ahead if begin - point[0] < BEFORE_NS]
        before = before or list(self._ahead)[-LEAST_BLOCKS:]
        start = np.array(before[-1] if before else held[0], np.float64)
        x, y = (np.array(held, np.float64) - start).T
        if len(before) >= LEAST_BLOCKS:  # how it would have gone on
            xs, ys = (np.array(before, np.float64) - start).T
            y -= np.polyval(np.polyfit(xs, ys, 2), x)
        slope, jump = np.polyfit(x, y, 1)
        return float(-jump - slope * LOOP_S * 1e9)

    def end_window(self) -> int:
        """How many samples were lost that nobody knows of; 0 while the loop has not settled."""
        if not self._window:
            return 0
        self._medians.append(median(self._window))
        self._window.clear()
        if not self.settled:
            return 0
        before, self._known = self._known, self._medians[-1]
        return 0 if before is None else round(self._known - before)
