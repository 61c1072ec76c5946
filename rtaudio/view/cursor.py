"""What is under the cursor: time, frequency, note and level, read between the bins."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtaudio.analysis import tables
from rtaudio.view import axes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtaudio.analysis.settings import Settings

_NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
_LEAST = -250.0
_POINTS = 2048


class Reading(NamedTuple):
    """A frequency and its level."""

    hz: float
    dbfs: float
    peak: bool
    """Whether that is a peak, interpolated; else it is what lies there."""


def note(hz: float) -> str:
    """The nearest note of equal temperament, A4 = 440 Hz, and how many cents beside it."""
    if not hz > 0:
        return ""
    midi = 69 + 12 * math.log2(hz / 440)
    nearest = round(midi)
    cents = round(100 * (midi - nearest))
    sign = "−" if cents < 0 else "+"
    return f"{_NAMES[nearest % 12]}{nearest // 12 - 1} {sign}{abs(cents)} ct"


def frequency(hz: float) -> str:
    """A frequency as it is told."""
    return f"{hz:.1f} Hz" if hz < 10_000 else f"{hz / 1000:.3f} kHz"


def decibels(db: float) -> str:
    """A level as it is told."""
    return f"{db:.1f} dBFS".replace("-", "−") if math.isfinite(db) else "−∞ dBFS"


def read(
    dbfs: NDArray[np.float32], settings: Settings, low_hz: float, hz: float, high_hz: float
) -> Reading:
    """Read a spectrum (n_bins,) at ``hz``: the highest peak from ``low_hz`` to ``high_hz``.

    Where none is there, the level at ``hz``, as the picture has it.
    """
    per_bin = (settings.sr or 1) / settings.n_fft
    first = max(1, math.ceil(low_hz / per_bin - 0.5))
    stop = min(len(dbfs) - 1, math.floor(high_hz / per_bin + 0.5) + 1)
    if first < stop:
        top = first + int(np.argmax(dbfs[first:stop]))
        below, at, above = (max(_LEAST, float(db)) for db in dbfs[top - 1 : top + 2])
        if at > _LEAST and at >= below and at >= above and at > min(below, above):
            offset, level = between(settings, below, at, above)
            return Reading((top + offset) * per_bin, level, peak=True)
    place = np.array([min(max(0.0, hz / per_bin), len(dbfs) - 1.0)])
    return Reading(hz, float(axes.between(dbfs[np.newaxis], place)[0, 0]), peak=False)


def strongest(dbfs: NDArray[np.float32], settings: Settings) -> Reading:
    """The highest peak of a spectrum above 20 Hz; where there is none, its highest bin."""
    sr = settings.sr or 1
    first = max(1, math.ceil(min(20.0, sr / 8) * settings.n_fft / sr))
    below, at, above = dbfs[first - 1 : -2], dbfs[first:-1], dbfs[first + 1 :]
    peaks = np.where((at >= below) & (at >= above), at, -np.inf)
    top = first + int(np.argmax(peaks)) if len(peaks) else int(np.argmax(dbfs))
    hz = top * sr / settings.n_fft
    return read(dbfs, settings, hz, hz, hz)


def between(settings: Settings, below: float, at: float, above: float) -> tuple[float, float]:
    """Where a sine lies that gives three neighbouring bins these levels (dB), and its own level.

    Its offset from the middle bin in bins, and dB. The window's own transform tells: the
    difference of the outer bins grows with the offset, whatever the window.
    """
    offsets, difference, loss = _lobe(
        settings.window, settings.win_length or settings.n_fft, settings.n_fft
    )
    offset = float(np.interp(above - below, difference, offsets))
    return offset, at + float(np.interp(offset, offsets, loss))


@lru_cache(maxsize=8)
def _lobe(name: object, win_length: int, n_fft: int) -> tuple[NDArray[np.float64], ...]:
    """For sines at offsets -0.6 … 0.6 bins: level above minus below, and what the bin is too low.

    W(v) = sum of w[n] exp(-2 pi i v n / n_fft). Long windows are summed up to 2,048 points,
    which leaves their main lobe as it is.
    """
    window = tables.window(name, win_length, n_fft)  # type: ignore[arg-type]
    n = np.arange(n_fft, dtype=np.float64)
    if n_fft > 2 * _POINTS:
        pieces = np.arange(0, n_fft, n_fft // _POINTS)
        n = np.add.reduceat(n, pieces) / np.diff(np.append(pieces, n_fft))
        window = np.add.reduceat(window, pieces)
    offsets = np.linspace(-0.6, 0.6, 121)

    def level(bins: NDArray[np.float64]) -> NDArray[np.float64]:
        spectrum = np.exp(-2j * np.pi / n_fft * np.outer(bins, n)) @ window
        levels: NDArray[np.float64] = 20 * np.log10(
            np.maximum(np.abs(spectrum), 1e-9 * abs(window.sum()))
        )
        return levels

    difference = np.maximum.accumulate(level(1 - offsets) - level(-1 - offsets))
    return offsets, difference, level(np.zeros(1)) - level(offsets)
