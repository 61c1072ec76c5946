"""Where a frequency, a level or a time is on the screen, and the ticks beside it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtaudio.analysis import tables
from rtaudio.view.look import LOWEST_HZ

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from rtaudio.analysis.settings import Settings
    from rtaudio.view.look import Look


class Tick(NamedTuple):
    """A place on an axis, and what stands there."""

    at: float
    """0 … 1 from the bottom or the left; or what the axis counts in."""
    label: str


@dataclass(frozen=True)
class FrequencyAxis:
    """A frequency axis from ``low`` to ``high`` Hz: ``scale`` is log, linear or mel."""

    scale: str
    low: float
    high: float
    htk: bool = False

    def warp(self, hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Frequency in what the axis is even in."""
        hz = np.asarray(hz, np.float64)
        if self.scale == "log":
            return np.log2(np.maximum(hz, 1e-3))
        return tables.hz_to_mel(hz, self.htk) if self.scale == "mel" else hz

    def unwarp(self, warped: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of `warp`."""
        if self.scale == "log":
            return np.exp2(warped)
        return tables.mel_to_hz(warped, self.htk) if self.scale == "mel" else warped

    def place(self, hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """0 at ``low``, 1 at ``high``."""
        low, high = self.warp(self.low), self.warp(self.high)
        return (self.warp(hz) - low) / (high - low)

    def hz(self, place: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """The inverse of `place`."""
        low, high = self.warp(self.low), self.warp(self.high)
        return self.unwarp(low + np.asarray(place, np.float64) * (high - low))

    def zoomed(self, about: float, factor: float, most: FrequencyAxis) -> tuple[float, float]:
        """Lowest and highest Hz, zoomed by ``factor`` about a place, within ``most``."""
        extent = min(1.0, max(1e-4, float(np.ptp(most.place(np.array([self.low, self.high]))))))
        wanted = min(1.0, max(0.01, extent / factor))
        middle = float(most.place(self.hz(about)))
        low = min(max(0.0, middle - about * wanted), 1 - wanted)
        ends = most.hz(np.array([low, low + wanted]))
        return float(ends[0]), float(ends[1])

    def ticks(self, pixels: float, apart: float) -> list[Tick]:
        """Round numbers, ``apart`` pixels at least from each other."""
        if self.scale == "linear":
            step = nice_step((self.high - self.low) / max(1.0, pixels / apart))
            marks = _multiples(self.low, self.high, step)
            return [Tick(float(self.place(hz)), hertz(hz, step)) for hz in marks]
        ticks = self._spaced(self._candidates(), pixels, apart)
        if len(ticks) < 4:  # zoomed in: any round step will do
            step = nice_step((self.high - self.low) / max(1.0, pixels / apart / 2))
            marks = _multiples(self.low, self.high, step)
            ticks = max(ticks, self._spaced([marks], pixels, apart, step), key=len)
        return sorted(ticks)

    def _spaced(
        self, candidates: Iterable[Iterable[float]], pixels: float, apart: float, step: float = 0.0
    ) -> list[Tick]:
        """The candidates that have room, the earlier ones first."""
        ticks: list[Tick] = []
        for hz in itertools.chain.from_iterable(candidates):
            at = float(self.place(hz))
            if all(abs(at - tick.at) * pixels >= apart for tick in ticks):
                ticks.append(Tick(at, hertz(hz, step)))
        return ticks

    def _candidates(self) -> Iterable[list[float]]:
        yield [0.0] if self.low <= 0 else []
        for digits in ((1,), (2, 5), (3,), (4, 6, 8)):
            marks = [digit * 10.0**decade for decade in range(7) for digit in digits]
            yield [hz for hz in marks if self.low <= hz <= self.high]


def frequency_axis(settings: Settings, look: Look) -> FrequencyAxis:
    """The axis that a look asks for."""
    most = whole_axis(settings, look.axis)
    if look.low_hz is None or look.high_hz is None or look.low_hz >= 0.99 * most.high:
        return most
    return FrequencyAxis(look.axis, look.low_hz, min(look.high_hz, most.high), settings.htk)


def whole_axis(settings: Settings, scale: str) -> FrequencyAxis:
    """The axis of all frequencies: to half the rate, logarithmic from 20 Hz."""
    high = (settings.sr or 1) / 2
    low = min(LOWEST_HZ, high / 4) if scale == "log" else 0.0
    return FrequencyAxis(scale, low, high, settings.htk)


class Bins:
    """Spectra of n_bins as pixels of a frequency axis.

    A pixel that covers several bins shows their maximum; one that lies between two what `between`
    has. The grid is fixed, so nothing shimmers.
    """

    def __init__(self, settings: Settings, axis: FrequencyAxis, pixels: int) -> None:
        edges = axis.hz(np.arange(pixels + 1) / pixels)
        per_bin = (settings.sr or 1) / settings.n_fft
        n_bins = settings.n_bins
        first = np.ceil(edges / per_bin - 1e-9).astype(np.int64)  # the bin at or above each edge
        self._between = np.flatnonzero(np.minimum(first[1:], n_bins) <= first[:-1])
        self._starts = np.minimum(first[:-1], n_bins - 1)
        self._stop = int(min(first[-1], n_bins))
        self._stop = max(self._stop, int(self._starts[-1]) + 1)
        self._places = axis.hz((self._between + 0.5) / pixels) / per_bin

    def pixels(self, dbfs: NDArray[np.float32]) -> NDArray[np.float32]:
        """``dbfs`` (k, n_bins) as pixels from the lowest frequency on, (k, pixels)."""
        reduced = np.maximum.reduceat(dbfs[:, : self._stop], self._starts, axis=1)
        if len(self._between):
            reduced[:, self._between] = between(dbfs, self._places)
        return reduced


def between(dbfs: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Spectra (k, n_bins) at ``places`` in bins, (k, len(places)).

    A Catmull-Rom spline in dB, whose outer points are taken as at most 12 dB below the inner ones
    beside them. So a sine between two bins has its ridge where it lies, within 0.1 bin, and not
    on the nearer bin; 12 dB is about what the next bin of a Hann window has, and keeps the spline
    from shooting over beside silence.
    """
    last = dbfs.shape[1] - 1
    below = np.clip(places.astype(np.int64), 0, max(0, last - 1))
    t = np.clip(places - below, 0, 1).astype(np.float32)
    b, c = dbfs[:, below], dbfs[:, np.minimum(below + 1, last)]
    a = np.maximum(dbfs[:, np.maximum(below - 1, 0)], b - 12)
    d = np.maximum(dbfs[:, np.minimum(below + 2, last)], c - 12)
    curve = c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))
    return np.asarray(b + t / 2 * curve, np.float32)


class Columns(NamedTuple):
    """Which rows lie under each column of pixels, on a grid fixed to the rows' numbers.

    Column k holds the rows from ``(k * step) >> SHIFT`` to before that of k + 1, but one at
    least: whole numbers alone, so that a row is under the same columns at every draw.
    """

    step: int
    shift: int

    @classmethod
    def of(cls, rows_per_column: float, columns: int) -> Columns:
        """So that ``columns * step`` is below 2**22: exact in the shaders' float32."""
        bits = 22 - max(1, columns).bit_length()
        shift = max(0, min(22, bits - math.frexp(rows_per_column)[1]))
        return cls(max(1, round(rows_per_column * (1 << shift))), shift)

    @property
    def rows(self) -> float:
        """How many rows a column is wide."""
        return self.step / (1 << self.shift)

    def row(self, column: int) -> int:
        """The first row under a column."""
        return column * self.step >> self.shift

    def phase(self, column: int) -> int:
        """How far its edge is into that row, in units of 2**-shift."""
        return column * self.step & ((1 << self.shift) - 1)

    def column(self, place: float) -> int:
        """The column that a place on the axis of rows is under."""
        return math.floor(place / self.rows)


def nice_step(least: float) -> float:
    """The least of 1, 2, 5, 10, 20, 50 … that is ``least`` or more."""
    power: float = 10.0 ** math.floor(math.log10(max(least, 1e-9)))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * (1 - 1e-9))


_TIME_STEPS = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600),
)


def time_step(least_s: float) -> float:
    """The least round step of time that is ``least_s`` or more."""
    return next((step for step in _TIME_STEPS if step >= least_s * (1 - 1e-9)), 3600.0)


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def db_ticks(floor: float, ceiling: float, pixels: float, apart: float) -> list[Tick]:
    """Ticks in dB, 0 at the floor and 1 at the ceiling."""
    step = max(1.0, nice_step((ceiling - floor) / max(1.0, pixels / apart)))
    marks = _multiples(floor, ceiling, step)
    return [Tick((db - floor) / (ceiling - floor), minus(f"{db:.0f}")) for db in marks]


def minus(text: str) -> str:
    """With the sign that typography has for it."""
    return text.replace("-", "−")


def hertz(hz: float, step: float = 0.0) -> str:
    """A frequency beside an axis: 50, 440, 1k, 2.5k."""
    if hz >= 1000 and (step >= 100 or not step):
        return f"{hz / 1000:g}k"
    return f"{hz:g}"


def clock(seconds: float, step: float = 1.0) -> str:
    """A time beside an axis: 7 s as 0:07, or 1:02:03; with fractions where steps are short."""
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2
    sign = "−" if round(seconds, digits) < 0 else ""
    hundredths = round(abs(seconds) * 10**digits)
    whole, part = divmod(hundredths, 10**digits)
    minutes, rest = divmod(whole, 60)
    text = f"{minutes // 60}:{minutes % 60:02}" if minutes >= 60 else f"{minutes}"
    return f"{sign}{text}:{rest:02}" + (f".{part:0{digits}}" if digits else "")
