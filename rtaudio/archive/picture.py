"""The picture of a dataset: its long-term spectrogram, and the level below."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.fft

from rtaudio.analysis.settings import Settings
from rtaudio.archive.dataset import about_dataset, open_dataset
from rtaudio.figures import draw_image, save
from rtaudio.sources.block import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

COLUMNS = 1600
SPECTRA = ("mel_db", "db", "mfcc")  # of which one is drawn, the first that is there
LEVELS = ("rms", "rms_p10", "rms_p50", "rms_p90")


class Axis(NamedTuple):
    """Where each recording stands in the picture."""

    begin: datetime | None
    """Of the picture, on the wall's clock; None: recordings stand one after the other."""
    length_s: float
    offsets: dict[str, float]
    """Path → s from the picture's begin to the recording's."""
    sr: int
    notes: list[str]
    """What is left out."""


def draw_dataset(folder: Path, out: Path) -> list[str]:
    """Draw a dataset into ``out`` (.png, .svg, .pdf); returns notes on what it leaves out.

    By the wall's clock where recordings tell it, else one after the other. The spectrum is
    ``mel_db`` or ``db``, where there is neither the envelope that the MFCCs describe; a column is
    the mean of its rows. Raises `SourceError` where there is nothing to draw, and `OSError` where
    ``out`` can't be written.
    """
    import pyarrow

    try:
        return _draw_dataset(folder, out)
    except pyarrow.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise SourceError(
            f"{folder}: a part is damaged ({reason:.200}): delete it, and run rtaudio archive again"
        ) from None


def _draw_dataset(folder: Path, out: Path) -> list[str]:
    about, dataset = about_dataset(folder), open_dataset(folder)
    names = set(dataset.schema.names)
    mean = "" if about["per"] == "frame" else "_mean"
    kind = next((kind for kind in SPECTRA if f"{kind}_0{mean}" in names), "")
    spectrum = [f"{kind}_{i}{mean}" for i in range(len(names)) if f"{kind}_{i}{mean}" in names]
    levels = [name for name in LEVELS if name in names]
    if not spectrum and not levels:
        raise SourceError(f"{folder}: has no spectrum and no level: make it with mel_db or rms")
    axis = _axis(dataset, "end" in names)
    settings = Settings(**{**about["settings"], "sr": axis.sr})
    hop_s = 0.0 if "end" in names else settings.hop_length / axis.sr
    sums = np.zeros((2, COLUMNS, len(spectrum) + len(levels)))
    ends = ["end"] if "end" in names else []
    wanted = ["path", "sr", "start", *ends, *spectrum, *levels]
    for batch in dataset.to_batches(columns=wanted):
        _add(batch, axis, hop_s, [*spectrum, *levels], sums)
    with np.errstate(invalid="ignore"):
        means = sums[0] / sums[1]
    image, level = means[:, : len(spectrum)], means[:, len(spectrum) :]
    if kind == "mfcc":  # orthonormal DCT-II, undone
        image = scipy.fft.idct(image, n=settings.n_mels, axis=1, norm="ortho")
    count = len(axis.offsets)
    title = f"{folder.resolve().name}: {count} recording{'' if count == 1 else 's'}"
    _draw(title, out, axis, settings, kind, image, level)
    return axis.notes


def _axis(dataset: Any, bins: bool) -> Axis:
    """Look at all rows' times once."""
    rates: Counter[int] = Counter()
    lengths: dict[tuple[str, int], float] = {}
    clocks: dict[str, datetime] = {}
    for batch in dataset.to_batches(columns=["path", "sr", "start", "clock", *["end"] * bins]):
        if not batch.num_rows:
            continue
        start = batch.column("start").to_numpy()
        end = batch.column("end").to_numpy() if bins else start
        path, sr = batch.column("path")[0].as_py(), batch.column("sr")[0].as_py()
        rates[sr] += batch.num_rows
        lengths[path, sr] = max(lengths.get((path, sr), 0.0), float(end[-1]))
        clock = batch.column("clock")[0].as_py()
        if clock is not None:
            clocks[path] = clock - timedelta(seconds=float(start[0]))
    sr = rates.most_common(1)[0][0]
    notes = []
    if len(rates) > 1:
        others = sum(rate != sr for _, rate in lengths)
        notes.append(f"recordings of another rate than {sr} Hz, not drawn: {others}")
    chosen = {path: length for (path, rate), length in lengths.items() if rate == sr}
    told = [path for path in chosen if path in clocks]
    begin = min((clocks[path] for path in told), default=None)
    if begin is not None:
        if len(told) < len(chosen):
            notes.append(f"recordings that tell no time, not drawn: {len(chosen) - len(told)}")
        offsets = {path: (clocks[path] - begin).total_seconds() for path in sorted(told)}
        length_s = max(offsets[path] + chosen[path] for path in told)
    else:
        offsets, length_s = {}, 0.0
        for path in sorted(chosen):
            offsets[path] = length_s
            length_s += chosen[path]
    return Axis(begin, max(length_s, 1e-3), offsets, sr, notes)


def _add(batch: Any, axis: Axis, hop_s: float, names: list[str], sums: Doubles) -> None:
    """Add rows to all the columns of the picture that they reach: sums, and how many."""
    start = batch.column("start").to_numpy()
    end = batch.column("end").to_numpy() if "end" in batch.schema.names else start
    offsets = np.array(
        [axis.offsets.get(path, np.nan) for path in batch.column("path").to_pylist()]
    )
    offsets[batch.column("sr").to_numpy() != axis.sr] = np.nan
    here = np.flatnonzero(np.isfinite(offsets))
    scale = COLUMNS / axis.length_s
    edges = [(offsets + at)[here] * scale for at in (start - hop_s / 2, end + hop_s / 2)]
    first = np.clip(np.floor(edges[0]), 0, COLUMNS - 1).astype(np.int64)
    stop = np.clip(np.ceil(edges[1]), first + 1, COLUMNS).astype(np.int64)
    counts = stop - first
    rows = here.repeat(counts)
    within = np.arange(len(rows)) - (counts.cumsum() - counts).repeat(counts)
    columns = first.repeat(counts) + within
    for i, name in enumerate(names):
        values = batch.column(name).to_numpy(zero_copy_only=False)[rows]
        known = np.isfinite(values)
        np.add.at(sums[0, :, i], columns[known], values[known])
        np.add.at(sums[1, :, i], columns[known], 1)


def _draw(
    title: str,
    out: Path,
    axis: Axis,
    settings: Settings,
    kind: str,
    image: Doubles,
    level: Doubles,
) -> None:
    import matplotlib.dates
    from matplotlib.figure import Figure

    dates: Any = matplotlib.dates  # which has no types
    heights = [3, 1] if kind and level.size else [1]
    figure = Figure(figsize=(14, 2.5 * sum(heights) if kind else 4), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    if axis.begin is None:
        longer = (unit for unit in (("h", 3600), ("min", 60)) if axis.length_s > 2 * unit[1])
        unit, per = next(longer, ("s", 1))
        span = (0.0, axis.length_s / per)
        axes[-1].set_xlabel(f"recordings one after the other, by name ({unit})")
        hours = f"{span[1]:.1f} {unit}"
    else:
        last = axis.begin + timedelta(seconds=axis.length_s)
        span = (float(dates.date2num(axis.begin)), float(dates.date2num(last)))
        locator = dates.AutoDateLocator()
        axes[-1].xaxis.set_major_locator(locator)
        axes[-1].xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
        axes[-1].set_xlabel("time, as the recordings tell it")
        clock = "%Y-%m-%d %H:%M" if axis.length_s > 3600 else "%Y-%m-%d %H:%M:%S"
        hours = f"{axis.begin:{clock}} to {last:{clock}}"
    title = f"{title}, {hours}".encode("utf-8", "backslashreplace").decode()
    figure.suptitle(title, fontsize=12, parse_math=False)
    if kind:
        _draw_spectrum(figure, axes[0], settings, kind, image, span)
    if level.size:
        _draw_level(axes[-1], level, span)
    axes[-1].set_xlim(*span)
    save(figure, out)


def _draw_spectrum(
    figure: Any, axis: Any, settings: Settings, kind: str, image: Doubles, span: tuple[float, float]
) -> None:
    known = image[np.isfinite(image)]
    limits = tuple(np.percentile(known, (1, 99.8))) if known.size else (None, None)
    if kind == "db":
        image = image - settings.full_scale_db
        limits = tuple(x and x - settings.full_scale_db for x in limits)
        height = (0.0, float(settings.frequencies[-1]))
    else:
        height = (-0.5, image.shape[1] - 0.5)
    drawn = draw_image(axis, image, span, height, "magma", limits)
    what = {
        "db": ("Long-term spectrogram", "mean of dBFS"),
        "mel_db": ("Long-term spectrogram, mel bands", "mean of dB"),
        "mfcc": (f"Long-term envelope of the spectrum, from {settings.n_mfcc} MFCCs", "mean of dB"),
    }
    axis.set(title=what[kind][0], ylabel="frequency (Hz)")
    figure.colorbar(drawn, ax=axis, pad=0.01, label=what[kind][1])
    if kind != "db":
        middles = settings.mel_frequencies
        marks = (125 * 2**octave for octave in range(12))
        inside = [mark for mark in marks if middles[0] <= mark <= middles[-1]]
        places = np.interp(inside, middles, np.arange(len(middles)))
        axis.set_yticks(places, [f"{f}" for f in inside])


def _draw_level(axis: Any, level: Doubles, span: tuple[float, float]) -> None:
    dbfs = 20 * np.log10(np.maximum(level, 1e-6)) + 20 * np.log10(np.sqrt(2))
    at = np.linspace(*span, 2 * len(dbfs) + 1)[1::2]
    if dbfs.shape[1] == 3:
        axis.fill_between(
            at, dbfs[:, 0], dbfs[:, 2], color="C0", alpha=0.3, lw=0, label="10 to 90 %"
        )
        axis.plot(at, dbfs[:, 1], color="C0", lw=0.8, label="median")
        axis.legend(loc="upper right", fontsize=8, ncols=2)
    else:
        axis.plot(at, dbfs[:, 0], color="C0", lw=0.8)
    axis.set(ylabel="RMS (dBFS)")
    axis.grid(alpha=0.3)
