"""The core: push any number of samples, get the frames they complete."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np

from rtaudio.analysis import kernel, tables
from rtaudio.analysis.condition import PIECE, Conditioner, Gap, Zeros
from rtaudio.analysis.frames import Frames
from rtaudio.analysis.gaps import Gaps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rtaudio.analysis.settings import Settings


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
    suits recordings and harms live runs. Making an analyzer compiles the kernels where this
    machine has not done it yet.
    """

    def __init__(
        self,
        settings: Settings,
        source_sr: int | None = None,
        *,
        release_gil: bool = False,
        floors: Floors = NO_FLOORS,
    ) -> None:
        """Allocate; raises `ValueError` where ``settings.sr`` is None."""
        if settings.sr is None:
            raise ValueError("an Analyzer needs a sampling rate: Settings(sr=…)")
        self.settings = settings
        n_fft, n_mels = settings.n_fft, settings.n_mels
        self._conditioner = Conditioner(settings, source_sr or settings.sr)
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

    def reset(self) -> None:
        """Begin again at sample 0, also after `flush`."""
        padding = self.settings.n_fft // 2 if self.settings.center else 0
        self._conditioner.reset()
        self._gaps = Gaps()
        self._some_lost = False  # whether rows.lost holds anything but zeros
        self._rows.lost[:] = 0
        self._row = 0  # number of the next row
        self._start = -padding  # where its frame begins; all absolute, at settings.sr
        self._end = 0  # where the samples in hand end
        self._filled = padding  # how many of _samples are in hand
        self._samples[:padding] = 0
        self._zeros = 0  # zeros of a gap still to be taken
        self._piece: NDArray[np.float32] | None = None  # conditioned samples still to be taken
        self._owed: Iterator[NDArray[np.float32] | Gap | Zeros] | None = None  # comes after them
        self._rest: NDArray[np.floating] | None = None  # and then these, as they were fed
        self._capture_shift = math.nan
        self._ready = False  # a frame is complete
        self._ended = False

    @property
    def invalid(self) -> int:
        """How many samples were NaN, Inf or beyond 1e12, and were taken as 0."""
        return self._conditioner.invalid

    def feed(
        self, samples: NDArray[np.floating], lost: int = 0, captured: float = math.nan
    ) -> Iterator[Frames]:
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
        samples = self._conditioner.check(samples)
        if lost < 0:
            raise ValueError(f"lost={lost} is below 0")
        # A frame's last sample stands that much after the frame's `time` on the capture clock.
        self._capture_shift = captured - self._conditioner.seconds(lost) + self._time_to_last
        self._owed = self._conditioner.lose(lost) if lost else None
        self._rest = samples
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
            raise RuntimeError("frames of the last feed were left untaken: iterate to the end")
        raise RuntimeError("this analyzer was flushed: reset() starts it again")

    def _last(self) -> Iterator[NDArray[np.float32] | Zeros]:
        yield from self._conditioner.flush()
        if self.settings.center and self._end > 0:
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
                self._zeros -= self._append(self._zeros, None)
            elif self._piece is not None:
                taken = self._append(len(self._piece), self._piece)
                self._piece = self._piece[taken:] if taken < len(self._piece) else None
            elif self._owed is not None:
                self._take_owed(next(self._owed, None))
            elif self._rest is not None:
                block = self._rest
                self._rest = block[PIECE:] if len(block) > PIECE else None
                self._piece = self._conditioner.take(block[:PIECE])
            else:
                self._ready = False
                return

    def _take_owed(self, piece: NDArray[np.float32] | Gap | Zeros | None) -> None:
        if piece is None:
            self._owed = None
        elif isinstance(piece, Gap):
            self._gaps.add(*piece)
        elif isinstance(piece, Zeros):
            self._zeros = piece.length
        else:
            self._piece = piece

    def _skip_lost(self) -> None:
        """Leave out the frames that lie wholly inside a gap."""
        hop, n_fft = self.settings.hop_length, self.settings.n_fft
        self._gaps.forget(self._start)
        while (stop := self._gaps.end_if_inside(self._start, self._start + n_fft)) is not None:
            count = 1 + (stop - n_fft - self._start) // hop
            self._row += count
            self._start += count * hop

    def _append(self, count: int, samples: NDArray[np.float32] | None) -> int:
        """Append some of ``samples``, or of ``count`` zeros; returns how many."""
        unseen = self._start - self._end
        if unseen > 0:  # no frame holds these
            taken = min(count, unseen)
            self._filled = 0
            self._end += taken
            return taken
        buffer = self._samples
        if count > len(buffer) - self._filled:
            kept = self._end - self._start
            buffer[:kept] = buffer[self._filled - kept : self._filled]
            self._filled = kept
        taken = min(count, len(buffer) - self._filled)
        buffer[self._filled : self._filled + taken] = 0 if samples is None else samples[:taken]
        self._filled += taken
        self._end += taken
        return taken

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
        frames = self._borrowed[count]
        frames.first = self._row
        self._row += count
        self._start += count * hop
        self._advance()
        return frames

    def _compute(self, count: int) -> None:
        self._kernel(
            self._samples,
            self._start - self._end + self._filled,
            count,
            self.settings.hop_length,
            self._start + self.settings.n_fft // 2,
            self._capture_shift,
            *self._fixed,
        )


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
