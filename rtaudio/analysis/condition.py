"""From what a source delivers to the samples that are framed.

The order is one: channel, NaN and Inf to 0, resample, quantize; losses are carried along.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import soxr

from rtaudio.analysis import kernel
from rtaudio.analysis.settings import MAX_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rtaudio.analysis.settings import Settings

PIECE = 16384  # most samples that are taken at once, at the source's rate

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


class Conditioner:
    """Mixes, cleans, resamples and quantizes blocks of any size.

    The output does not depend on how the samples are cut into blocks. ``invalid`` counts the
    samples that were NaN, Inf or beyond 1e12 and became 0.
    """

    def __init__(self, settings: Settings, source_sr: int) -> None:
        """Make the buffers; ``settings.sr`` is known."""
        assert settings.sr is not None
        self._channel = 0 if settings.channel == "mix" else int(settings.channel)
        self._quantize_bits = settings.quantize_bits
        divisor = math.gcd(source_sr, settings.sr)
        self._up, self._down = settings.sr // divisor, source_sr // divisor
        self._per_low = max(1, math.ceil(source_sr / settings.sr))  # source samples, one low one
        self._reach = (
            0 if self._up == self._down else math.ceil(REACH * max(1, self._up / self._down))
        )
        self._rates = (source_sr, settings.sr)
        self._mixed = np.empty(PIECE, np.float32)
        self.reset()
        kernel.mix_down(np.zeros((0, 1), np.float32), 0, self._mixed[:0])  # compiles
        self._quantized(self._mixed[:0])

    def reset(self) -> None:
        """Begin again at sample 0."""
        self._position = 0  # samples taken or lost so far, at the source's rate
        self.invalid = 0
        self._resampler = None
        if self._up != self._down:
            self._resampler = soxr.ResampleStream(*self._rates, 1, dtype="float32", quality="HQ")

    def seconds(self, lost: int) -> float:
        """Where on the time axis the next sample stands that comes after ``lost`` missing ones."""
        return (self._position + lost) / self._rates[0]

    def check(self, samples: NDArray[np.floating]) -> NDArray[np.floating]:
        """``samples`` as (n, channels); `ValueError` where they can't be taken."""
        samples = np.asarray(samples)
        if samples.dtype.kind != "f":
            raise ValueError(
                f"samples are {samples.dtype}, not floats: divide integers by their full scale"
            )
        if samples.ndim == 1:
            samples = samples[:, np.newaxis]
        if samples.ndim != 2:
            raise ValueError(f"samples of shape {samples.shape} are not (n,) or (n, channels)")
        channels = samples.shape[1]
        if not 1 <= channels <= MAX_CHANNELS:
            raise ValueError(
                f"samples of shape {samples.shape} have {channels} channels, not "
                f"1 … {MAX_CHANNELS}: rows are samples, so librosa's (channels, n) goes in as y.T"
            )
        if self._channel > channels:
            raise ValueError(f"channel={self._channel} is not there: the samples have {channels}")
        return samples

    def take(self, block: NDArray[np.floating]) -> NDArray[np.float32]:
        """What a checked block (n, channels) of at most `PIECE` samples comes to.

        The array is borrowed until the next step.
        """
        if not (block.dtype == np.float32 and block.flags.carray):  # what was compiled for
            with np.errstate(over="ignore"):  # too large a double becomes Inf, and is counted
                block = block.astype(np.float32, order="C")
        mixed = self._mixed[: len(block)]
        self.invalid += kernel.mix_down(block, self._channel, mixed)
        self._position += len(block)
        return self._finish(mixed)

    def lose(self, lost: int) -> Iterator[NDArray[np.float32] | Gap | Zeros]:
        """What ``lost`` missing samples come to."""
        start = self._position * self._up // self._down
        self._position += lost
        stop = -(-self._position * self._up // self._down)
        yield Gap(start - self._reach, stop + self._reach)
        if self._resampler is None:
            yield Zeros(lost)
            return
        # Once the resampler holds nothing but zeros, a whole number of its periods can be left
        # out: an outage of a day costs no more than one of a second.
        settled = SETTLED * self._per_low
        periods = max(0, lost - settled) // self._down
        yield from self._feed_zeros(min(lost, settled))
        if periods:
            yield Zeros(periods * self._up)
        yield from self._feed_zeros(max(0, lost - settled) - periods * self._down)

    def flush(self) -> Iterator[NDArray[np.float32]]:
        """What the resampler still holds."""
        if self._resampler is not None and self._position:
            yield self._quantized(self._resampler.resample_chunk(self._mixed[:0], last=True))

    def _feed_zeros(self, count: int) -> Iterator[NDArray[np.float32]]:
        for start in range(0, count, PIECE):
            zeros = self._mixed[: min(PIECE, count - start)]
            zeros[:] = 0
            yield self._finish(zeros)

    def _finish(self, mixed: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._resampler is not None:
            mixed = self._resampler.resample_chunk(mixed)
        return self._quantized(mixed)

    def _quantized(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._quantize_bits is not None:
            kernel.quantize(samples, self._quantize_bits)
        return samples
