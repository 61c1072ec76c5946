"""Delays as they are measured: each value counted into a histogram, in constant memory.

The buckets are logarithmic, 48 to an octave from 1 µs on, so that any percentile is within 0.8 %
of that of the values themselves, whether of ten seconds or of a week; the largest value is exact.
One thread writes; what it publishes is never changed again, so that any other may read it.
"""

from __future__ import annotations

import math
from collections import deque
from functools import cached_property
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

LEAST_S = 1e-6  # what is shorter counts as this
PER_OCTAVE = 48
BUCKETS = 1 + 27 * PER_OCTAVE  # the first for what is not known; up to 134 s
RECENT_S = 10
FOLD = 64  # values of a column that are counted at once, at the latest after a second
#: The percentiles that are told, and how they are called.
PERCENTILES = {"p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0, "p999_ms": 99.9}


class Delay:
    """How long something took: percentiles, the maximum and how often it was measured.

    Percentiles are numpy's (linear interpolation), within 0.8 % of those of the values. One that
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


class _Counted(NamedTuple):
    """What was counted by a certain time. Never changed."""

    rows: int
    """How many rows of values are in it."""
    at: float
    counts: NDArray[np.int64]
    """(columns, BUCKETS)."""
    most: NDArray[np.float64]
    """(columns,): the largest value so far."""
    most_since: NDArray[np.float64]
    """(columns,): the largest of the second that the last value is in."""


class Delays:
    """Measures several delays at once: a column each.

    Called by one thread: `add`. Any thread: `read`.
    """

    def __init__(self, *names: str) -> None:
        self.names = names
        columns = len(names)
        self._row = Struct(f"<{columns}d")
        self._pack = self._row.pack_into
        self._buffer = np.full((4 * FOLD, columns), np.nan)  # the newest rows
        self._bytes = self._buffer.data.cast("B")
        self._written = 0
        self._fold_at = FOLD
        self._fold_after = -math.inf
        nothing = np.zeros((columns, BUCKETS), np.int64), np.zeros(columns), np.zeros(columns)
        self._counted = _Counted(0, 0.0, *nothing)
        self._seconds: deque[_Counted] = deque(maxlen=RECENT_S + 2)  # one for the end of each

    def add(self, at: float, *values: float) -> None:
        """Take one value a column, in s, measured ``at``; NaN is one that is not known.

        Called by the one thread that measures. Allocates no array but once in 64 calls; never
        waits, never raises.
        """
        written = self._written
        self._pack(self._bytes, written % (4 * FOLD) * self._row.size, *values)
        self._written = written = written + 1
        if written >= self._fold_at or at >= self._fold_after:
            self._fold(at)

    def _fold(self, at: float) -> None:
        before = self._counted
        if at >= self._fold_after:  # a second has passed: keep what was counted by its end
            self._seconds.append(before)
            before = before._replace(most_since=np.zeros(len(self.names)))
            self._fold_after = at + 1.0
        self._counted = self._with_rows(before, self._written, at)
        self._fold_at = self._written + FOLD

    def _with_rows(self, counted: _Counted, stop: int, at: float) -> _Counted:
        """With the rows up to ``stop``, of which there are `FOLD` at most."""
        rows = np.arange(counted.rows, stop) % len(self._buffer)
        values = self._buffer[rows]
        if not len(values):
            return counted
        newest = np.fmax.reduce(values, axis=0)
        return _Counted(
            stop,
            at,
            counted.counts + _histogram(values),
            np.fmax(counted.most, newest),
            np.fmax(counted.most_since, newest),
        )

    def read(self) -> dict[str, Delay]:
        """The delays so far, by their names. May be called by any thread."""
        counted, seconds = self._counted, list(self._seconds)
        now = self._with_rows(counted, max(self._written, counted.rows), counted.at)
        old = [second for second in seconds if second.at <= now.at - RECENT_S]
        counts = now.counts - (old[-1].counts if old else 0)
        since = [second.most_since for second in seconds[len(old) :]]
        most = np.fmax.reduce([now.most_since, *since], axis=0)
        return {
            name: Delay(now.counts[i], float(now.most[i]), Delay(counts[i], float(most[i])))
            for i, name in enumerate(self.names)
        }


def _histogram(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """(columns, BUCKETS): how many of the values (rows, columns) are in each bucket."""
    columns = values.shape[1]
    buckets = np.maximum(values, LEAST_S)
    buckets /= LEAST_S
    np.log2(buckets, out=buckets)
    buckets *= PER_OCTAVE
    np.minimum(buckets, BUCKETS - 2, out=buckets)
    np.fmax(buckets, -1.0, out=buckets)  # what is not known
    index = np.floor(buckets).astype(np.int64) + 1 + BUCKETS * np.arange(columns)
    return np.bincount(index.ravel(), minlength=columns * BUCKETS).reshape(columns, BUCKETS)
