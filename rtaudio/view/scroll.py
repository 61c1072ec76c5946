"""Where the right edge of the picture is on the time axis."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtaudio.consumers.history import History

WINDOW_S = 2.0


class Scroll:
    """Moves with the clock, and not with the rows, which come in bursts.

    The rows of a real-time source come at the earliest some constant time after they lay on the
    clock's line, most of them later. The edge is where the earliest of the last 2 s would be
    now: so it never hides a row that is there.
    """

    def __init__(self) -> None:
        self._lateness: deque[tuple[float, float]] = deque()  # increasing
        self._stop = 0
        self._edge = 0.0  # of the last draw that was not frozen
        self._settled = 0  # the row before which nothing changes any more
        self.frozen: float | None = None
        """The edge, in rows, where the picture stands still."""

    def edge(self, history: History, stop: int, now: float, running: bool) -> float:
        """The right edge in rows, as `History.place`; ``stop`` was the history's at ``now`` (s).

        ``running``: whether the source goes on. Where its rows don't lie on the clock, as those
        of a recording that is read as fast as possible, the edge is the newest row's.
        """
        self._settled = max(0, stop - running)  # the newest row still grows
        if self.frozen is None:
            self._edge = self._moving_edge(history, stop, now, running)
        return self._edge if self.frozen is None else self.frozen

    def _moving_edge(self, history: History, stop: int, now: float, running: bool) -> float:
        if not running or math.isnan(history.captured(stop - 1)):
            self._lateness.clear()
            return stop
        if stop != self._stop or not self._lateness:
            late = now - stop / history.rows_per_s
            while self._lateness and self._lateness[-1][1] >= late:
                self._lateness.pop()
            self._lateness.append((now, late))
            self._stop = stop
        while len(self._lateness) > 1 and self._lateness[0][0] < now - WINDOW_S:
            self._lateness.popleft()
        return max(stop, (now - self._lateness[0][1]) * history.rows_per_s)

    def freeze(self) -> None:
        """Stand still, where what comes changes nothing that is seen."""
        if self.frozen is None:
            self.frozen = min(self._edge, self._settled)

    def move(self, rows: float, oldest: float) -> None:
        """Scroll back (negative) or forward, where frozen: the edge to ``oldest`` at the least."""
        if self.frozen is not None:
            oldest = min(oldest, self.frozen)
            self.frozen = min(max(self.frozen + rows, oldest), self._settled)
