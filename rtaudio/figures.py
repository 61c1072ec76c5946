"""The five pictures of a recording, in the order of a first lesson on audio features; delays."""

from __future__ import annotations

import contextlib
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft

from rtaudio.consumers.partial import Partial

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from rtaudio.analysis.frames import Frames
    from rtaudio.analysis.settings import Settings
    from rtaudio.consumers.delays import Delay
    from rtaudio.recordings import Summary

    Floats = NDArray[np.float32]

PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
COLUMNS = 2048  # at most; a picture is not wider
WHOLE = 1 << 23  # samples whose spectrum is taken at once; of more, the mean of segments
SEGMENT = 1 << 20


class Columns:
    """Rows reduced to at most `COLUMNS` columns of equal length, whatever comes.

    When they are full, neighbours are merged by ``merge``, so that memory is constant and a
    column covers ``stride`` rows.
    """

    def __init__(self, merge: np.ufunc) -> None:
        self._merge = merge
        self._done: list[Floats] = []
        self._open: Floats | None = None
        self._count = 0
        self.stride = 1

    def add(self, rows: Floats) -> None:
        """Take rows (k, width)."""
        start = 0
        while start < len(rows):
            stop = min(len(rows), start + self.stride - self._count)
            self._put(self._merge.reduce(rows[start:stop], axis=0), stop - start)
            start = stop

    def skip(self, count: int, width: int) -> None:
        """Take ``count`` rows that were lost: NaN, however many in no time."""
        lost = np.full(width, np.nan, np.float32)
        while count > 0:
            some = min(count, self.stride - self._count)
            self._put(lost, some)
            count -= some

    def _put(self, part: Floats, count: int) -> None:
        self._open = part if self._open is None else self._merge(self._open, part)
        self._count += count
        if self._count == self.stride:
            self._done.append(self._open)
            self._open, self._count = None, 0
            if len(self._done) == COLUMNS:
                pairs = zip(self._done[::2], self._done[1::2], strict=True)
                self._done = [self._merge(a, b) for a, b in pairs]
                self.stride *= 2

    def image(self) -> Floats:
        """The columns so far, oldest first; shape (columns, width)."""
        last = [] if self._open is None else [self._open]
        return np.array(self._done + last)


class Spectrum:
    """Power spectrum of a whole signal of any length, in constant memory.

    Up to `WHOLE` samples in one Fourier transform; beyond that the mean over segments of
    `SEGMENT` samples (Bartlett, Nature 161, 1948).
    """

    def __init__(self) -> None:
        self._held: list[Floats] = []
        self._size = 0
        self._sum: NDArray[np.float64] | None = None
        self.segments = 0

    def add(self, samples: Floats) -> None:
        """Take samples (n,)."""
        self._held.append(samples.copy())
        self._size += len(samples)
        if self._size >= (WHOLE if self._sum is None else SEGMENT):
            whole = np.concatenate(self._held)
            used = len(whole) - len(whole) % SEGMENT
            for start in range(0, used, SEGMENT):
                power = np.abs(scipy.fft.rfft(whole[start : start + SEGMENT])) ** 2
                self._sum = power if self._sum is None else self._sum + power
                self.segments += 1
            self._held, self._size = [whole[used:]], len(whole) - used

    def result(self, sr: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Frequencies in Hz and power relative to a full-scale sine, both (n // 2 + 1,)."""
        if self._sum is None:
            y = np.concatenate(self._held)
            power, n = np.abs(scipy.fft.rfft(y)) ** 2, len(y)
        else:
            power, n = self._sum / self.segments, SEGMENT
        return np.arange(n // 2 + 1, dtype=np.float64) * (sr / n), power / (n / 2) ** 2


class Overview:
    """What the five pictures show, gathered in one pass and in constant memory."""

    def __init__(self) -> None:
        self.frames_seen = 0
        self.db = Columns(np.fmax)  # which a NaN beside a number leaves alone
        self.mfcc = Columns(np.add)
        self.high = Columns(np.fmax)
        self.low = Columns(np.fmin)
        self.spectrum = Spectrum()
        self._heard = 0

    def take(self, frames: Frames) -> None:
        """Take rows; those that were left out since they were lost stand as NaN."""
        for columns, rows in ((self.db, frames.db), (self.mfcc, frames.mfcc)):
            columns.skip(frames.first - self.frames_seen, rows.shape[1])
            columns.add(rows)
        self.frames_seen = frames.first + len(frames)

    def hear(self, first: int, samples: Floats) -> None:
        """Take samples (n,) at the rate of the analysis: `Analyzer`'s ``tap``."""
        for columns in (self.high, self.low):
            columns.skip(first - self._heard, 1)
            columns.add(samples[:, np.newaxis])
        self.spectrum.add(samples)
        self._heard = first + len(samples)


def durations(settings: Settings) -> str:
    """The hop's and the window's length in seconds, in words."""
    assert settings.sr is not None
    window = settings.win_length or settings.n_fft
    return (
        f"hop {settings.hop_length} samples = {settings.hop_length / settings.sr:.6f} s, "
        f"window {window} samples = {window / settings.sr:.6f} s"
    )


def draw(overview: Overview, summary: Summary, title: str, out: Path, top_db: float) -> None:
    """Draw the five pictures into ``out``: .png, .svg, .pdf.

    Level pictures end ``top_db`` below their loudest point. Raises `OSError` where ``out`` can't
    be written; a picture is whole or not there.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(12, 17), layout="constrained")
    axes = figure.subplots(5, 1)
    title = title.encode("utf-8", "backslashreplace").decode()  # a name need not be text
    figure.suptitle(title, fontsize=13, parse_math=False)
    settings, end = summary.settings, summary.duration_s
    _draw_waveform(axes[0], overview, settings, end)
    _draw_spectrum(axes[1], overview, settings)
    db = overview.db.image() - settings.full_scale_db
    top = max(float(np.nanmax(db)), -100.0)  # so that silence is dark
    span = _span(overview.db, settings)
    frequencies = (0.0, float(settings.frequencies[-1]))
    image = draw_image(axes[2], 10 ** (db / 20), span, frequencies, "magma", (0, 10 ** (top / 20)))
    figure.colorbar(image, ax=axes[2], pad=0.01, label="amplitude (1 = full-scale sine)")
    axes[2].set(title="Spectrogram", ylabel="frequency (Hz)")
    image = draw_image(axes[3], db, span, frequencies, "magma", (max(top - top_db, -200), top))
    figure.colorbar(image, ax=axes[3], pad=0.01, label="dBFS")
    axes[3].set(title="Spectrogram in dB", ylabel="frequency (Hz)")
    mfcc = _means(overview.mfcc, overview.frames_seen)
    # Coefficient 0, the level, is far from the others: the colours are for these.
    limits = np.nanpercentile(mfcc[:, 1:] if settings.n_mfcc > 1 else mfcc, (1, 99))
    height = (-0.5, settings.n_mfcc - 0.5)
    image = draw_image(axes[4], mfcc, span, height, "viridis", (limits[0], limits[1]))
    figure.colorbar(image, ax=axes[4], pad=0.01, label="MFCC (0 may exceed)", extend="both")
    plural = "s" if settings.n_mfcc > 1 else ""
    axes[4].set(title=f"{settings.n_mfcc} MFCC{plural}", ylabel="coefficient")
    axes[4].yaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (axes[0], *axes[2:]):
        axis.set(xlabel="time (s)", xlim=(0, max(end, 1e-3)))
    save(figure, out)


def draw_delays(stages: dict[str, Delay], title: str, out: Path) -> None:
    """Draw how delays are distributed, one below the other, on one logarithmic axis of ms.

    ``stages``: by what they are called. Raises `OSError` where ``out`` can't be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.4 + 0.75 * len(stages)), layout="constrained")
    axis = figure.subplots()
    for at, (name, delay) in enumerate(reversed(stages.items())):
        edges, counts = delay.histogram()
        axis.stairs(
            at + 0.8 * counts / max(1, counts.max()), edges, baseline=at, fill=True, color="C0"
        )
        axis.axhline(at, color="0.6", lw=0.5)
        marks = {"p50": delay.p50_ms, "p99": delay.p99_ms, "max": delay.max_ms}
        known = {mark: ms for mark, ms in marks.items() if ms == ms}
        for mark, ms in known.items():
            style = {"p50": "-", "p99": "--", "max": ":"}[mark]
            axis.plot((ms, ms), (at, at + 0.85), style, color="C3", lw=1.2)
        said = "   ".join(f"{mark} {ms:.3g}" for mark, ms in known.items())
        axis.annotate(
            f"{name}   ({delay.n})\n{said} ms",
            (1.01, at + 0.4),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
        )
    axis.set(xscale="log", yticks=[], ylim=(0, len(stages)))
    axis.set_xlabel("delay (ms); red: median, p99 dashed, maximum dotted; in brackets: how many")
    axis.xaxis.set_major_formatter(lambda ms, at: f"{ms:g}")
    axis.grid(axis="x", which="major", alpha=0.6)
    axis.grid(axis="x", which="minor", alpha=0.2)
    title = title.encode("utf-8", "backslashreplace").decode()
    figure.suptitle(title, fontsize=12, parse_math=False)
    save(figure, out)


def draw_confusion(
    rows: Sequence[str], columns: Sequence[str], counts: NDArray[np.int64], title: str, out: Path
) -> None:
    """Draw how often each of ``rows`` was heard as each of ``columns``; counts (rows, columns).

    Raises `OSError` where ``out`` can't be written.
    """
    from matplotlib.figure import Figure

    wide, high = 0.45 * len(columns), 0.45 * len(rows)
    figure = Figure(figsize=(min(24, max(7, 2.5 + wide)), min(24, max(5, 2 + high))))
    figure.set_layout_engine("constrained")
    axis = figure.subplots()
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    figure.colorbar(image, label="share of the row", fraction=0.05)
    axis.set(xlabel="heard", ylabel="held out")
    room = (figure.get_size_inches()[0] - 2.5) / len(columns)  # of a name, in inches
    upright = any(0.1 * (len(a) + len(b)) / 2 > room for a, b in pairwise(columns))
    axis.set_xticks(range(len(columns)), columns, rotation=90 if upright else 0, parse_math=False)
    axis.set_yticks(range(len(rows)), rows, parse_math=False)
    axis.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    axis.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    axis.grid(which="minor", color="0.9")
    axis.tick_params(which="minor", length=0)
    if len(columns) <= 40:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if shares[row, column] > 0.5 else "black"
            text = axis.text(column, row, f"{counts[row, column]}", color=color, fontsize=9)
            text.set(ha="center", va="center")
    title = title.encode("utf-8", "backslashreplace").decode()
    figure.suptitle(title, fontsize=12, parse_math=False)
    save(figure, out)


def _draw_waveform(axis: Any, overview: Overview, settings: Settings, end: float) -> None:
    high, low = overview.high.image().ravel(), overview.low.image().ravel()
    edges = np.arange(len(high) + 1) * overview.high.stride / (settings.sr or 1)
    axis.stairs(high, np.minimum(edges, end), baseline=low, fill=True, color="C0", lw=0.5, ec="C0")
    reach = 1.05 * max(*np.nan_to_num(np.abs([high, low])).max(axis=1, initial=0), 1e-6)
    axis.set(title="Waveform", ylabel="amplitude (1 = full scale)", ylim=(-reach, reach))
    axis.grid(alpha=0.3)


def _draw_spectrum(axis: Any, overview: Overview, settings: Settings) -> None:
    frequencies, power = overview.spectrum.result(settings.sr or 1)
    segments = overview.spectrum.segments
    bins = max(1, len(power) // COLUMNS)  # what falls on one pixel shows its maximum
    whole = len(power) - len(power) % bins
    power = power[:whole].reshape(-1, bins).max(axis=1)
    frequencies = frequencies[:whole].reshape(-1, bins).mean(axis=1)
    axis.plot(frequencies, 10 * np.log10(np.maximum(power, 1e-20)), lw=0.8)
    how = f"mean of {segments} segments of {SEGMENT} samples" if segments else "whole signal"
    axis.set(
        title=f"Power spectrum ({how})",
        xlabel="frequency (Hz)",
        ylabel="power (dB, 0 = full-scale sine)",
        xlim=(0, (settings.sr or 1) / 2),
    )
    axis.grid(alpha=0.3)


def _span(columns: Columns, settings: Settings) -> tuple[float, float]:
    """Where the first column begins and the last one ends on the time axis, in s.

    A column stands around the middles of its frames, half a hop to either side.
    """
    assert settings.sr is not None
    step = settings.hop_length / settings.sr
    first = 0.0 if settings.center else settings.n_fft // 2 / settings.sr
    length = len(columns.image()) * columns.stride * step
    return first - step / 2, first - step / 2 + length


def _means(columns: Columns, total: int) -> Floats:
    """Sums of columns as means; the last column may hold fewer rows."""
    sums = columns.image()
    counts = np.full(len(sums), columns.stride, np.float32)
    counts[-1] = total - columns.stride * (len(sums) - 1)
    means = sums / counts[:, np.newaxis]
    return np.asarray(means, np.float32)


def draw_image(
    axis: Any,
    image: NDArray[Any],
    span: tuple[float, float],
    height: tuple[float, float],
    colormap: str,
    limits: tuple[float | None, float | None] = (None, None),
) -> Any:
    """Draw an image (columns, height) over a span of x and of y; what was lost, NaN, is grey."""
    import matplotlib as mpl

    low, high = height
    half_bin = 0.0 if low < 0 else (high - low) / max(1, image.shape[1] - 1) / 2 or 0.5
    drawn = axis.imshow(
        image.T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=mpl.colormaps[colormap].with_extremes(bad="0.6"),  # what was lost is grey
        vmin=limits[0],
        vmax=limits[1],
        extent=(*span, low - half_bin, high + half_bin),
    )
    axis.set_ylim((low, high) if low < high else (-0.5, 0.5))
    axis.set_facecolor(drawn.cmap(0.0))  # behind the last hop's end
    return drawn


def save(figure: Any, out: Path) -> None:
    """Save a matplotlib figure by the suffix of ``out``; it is whole or not there."""
    import matplotlib as mpl

    partial = Partial(out)
    try:
        kind = out.suffix.lstrip(".")
        metadata = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
        with mpl.rc_context({"svg.hashsalt": "rtaudio"}), warnings.catch_warnings():
            # the same picture twice is the same file; a title in a script that the font lacks
            # has boxes, and needs no words
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
            figure.savefig(partial.name, format=kind, dpi=110, metadata=metadata)
        partial.commit()
    finally:
        with contextlib.suppress(OSError):
            partial.discard()
