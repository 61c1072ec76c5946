"""The last minutes of a run, for the window: dBFS, MFCCs, levels and the waveform."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtaudio.analysis.frames import Frames
    from rtaudio.analysis.settings import Settings

    Floats = NDArray[np.float32]

KEEP_S = 600.0
MOST_BYTES = 256 << 20
MOST_LABELS = 4096
SPAN_ROWS = 4096  # finer than a screen is wide, a span of the picture needs no rows
NOT_THERE, LOST, HEARD = 0, 1, 2
#: Least and greatest sample of a bucket of the waveform that has none.
NOTHING, NOTHING_BUT_LOST = (1, -1), (3, -3)


class History:
    """Rows of the last ``keep_s`` seconds, or as many as ``most_bytes`` hold; a ring.

    A row is a hop, or where ``span_s`` of the picture would have more than ``span_rows`` of them,
    the maximum of ``hops`` (of the MFCCs, the last). Row r lies at `place` r … r + 1 of the time
    axis, its middle at the time of the frame. Rows ``first`` to ``stop`` are there; the last may
    still grow where ``hops`` > 1.

    One thread writes (`put`, `tap`), any may read; neither waits. A reader that is a whole ring
    behind gets rows that are being overwritten, so the oldest are not shown.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        span_s: float = 10.0,
        span_rows: int = SPAN_ROWS,
        keep_s: float = KEEP_S,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """Allocate; the system hands the memory over as it is written to."""
        assert settings.sr is not None
        self.settings = settings
        hop, sr = settings.hop_length, settings.sr
        self.hops = 1
        while span_s * sr / (hop * self.hops) > span_rows:
            self.hops *= 2
        self.row_samples = hop * self.hops
        self.buckets = next(q for q in (8, 4, 2, 1) if self.row_samples % q == 0)
        """How many minima and maxima of the waveform a row holds."""
        self._time_0 = 0.0 if settings.center else settings.n_fft // 2 / sr
        row_bytes = 2 * settings.n_bins + 4 * settings.n_mfcc + 8 * self.buckets + 37
        slack = math.ceil(self.rows_per_s)  # what the writer may be at, while somebody reads
        wanted = int(keep_s * self.rows_per_s) + 1 + slack
        self.capacity = n = max(2, min(wanted, most_bytes // row_bytes))
        self._slack = max(1, min(slack, n // 2))
        self.nbytes = n * row_bytes
        self._dbfs = np.empty((n, settings.n_bins), np.float16)
        self._mfcc = np.empty((n, settings.n_mfcc), np.float32)
        self._wave = np.full((n * self.buckets, 2), NOTHING, np.float32)  # least, greatest
        self._levels = np.empty((n, 3), np.float32)  # rms, peak, share of the frame that is lost
        self._captured = np.empty(n, np.float64)
        self._completed = np.empty(n, np.float64)
        self._state = np.zeros(n, np.uint8)
        self._full_scale_db = np.float32(settings.full_scale_db)
        self.hears = False
        """Whether a model listens, so that there will be labels."""
        self._labels: deque[tuple[float, float, str, float]] = deque(maxlen=MOST_LABELS)
        self._begin: int | None = None  # number of the very first row
        self._stop = 0
        self._row_next = 0  # number of the next frame's row, in hops
        self._bucket_samples = self.row_samples // self.buckets
        # so that a row's buckets lie around the middle of its frame
        self._bucket_shift = hop // 2 - (0 if settings.center else settings.n_fft // 2)
        self._bucket: int | None = None  # the newest

    # --- the writer ---------------------------------------------------------------------------

    def put(self, frames: Frames, completed: float = math.nan) -> None:
        """Take rows, ``completed`` then; those that were left out before them are lost ones.

        The writer's thread.
        """
        rows = (frames.first + np.arange(len(frames))) // self.hops
        if self._begin is None:
            self._begin = self._stop = int(rows[0])
        elif frames.first > self._row_next:
            self._lose(int(rows[0]))
        self._row_next = frames.first + len(frames)
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        levels = np.stack([frames.rms, frames.peak, frames.lost / self.settings.n_fft], axis=1)
        dbfs = np.maximum.reduceat(frames.db, starts) - self._full_scale_db
        levels = np.maximum.reduceat(levels, starts)
        ends = np.append(starts[1:], len(rows)) - 1
        at = rows[starts] % self.capacity
        if rows[0] < self._stop and self._state[at[0]] == HEARD:  # it grows
            np.maximum(dbfs[0], self._dbfs[at[0]], out=dbfs[0])
            np.maximum(levels[0], self._levels[at[0]], out=levels[0])
        keep = slice(-self.capacity, None)
        at, ends = at[keep], ends[keep]
        self._state[at] = NOT_THERE
        self._dbfs[at] = dbfs[keep]
        self._levels[at] = levels[keep]
        self._mfcc[at] = frames.mfcc[ends]
        self._captured[at] = frames.captured[ends]
        self._completed[at] = completed
        self._state[at] = HEARD
        self._stop = int(rows[-1]) + 1

    def _lose(self, stop: int) -> None:
        """Mark the rows up to ``stop`` as lost."""
        at = np.arange(max(self._stop, stop - self.capacity), stop) % self.capacity
        self._state[at] = LOST
        self._dbfs[at] = self._mfcc[at] = 0  # readers mask them, but must not meet a NaN
        self._captured[at] = self._completed[at] = np.nan
        self._levels[at] = (0, 0, 1)
        self._stop = max(self._stop, stop)

    def tap(self, first: int, samples: Floats) -> None:
        """Take the samples as they are framed, numbered from ``first``. The writer's thread."""
        if not len(samples):  # a resampler has held them back
            return
        start = first + self._bucket_shift
        buckets = np.arange(
            start // self._bucket_samples, (start + len(samples) - 1) // self._bucket_samples + 1
        )
        starts = np.maximum(buckets * self._bucket_samples - start, 0)
        wave = np.stack(
            [np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)], axis=1
        )
        size = len(self._wave)
        newest = self._bucket
        if newest is not None:
            if newest == buckets[0]:  # it goes on
                old = self._wave[newest % size]
                wave[0] = min(old[0], wave[0, 0]), max(old[1], wave[0, 1])
            skipped = np.arange(max(newest + 1, buckets[0] - size), buckets[0])
            self._wave[skipped % size] = NOTHING_BUT_LOST
        self._wave[buckets[-size:] % size] = wave[-size:]
        self._bucket = int(buckets[-1])

    def label(self, interval: tuple[float, float, str, float]) -> None:
        """Take what was heard from when (s) to when, and its probability; again while it grows.

        The model's thread.
        """
        if self._labels and self._labels[-1][0] == interval[0]:
            self._labels[-1] = interval
        else:
            self._labels.append(interval)

    # --- readers ------------------------------------------------------------------------------

    @property
    def stop(self) -> int:
        """Number of the row after the newest."""
        return self._stop

    @property
    def first(self) -> int:
        """Number of the oldest row that is safe to read."""
        return max(self._begin or 0, self._stop - self.capacity + self._slack)

    def captured(self, row: int) -> float:
        """When the last sample of a row's frame was captured; NaN where not known."""
        if not self.first <= row < self._stop:
            return math.nan
        return float(self._captured[row % self.capacity])

    def completed(self, row: int) -> float:
        """When a row was computed, as `put` was told."""
        return float(self._completed[row % self.capacity])

    def place(self, time: float) -> float:
        """Where a time (s) is on the axis of rows: row r is between r and r + 1."""
        return (time - self._time_0) * self.rows_per_s + 0.5 / self.hops

    def time(self, place: float) -> float:
        """The inverse of `place`."""
        return self._time_0 + (place - 0.5 / self.hops) / self.rows_per_s

    @property
    def rows_per_s(self) -> float:
        """How many rows a second of sound has."""
        return (self.settings.sr or 1) / self.row_samples

    def _at(self, first: int, stop: int) -> NDArray[np.int64]:
        return np.arange(first, stop) % self.capacity

    def state(self, first: int, stop: int) -> NDArray[np.uint8]:
        """`NOT_THERE`, `LOST` or `HEARD`; shape (stop - first,)."""
        state = self._state[self._at(first, stop)]
        state[: max(0, self.first - first)] = NOT_THERE
        state[max(0, self._stop - first) :] = NOT_THERE
        return state

    def dbfs(self, first: int, stop: int) -> Floats:
        """Spectra, a full-scale sine on a bin being 0; shape (stop - first, n_bins)."""
        dbfs: Floats = self._dbfs[self._at(first, stop)].astype(np.float32)
        return dbfs

    def mfcc(self, first: int, stop: int) -> Floats:
        """Shape (stop - first, n_mfcc)."""
        return self._mfcc[self._at(first, stop)]

    def levels(self, first: int, stop: int) -> Floats:
        """RMS, peak, and which share of the frame was lost; shape (stop - first, 3)."""
        return self._levels[self._at(first, stop)]

    def labels(self) -> list[tuple[float, float, str, float]]:
        """What was heard: begin and end in s, label, probability, in the order of time."""
        return list(self._labels)

    def wave(self, first: int, stop: int) -> Floats:
        """Least and greatest sample of each bucket; (rows, buckets, 2).

        `NOTHING` where there is none, `NOTHING_BUT_LOST` where all were lost.
        """
        at = self._at(first, stop)[:, np.newaxis] * self.buckets + np.arange(self.buckets)
        wave: Floats = self._wave[at]
        newest = -1 if self._bucket is None else self._bucket
        buckets = np.arange(first * self.buckets, stop * self.buckets).reshape(at.shape)
        wave[(buckets > newest) | (buckets < self.first * self.buckets)] = NOTHING
        return wave
