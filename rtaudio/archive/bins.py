"""Rows over a second, a minute or a whole recording: means, deviations, percentiles.

Constant memory: up to some 4,000 rows are taken as they are, more are thinned out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]

STATISTICS = ("mean", "std", "p10", "p50", "p90", "max")
QUANTILES = (0.1, 0.5, 0.9)
EXACT = 4096
MOST_NUMBERS = 1 << 22  # that are held as they are: of more than 1,024 columns fewer rows
BLOCK = 256  # columns that are sorted at once


class Statistics:
    """`STATISTICS` of the columns of any number of rows.

    Percentiles interpolate linearly, as `numpy.percentile` does. Beyond K rows (`EXACT`, fewer of
    more than 1,024 columns), each time so many have come they are sorted and every other one is
    kept, for two; twice as many of those likewise, for four, and so on (Munro and Paterson,
    Theoretical Computer Science 12, 1980): of N rows, a percentile is then within
    (1 + log2(N / K)) / K of its rank. The deviation is that of all rows (``ddof=0``).
    """

    def __init__(self, width: int) -> None:
        exact = min(EXACT, max(64, MOST_NUMBERS // max(1, width) & ~1))
        self._blocks = [
            (slice(start, start + BLOCK), _Block(min(BLOCK, width - start), exact))
            for start in range(0, width, BLOCK)
        ]

    def add(self, rows: Floats) -> None:
        """Take rows (k, width)."""
        for columns, block in self._blocks:
            block.add(rows[:, columns])

    def take(self) -> tuple[int, Floats]:
        """How many rows there were, and their statistics (6, width); NaN of none. Begins anew."""
        taken = [block.take() for _, block in self._blocks]
        return taken[0][0], np.concatenate([some for _, some in taken], axis=1)


class _Block:
    """Statistics of some columns."""

    def __init__(self, width: int, exact: int) -> None:
        self._exact = exact
        self._rows = np.empty((exact, width), np.float32)
        self._filled = 0
        self._thinned: list[Floats | None] = []  # at i: (exact / 2, width), sorted, 2 << i each
        self._odd = False
        self._count = 0  # of what was thinned, as are these
        self._mean = np.zeros(width)
        self._square = np.zeros(width)  # sum of squared differences from the mean
        self._max = np.full(width, -np.inf, np.float32)

    def add(self, rows: Floats) -> None:
        start = 0
        while start < len(rows):
            if self._filled == self._exact:
                self._thin_out()
            some = rows[start : start + self._exact - self._filled]
            self._rows[self._filled : self._filled + len(some)] = some
            self._filled += len(some)
            start += len(some)

    def take(self) -> tuple[int, Floats]:
        rows = self._rows[: self._filled].T.copy()  # contiguous: a column is summed by itself
        rows.sort(axis=1)
        count = self._count + self._filled
        result = np.full((len(STATISTICS), len(rows)), np.nan, np.float32)
        if count:
            if self._filled:
                self._merge(rows)
            result[0], result[1] = self._mean, np.sqrt(self._square / count)
            result[2:5] = self._weighted(rows) if self._thinned else _quantiles(rows)
            result[5] = self._max
        self._filled = self._count = 0
        self._thinned, self._odd = [], False
        self._mean[:] = self._square[:] = 0
        self._max[:] = -np.inf
        return count, result

    def _merge(self, rows: Floats) -> None:
        """Take sorted rows (width, n) into mean, squares (Chan et al., 1979) and maximum."""
        values = rows.astype(np.float64)
        n, before = values.shape[1], self._count
        mean = values.sum(axis=1) / n
        values -= mean[:, np.newaxis]
        np.square(values, out=values)
        apart = mean - self._mean
        self._square += values.sum(axis=1) + apart**2 * (before * n / (before + n))
        self._mean += apart * (n / (before + n))
        np.maximum(self._max, rows[:, -1], out=self._max)

    def _thin_out(self) -> None:
        rows = self._rows.T.copy()
        rows.sort(axis=1)
        self._merge(rows)
        self._count += self._exact
        self._filled = 0
        kept = self._every_other(rows.T)
        for level, there in enumerate(self._thinned):
            if there is None:
                self._thinned[level] = kept
                return
            self._thinned[level] = None
            kept = self._every_other(np.sort(np.concatenate([there, kept]), axis=0))
        self._thinned.append(kept)

    def _every_other(self, rows: Floats) -> Floats:
        self._odd = not self._odd
        return rows[self._odd :: 2].copy()

    def _weighted(self, rows: Floats) -> Floats:
        """Quantiles of what is left (width, n) and of what was thinned out."""
        kept = [(2 << level, rows) for level, rows in enumerate(self._thinned) if rows is not None]
        values = np.concatenate([rows.T, *(some for _, some in kept)])
        weights = np.repeat(
            [1, *(weight for weight, _ in kept)], [rows.shape[1], *(len(some) for _, some in kept)]
        )
        order = values.argsort(axis=0, kind="stable")
        values = np.take_along_axis(values, order, axis=0)
        ranks = weights[order].cumsum(axis=0)
        total = int(weights.sum())
        at = [(ranks < quantile * total).sum(axis=0) for quantile in QUANTILES]
        return np.take_along_axis(values, np.array(at), axis=0)


def _quantiles(rows: Floats) -> Doubles:
    """Quantiles of sorted rows (width, n), (3, width)."""
    last = rows.shape[1] - 1
    found = np.empty((len(QUANTILES), len(rows)))
    for i, quantile in enumerate(QUANTILES):
        low = math.floor(quantile * last)
        part = quantile * last - low
        below, above = rows[:, low].astype(np.float64), rows[:, min(low + 1, last)]
        found[i] = below + part * (above - below)
    return found


class Tally:
    """What a model said, of each label: how often, how surely."""

    def __init__(self, labels: int) -> None:
        self._counts = np.zeros(labels, np.int64)
        self._sums = np.zeros(labels)
        self._answers = 0

    def add(self, labels: NDArray[np.int64], probabilities: Floats) -> None:
        """Take answers: numbers of labels, -1 for none; rows without an answer have NaN."""
        answered = probabilities == probabilities
        self._answers += int(answered.sum())
        for label, probability in zip(labels[answered], probabilities[answered], strict=True):
            if label >= 0:
                self._counts[label] += 1
                self._sums[label] += probability

    def take(self) -> tuple[int, float, Floats]:
        """The label heard most, -1 for none; its mean probability; the share of each."""
        label = int(self._counts.argmax()) if self._counts.any() else -1
        probability = self._sums[label] / self._counts[label] if label >= 0 else math.nan
        shares = np.full(len(self._counts), np.nan, np.float32)
        if self._answers:
            shares[:] = self._counts / self._answers
        self._counts[:], self._sums[:], self._answers = 0, 0, 0
        return label, float(probability), shares
