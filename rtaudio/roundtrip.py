"""How long a sound takes from an output to an input: sweeps, found again in what was heard.

The input is compared with the sweep by normalised cross-correlation, which is 1 where they are the
same but for their level. Each sweep was played at a random time; only the true delay is the same
for all of them, so that neither noise nor a tone nor another sweep can pass for it. Where too few
sweeps agree, nothing is told but what to check.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LONGEST_S = 3.0  # no longer delay is looked for
LEAST_SWEEPS = 5  # that agree
LEAST_CONFIDENCE = 0.5
HEARD = 5.5  # standard deviations of what noise correlates with a sweep
LEAST_HEIGHT = 0.3  # and of the height that sweeps have on the average
AROUND = 24  # samples to either side of the common delay in which each sweep's own is looked for
ECHO = 0.3  # of the main peak: what is told as a second arrival
CLIPPED = 0.999
_FINE = 32  # positions within a sample


@dataclass(frozen=True)
class RoundTrip:
    """What a loopback measured."""

    samples: float | None
    """The median delay; None where it is not certain."""
    spread_samples: float | None
    """The largest less the smallest."""
    n: int
    """How many sweeps agree to a sample."""
    confidence: float
    """How large a part of the sweeps that is, from the first that was heard to the last."""
    gain_db: float | None
    """How much louder it came back; negative: softer."""
    notes: tuple[str, ...]
    """What a user should know: why there is no figure, clipping, a second arrival."""


def measure(heard: NDArray[np.float32], starts: Sequence[int], sweep: Floats, sr: int) -> RoundTrip:
    """Find the sweeps that began at ``starts`` in ``heard``, (n, channels), of the same stream.

    ``sweep`` is as it was played, at its level. The channel that hears it best counts.
    """
    found = [_Channel(heard[:, c], starts, sweep, sr) for c in range(heard.shape[1])]
    best = max(found, key=lambda channel: (channel.confidence, channel.n))
    notes = list(best.notes(sr))
    peak = float(np.abs(heard).max(initial=0.0))
    if peak >= CLIPPED:
        notes.append(
            "the input clips: turn it or the output down, for a figure that can be relied on"
        )
    if best.certain:
        median, spread = round(best.median, 4), round(best.spread, 4)
        return RoundTrip(median, spread, best.n, best.confidence, best.gain_db, tuple(notes))
    level = "digital silence" if not peak else f"{20 * math.log10(peak):.0f} dBFS at its loudest"
    told = len(best.delays)
    what = "too few sweeps come back" if told < LEAST_SWEEPS else "the sweeps do not agree"
    notes.insert(
        0,
        f"no round trip: {what} ({best.n} of {len(starts)}, the input is {level}): check that OUT "
        "reaches IN, the levels, and that neither is muted",
    )
    return RoundTrip(None, None, best.n, best.confidence, None, tuple(notes))


class _Channel:
    """What one channel heard."""

    def __init__(
        self, heard: NDArray[np.float32], starts: Sequence[int], sweep: Floats, sr: int
    ) -> None:
        self.delays: Floats = np.zeros(0)
        self.n, self.confidence, self.gain_db = 0, 0.0, -math.inf
        self._echoes: list[tuple[int, float]] = []
        alike = likeness(heard, sweep)
        used = np.array([start for start in starts if start < len(alike)], np.int64)
        if len(used) < LEAST_SWEEPS or not alike.any():
            return
        common = _common(alike, used, round(LONGEST_S * sr))
        self._find_first(common)
        self._take_each(alike, used, heard, sweep)
        if len(self.delays):
            self._look_for_echoes(common, alike, used)

    def _find_first(self, common: Floats) -> None:
        """The first arrival that is at least half as high as the highest."""
        height = np.abs(common)
        first = int(np.argmax(height >= height.max() / 2))
        self._delay = first + int(np.argmax(height[first : first + AROUND]))
        self._height = abs(float(common[self._delay]))
        self._inverted = bool(common[self._delay] < 0)

    def _take_each(
        self, alike: Floats, starts: NDArray[np.int64], sound: NDArray[np.float32], sweep: Floats
    ) -> None:
        """Each sweep's own delay, near the common one, where it is heard."""
        noise = 1.4826 * float(np.median(np.abs(alike[alike != 0])))
        least = max(HEARD * noise, LEAST_HEIGHT * self._height)
        delays, gains, heard = [], [], []
        for number, start in enumerate(starts):
            begin = max(0, start + self._delay - AROUND)
            near = np.abs(alike[begin : start + self._delay + AROUND + 1])
            if not len(near) or near.max() < least:
                continue
            peak = begin + int(np.argmax(near))
            within, height = _within_sample(alike, peak)
            delays.append(peak - start + within)
            gains.append(height * float(np.linalg.norm(sound[peak : peak + len(sweep)])))
            heard.append(number)
        if not delays:
            return
        self.delays = np.array(delays)
        self.median = float(np.median(self.delays))
        self.spread = float(np.ptp(self.delays))
        self.gain_db = 20 * math.log10(float(np.median(gains)) / float(np.linalg.norm(sweep)))
        agree = np.abs(self.delays - self.median) <= 1
        self.n = int(agree.sum())
        self.confidence = self.n / (heard[-1] + 1 - heard[0])

    @property
    def certain(self) -> bool:
        """Whether the delay can be told."""
        return self.n >= LEAST_SWEEPS and self.confidence >= LEAST_CONFIDENCE

    def _look_for_echoes(self, common: Floats, alike: Floats, starts: NDArray[np.int64]) -> None:
        """Later arrivals that most sweeps have: a single one may meet another sweep's."""
        height = np.abs(common) / self._height
        height[: self._delay + AROUND] = 0
        while height.max(initial=0.0) >= ECHO:
            at = int(np.argmax(height))
            each = alike[starts[starts + at < len(alike)] + at]
            if float(np.median(np.abs(each))) >= ECHO * self._height:
                self._echoes.append((at - self._delay, float(height[at])))
            height[max(0, at - AROUND) : at + AROUND] = 0

    def notes(self, sr: int) -> list[str]:
        """What is worth telling about it."""
        if not self.certain:
            return []
        notes = [
            f"it comes back again {1e3 * after / sr:.1f} ms ({after} samples) later, at "
            f"{20 * math.log10(height):.0f} dB: feedback, or a second path"
            for after, height in sorted(self._echoes)[:3]
        ]
        if self.spread > 1:
            notes.append(
                f"the delay was not always the same: {self.delays.min():.1f} … "
                f"{self.delays.max():.1f} samples"
            )
        if self._inverted:
            notes.append("it comes back inverted")
        return notes


def likeness(heard: NDArray[np.float32], sweep: Floats) -> Floats:
    """Normalised cross-correlation: at each sample, how much what follows is like the sweep.

    -1 … 1; 0 where there is silence.
    """
    from scipy.signal import oaconvolve  # which takes longer to load than a run to begin

    n = len(sweep)
    if len(heard) < n:
        return np.zeros(0)
    x = heard.astype(np.float64)
    x -= x.mean()
    product: Floats = oaconvolve(x, sweep[::-1] / np.linalg.norm(sweep), mode="valid")
    energy = np.cumsum(np.concatenate([[0.0], x * x]))
    energy = energy[n:] - energy[:-n]
    silent = energy <= max(1e-13 * float(energy.max()), 1e-14 * n)  # -140 dBFS
    return np.where(silent, 0.0, product / np.sqrt(np.where(silent, 1.0, energy)))


def _common(alike: Floats, starts: NDArray[np.int64], longest: int) -> Floats:
    """The mean over all sweeps, for each delay that at least `LEAST_SWEEPS` of them allow."""
    length = min(longest, len(alike) - int(starts[LEAST_SWEEPS - 1]))
    total, counts = np.zeros(length), np.zeros(length)
    for start in starts:
        part = alike[start : start + length]
        total[: len(part)] += part
        counts[: len(part)] += 1
    return total / counts


def _within_sample(alike: Floats, peak: int) -> tuple[float, float]:
    """Where the true peak is, beside the sample ``peak``, and its height.

    By band-limited interpolation, and then a parabola.
    """
    reach = 32
    if peak < reach or peak + reach >= len(alike):
        return 0.0, abs(float(alike[peak]))
    part = alike[peak - reach : peak + reach + 1]
    fine = np.arange(-_FINE, _FINE + 1) / _FINE
    distance = fine[:, np.newaxis] - np.arange(-reach, reach + 1)
    kernel = np.sinc(distance) * np.cos(np.pi / 2 * distance / (reach + 1)) ** 2
    values = np.abs(kernel @ part)
    at = int(np.argmax(values))
    if not 0 < at < len(values) - 1:
        return float(fine[at]), float(values[at])
    before, top, after = values[at - 1 : at + 2]
    bend = before - 2 * top + after
    shift = 0.5 * (before - after) / bend if bend else 0.0
    return float(fine[at] + shift / _FINE), float(top)
