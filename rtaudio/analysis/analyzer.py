"""The core: push any number of samples, get the frames they complete."""

from __future__ import annotations

import math
import operator
from dataclasses import fields
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np

from rtaudio.analysis import kernel, tables
from rtaudio.analysis.frames import Frames
from rtaudio.analysis.gaps import Gaps
from rtaudio.analysis.resample import PIECE, Gap, Resampler, Zeros, as_compiled_for
from rtaudio.analysis.settings import MAX_CHANNELS, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Samples = NDArray[np.floating]
    Tap = Callable[[int, NDArray[np.float32]], None]


class Floors(NamedTuple):
    """The least values of ``db`` and ``mel_db``: what `analyze(top_db=…)` found in a first pass."""

    db: float = -math.inf
    mel_db: float = -math.inf


NO_FLOORS = Floors()


class Analyzer:
    """Rolling frames of a stream of samples, computed in arrays that are made once, here.

    Frame r holds the n_fft samples from ``r * hop_length`` on (less n_fft // 2 of zero padding
    with ``center=True``), counted at ``settings.sr``, on one axis with the lost samples. The
    rows are the same, bit for bit, however the samples are cut into `feed`.

    ``source_sr`` is the rate of what is fed (default: ``settings.sr``); where the two differ the
    samples are resampled. ``release_gil`` lets other threads run during the computation, which
    suits recordings and harms live runs. ``tap(first, samples)`` is handed the samples as they
    are framed: mixed, cleaned, resampled, quantized; borrowed, numbered from ``first``, which
    jumps over zeros that stand for lost samples. Making an analyzer compiles the kernels where
    this machine has not done it yet.
    """

    def __init__(
        self,
        settings: Settings,
        source_sr: int | None = None,
        *,
        release_gil: bool = False,
        floors: Floors = NO_FLOORS,
        tap: Tap | None = None,
    ) -> None:
        """Allocate; raises `ValueError` where ``settings.sr`` is None."""
        if settings.sr is None:
            raise ValueError("an Analyzer needs a sampling rate: Settings(sr=…)")
        self.settings = settings
        n_fft, n_mels = settings.n_fft, settings.n_mels
        if source_sr is not None:
            Settings(sr=source_sr)  # or ValueError
        self._source_sr = settings.sr if source_sr is None else int(source_sr)
        self._least_channels = 1 if settings.channel == "mix" else int(settings.channel)
        channel = 0 if settings.channel == "mix" else int(settings.channel)
        self._resampler = None
        if self._source_sr != settings.sr:
            self._resampler = Resampler(self._source_sr, settings.sr, channel)
        self._channel = channel if self._resampler is None else 0  # of what `_append` gets
        self._bits = settings.quantize_bits or 0
        self.tap = tap
        self._kernel = kernel.rows_releasing_gil if release_gil else kernel.rows_holding_gil
        self._time_to_last = (n_fft - 1 - n_fft // 2) / settings.sr

        # The rows of one step: few enough to stay in the processor's cache.
        k = max(1, min(64, (1 << 17) // n_fft))
        levels, times = np.zeros((2, k), np.float32), np.zeros((2, k))
        self._rows = rows = Frames(
            first=0,
            time=times[0],
            power=np.zeros((k, settings.n_bins), np.float32),
            db=np.zeros((k, settings.n_bins), np.float32),
            mel_db=np.zeros((k, n_mels), np.float32),
            mfcc=np.zeros((k, settings.n_mfcc), np.float32),
            rms=levels[0],
            peak=levels[1],
            lost=np.zeros(k, np.int64),
            captured=times[1],
        )
        self._borrowed = [_view(rows, count) for count in range(k + 1)]
        scratch = (
            np.zeros((4, settings.n_bins), np.float32),
            np.zeros(settings.n_bins, np.complex64),
            np.zeros(1, np.int64),
            np.zeros((2, max(n_mels, settings.n_bins)), np.float32),
        )
        self._fixed = (  # the last arguments of the kernel
            (float(settings.sr), *floors),
            _tables(settings),
            scratch,
            (rows.power, rows.db, rows.mel_db, rows.mfcc, levels, times),
        )
        # One frame in the making, and room so that few pieces make it move to the front.
        self._samples = np.zeros(n_fft + max(PIECE, n_fft), np.float32)
        self.reset()
        self._compute(0)  # compiles, or loads what was compiled
        kernel.append(np.zeros((0, 1), np.float32), 0, 0, self._samples, 0)

    def reset(self) -> None:
        """Begin again at sample 0, also after `flush`."""
        padding = self.settings.n_fft // 2 if self.settings.center else 0
        if self._resampler is not None:
            self._resampler.reset()
        self._gaps = Gaps()
        self._some_lost = False  # whether rows.lost holds anything but zeros
        self._rows.lost[:] = 0
        self._fed = 0  # samples fed or lost, at the source's rate
        self._lost = 0  # lost ones that no sample has followed yet
        self._stream_end: float = math.inf  # where the last sample ends, once that is known
        self._invalid = 0
        self._row = 0  # number of the next row
        self._start = -padding  # where its frame begins; all absolute, at settings.sr
        self._end = 0  # where the samples in hand end
        self._filled = padding  # how many of _samples are in hand
        self._samples[:padding] = 0
        self._zeros = 0  # zeros still to be taken
        self._piece: Samples | None = None  # samples (n, channels) still to be taken
        self._owed: Iterator[Samples | Gap | Zeros] | None = None  # what comes after them
        self._capture_shift = math.nan
        self._ready = False  # a frame is complete
        self._ended = False

    @property
    def reach(self) -> int:
        """How far a sample acts beyond its own place, in samples at ``settings.sr``."""
        return 0 if self._resampler is None else self._resampler.reach

    @property
    def invalid(self) -> int:
        """How many samples were NaN, Inf or beyond 1e12, and were taken as 0."""
        return self._invalid + (self._resampler.invalid if self._resampler is not None else 0)

    def feed(self, samples: Samples, lost: int = 0, captured: float = math.nan) -> Iterator[Frames]:
        """Accept ``samples`` (n,) or (n, channels) at the call; iterate over what they complete.

        ``lost`` is the number of samples missing just before them, at the source's rate, and
        ``captured`` when the first of them was captured, in s. The frames are borrowed:
        read-only, valid until the next step. ``samples`` must not change before the last step.

        Called by one thread. Allocates no array where nothing is resampled and the samples are
        float32. Raises `ValueError` for samples of another shape or kind, and `RuntimeError`
        where frames of the last feed were left untaken, or after `flush`.
        """
        if self._ready or self._ended:
            self._refuse()
        samples = self._checked(samples)
        lost = self._lost + _checked_lost(lost)
        if not len(samples):  # one loss may be told in pieces, and is one gap all the same
            self._lost = lost
            return iter(())
        self._lost = 0
        self._fed += lost
        # A frame's last sample stands that much after the frame's `time` on the capture clock.
        self._capture_shift = captured - self._fed / self._source_sr + self._time_to_last
        self._fed += len(samples)
        if self._resampler is not None:
            self._owed = self._resampler.pieces(samples, lost)
        elif lost:
            begin = self._fed - len(samples)
            self._owed = iter((Gap(begin - lost, begin), Zeros(lost), samples))
        else:
            self._piece = samples
        self._advance()
        return self._completed()

    def flush(self) -> Iterator[Frames]:
        """Iterate over the last frames: what the resampler and ``center=True`` still owe.

        Ends the analyzer until `reset`. Raises as `feed`.
        """
        if self._ready or self._ended:
            self._refuse()
        self._ended = True
        self._owed = self._last()
        self._advance()
        return self._completed()

    def _refuse(self) -> NoReturn:
        if self._ready:
            raise RuntimeError(
                "frames of the last feed were left untaken: iterate to the end, or reset()"
            )
        raise RuntimeError("this analyzer was flushed: reset() starts it again")

    def _checked(self, samples: Samples) -> Samples:
        """``samples`` as (n, channels); `ValueError` where they can't be taken."""
        samples = np.asarray(samples)
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
        if channels < self._least_channels:
            channel = self.settings.channel
            raise ValueError(f"channel={channel} is not there: the samples have {channels}")
        if samples.dtype.kind != "f":
            raise ValueError(
                f"samples are {samples.dtype}, not floats: divide integers by their full scale"
            )
        return samples

    def _last(self) -> Iterator[NDArray[np.float32] | Gap | Zeros]:
        lost = self._lost
        if self._resampler is not None:
            yield from self._resampler.flush(lost)
        elif lost:
            yield Gap(self._fed, self._fed + lost)
            yield Zeros(lost)
        self._fed += lost
        self._stream_end = self._end
        self._gaps.end(self._end)  # nor does the resampler's reach go beyond it
        if self.settings.center and self._fed > 0:
            yield Zeros(self.settings.n_fft // 2)

    def _completed(self) -> Iterator[Frames]:
        while self._ready:
            yield self._step()

    def _advance(self) -> None:
        """Take in what was fed until a frame is ready or nothing is left.

        So between two steps, either a frame is ready or all that was fed is in hand.
        """
        while True:
            if self._gaps.spans:
                self._skip_lost()
            if self._end - self._start >= self.settings.n_fft:
                self._ready = True
                return
            if self._zeros:
                self._append_zeros()
            elif self._piece is not None:
                self._append(self._piece)
            elif self._owed is not None:
                self._take_owed(next(self._owed, None))
            else:
                self._ready = False
                return

    def _take_owed(self, owed: Samples | Gap | Zeros | None) -> None:
        if owed is None:
            self._owed = None
        elif isinstance(owed, Gap):
            self._gaps.add(*owed)
        elif isinstance(owed, Zeros):
            self._zeros = owed.length
        else:
            self._piece = owed

    def _skip_lost(self) -> None:
        """Leave out the frames that lie wholly inside a gap."""
        hop, n_fft = self.settings.hop_length, self.settings.n_fft
        self._gaps.forget(self._start)
        while (stop := self._gaps.end_if_inside(self._start, self._start + n_fft)) is not None:
            count = 1 + (stop - n_fft - self._start) // hop
            self._row += count
            self._start += count * hop

    def _append(self, samples: Samples) -> None:
        """Append what fits of ``samples``, and keep the rest for the next time."""
        if self._start > self._end:  # no frame holds the next ones: they are looked at, not kept
            self._filled = 0
            taken = min(len(samples), self._start - self._end, PIECE)
        else:
            taken = min(len(samples), self._room(len(samples)))
        fits = taken == len(samples)
        block = as_compiled_for(samples if fits else samples[:taken])
        self._piece = None if fits else samples[taken:]
        buffer, at = self._samples, self._filled
        self._invalid += kernel.append(block, self._channel, self._bits, buffer, at)
        if self.tap is not None:
            self.tap(self._end, buffer[at : at + taken])
        if self._start <= self._end:
            self._filled += taken
        self._end += taken

    def _append_zeros(self) -> None:
        """Append what fits of the zeros; those that no frame holds cost nothing."""
        if self._start > self._end:
            self._filled = 0
            taken = min(self._zeros, self._start - self._end)
        else:
            taken = min(self._zeros, self._room(self._zeros))
            self._samples[self._filled : self._filled + taken] = 0
            self._filled += taken
        self._end += taken
        self._zeros -= taken

    def _room(self, wanted: int) -> int:
        """Room behind the samples in hand; they move to the front where it is too little."""
        buffer = self._samples
        if wanted > len(buffer) - self._filled:
            kept = self._end - self._start
            buffer[:kept] = buffer[self._filled - kept : self._filled]
            self._filled = kept
        return len(buffer) - self._filled

    def _step(self) -> Frames:
        """Compute as many rows as are ready and fit, and take in samples for the next ones."""
        hop, n_fft = self.settings.hop_length, self.settings.n_fft
        count = min(1 + (self._end - self._start - n_fft) // hop, len(self._borrowed) - 1)
        if self._gaps.spans or self._some_lost:
            lost = self._rows.lost[:count]
            self._gaps.count(self._start, hop, n_fft, lost)
            if (lost == n_fft).any():
                count = int(np.argmax(lost == n_fft))  # not 0: `_skip_lost` has been there
            self._some_lost = bool(self._rows.lost.any())
        self._compute(count)
        if self._ended:  # what ends in padding has no last sample
            ends = self._start + n_fft + hop * np.arange(count)
            self._rows.captured[:count][ends > self._stream_end] = math.nan
        frames = self._borrowed[count]
        frames.first = self._row
        self._row += count
        self._start += count * hop
        self._advance()
        return frames

    def _compute(self, count: int) -> None:
        settings = self.settings
        self._kernel(
            self._samples,
            self._start - self._end + self._filled,
            count,
            settings.hop_length,
            self._start + settings.n_fft // 2,
            self._capture_shift,
            *self._fixed,
        )


def _checked_lost(lost: int) -> int:
    """``lost`` as Python's own integer, so that no counter can wrap."""
    try:
        value = operator.index(lost)
    except TypeError:
        raise ValueError(f"lost={lost!r} is not a whole number") from None
    if not 0 <= value <= 1 << 50:
        raise ValueError(f"lost={lost} is not in 0 … 2^50")
    return value


def _tables(settings: Settings) -> tuple[NDArray[np.generic], ...]:
    """The tables of `kernel._rows`, in its order."""
    assert settings.sr is not None
    n_fft, n_mels = settings.n_fft, settings.n_mels
    window = tables.window(settings.window, settings.win_length or n_fft, n_fft)
    fmax = settings.sr / 2 if settings.fmax is None else settings.fmax
    return (
        window.astype(np.float32),
        *kernel.fft_tables(n_fft),
        *tables.mel_filters(settings.sr, n_fft, n_mels, settings.fmin, fmax, settings.htk),
        tables.dct_matrix(settings.n_mfcc, n_mels),
    )


def _view(rows: Frames, count: int) -> Frames:
    """The first ``count`` rows, read-only."""
    arrays = [getattr(rows, field.name)[:count] for field in fields(rows)[1:]]
    for array in arrays:
        array.flags.writeable = False
    return Frames(0, *arrays)


def load_kernels(release_gil: bool = False) -> None:
    """Load what an `Analyzer` calls, or compile it, before there is anything to analyze."""
    small = Settings(sr=22050, n_fft=16, n_mels=1, n_mfcc=1, quantize_bits=8)
    Analyzer(small, release_gil=release_gil)
