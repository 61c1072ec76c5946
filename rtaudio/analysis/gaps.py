"""Lost samples as intervals of the analysis' sample axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Gaps:
    """Intervals [start, stop) in rising order; those that touch or overlap are one.

    Holds only what the frames still to come can reach, so it stays short.
    """

    def __init__(self) -> None:
        """No gaps."""
        self.spans: list[tuple[int, int]] = []

    def add(self, start: int, stop: int) -> None:
        """Add an interval that does not begin before the last one."""
        if self.spans and start <= self.spans[-1][1]:
            last_start, last_stop = self.spans.pop()
            start, stop = min(start, last_start), max(stop, last_stop)
        self.spans.append((start, stop))

    def forget(self, before: int) -> None:
        """Drop the intervals that end at or before sample ``before``."""
        while self.spans and self.spans[0][1] <= before:
            del self.spans[0]

    def end(self, stop: int) -> None:
        """Let no interval reach beyond sample ``stop``."""
        self.spans = [(low, min(high, stop)) for low, high in self.spans if low < stop]

    def end_if_inside(self, start: int, stop: int) -> int | None:
        """The end of the gap that [start, stop) lies wholly in, if it does in one."""
        for low, high in self.spans:
            if low <= start and stop <= high:
                return high
        return None

    def count(self, first: int, hop: int, length: int, out: NDArray[np.int64]) -> None:
        """``out[k]`` = lost samples among the ``length`` ones from ``first + k * hop`` on."""
        out[:] = 0
        starts = first + hop * np.arange(len(out))
        for low, high in self.spans:
            out += np.maximum(0, np.minimum(starts + length, high) - np.maximum(starts, low))
