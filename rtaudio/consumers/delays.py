"""Delays as they are measured: each value counted into a histogram, in constant memory.

The buckets are logarithmic, 36 to an octave from 1 µs on, so that any percentile is within 1 %
of that of the values themselves, whether of ten seconds or of a week; the largest value is exact.
One thread writes, and never waits; any other reads.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rtaudio.analysis.kernel import count_delays

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

LEAST_S = 1e-6  # what is shorter counts as this
PER_OCTAVE = 36
BUCKETS = 1 + 27 * PER_OCTAVE  # the first for what is not known; up to 134 s
RECENT_S = 10
PENDING_ROWS = 80  # counted at once, at the latest after a second
#: The percentiles that are told, and how they are called.
PERCENTILES = {"p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0, "p999_ms": 99.9}


class Delay:
    """How long something took: percentiles, the maximum and how often it was measured.

    Percentiles are numpy's (linear interpolation), within 1 % of those of the values. One that
    has not a single value beyond it is NaN: p99 takes 100 values, p99.9 takes 1,000.
    """

    def __init__(self, counts: NDArray[np.int64], most_s: float, recent: Delay | None = None):
        """``counts`` (BUCKETS,) must not change any more."""
        self._counts, self._most_s = counts, most_s
        self.recent = self if recent is None else recent
        """The same of the last ten seconds."""

    @cached_property
    def n(self) -> int:
        """How many values there are."""
        return int(self._counts[1:].sum())

    @property
    def max_ms(self) -> float:
        """The largest value, exact."""
        return 1e3 * self._most_s if self.n else math.nan

    @property
    def p50_ms(self) -> float:
        """The median."""
        return self.percentile(50.0)

    @property
    def p95_ms(self) -> float:
        """What nineteen values in twenty do not exceed."""
        return self.percentile(95.0)

    @property
    def p99_ms(self) -> float:
        """What ninety-nine values in a hundred do not exceed."""
        return self.percentile(99.0)

    @property
    def p999_ms(self) -> float:
        """What 999 values in a thousand do not exceed."""
        return self.percentile(99.9)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum(self._counts[1:])

    def percentile(self, percent: float) -> float:
        """What so many percent of the values do not exceed, in ms; NaN where they are too few."""
        if self.n * (100.0 - percent) < 100.0 - 1e-9:
            return math.nan
        rank = percent / 100 * (self.n - 1)
        low, high = self._value(math.floor(rank)), self._value(math.ceil(rank))
        return 1e3 * (low + (high - low) * (rank - math.floor(rank)))

    def _value(self, number: int) -> float:
        """The value of that number, in order of size, as its bucket has it."""
        if number == self.n - 1:
            return self._most_s
        bucket = int(np.searchsorted(self._ends, number, side="right"))
        return min(middles()[bucket], self._most_s)

    def histogram(self, per_octave: int = 12) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Edges in ms, (k + 1,), and counts, (k,), of wider buckets, from the first used one on."""
        counts = self._counts[1:].reshape(-1, PER_OCTAVE // per_octave).sum(axis=1)
        used = np.flatnonzero(counts)
        first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
        edges = 1e3 * LEAST_S * 2 ** (np.arange(first, last + 2) / per_octave)
        return edges, counts[first : last + 1]

    def as_dict(self) -> dict[str, float | int | None]:
        """As JSON has it: ``p50_ms`` …, ``max_ms`` and ``n``; null for what is not known."""
        told: dict[str, float | int | None] = {}
        for name in (*PERCENTILES, "max_ms"):
            value = getattr(self, name)
            told[name] = None if math.isnan(value) else round(value, 6)
        return {**told, "n": self.n}

    def __repr__(self) -> str:
        """The figures."""
        figures = ", ".join(f"{name}={value}" for name, value in self.as_dict().items())
        return f"Delay({figures})"

    @staticmethod
    def together(delays: Iterable[Delay]) -> Delay:
        """All values of several delays."""
        delays = list(delays)
        now, recent = (
            Delay(
                sum((delay._counts for delay in some), np.zeros(BUCKETS, np.int64)),
                max((delay._most_s for delay in some), default=0.0),
            )
            for some in (delays, [delay.recent for delay in delays])
        )
        return Delay(now._counts, now._most_s, recent)


_middles: list[float] = []


def middles() -> list[float]:
    """What a value counts as that is in a bucket, in s; without the first, of those not known."""
    if not _middles:
        steps = np.arange(BUCKETS - 1) + 0.5
        _middles.extend((LEAST_S * 2 ** (steps / PER_OCTAVE)).tolist())
    return _middles


class _Second(NamedTuple):
    """What was counted by the end of a second. Never changed."""

    at: float
    counts: NDArray[np.int64]
    """(columns, BUCKETS)."""
    most: NDArray[np.float64]
    """(columns,): the largest value of that second."""


class Delays:
    """Measures several delays at once: a column each.

    Called by one thread: `add`. Any thread: `read`, which reads again where the one wrote.
    """

    def __init__(self, *names: str) -> None:
        self.names = names
        columns = len(names)
        self._pack = struct.Struct(f"{columns}d").pack_into
        self._row_bytes = 8 * columns
        self._pending = np.zeros(PENDING_ROWS * columns)  # a value a column in turn
        self._buffer = self._pending.data
        self._pending_bytes = 0
        self._folds = 0  # odd while the pending are being counted
        self._counts = np.zeros((columns, BUCKETS), np.int64)
        self._most = np.zeros((2, columns))  # the largest of all; of this second
        self._at, self._fold_after = 0.0, -math.inf
        self._seconds: deque[_Second] = deque(maxlen=RECENT_S + 2)
        _count(self._pending, 0, self._counts, self._most)  # compiles it, or loads it

    def add(self, at: float, *values: float) -> None:
        """Take one value a column, in s, measured ``at``; NaN is one that is not known.

        Called by the one thread that measures. Allocates an array once a second; never waits.
        """
        end = self._pending_bytes
        self._pack(self._buffer, end, *values)
        self._pending_bytes = end = end + self._row_bytes
        if at >= self._fold_after or end == self._buffer.nbytes:
            self._fold(at)

    def _fold(self, at: float) -> None:
        self._folds += 1
        _count(self._pending, self._pending_bytes, self._counts, self._most)
        self._pending_bytes = 0
        self._at = at
        if at >= self._fold_after:  # a second has passed: keep what was counted by its end
            self._seconds.append(_Second(at, _copy(self._counts), _copy(self._most[1])))
            self._most[1] = 0
            self._fold_after = at + 1.0
        self._folds += 1

    def read(self) -> dict[str, Delay]:
        """The delays so far, by their names. May be called by any thread."""
        while True:
            folds = self._folds
            at, pending_bytes, seconds = self._at, self._pending_bytes, list(self._seconds)
            counts, most, pending = _copy(self._counts), _copy(self._most), _copy(self._pending)
            if folds == self._folds and folds % 2 == 0:
                break
        _count(pending, pending_bytes, counts, most)
        old = [second for second in seconds if second.at <= at - RECENT_S]
        recent = counts - (old[-1].counts if old else 0)
        recent_most = np.max([most[1], *(second.most for second in seconds[len(old) :])], axis=0)
        return {
            name: Delay(counts[i], float(most[0, i]), Delay(recent[i], float(recent_most[i])))
            for i, name in enumerate(self.names)
        }


def _count(
    pending: NDArray[np.float64],
    pending_bytes: int,
    counts: NDArray[np.int64],
    most: NDArray[np.float64],
) -> None:
    count_delays(pending, pending_bytes // 8, LEAST_S, PER_OCTAVE, counts, most)


def _copy(array: NDArray[Any]) -> NDArray[Any]:
    """As ``array.copy()``, without letting go of the GIL."""
    return np.frombuffer(bytearray(array.data), array.dtype).reshape(array.shape)
