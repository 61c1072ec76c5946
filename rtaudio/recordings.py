"""Whole recordings: every row of a file or an array, in constant memory."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtaudio.analysis.analyzer import NO_FLOORS, Analyzer, Floors
from rtaudio.analysis.frames import DEFAULT_FEATURES, Features, check_features
from rtaudio.analysis.settings import Settings
from rtaudio.sources import open_source
from rtaudio.sources.array import ArraySource
from rtaudio.sources.block import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from rtaudio.analysis.analyzer import Tap
    from rtaudio.analysis.frames import Frames
    from rtaudio.consumers.listener import Interval
    from rtaudio.consumers.model import Model
    from rtaudio.sources.block import Source


@dataclass(frozen=True)
class Summary:
    """What became of one recording. ``settings.sr`` is known."""

    settings: Settings
    source_sr: int
    samples: int
    """At the source's rate, lost ones counted too."""
    lost: int
    """How many of them were lost."""
    frames: int
    invalid: int
    """Samples that were NaN, Inf or beyond 1e12, and were taken as 0."""
    top_db: float | None
    notes: tuple[str, ...]

    @property
    def duration_s(self) -> float:
        """Length of the recording."""
        return self.samples / self.source_sr

    def about(self) -> dict[str, Any]:
        """What stands beside the features in an output."""
        from rtaudio import __version__

        return {
            "rtaudio": __version__,
            "settings": asdict(self.settings),
            "top_db": self.top_db,
            "source_sr": self.source_sr,
            "samples": self.samples,
            "lost": self.lost,
            "frames": self.frames,
            "invalid": self.invalid,
            "notes": list(self.notes),
        }


def analyze_recording(
    open_again: Callable[[], Source],
    settings: Settings,
    consume: Callable[[Frames], None],
    *,
    top_db: float | None = None,
    tap: Tap | None = None,
    progress: Callable[[float, float | None], None] = lambda done_s, total_s: None,
) -> Summary:
    """Analyze a whole recording in constant memory, handing borrowed frames to ``consume``.

    ``top_db`` clips every dB feature that far below its loudest value of the whole recording,
    as librosa's `power_to_db` does; that takes a first pass, so ``open_again`` is called twice.
    ``tap`` is handed the samples that were framed, as `Analyzer` does.
    ``progress`` is called with the seconds done and the seconds there are, if that is known.
    """
    if top_db is None:
        return _one_pass(open_again(), settings, consume, NO_FLOORS, None, tap, progress)
    if not top_db >= 0:
        raise ValueError(f"top_db={top_db} is below 0")
    loudest = _Loudest()
    passes = _TwoPasses(progress)
    _one_pass(open_again(), settings, loudest.take, NO_FLOORS, None, None, passes.first)
    floors = Floors(loudest.db - top_db, loudest.mel_db - top_db)
    return _one_pass(open_again(), settings, consume, floors, top_db, tap, passes.second)


def _one_pass(
    source: Source,
    settings: Settings,
    consume: Callable[[Frames], None],
    floors: Floors,
    top_db: float | None,
    tap: Tap | None,
    progress: Callable[[float, float | None], None],
) -> Summary:
    samples = lost = frames = 0
    with source:
        settings = for_rate(settings, source)
        analyzer = Analyzer(settings, source.sr, release_gil=True, floors=floors, tap=tap)
        for block in source:
            samples += block.lost + len(block.samples)
            lost += block.lost
            for some in analyzer.feed(block.samples, lost=block.lost, captured=block.captured):
                frames += len(some)
                consume(some)
            progress(samples / source.sr, source.duration_s)
        for some in analyzer.flush():
            frames += len(some)
            consume(some)
        if not samples:
            raise SourceError(f"{source.name}: holds no samples: record or copy it again")
        if not frames:
            raise SourceError(
                f"{source.name}: its {samples} samples are shorter than one frame "
                f"(n_fft={settings.n_fft}): choose a smaller n_fft, or center=True"
            )
        notes = tuple(source.notes)
    return Summary(settings, source.sr, samples, lost, frames, analyzer.invalid, top_db, notes)


def for_rate(settings: Settings, source: Source) -> Settings:
    """``settings`` with the source's rate and its channel checked: the source is what's wrong."""
    try:
        settings = settings.with_sr(source.sr)
    except ValueError as error:
        raise SourceError(f"{source.name} ({source.sr} Hz): {error}") from None
    if settings.channel != "mix" and int(settings.channel) > source.channels:
        raise SourceError(
            f"{source.name}: has {source.channels} channel(s), not a channel {settings.channel}"
        )
    return settings


class _Loudest:
    """The largest value of each dB feature so far."""

    def __init__(self) -> None:
        self.db = self.mel_db = -math.inf

    def take(self, frames: Frames) -> None:
        self.db = max(self.db, float(frames.db.max()))
        self.mel_db = max(self.mel_db, float(frames.mel_db.max()))


class _TwoPasses:
    """Progress through a recording that is read twice."""

    def __init__(self, progress: Callable[[float, float | None], None]) -> None:
        self._progress = progress
        self._before = 0.0

    def first(self, done_s: float, total_s: float | None) -> None:
        self._before = done_s
        self._progress(done_s, total_s and 2 * total_s)

    def second(self, done_s: float, total_s: float | None) -> None:
        self._progress(self._before + done_s, total_s and 2 * total_s)


class Collector:
    """Keeps the rows of some features in memory."""

    def __init__(self, features: Iterable[str]) -> None:
        self._names = ("time", "lost", *features)
        self._parts: dict[str, list[NDArray[Any]]] = {name: [] for name in self._names}

    def take(self, frames: Frames) -> None:
        """Keep a copy of the rows."""
        for name, parts in self._parts.items():
            parts.append(getattr(frames, name).copy())

    def features(self, summary: Summary) -> Features:
        """All that was kept."""
        arrays = {name: np.concatenate(self._parts.pop(name)) for name in self._names}
        return Features(summary.settings, arrays, summary.about())


def analyze(
    source: str | PathLike[str] | NDArray[np.floating],
    settings: Settings | None = None,
    *,
    features: str | Iterable[str] = DEFAULT_FEATURES,
    top_db: float | None = None,
    **overrides: Any,
) -> Features:
    """Analyze a whole recording at once.

    Parameters
    ----------
    source
        A path, ``demo:``, or samples (n,) or (n, channels) of any float dtype, whose rate is then
        ``settings.sr``.
    settings
        What to compute. ``settings.sr`` is the rate of the analysis: a recording of another rate
        is resampled.
    features
        Names of what to keep, of ``mfcc``, ``rms``, ``peak``, ``mel_db``, ``db``, ``power``,
        ``captured``; ``time`` and ``lost`` come with them.
    top_db
        Clip ``db``, ``mel_db`` and ``mfcc`` that far below the loudest moment of the whole
        recording, as ``librosa.feature.mfcc`` does by default with 80; takes a second pass.
    overrides
        Any of the settings by name, over ``settings``.

    Raises
    ------
    SourceError
        Where the recording can't be read, or holds less than one frame.
    ValueError
        Where an argument can't be used.

    """
    settings = replace(settings or Settings(), **overrides)
    names = check_features(features)
    collector = Collector(names)
    summary = analyze_recording(
        lambda: _as_source(source, settings, top_db), settings, collector.take, top_db=top_db
    )
    return collector.features(summary)


def hear(
    source: str | PathLike[str] | NDArray[np.floating], model: str | PathLike[str] | Model
) -> list[Interval]:
    """What a model hears in a whole recording.

    Parameters
    ----------
    source
        A path, ``demo:``, or samples (n,) or (n, channels) at the model's rate.
    model
        A path, or what `load_model` made.

    Raises
    ------
    SourceError, ModelError
        Where the recording or the model can't be used.

    """
    from rtaudio.consumers.listener import Intervals, Listener
    from rtaudio.consumers.model import Model, load_model

    model = model if isinstance(model, Model) else load_model(model)
    settings = model.front_end.settings
    listener, intervals = Listener(model), Intervals(model)
    found: list[Interval] = []
    analyze_recording(
        lambda: _as_source(source, settings, None),
        settings,
        lambda frames: found.extend(intervals.take(listener.take(frames))),
    )
    return found + intervals.take(listener.end()) + intervals.end()


def can_be_read_twice(name: str | PathLike[str]) -> bool:
    """Whether a recording is no pipe, by its name alone."""
    return name != "-" and (Path(name).is_file() or not Path(name).exists())


def _as_source(
    source: str | PathLike[str] | NDArray[np.floating], settings: Settings, top_db: float | None
) -> Source:
    if isinstance(source, (str, PathLike)):
        if top_db is not None and not can_be_read_twice(source):
            raise ValueError(
                f"top_db reads twice, and {source} is a pipe: put it into a file first"
            )
        if source == "-":
            raise ValueError("analyze() reads no standard input: use the command line")
        return open_source(source)
    if settings.sr is None:
        raise ValueError("samples need a sampling rate: analyze(y, sr=…)")
    samples = np.asarray(source)
    if samples.ndim == 2 and 1 < len(samples) < samples.shape[1]:
        raise ValueError(
            f"samples of shape {samples.shape} would be {samples.shape[1]} channels: rows are "
            "samples, so librosa's (channels, n) goes in as y.T"
        )
    return ArraySource(samples, settings.sr)
