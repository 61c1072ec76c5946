"""One clock of a stream against its samples: where it stands each half second, and its noise.

Two clocks say when a sample was captured, and both are wrong in ways of their own. The *arrival* of
a block is never early and often late: of each window of half a second the earliest block counts.
The *ADC time*, which the host computes, is mostly right, with outliers towards the past: of each
window a high quantile counts. That value of a window is the clock's point, in ns above the line
that the timeline keeps (`timeline.Line`); how far the points move by themselves is its noise.
"""

from __future__ import annotations

from collections import deque
from statistics import median

MS = 1e6  # the clocks count ns
POINTS = 40  # how many are kept: 20 s
USUAL = 20  # of how many windows the usual value is the median
RECENT = 4  # of how many the level is made
FORGET = 0.995  # what is left of the noise one window later: half of it after 70 s
SETTLED, FORGET_EARLY = 8, 0.5  # but in the first windows
MOSTLY = 0.8  # of an ADC time's moves the others are losses that were not seen as such
WRONG_NS = 100 * MS  # a clock that moves so far in a window is wrong
ADC_QUANTILE = 0.85  # of an ADC time's outliers most lie in the past


class Line:
    """Sample numbers, lost ones counted, as a time: the samples at their measured rate."""

    def __init__(self, n: int, ns: float, step_ns: float) -> None:
        self.n, self.ns, self.step_ns = n, ns, step_ns

    def at(self, n: int) -> float:
        """The time of sample ``n``, in ns."""
        return self.ns + (n - self.n) * self.step_ns

    def turn(self, n: int, step_ns: float) -> None:
        """Go on from sample ``n`` at another rate."""
        self.n, self.ns, self.step_ns = n, self.at(n), step_ns


class Clock:
    """One clock: what its last windows say, of a quantile of each; 0 is the earliest block's."""

    def __init__(self, quantile: float) -> None:
        self.quantile = quantile
        self.level = 0.0
        """Where it is expected, in ns above the line."""
        self.noise = 0.0
        """How far a point lies from there by itself, in ns; old moves fade."""
        self.move = 0.0
        """From the level that was expected to the newest point."""
        self._expected = 0.0  # the level as it was when the window began
        self.spread = 0.0
        """Of nine tenths of a window's values, in ns: the usual one."""
        self.typical = 0.0
        """How far it moves from one window to the next, usually, in ns."""
        self.points: deque[tuple[int, float]] = deque(maxlen=POINTS)
        """(sample, ns) of each window, the newest last."""
        self._moves: deque[float] = deque(maxlen=USUAL)
        self._offs: deque[float] = deque(maxlen=USUAL)  # of the points from their levels
        self._distrusted = 0.0  # a move that was taken for a loss by mistake
        self._spreads: deque[float] = deque(maxlen=USUAL)
        self._window: list[tuple[float, int]] = []  # ns above the line, at which sample

    def learn_from(self, other: Clock) -> None:
        """Take over what is known of the same clock of another stream."""
        self.noise, self.typical, self.spread = other.noise, other.typical, other.spread
        self._offs, self._distrusted = other._offs.copy(), other._distrusted

    @property
    def known(self) -> bool:
        """Whether a whole window was seen."""
        return bool(self.points)

    @property
    def swing(self) -> float:
        """How far apart the points of one level usually lie at most, in ns."""
        return RECENT * self.typical

    @property
    def windows(self) -> int:
        """How many windows were seen, up to `USUAL`."""
        return len(self._moves)

    @property
    def seen(self) -> int:
        """How many values the window has so far."""
        return len(self._window)

    def add(self, n: int, above: float) -> None:
        """Take the value of a block: ``above`` ns above the line at sample ``n``."""
        self._window.append((above, n))

    def value(self, values: list[float]) -> float:
        """What ``values`` of this clock say together."""
        return quantile(values, self.quantile)

    def end_window(self, line: Line) -> None:
        """Make a point of the window; the level stays, for a look at the move."""
        window, self._window = self._window, []
        if not self.points:  # a stream may begin with a jolt: its second half tells more
            window = window[len(window) // 2 :]
            values = [above for above, _ in window]
            half = len(values) // 2
            self.level = self._expected = self.value(values)
            self._learn(self.value(values[:half]) - self.value(values[half:]))
        window.sort()
        point, at = window[place(self.quantile, len(window))]
        values = [above for above, _ in window]
        self.move = point - self._expected
        if self.points:
            before, ns = self.points[-1]
            self._moves.append(abs(point - (ns - line.at(before))))
        self._spreads.append(values[place(0.95, len(values))] - values[place(0.05, len(values))])
        self.typical = median(self._moves) if self._moves else self.noise
        self.spread = median(self._spreads)
        self.points.append((at, line.at(at) + point))

    def follow(self, n: int, line: Line) -> None:
        """Take what the last points say for the level; how far it moved is noise.

        But for a move that no clock makes: it was wrong before, or is wrong now.
        """
        if abs(self.move) > WRONG_NS:
            self.start_again(n, line)
            return
        self._distrusted *= FORGET
        self._learn(self.move)
        self.level = self._expected = self._recent(n, line)

    def start_again(self, n: int, line: Line, keep: int = 1) -> None:
        """Take the newest ``keep`` points for the level: what came before counts no more."""
        self.points = deque(list(self.points)[-keep:], POINTS)
        self.level = self._expected = self._recent(n, line)

    def restore(self) -> None:
        """Expect it where it was when the window began, which is forgotten."""
        self.level = self._expected
        self.forget_window()

    def distrust(self, by: float) -> None:
        """Take a move by itself for noise; a very large one is none, it was wrong for a while."""
        if by < WRONG_NS:
            self._distrusted = max(self._distrusted, by)
            self.noise = max(self.noise, by)

    def forget_noise(self) -> None:
        """Start learning again."""
        self._offs.clear()
        self.noise = self._distrusted = 0.0

    def shift(self, by: float) -> None:
        """Expect it later by so many ns from now on: the level, and all that came before."""
        self.level += by
        self._expected += by
        self._window = [(above + by, n) for above, n in self._window]
        self.shift_points(by)

    def shift_points(self, by: float) -> None:
        """Move what was measured, where the line moved by as much."""
        self.points = deque(((n, ns + by) for n, ns in self.points), POINTS)

    def median_level(self, line: Line) -> float:
        """The median of all points kept, in ns above the line."""
        return median(ns - line.at(n) for n, ns in self.points)

    def forget_window(self) -> None:
        """Begin the window again."""
        self._window.clear()

    def _learn(self, move: float) -> None:
        if self.quantile == 0:  # it may begin with a jolt
            fade = FORGET if self.windows >= SETTLED else FORGET_EARLY
            self.noise = max(abs(move), fade * self.noise)
            return
        self._offs.append(abs(move))
        self.noise = max(self._distrusted, quantile(list(self._offs), MOSTLY))

    def _recent(self, n: int, line: Line) -> float:
        recent = [ns + (n - at) * line.step_ns for at, ns in list(self.points)[-RECENT:]]
        return (min(recent) if self.quantile == 0 else median(recent)) - line.at(n)


def quantile(values: list[float], q: float) -> float:
    """The value that ``q`` of them do not exceed; of none, 0."""
    return sorted(values)[place(q, len(values))] if values else 0.0


def place(q: float, count: int) -> int:
    """The index of that value among ``count`` sorted ones."""
    return int(q * (count - 1))
