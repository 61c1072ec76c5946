"""How far a device's rate is from the promised one, by least squares, in constant memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE_AFTER_S = 5.0  # how long a rate has to be watched before it is told
RATE_WITHIN_PPM = 100.0  # and how well it has to be known


class Drift(NamedTuple):
    """How far the device's rate is from the promised one."""

    ppm: float
    """In millionths; positive: the device is faster."""
    uncertainty_ppm: float
    """Twice the standard error."""
    over_s: float
    """How long it was watched."""


class Slope:
    """The slope of least squares through points that come one by one; keeps none of them.

    x is the time at the promised rate, in s, and y by how much later the sample came, in ns. A
    `step` of unknown height parts the points before from those after, which have the same slope.
    """

    def __init__(self) -> None:
        self._freedom = -1  # points less what is fitted to them
        self._xx = self._xy = self._yy = 0.0  # about the means, of the parts before
        self._over_before = 0.0  # s that they last
        self._n = 0
        self.step()

    def step(self) -> None:
        """What comes from now on may lie higher or lower, by any amount."""
        if self._n:
            self._xx, self._xy, self._yy = self._about_means()
            self._over_before = self.over
        self._n = 0
        self._first = self._last = 0.0
        self._part = [0.0] * 5  # sums of x, y, xx, xy, yy

    @property
    def over(self) -> float:
        """How many seconds the points of the parts last, in all."""
        return self._over_before + self._last - self._first

    def add(self, x: float, y: float) -> None:
        """Take a point."""
        self._freedom += self._n > 0
        if not self._n:
            self._first = x
        self._n += 1
        self._last = x
        for i, value in enumerate((x, y, x * x, x * y, y * y)):
            self._part[i] += value

    def _about_means(self) -> tuple[float, float, float]:
        x, y, xx, xy, yy = self._part
        n = max(1, self._n)
        return self._xx + xx - x * x / n, self._xy + xy - x * y / n, self._yy + yy - y * y / n

    def drift(self) -> Drift | None:
        """What the slope says, where it is known well enough."""
        if self.over < RATE_AFTER_S or self._freedom < 1:
            return None
        xx, xy, yy = self._about_means()
        slope = xy / xx
        error = math.sqrt(max(0.0, yy - slope * xy) / self._freedom / xx)
        if 2e-3 * error > RATE_WITHIN_PPM:
            return None
        return Drift(-1e-3 * slope / (1 + 1e-9 * slope), 2e-3 * error, self.over)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The slope of least squares through all of them; 0 of fewer than two."""
    if len(points) < 2:
        return 0.0
    x0, y0 = points[0]
    xs, ys = [x - x0 for x, _ in points], [y - y0 for _, y in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    below = sum((x - mean_x) ** 2 for x in xs)
    return above / below if below else 0.0
