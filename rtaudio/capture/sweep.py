"""What is played to measure a round trip: short sweeps, a random time apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from numpy.typing import NDArray

SWEEP_S = 0.17
FADE_S = 0.01
LOW_HZ, HIGH_HZ = 300.0, 16000.0  # what small loudspeakers and microphones pass
FIRST_S = 0.3  # a stream that has just begun may stutter
LEAST_GAP_S, MOST_GAP_S = 0.03, 0.2


def sweep(sr: int) -> NDArray[np.float32]:
    """A linear sweep of amplitude 1 at the rate ``sr``, faded in and out; shape (n,)."""
    n = max(64, round(SWEEP_S * sr))
    low, high = min(LOW_HZ, sr / 40), min(HIGH_HZ, sr / 3)
    t = np.arange(n) / sr
    samples = np.sin(2 * np.pi * (low * t + (high - low) * t * t / (2 * n / sr)))
    fade = round(FADE_S * sr)
    rise = np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / fade) ** 2
    samples[:fade] *= rise
    samples[-fade:] *= rise[::-1]
    return samples.astype(np.float32)


def random_starts(seconds: float, chance: random.Random) -> list[float]:
    """When sweeps begin so that the last one ends within ``seconds``: at random phases, in s."""
    starts, at = [], FIRST_S
    while at + SWEEP_S <= seconds:
        starts.append(at)
        at += SWEEP_S + chance.uniform(LEAST_GAP_S, MOST_GAP_S)
    return starts


def in_samples(starts: Sequence[float], sr: int) -> list[int]:
    """The samples at which sweeps begin."""
    return [round(start * sr) for start in starts]


class SweepPlayer:
    """Fills an output stream, block by block, with sweeps; silence between them."""

    def __init__(self, sr: int, channels: int, starts: Sequence[float], level_db: float) -> None:
        """``starts`` in s; ``level_db`` of the sweep's peak, in dBFS."""
        self._sweep = sweep(sr) * np.float32(10 ** (level_db / 20))
        self._channels = channels
        self._starts = in_samples(starts, sr)
        self._at = 0  # number of the next sample
        self._next = 0  # the first sweep that has not ended

    def fill(self, outdata: Any) -> None:
        """Write the next samples, the same into all channels. Called by the sound system."""
        out = np.frombuffer(outdata, np.float32).reshape(-1, self._channels)
        out[:] = 0
        begin, end = self._at, self._at + len(out)
        self._at = end
        while self._next < len(self._starts) and self._starts[self._next] < end:
            start = self._starts[self._next]
            first, last = max(begin, start), min(end, start + len(self._sweep))
            out[first - begin : last - begin] = self._sweep[first - start : last - start, None]
            if start + len(self._sweep) > end:
                break
            self._next += 1
