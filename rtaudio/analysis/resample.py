"""Streaming resampling, and what becomes of losses on the way to the analysis' sample axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import soxr

from rtaudio.analysis import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

PIECE = 16384  # most samples that are taken at once

# soxr's HQ filter, in samples of the lower of the two rates (measured over rates from 1 to
# 192 kHz): 100 samples from an impulse its response is below 1e-7 of it, and it never holds
# back more than 1,300 samples.
REACH = 100
SETTLED = 4096


class Gap(NamedTuple):
    """Samples ``start`` to ``stop``, counted at ``settings.sr``, are lost. They follow as zeros."""

    start: int
    stop: int


class Zeros(NamedTuple):
    """``length`` zeros, which need no array."""

    length: int


class Resampler:
    """Channel, NaN and Inf to 0, resampling by soxr (HQ): blocks of any size in, mono out.

    The output does not depend on the blocks' sizes, and equals the whole resampled at once.
    """

    def __init__(self, source_sr: int, sr: int, channel: int) -> None:
        """``channel`` is 0 for the mean of all, or a number from 1."""
        divisor = math.gcd(source_sr, sr)
        self._up, self._down = sr // divisor, source_sr // divisor
        self._rates = (source_sr, sr)
        self._channel = channel
        self._mixed = np.empty(PIECE, np.float32)
        self.reset()

    def reset(self) -> None:
        """Begin again at sample 0."""
        self._stream = soxr.ResampleStream(*self._rates, 1, dtype="float32", quality="HQ")
        self._position = 0  # samples taken or lost so far, at the source's rate
        self.invalid = 0

    @property
    def reach(self) -> int:
        """How far a lost sample spreads to either side, in samples of the output."""
        return math.ceil(REACH * max(1, self._up / self._down))

    def pieces(
        self, samples: NDArray[np.floating], lost: int
    ) -> Iterator[NDArray[np.float32] | Gap | Zeros]:
        """What ``lost`` missing samples and then ``samples`` (n, channels) come to."""
        if lost:
            yield from self._lose(lost)
        for start in range(0, len(samples), PIECE):
            block = as_compiled_for(samples[start : start + PIECE])
            mixed = self._mixed[: len(block)]
            self.invalid += kernel.append(block, self._channel, 0, mixed, 0)
            self._position += len(block)
            yield self._resampled(mixed)

    def flush(self, lost: int) -> Iterator[NDArray[np.float32] | Gap | Zeros]:
        """What is still held back, after ``lost`` missing samples at the very end."""
        if lost:
            yield from self._lose(lost, reach_behind=0)
        if self._position:
            yield self._resampled(self._mixed[:0], last=True)

    def _resampled(self, mixed: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        resampled: NDArray[np.float32] = self._stream.resample_chunk(mixed, last=last)
        return resampled[:, np.newaxis]

    def _lose(
        self, lost: int, reach_behind: int | None = None
    ) -> Iterator[NDArray[np.float32] | Gap | Zeros]:
        start = self._position * self._up // self._down
        self._position += lost
        stop = -(-self._position * self._up // self._down)
        reach = self.reach
        yield Gap(max(0, start - reach), stop + (reach if reach_behind is None else reach_behind))
        # Once nothing but zeros is held back, a whole number of periods can be left out: an
        # outage of a day costs no more than one of a second.
        settled = SETTLED * math.ceil(max(1, self._down / self._up))
        periods = max(0, lost - settled) // self._down
        yield from self._feed_zeros(min(lost, settled))
        if periods:
            yield Zeros(periods * self._up)
        yield from self._feed_zeros(max(0, lost - settled) - periods * self._down)

    def _feed_zeros(self, count: int) -> Iterator[NDArray[np.float32]]:
        for start in range(0, count, PIECE):
            zeros = self._mixed[: min(PIECE, count - start)]
            zeros[:] = 0
            yield self._resampled(zeros)


def longest_wait_s(source_sr: int, sr: int) -> float:
    """How long a sample is kept back at most by `Resampler`, in s: measured on two seconds."""
    if source_sr == sr:
        return 0.0
    stream = soxr.ResampleStream(source_sr, sr, 1, dtype="float32", quality="HQ")
    step = max(1, source_sr // 1000)
    fed = given = 0
    longest = 0.0
    while fed < 2 * source_sr:
        longest = max(longest, (fed + step) / source_sr - given / sr)
        given += len(stream.resample_chunk(np.zeros(step, np.float32)))
        fed += step
    return longest


def as_compiled_for(block: NDArray[np.floating]) -> NDArray[np.float32]:
    """``block`` as the kernels were compiled for it: float32, C order, aligned, writable."""
    if block.dtype == np.float32 and block.flags.carray:
        return block
    with np.errstate(over="ignore"):  # too large a double becomes Inf, and is counted
        return block.astype(np.float32, order="C")
